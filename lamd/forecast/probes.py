"""What the probe does for one unit of each kind: a little of it, on fresh networks and noise."""

import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lamd.base.errors import LamdError
from lamd.config import SamplerConfig, Target, baseline_sampler
from lamd.cost import row_budget
from lamd.data.packed import windows
from lamd.data.vocabulary import Vocabulary
from lamd.diffusion import schedule_of
from lamd.evaluate import resolve_device
from lamd.forecast.probe import Unit
from lamd.generate import (
    compile_denoiser,
    generate,
    generate_latent_video,
    generate_pixel,
)
from lamd.io.video import to_model
from lamd.models.dmg import build_dmg
from lamd.models.latent_video import build_latent_video, build_video_autoencoder
from lamd.models.mcd_vae import build_vae
from lamd.models.pixel_diffusion import build_pixel
from lamd.training.baseline_stages import LatentVideoStage, PixelStage, VideoVAEStage
from lamd.training.batches import training_windows
from lamd.training.captioner_stage import CaptionerStage
from lamd.training.dmg_stage import DMGStage
from lamd.training.engine import time_steps
from lamd.training.latents import Latents
from lamd.training.stages import Stage
from lamd.training.vae_stage import VAEStage


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
        return windows(self.lengths, num_frames, stride)


def _training_step(target: Target, unit: Unit, device: str) -> float:
    _check_memory(unit)
    place = None if device == "auto" else resolve_device(device)
    first = target.loss.gan.start_step + 1 if unit.kind.endswith(", adversary") else 1
    return time_steps(_stage(target, unit), first=first, device=place)


def _stage(target: Target, unit: Unit) -> Stage:
    name = unit.kind.partition(" ")[0]
    if name in ("vae", "video_vae"):
        if target.loss.lpips_weight:
            _check_weights(target.loss.lpips_backbone)
        videos = _NoiseVideos(target, target.train_vae.num_validation_clips)
        return (VAEStage if name == "vae" else VideoVAEStage)(target, videos)
    if name == "captioner":
        return CaptionerStage(
            target, _NoiseVideos(target, target.train_captioner.num_validation_clips)
        )
    videos = _NoiseVideos(target, target.train_dmg.num_validation_clips)
    if name == "pixel":
        return PixelStage(target, row_budget(target, "pixel_clips").train, videos)
    if name == "latent_video":
        autoencoder = build_video_autoencoder(target).eval().requires_grad_(False)
        train = row_budget(target, "latent_video_clips").train
        latents = _latents(target, videos, autoencoder.latent_shape)
        return LatentVideoStage(target, train, videos, autoencoder, latents)
    vae = build_vae(target.vae, target.data).eval().requires_grad_(False)
    return DMGStage(target, videos, vae, _latents(target, videos, vae.latent_shape))


def _latents(target: Target, videos: _NoiseVideos, shape: tuple[int, ...]) -> Latents:
    found = training_windows(videos, target.train_dmg, target.data)
    return Latents(Path(), np.zeros((len(found), 2, *shape), np.float32), found, "")


def _inference(target: Target, unit: Unit, device: str) -> float:
    _check_memory(unit)
    place, batch = resolve_device(device), unit.shape[0]
    clip = torch.from_numpy(_NoiseVideos(target, 0).clip(0, 0, target.data.num_frames))
    x = to_model(clip.expand(batch, *clip.shape).to(place))
    if unit.kind == "video encoding":
        pass_ = build_video_autoencoder(target).eval().to(place).encode
    else:
        vae = build_vae(target.vae, target.data).eval().to(place)
        zeros = torch.zeros(batch, *vae.latent_shape, device=place)
        pass_ = vae.encode_motion if unit.kind == "encoding" else partial(vae, eps=zeros)

    def run(count: int) -> None:
        for _ in range(count):
            pass_(x)

    with torch.inference_mode():
        return _slope(run, 2, place) / batch


def _sampling(target: Target, unit: Unit, device: str) -> float:
    """Seconds of a clip: a run of one step, and K - 1 times what a further step adds."""
    _check_memory(unit)
    place, batch = resolve_device(device), unit.shape[0]
    _, _, baseline = unit.kind.partition(" ")
    x0 = torch.zeros(batch, 3, target.data.size, target.data.size, device=place)
    keys = [str(i) for i in range(batch)]
    sample = (_baseline_sample if baseline else _lamd_sample)(target, place, baseline)
    sampler = baseline_sampler(target, baseline) if baseline else target.sampler

    def run(num_steps: int) -> None:
        sample(sampler.model_copy(update={"num_steps": num_steps}), x0, keys)

    run(1)  # to warm up
    once = _seconds(lambda: run(1), place)
    further = sampler.num_steps - 1
    return (once + (further and further * _slope(run, min(further, 3), place, warm=False))) / batch


Sample = Callable[[SamplerConfig, Tensor, list[str]], Tensor]


def _lamd_sample(target: Target, place: str, _: str) -> Sample:
    vae = build_vae(target.vae, target.data).eval().to(place)
    vocabulary = prompt = None
    if target.dmg.prompt is not None:
        prompt = "the cone is rotating."
        vocabulary = Vocabulary.build(target.dmg.prompt.kind, [prompt])
    dmg = build_dmg(target, vocabulary).eval().to(place)
    if target.runtime.compile:
        compile_denoiser(dmg)

    def sample(sampler: SamplerConfig, x0: Tensor, keys: list[str]) -> Tensor:
        prompts = None if prompt is None else [prompt] * len(keys)
        return generate(vae, dmg, schedule_of(target.dmg), sampler, x0, keys, prompts)

    return sample


def _baseline_sample(target: Target, place: str, baseline: str) -> Sample:
    build = build_pixel if baseline == "pixel" else build_latent_video
    model = build(target).eval().to(place)
    schedule = schedule_of(target.dmg, target.baselines.of(baseline).prediction)
    if target.runtime.compile:
        compile_denoiser(model)
    if baseline == "pixel":
        return lambda sampler, x0, keys: generate_pixel(
            model, schedule, sampler, target.data.num_frames, x0, keys
        )
    autoencoder = build_video_autoencoder(target).eval().to(place)
    return lambda sampler, x0, keys: generate_latent_video(
        autoencoder, model, schedule, sampler, x0, keys
    )


def _features(target: Target, unit: Unit, device: str) -> float:
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
    from lamd.pipeline.steps.train import build_data

    def run(count: int) -> None:
        small = target.data.model_copy(update={"num_train": count, "num_test": 1})
        with tempfile.TemporaryDirectory() as folder:
            build_data(Path(folder), {}, target.model_copy(update={"data": small}))

    return _slope(run, 3 * (os.cpu_count() or 1), "cpu", warm=False)


PROBES: dict[str, Callable[[Target, Unit, str], float]] = {
    "simulation": _simulation,
    **{
        f"{name} step{more}": _training_step
        for name in ("vae", "video_vae", "dmg", "captioner", "pixel", "latent_video")
        for more in ("", ", adversary")
    },
    **dict.fromkeys(("encoding", "reconstruction", "video encoding"), _inference),
    **dict.fromkeys(("sampling", "sampling pixel", "sampling latent_video"), _sampling),
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
    started = time.monotonic()
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.monotonic() - started


def _check_memory(unit: Unit) -> None:
    here = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if unit.memory > here and not torch.cuda.is_available():
        raise LamdError(f"needs {unit.memory / 1e9:.1f} GB of memory, {here / 1e9:.1f} are here")


def _check_weights(backbone: str) -> None:
    from lamd import weights
    from lamd.metrics.frames import BACKBONES

    name = BACKBONES[backbone]
    if not weights.weights_path(name).exists():
        raise LamdError(f"LPIPS needs weights that are not here; run `lamd weights fetch {name}`")
