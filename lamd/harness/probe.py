"""What one unit of work takes on this machine: a few of each, at the target's shapes and batch.

The probe trains and samples networks with fresh weights on random clips, in a process of its own
that is ended when its time is up or its memory is gone.
"""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from lamd.config import Target
from lamd.errors import LamdError
from lamd.processes import leave_with_parent

_STARTED = 60.0  # seconds that importing PyTorch may take beside the limit


@dataclass(frozen=True)
class Unit:
    """What is counted: a training step, or one clip of inference, simulation or comparison.

    Attributes:
        kind: a key of `_PROBES`.
        flops: closed form; 0 where arithmetic does not decide.
        memory: bytes that its tensors take at least.
        shape: what else decides how long it takes: batch, frames, pixels.
    """

    kind: str
    flops: int
    memory: int
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Measured:
    """Seconds a unit, by unit, and why the others were not measured."""

    seconds: dict[Unit, float]
    reasons: dict[Unit, str]


def probe(wanted: Mapping[Unit, Target], device: str, limit: float) -> Measured:
    """Time each unit on its target, the cheapest first, until `limit` seconds are over."""
    found = Measured({}, {})
    if not wanted:
        return found
    context = multiprocessing.get_context("spawn")
    results, theirs = context.Pipe(duplex=False)
    order = sorted(wanted, key=lambda unit: (unit.kind == "simulation", unit.flops))
    process = context.Process(
        target=_work, args=([(unit, wanted[unit]) for unit in order], device, limit, theirs)
    )
    process.start()
    theirs.close()
    deadline, late = time.monotonic() + limit + _STARTED, f"not reached in {limit:.0f} s"
    reason = late
    try:
        for unit in order:
            if not results.poll(max(0.0, deadline - time.monotonic())):
                break
            answer = results.recv()
            if isinstance(answer, str):
                found.reasons[unit] = answer
            else:
                found.seconds[unit] = answer
    except EOFError:  # done, or killed
        process.join()
        reason = late if process.exitcode == 0 else "the probe was killed, perhaps out of memory"
    finally:
        process.kill()
        process.join()
    for unit in order:
        if unit not in found.seconds:
            found.reasons.setdefault(unit, reason)
    return found


def _work(
    wanted: list[tuple[Unit, Target]], device: str, limit: float, results: Connection
) -> None:
    leave_with_parent()
    deadline = time.monotonic() + limit
    for unit, target in wanted:
        if time.monotonic() > deadline:
            return
        try:
            results.send(_PROBES[unit.kind](target, unit, device))
        except Exception as error:  # whatever the run itself would say
            text = " ".join(str(error).split())
            known = isinstance(error, LamdError)
            results.send(text if known else f"{type(error).__name__}: {text[:200]}")


class _NoiseVideos:
    """Random clips of a target's shape, with the interface of `PackedVideos`."""

    def __init__(self, target: Target, held_out: int):
        count = held_out + 8
        self.size, self.content_hash = target.data.size, "noise"
        self.lengths = np.full(count, target.data.num_frames)
        self.conditions = ("the cone is rotating.",) * count
        shape = (target.data.num_frames, self.size, self.size, 3)
        self._clip = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.lengths)

    def clip(self, i: int, start: int, num_frames: int) -> np.ndarray:
        return self._clip[start : start + num_frames].copy()

    def windows(self, num_frames: int, stride: int) -> np.ndarray:
        from lamd.data.packed import windows

        return windows(self.lengths, num_frames, stride)


def _training_step(target: Target, unit: Unit, device: str) -> float:
    from lamd.evaluate import resolve_device
    from lamd.training.engine import time_steps

    _check_memory(unit)
    place = None if device == "auto" else resolve_device(device)
    first = target.loss.gan.start_step + 1 if unit.kind == "vae step, adversary" else 1
    return time_steps(_stage(target, unit), first=first, device=place)


def _stage(target: Target, unit: Unit):
    from lamd.models.mcd_vae import build_vae
    from lamd.training.batches import training_windows
    from lamd.training.captioner_stage import CaptionerStage
    from lamd.training.dmg_stage import DMGStage
    from lamd.training.latents import Latents
    from lamd.training.vae_stage import VAEStage

    if unit.kind.startswith("vae"):
        if target.loss.lpips_weight:
            _check_weights(target.loss.lpips_backbone)
        return VAEStage(target, _NoiseVideos(target, target.train_vae.num_validation_clips))
    if unit.kind == "captioner step":
        held_out = target.train_captioner.num_validation_clips
        return CaptionerStage(target, _NoiseVideos(target, held_out))
    videos = _NoiseVideos(target, target.train_dmg.num_validation_clips)
    vae = build_vae(target.vae, target.data).eval().requires_grad_(False)
    windows = training_windows(videos, target.train_dmg, target.data)
    posterior = np.zeros((len(windows), 2, *vae.latent_shape), np.float32)
    return DMGStage(target, videos, vae, Latents(Path(), posterior, windows, ""))


def _inference(target: Target, unit: Unit, device: str) -> float:
    import torch

    from lamd.evaluate import resolve_device
    from lamd.models.mcd_vae import build_vae
    from lamd.video import to_model

    _check_memory(unit)
    place, batch = resolve_device(device), unit.shape[0]
    vae = build_vae(target.vae, target.data).eval().to(place)
    clip = torch.from_numpy(_NoiseVideos(target, 0).clip(0, 0, target.data.num_frames))
    x = to_model(clip.expand(batch, *clip.shape).to(place))

    def run(count: int) -> None:
        for _ in range(count):
            if unit.kind == "encoding":
                vae.encode_motion(x)
            else:
                vae(x, torch.zeros(batch, *vae.latent_shape, device=place))

    with torch.inference_mode():
        return _slope(run, 2, place) / batch


def _sampling(target: Target, unit: Unit, device: str) -> float:
    """Seconds of a clip: a run of one step, and K - 1 times what a further step adds."""
    import torch

    from lamd.data.vocabulary import Vocabulary
    from lamd.evaluate import resolve_device
    from lamd.generate import compile_denoiser, generate, schedule_of
    from lamd.models.dmg import build_dmg
    from lamd.models.mcd_vae import build_vae

    _check_memory(unit)
    place, batch = resolve_device(device), unit.shape[0]
    vocabulary = prompts = None
    if target.dmg.prompt is not None:
        prompts = ["the cone is rotating."] * batch
        vocabulary = Vocabulary.build(target.dmg.prompt.kind, prompts)
    vae = build_vae(target.vae, target.data).eval().to(place)
    dmg = build_dmg(target, vocabulary).eval().to(place)
    if target.sampler.compile:
        compile_denoiser(dmg)
    x0 = torch.zeros(batch, 3, target.data.size, target.data.size, device=place)
    keys = [str(i) for i in range(batch)]

    def run(num_steps: int) -> None:
        sampler = target.sampler.model_copy(update={"num_steps": num_steps})
        generate(vae, dmg, schedule_of(target.dmg), sampler, x0, keys, prompts)

    run(1)  # to warm up
    once = _seconds(lambda: run(1), place)
    further = target.sampler.num_steps - 1
    return (once + (further and further * _slope(run, min(further, 3), place, warm=False))) / batch


def _features(target: Target, unit: Unit, device: str) -> float:
    import torch

    from lamd.evaluate import resolve_device
    from lamd.metrics.i3d import I3D, preprocess

    _check_memory(unit)
    place, layout = resolve_device(device), torch.channels_last_3d
    network = I3D().eval().to(place, memory_format=layout)  # as fast as with trained weights
    shape = (unit.shape[0], target.data.size, target.data.size, 3)
    clip = torch.zeros(1, *shape, dtype=torch.uint8, device=place)

    def run(count: int) -> None:
        for _ in range(count):
            network(preprocess(clip).contiguous(memory_format=layout))

    with torch.inference_mode():
        return _slope(run, 2, place)


def _comparison(target: Target, unit: Unit, device: str) -> float:
    from lamd.evaluate import resolve_device
    from lamd.metrics import frames

    place, (num_frames, _) = resolve_device(device), unit.shape
    shape = (1, num_frames, target.data.size, target.data.size, 3)
    clip = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    backbone = unit.kind.removeprefix("lpips-")
    if backbone != unit.kind:
        _check_weights(backbone)

    def run(count: int) -> None:
        clips = np.repeat(clip, count, axis=0)
        if backbone != unit.kind:
            frames.lpips_distance(clips, clips, backbone, device=place)
        else:
            getattr(frames, unit.kind)(clips, clips)

    return _slope(run, 2, place)


def _simulation(target: Target, unit: Unit, device: str) -> float:
    from lamd.harness.stages import build_data

    def run(count: int) -> None:
        small = target.data.model_copy(update={"num_train": count, "num_test": 1})
        with tempfile.TemporaryDirectory() as folder:
            build_data(Path(folder), {}, target.model_copy(update={"data": small}))

    return _slope(run, 3 * (os.cpu_count() or 1), "cpu", warm=False)


_PROBES: dict[str, Callable[[Target, Unit, str], float]] = {
    "simulation": _simulation,
    "vae step": _training_step,
    "vae step, adversary": _training_step,
    "dmg step": _training_step,
    "captioner step": _training_step,
    "encoding": _inference,
    "reconstruction": _inference,
    "sampling": _sampling,
    "i3d": _features,
    **dict.fromkeys(("psnr", "ssim", "lpips-alex", "lpips-vgg"), _comparison),
}


def _slope(run: Callable[[int], object], more: int, device: str, *, warm: bool = True) -> float:
    """Seconds of one further unit: what a run needs whatever its length falls out."""
    if warm:
        run(1)
    short, long = (_seconds(lambda n=n: run(n), device) for n in (1, 1 + more))
    return max(0.0, long - short) / more


def _seconds(run: Callable[[], object], device: str) -> float:
    import torch

    started = time.monotonic()
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.monotonic() - started


def _check_memory(unit: Unit) -> None:
    import torch

    here = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if unit.memory > here and not torch.cuda.is_available():
        raise LamdError(f"needs {unit.memory / 1e9:.1f} GB of memory, {here / 1e9:.1f} are here")


def _check_weights(backbone: str) -> None:
    from lamd import artifacts
    from lamd.metrics.frames import BACKBONES

    name = BACKBONES[backbone]
    if not artifacts.weights_path(name).exists():
        raise LamdError(f"LPIPS needs weights that are not here; run `lamd weights fetch {name}`")
