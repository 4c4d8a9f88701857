"""The rows of clips that each figure shows, one function per figure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from lamd.base.arrays import load_array
from lamd.base.files import dump_json
from lamd.config import Figure, RuntimeConfig, SamplerConfig, kinds
from lamd.evaluate import resolve_device
from lamd.generate import first_frames, generate_clips, roll_out, trajectory
from lamd.metrics import i3d
from lamd.metrics.frames import psnr
from lamd.metrics.measure import measure
from lamd.metrics.values import Inputs
from lamd.paradigms.latent_motion import LatentMotion
from lamd.pipeline import contents
from lamd.pipeline.contents import Folders, Panels
from lamd.pipeline.steps.latents import MotionLatents
from lamd.training import load_paradigm

ROLLOUT_PROTOCOL = "fvd.clips.v1"
SPREAD_TOP = 64.0  # grey levels of standard deviation that are drawn brightest


@dataclass(frozen=True)
class Scene:
    """The models of a figure and the real clips, uint8 (N, L, H, W, 3), that it starts from.

    A rollout has all test clips, their I3D features (N, 400) and source videos.
    """

    models: LatentMotion
    sampler: SamplerConfig
    runtime: RuntimeConfig
    real: np.ndarray
    keys: Sequence[str]
    prompts: Sequence[str] | None = None
    features: np.ndarray | None = None
    videos: Sequence[str] | None = None

    @property
    def frames(self) -> np.ndarray:
        """The first frames (N, H, W, 3)."""
        return self.real[:, 0]

    @property
    def motion(self) -> MotionLatents:
        """Motion latents of clips, and back."""
        return MotionLatents(self.models, self.runtime.decoded_at_once)

    def decode(self, z_m: Tensor) -> np.ndarray:
        """Return z_m decoded with the content of the first frames."""
        return self.motion.decode(z_m, self.frames)

    def generate(
        self, frames: np.ndarray, keys: Sequence[str], prompts: Sequence[str] | None = None
    ) -> np.ndarray:
        """Return clips that begin with `frames`."""
        return generate_clips(
            self.models, self.sampler, frames, keys, prompts,
            batch_size=self.runtime.sampling_batch_size,
            decoding_batch_size=self.runtime.decoding_batch_size,
        )  # fmt: skip

    def sample(self, number: int, prompts: Sequence[str] | None = None) -> np.ndarray:
        """Return sample `number` of each first frame, under the clips' own prompts by default."""
        return self.generate(self.frames, self.numbered(number), prompts or self.prompts)

    @torch.inference_mode()
    def latents(self, number: int) -> dict[int, Tensor]:
        """Return z_m^t of sample `number` by step t, all clips in one batch; t = -1 comes last."""
        given = self.models.encode(first_frames(self.frames, self.motion.device))
        run = trajectory(self.models, self.sampler, given, self.numbered(number), self.prompts)
        return {t: self.models.from_diffusion(z).cpu() for t, z in run}

    def numbered(self, number: int) -> list[str]:
        """Return the noise keys of sample `number`."""
        return [f"{key}#{number}" for key in self.keys]


def build_panels(folder: Path, inputs: Folders, figure: Figure, source: str, device: str) -> dict:
    """Make the rows of `figure` from the models and the first test clips of `source`."""
    target, test = figure.sources[source], inputs["test"]
    models = load_paradigm("latent_motion", target, inputs, resolve_device(device))
    count: int | None = figure.figure.clips
    features = videos = None
    if "features" in inputs:  # against all test clips
        path = inputs["features"] / contents.FEATURES
        count, features = None, load_array(path, np.float32, 2, contents.FIX)
        videos = contents.read_videos(test)
    scene = Scene(
        cast(LatentMotion, models),
        target.sampler,
        target.runtime,
        np.array(contents.read_clips(test)[:count]),
        contents.read_keys(test)[:count],
        None if target.dmg.prompt is None else contents.read_texts(test, contents.PROMPTS)[:count],
        features,
        videos,
    )
    make = {maker.__name__: maker for maker in _MAKERS}[figure.figure.name]
    panels = make(scene, figure.figure)
    np.save(folder / contents.PICTURES, panels.clips, allow_pickle=False)
    dump_json(folder / contents.WORDS, {"labels": panels.labels, "numbers": panels.numbers})
    return {"clips": len(scene.real)}


def reconstruction(scene: Scene, figure: kinds.DecodedFigure) -> Panels:
    """Show x and x^ of the posterior mean; `psnr` in dB per clip, over frames 1 to L - 1."""
    decoded = scene.decode(scene.motion.encode(scene.real))
    values = psnr(scene.real[:, 1:], decoded[:, 1:])
    return Panels(("real", "MCD-VAE"), np.stack([scene.real, decoded]), {"psnr": values.tolist()})


def motion_transfer(scene: Scene, figure: kinds.DecodedFigure) -> Panels:
    """Show x_0 of clip A, the next test clip B, and D_V(z_m of B, content of A)."""
    other = np.roll(scene.real, -1, axis=0)
    decoded = scene.decode(scene.motion.encode(other))
    clips = np.stack([_held(scene.real), other, decoded])
    return Panels(("appearance: A", "motion: B", "A moves as B"), clips)


def samples(scene: Scene, figure: kinds.SamplesFigure) -> Panels:
    """Show the real clip, samples of its first frame, and their standard deviation per pixel."""
    fakes = [scene.sample(number) for number in range(figure.samples)]
    deviation = np.stack(fakes).astype(np.float32).std(axis=0).mean(axis=-1)  # (N, L, H, W)
    labels = (f"sample {number + 1}" for number in range(figure.samples))
    clips = np.stack([scene.real, *fakes, heat(deviation)])
    numbers = {"std": deviation.mean(axis=(1, 2, 3)).tolist()}
    return Panels(("real", *labels, "std of the samples"), clips, numbers)


def prompts(scene: Scene, figure: kinds.PromptsFigure) -> Panels:
    """Show samples of one first frame and noise under each prompt, then of the first one again."""
    first, more = figure.prompts[0], range(1, figure.samples)
    runs = [*((prompt, 0) for prompt in figure.prompts), *((first, number) for number in more)]
    clips = [scene.sample(number, [prompt] * len(scene.keys)) for prompt, number in runs]
    labels = (*figure.prompts, *(f"{first} (noise {number + 1})" for number in more))
    return Panels(labels, np.stack(clips))


def timesteps(scene: Scene, figure: kinds.TimestepsFigure) -> Panels:
    """Show the clips decoded from z_m^t, noise at first, along one sampling run."""
    run = scene.latents(0)
    visited = [t for t in run if t >= 0]
    nearest = [min(visited, key=lambda t: abs(t - wanted)) for wanted in figure.steps]
    picked = [*dict.fromkeys(nearest), -1]
    labels = tuple(f"t = {t}" if t >= 0 else "sample" for t in picked)
    clips = np.stack([scene.decode(run[t]) for t in picked])
    return Panels(labels, clips, {"steps": [float(t) for t in picked]})


def interpolation(scene: Scene, figure: kinds.InterpolationFigure) -> Panels:
    """Show clips on the arc between two sampled motion latents of one first frame."""
    first, second = (scene.latents(number)[-1] for number in (0, 1))
    clips = [scene.decode(slerp(first, second, weight)) for weight in figure.weights]
    labels = (f"a to b: {weight:g}" for weight in figure.weights)
    return Panels(tuple(labels), np.stack(clips))


def scaling(scene: Scene, figure: kinds.ScalingFigure) -> Panels:
    """Show clips of z_0 + s (z_m - z_0), where z_0 is z_m of the first frame held still.

    `change` is the mean absolute difference of successive frames in grey levels, one per factor.
    """
    still, moving = scene.motion.encode(_held(scene.real)), scene.motion.encode(scene.real)
    clips = [scene.decode(still + s * (moving - still)) for s in figure.factors]
    labels = (f"{s:g} x motion" for s in figure.factors)
    change = [frame_change(scaled).mean() for scaled in clips]
    numbers = {"factors": list(figure.factors), "change": change}
    return Panels(("real", *labels), np.stack([scene.real, *clips]), numbers)


def rollout(scene: Scene, figure: kinds.RolloutFigure) -> Panels:
    """Show clips continued from every test clip, with the change at their seams.

    Chunk c holds frames c (L - 1) to c (L - 1) + L - 1; `fvd` is that of each chunk against the
    real test clips.
    """
    assert scene.features is not None
    clips = roll_out(scene.generate, scene.frames, scene.numbered(0), figure.chunks)
    device, length, values = str(scene.motion.device), scene.real.shape[1], []
    network = i3d.load_i3d(device)
    for c in range(figure.chunks):
        chunk = clips[:, c * (length - 1) :][:, :length]
        inference = Inputs(device=device, progress=True)
        rows = i3d.features(chunk, inference, f"chunk {c + 1}", network)
        sets = Inputs(features=(scene.features, rows), videos=scene.videos)
        values.append(measure(ROLLOUT_PROTOCOL, sets))
    intervals = [value.interval for value in values if value.interval is not None]
    numbers = {
        "fvd": [value.value for value in values],
        "change_by_frame": frame_change(clips).mean(axis=0).tolist(),
        "real_change": [frame_change(scene.real).mean()],
        "seam": [seam_ratio(clips, length)],
    }
    if len(intervals) == len(values):
        numbers["fvd_low"] = [low for low, _ in intervals]
        numbers["fvd_high"] = [high for _, high in intervals]
    return Panels(("sample",), clips[None, : figure.clips], numbers)


def _held(clips: np.ndarray) -> np.ndarray:
    return np.repeat(clips[:, :1], clips.shape[1], axis=1)


_MAKERS: tuple[Callable[[Scene, Any], Panels], ...] = (
    prompts, reconstruction, motion_transfer, samples, timesteps, interpolation, scaling, rollout,
)  # fmt: skip


def frame_change(clips: np.ndarray) -> np.ndarray:
    """Return the mean absolute difference of successive frames: (N, L - 1), grey levels."""
    return np.abs(np.diff(clips.astype(np.int16), axis=1)).mean(axis=(2, 3, 4))


def seam_ratio(clips: np.ndarray, length: int) -> float:
    """Return the mean change from frame to frame just after a seam over that inside chunks.

    1 is a seam that its size does not reveal. The step into each chunk's first new frame counts
    as the seam; the first chunk starts at a given frame and is left out. Clips are uint8
    (N, L + c (L - 1), H, W, 3), c > 0, as `roll_out` returns them; `length` is L.
    """
    change = frame_change(clips).mean(axis=0)
    at_seam = np.zeros(len(change), bool)
    at_seam[length - 1 :: length - 1] = True
    inside = ~at_seam
    inside[: length - 1] = False
    return float(change[at_seam].mean() / change[inside].mean())


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
