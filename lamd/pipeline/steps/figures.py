"""The rows of clips that each figure shows, one function per figure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from lamd.config import Figure, SamplerConfig
from lamd.config.kinds import (
    DecodedFigure,
    InterpolationFigure,
    PromptsFigure,
    SamplesFigure,
    ScalingFigure,
    TimestepsFigure,
)
from lamd.evaluate import resolve_device
from lamd.generate import first_frames, generate_clips, trajectory
from lamd.metrics.frames import psnr
from lamd.paradigms.latent_motion import LatentMotion
from lamd.pipeline.steps.autoencoding import MotionLatents
from lamd.pipeline.steps.clips import read_clips, read_keys, read_prompts
from lamd.pipeline.steps.panels import Panels, frame_change, write_panels
from lamd.training import load_paradigm

SPREAD_TOP = 64.0  # grey levels of standard deviation that are drawn brightest


@dataclass(frozen=True)
class Scene:
    """The models of a figure and the real clips, uint8 (N, L, H, W, 3), that it starts from."""

    models: LatentMotion
    sampler: SamplerConfig
    batch_size: int
    real: np.ndarray
    keys: Sequence[str]
    prompts: Sequence[str] | None = None

    @property
    def frames(self) -> np.ndarray:
        """The first frames (N, H, W, 3)."""
        return self.real[:, 0]

    def encode(self, clips: np.ndarray) -> Tensor:
        """Return z_m of each clip, from the posterior mean."""
        return MotionLatents(self.models.autoencoder, self.batch_size).encode(clips)

    def decode(self, z_m: Tensor) -> np.ndarray:
        """Return z_m decoded with the content of the first frames."""
        return MotionLatents(self.models.autoencoder, self.batch_size).decode(z_m, self.frames)

    def sample(self, number: int, prompts: Sequence[str] | None = None) -> np.ndarray:
        """Return sample `number` of each first frame, under the clips' own prompts by default."""
        models, keys, cond = self.models, self.numbered(number), prompts or self.prompts
        size = self.batch_size
        return generate_clips(models, self.sampler, self.frames, keys, cond, batch_size=size)

    @torch.inference_mode()
    def latents(self, number: int) -> dict[int, Tensor]:
        """Return z_m^t of sample `number` by step t, all clips in one batch; t = -1 comes last."""
        device = self.models.autoencoder.latent_mean.device
        given = self.models.encode(first_frames(self.frames, device))
        run = trajectory(self.models, self.sampler, given, self.numbered(number), self.prompts)
        return {t: self.models.from_diffusion(z).cpu() for t, z in run}

    def numbered(self, number: int) -> list[str]:
        """Return the noise keys of sample `number`."""
        return [f"{key}#{number}" for key in self.keys]


def build_panels(
    folder: Path, inputs: Mapping[str, Path], figure: Figure, source: str, device: str
) -> dict:
    """Make the rows of `figure` from the models and the first test clips of `source`."""
    target, count = figure.sources[source], figure.figure.clips
    models = cast(
        LatentMotion, load_paradigm("latent_motion", target, inputs, resolve_device(device))
    )
    real = np.array(read_clips(inputs["test"])[:count])
    prompts = None if target.dmg.prompt is None else read_prompts(inputs["test"])[:count]
    size, keys = target.runtime.sampling_batch_size, read_keys(inputs["test"])[:count]
    scene = Scene(models, target.sampler, size, real, keys, prompts)
    make = {maker.__name__: maker for maker in _MAKERS}[figure.figure.name]
    write_panels(folder, make(scene, figure.figure))
    return {"clips": len(real)}


def reconstruction(scene: Scene, figure: DecodedFigure) -> Panels:
    """Show x and x^ of the posterior mean; `psnr` in dB per clip, over frames 1 to L - 1."""
    decoded = scene.decode(scene.encode(scene.real))
    values = psnr(scene.real[:, 1:], decoded[:, 1:])
    return Panels(("real", "MCD-VAE"), np.stack([scene.real, decoded]), {"psnr": values.tolist()})


def motion_transfer(scene: Scene, figure: DecodedFigure) -> Panels:
    """Show x_0 of clip A, the next test clip B, and D_V(z_m of B, content of A)."""
    other = np.roll(scene.real, -1, axis=0)
    decoded = scene.decode(scene.encode(other))
    clips = np.stack([_held(scene.real), other, decoded])
    return Panels(("appearance: A", "motion: B", "A moves as B"), clips)


def samples(scene: Scene, figure: SamplesFigure) -> Panels:
    """Show the real clip, samples of its first frame, and their standard deviation per pixel."""
    fakes = [scene.sample(number) for number in range(figure.samples)]
    deviation = np.stack(fakes).astype(np.float32).std(axis=0).mean(axis=-1)  # (N, L, H, W)
    labels = (f"sample {number + 1}" for number in range(figure.samples))
    clips = np.stack([scene.real, *fakes, heat(deviation)])
    numbers = {"std": deviation.mean(axis=(1, 2, 3)).tolist()}
    return Panels(("real", *labels, "std of the samples"), clips, numbers)


def prompts(scene: Scene, figure: PromptsFigure) -> Panels:
    """Show samples of one first frame and noise under each prompt, then of the first one again."""
    first, more = figure.prompts[0], range(1, figure.samples)
    runs = [*((prompt, 0) for prompt in figure.prompts), *((first, number) for number in more)]
    clips = [scene.sample(number, [prompt] * len(scene.keys)) for prompt, number in runs]
    labels = (*figure.prompts, *(f"{first} (noise {number + 1})" for number in more))
    return Panels(labels, np.stack(clips))


def timesteps(scene: Scene, figure: TimestepsFigure) -> Panels:
    """Show the clips decoded from z_m^t, noise at first, along one sampling run."""
    run = scene.latents(0)
    visited = [t for t in run if t >= 0]
    nearest = [min(visited, key=lambda t: abs(t - wanted)) for wanted in figure.steps]
    picked = [*dict.fromkeys(nearest), -1]
    labels = tuple(f"t = {t}" if t >= 0 else "sample" for t in picked)
    clips = np.stack([scene.decode(run[t]) for t in picked])
    return Panels(labels, clips, {"steps": [float(t) for t in picked]})


def interpolation(scene: Scene, figure: InterpolationFigure) -> Panels:
    """Show clips on the arc between two sampled motion latents of one first frame."""
    first, second = (scene.latents(number)[-1] for number in (0, 1))
    clips = [scene.decode(slerp(first, second, weight)) for weight in figure.weights]
    labels = [f"{1 - weight:g} a + {weight:g} b" for weight in figure.weights]
    return Panels(tuple(labels), np.stack(clips))


def scaling(scene: Scene, figure: ScalingFigure) -> Panels:
    """Show clips of z_0 + s (z_m - z_0), where z_0 is z_m of the first frame held still.

    `change` is the mean absolute difference of successive frames in grey levels, one per factor.
    """
    still, moving = scene.encode(_held(scene.real)), scene.encode(scene.real)
    clips = [scene.decode(still + s * (moving - still)) for s in figure.factors]
    labels = (f"{s:g} x motion" for s in figure.factors)
    change = [frame_change(scaled).mean() for scaled in clips]
    numbers = {"factors": list(figure.factors), "change": change}
    return Panels(("real", *labels), np.stack([scene.real, *clips]), numbers)


def _held(clips: np.ndarray) -> np.ndarray:
    return np.repeat(clips[:, :1], clips.shape[1], axis=1)


_MAKERS: tuple[Callable[[Scene, Any], Panels], ...] = (
    prompts, reconstruction, motion_transfer, samples, timesteps, interpolation, scaling,
)  # fmt: skip


def heat(values: np.ndarray) -> np.ndarray:
    """Colour values 0..SPREAD_TOP as uint8 (*shape, 3), black to bright."""
    from matplotlib import colormaps

    coloured = colormaps["inferno"](np.clip(values / SPREAD_TOP, 0.0, 1.0), bytes=True)
    return coloured[..., :3]


def slerp(a: Tensor, b: Tensor, weight: float) -> Tensor:
    """Interpolate latents (N, d, ...) along the arc between them, so that the norm holds."""
    dot = (a * b).flatten(1).sum(dim=1) / (a.flatten(1).norm(dim=1) * b.flatten(1).norm(dim=1))
    angle = torch.acos(dot.clamp(-1.0, 1.0)).clamp_min(1e-6).reshape(-1, *[1] * (a.ndim - 1))
    return (torch.sin((1 - weight) * angle) * a + torch.sin(weight * angle) * b) / torch.sin(angle)
