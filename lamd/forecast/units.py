"""Units of work by kind: how each is counted, and how a few of it are timed on this machine.

Timing trains and samples networks with fresh weights on random clips.
"""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from lamd import weights
from lamd.base.errors import LamdError
from lamd.base.lazy import resolve
from lamd.config import Baseline, Target
from lamd.data.packed import PackedVideos
from lamd.data.vocabulary import Vocabulary
from lamd.evaluate import resolve_device
from lamd.flops import Cost
from lamd.forecast import counting
from lamd.forecast.counting import Work, inference, stage_options
from lamd.generate import compile_denoiser, generate
from lamd.metrics.frames import BACKBONES
from lamd.metrics.i3d import I3D, preprocess
from lamd.metrics.registry import METRICS
from lamd.metrics.values import Inputs
from lamd.paradigms.costs import costs
from lamd.paradigms.registry import PARADIGMS
from lamd.pipeline.steps.data import build_data
from lamd.training.captioner_stage import CaptionerStage
from lamd.training.diffusion_stage import DiffusionStage
from lamd.training.engine import time_steps
from lamd.training.latents import Latents
from lamd.training.networks import NETWORKS
from lamd.training.stages import Stage, training_windows
from lamd.training.vae_stage import VAEStage

_PROMPT = "the cone is rotating."


@dataclass(frozen=True)
class Unit:
    """A training step, or one clip of inference, simulation or comparison.

    Attributes:
        kind: a key of `UNITS`.
        flops: 0 where arithmetic does not decide.
        memory: bytes that its tensors take at least.
        shape: what else decides how long it takes: batch, frames, pixels.
        parameters: of the networks that are trained, or used.
        dataset: that is simulated.
    """

    kind: str
    flops: int
    memory: int
    shape: tuple[int, ...]
    parameters: int = 0
    dataset: str = ""


Counter = Callable[[Target, tuple[int, ...]], Work]  # of a target and the unit's shape
Timer = Callable[[Target, Unit, str], float]  # seconds per unit on a device


class _NoiseVideos(PackedVideos):
    """Random clips of a target's shape."""

    def __init__(self, target: Target, held_out: int):
        count, data = held_out + 8, target.data
        self.keys, self.conditions = ["noise"] * count, (_PROMPT,) * count
        self.size, self.content_hash = data.size, "noise"
        self.lengths = np.full(count, data.num_frames)
        self._clip = _noise(data.num_frames, data.size)

    def clip(self, i: int, start: int, num_frames: int) -> np.ndarray:
        return self._clip[start : start + num_frames].copy()


def _noise(num_frames: int, size: int) -> np.ndarray:
    shape = (num_frames, size, size, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _time_training(name: str, adversary: bool, target: Target, unit: Unit, device: str) -> float:
    gan = target.loss.gan
    first = gan.start_step + 1 if adversary and gan is not None else 1
    torch_device = None if device == "auto" else resolve_device(device)
    return time_steps(_stage(name, target), first=first, device=torch_device)


def _stage(name: str, target: Target) -> Stage:
    train = stage_options(target, name)
    videos = _NoiseVideos(target, train.num_validation_clips)
    if name == "captioner":
        return CaptionerStage(target, videos)
    if name in ("vae", "video_vae"):
        if target.loss.lpips_weight:
            _check_weights(BACKBONES[target.loss.lpips_backbone])
        return VAEStage(target, videos, name)
    kind = next(kind for kind in PARADIGMS.values() if kind.denoiser_stage == name)
    if kind.autoencoder_stage is None:
        return DiffusionStage(kind, target, train, videos)
    model = _network(kind.autoencoder_stage, target).requires_grad_(False)
    rows = training_windows(videos, target.train_dmg, target.data)
    posterior = np.zeros((len(rows), 2, *model.latent_shape), np.float32)
    latents = Latents(Path(), posterior, rows, "")
    return DiffusionStage(kind, target, train, videos, model, latents)


def _network(stage: str, target: Target, vocabulary: Vocabulary | None = None) -> Any:
    return NETWORKS[stage].build(target, vocabulary).eval()


@torch.inference_mode()
def _time_encoding(stage: str, target: Target, unit: Unit, device: str) -> float:
    model = _network(stage, target).to(device := resolve_device(device))
    x = torch.rand(unit.shape[0], *model.clip_shape, device=device)
    return _per_call(partial(model.encode, x), device) / unit.shape[0]


@torch.inference_mode()
def _time_reconstruction(target: Target, unit: Unit, device: str) -> float:
    model = _network("vae", target).to(device := resolve_device(device))
    x, eps = (
        torch.rand(unit.shape[0], *shape, device=device)
        for shape in (model.clip_shape, model.latent_shape)
    )
    return _per_call(partial(model, x, eps), device) / unit.shape[0]


def _time_sampling(name: str, target: Target, unit: Unit, device: str) -> float:
    """Time a run of one step, and K - 1 times what a further step adds."""
    device, batch, kind = resolve_device(device), unit.shape[0], PARADIGMS[name]
    vocabulary = autoencoder = prompts = None
    if target.dmg.prompt is not None:
        prompts = [_PROMPT] * batch
        vocabulary = Vocabulary.build(target.dmg.prompt.kind, prompts)
    network = _network(kind.denoiser_stage, target, vocabulary).to(device)
    if target.runtime.compile:
        compile_denoiser(network)
    if kind.autoencoder_stage is not None:
        autoencoder = _network(kind.autoencoder_stage, target).to(device)
    paradigm, sampler = kind.of(target, network, autoencoder), kind.sampler(target)
    x0 = torch.zeros(batch, 3, target.data.size, target.data.size, device=device)

    def run(num_steps: int) -> Tensor:
        options = sampler.model_copy(update={"num_steps": num_steps})
        return generate(paradigm, options, x0, [str(i) for i in range(batch)], prompts)

    run(1)  # to warm up
    once, further = _seconds(partial(run, 1), device), sampler.num_steps - 1
    step = _slope(run, device, min(further, 3), warm=False) if further else 0.0
    return (once + further * step) / batch


@torch.inference_mode()
def _time_i3d(target: Target, unit: Unit, device: str) -> float:
    device, layout = resolve_device(device), torch.channels_last_3d
    network = I3D().eval().to(device).to(memory_format=layout)  # as fast as with trained weights
    clip = torch.from_numpy(_noise(unit.shape[0], target.data.size)[None]).to(device)
    return _per_call(lambda: network(preprocess(clip).contiguous(memory_format=layout)), device)


def _time_metric(target: Target, unit: Unit, device: str) -> float:
    metric, inputs = METRICS[unit.kind], Inputs(device=resolve_device(device))
    _check_weights(*metric.weights)
    measure, clip = resolve(metric.measure), _noise(unit.shape[0], target.data.size)

    def run(count: int) -> None:
        clips = np.stack([clip] * count)
        measure(clips, clips, inputs)

    return _slope(run, inputs.device)


def _time_simulation(target: Target, unit: Unit, device: str) -> float:
    def run(count: int) -> None:
        small = target.data.model_copy(update={"num_train": count, "num_test": 1})
        with tempfile.TemporaryDirectory() as folder:
            build_data(Path(folder), {}, target.model_copy(update={"data": small}))

    return _slope(run, "cpu", 3 * (os.cpu_count() or 1), warm=False)


def _slope(run: Callable[[int], object], device: str, more: int = 2, *, warm: bool = True) -> float:
    """Return the seconds of one further unit; what a run needs whatever its length cancels."""
    if warm:
        run(1)
    short, long = (_seconds(partial(run, n), device) for n in (1, 1 + more))
    return max(0.0, long - short) / more


def _per_call(run: Callable[[], object], device: str) -> float:
    return _slope(lambda count: [run() for _ in range(count)], device)


def _seconds(run: Callable[[], object], device: str) -> float:
    started = time.monotonic()
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.monotonic() - started


def _check_weights(*names: str) -> None:
    for name in names:
        if not weights.weights_path(name).exists():
            raise LamdError(f"weights of LPIPS are missing; run `lamd weights fetch {name}`")


def _uncounted(target: Target, shape: tuple[int, ...]) -> Work:
    return Work()


def _lpips_work(backbone: str, target: Target, shape: tuple[int, ...]) -> Work:
    num_frames, size = shape
    trunk, heads = counting.lpips_costs(backbone, size)
    flops = num_frames * (2 * trunk.flops + heads.flops)
    return inference(Cost(flops, trunk.parameters + heads.parameters))


def _of(work: Callable[..., Work], *args: object, **options: object) -> Counter:
    return lambda target, _: work(target, *args, **options)


UNITS: dict[str, tuple[Counter, Timer]] = {
    "simulation": (_uncounted, _time_simulation),
    "captioner step": (_of(counting.captioner_step), partial(_time_training, "captioner", False)),
    "encoding": (
        lambda target, _: inference(costs(target)["posterior"]),
        partial(_time_encoding, "vae"),
    ),
    "video encoding": (
        lambda target, _: inference(costs(target, "latent_video")["posterior"]),
        partial(_time_encoding, "video_vae"),
    ),
    "reconstruction": (
        lambda target, _: inference(costs(target)["autoencoder"]),
        _time_reconstruction,
    ),
    "i3d": (lambda _, shape: inference(counting.i3d_cost(shape[0])), _time_i3d),
    "psnr": (_uncounted, _time_metric),
    "ssim": (_uncounted, _time_metric),
}
for _stage_name, _paradigm in (("vae", "latent_motion"), ("video_vae", "latent_video")):
    for _suffix, _adversary in (("", False), (", adversary", True)):
        UNITS[f"{_stage_name} step{_suffix}"] = (
            _of(counting.autoencoder_step, _paradigm, adversary=_adversary),
            partial(_time_training, _stage_name, _adversary),
        )
for _stage_name, _paradigm, _row, _kind in (
    ("dmg", "latent_motion", "lamd", "sampling"),
    *((name, name, f"{name}_clips", f"sampling {name}") for name in get_args(Baseline)),
):
    UNITS[f"{_stage_name} step"] = (
        _of(counting.denoiser_step, _stage_name),
        partial(_time_training, _stage_name, False),
    )
    UNITS[_kind] = (_of(counting.sample, _row), partial(_time_sampling, _paradigm))
for _name in BACKBONES:
    UNITS[f"lpips-{_name}"] = (
        partial(_lpips_work, _name),
        _time_metric,
    )


def count_unit(kind: str, target: Target, shape: tuple[int, ...]) -> Unit:
    """Return the unit of a kind for a target."""
    work = UNITS[kind][0](target, shape)
    dataset = target.data.name if kind == "simulation" else ""
    return Unit(kind, work.flops, work.memory, shape, work.parameters, dataset)


def time_unit(unit: Unit, target: Target, device: str) -> float:
    """Return the seconds of one unit on this machine.

    Raises:
        LamdError: when memory, weights or a GPU are missing.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if unit.memory > memory and not torch.cuda.is_available():
        raise LamdError(f"needs {unit.memory / 1e9:.1f} GB of memory, {memory / 1e9:.1f} are here")
    return UNITS[unit.kind][1](target, unit, device)
