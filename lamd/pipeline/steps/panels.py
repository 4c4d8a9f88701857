"""What each figure shows: rows of clips, made by one function a figure, and the numbers behind.

A finished `figure` cell holds `panels.npy`, uint8 (rows, N, L, H, W, 3) for N first frames, and
`panels.json` with the rows' labels and the numbers that the caption tells.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lamd.base.files import write_atomically
from lamd.config import Figure
from lamd.generate import last
from lamd.metrics.frames import psnr
from lamd.pipeline.steps.clips import read_clips, read_keys, read_prompts

if TYPE_CHECKING:
    from lamd.pipeline.trained import Trained

PICTURES, WORDS = "panels.npy", "panels.json"
SPREAD_TOP = 64.0  # grey levels of standard deviation that are drawn brightest


@dataclass(frozen=True)
class Panels:
    """Rows of clips: one label and uint8 (N, L, H, W, 3) each; numbers by name."""

    labels: tuple[str, ...]
    clips: np.ndarray
    numbers: dict[str, list[float]] = field(default_factory=dict)


def build_panels(
    folder: Path, inputs: dict[str, Path], figure: Figure, source: str, device: str
) -> dict:
    """Make the rows of `figure` from the models and the first test clips of `source`."""
    from lamd.pipeline.trained import Trained

    shown = figure.figure
    trained = Trained(figure.sources[source], inputs, device, with_dmg="dmg" in inputs)
    real = np.array(read_clips(inputs["clips test"])[: shown.clips])
    keys = read_keys(inputs["clips test"])[: shown.clips]
    given = None
    if figure.sources[source].dmg.prompt is not None:
        given = read_prompts(inputs["clips test"])[: shown.clips]
    write_panels(folder, _MAKERS[shown.name](trained, real, keys, shown, given))
    return {"clips": len(real)}


def write_panels(folder: Path, panels: Panels) -> None:
    """Write a figure's data into its cell."""
    np.save(folder / PICTURES, panels.clips, allow_pickle=False)
    words = {"labels": panels.labels, "numbers": panels.numbers}
    write_atomically(folder / WORDS, json.dumps(words, indent=1) + "\n")


def read_panels(folder: Path) -> Panels:
    """Read what `write_panels` wrote."""
    words = json.loads((folder / WORDS).read_text(encoding="utf-8"))
    clips = np.load(folder / PICTURES, mmap_mode="r", allow_pickle=False)
    return Panels(tuple(words["labels"]), clips, words["numbers"])


def reconstruction(
    trained: "Trained", real: np.ndarray, keys: list[str], shown, given=None
) -> Panels:
    """Show x and x^ of the posterior mean; `psnr` in dB a clip, over frames 1 to L - 1."""
    decoded = trained.decode(trained.encode(real), real[:, 0])
    values = psnr(real[:, 1:], decoded[:, 1:])
    return Panels(("real", "MCD-VAE"), np.stack([real, decoded]), {"psnr": values.tolist()})


def motion_transfer(
    trained: "Trained", real: np.ndarray, keys: list[str], shown, given=None
) -> Panels:
    """Show x_0 of clip A, the next test clip B, and D_V(z_m of B, content of A)."""
    other = np.roll(real, -1, axis=0)
    decoded = trained.decode(trained.encode(other), real[:, 0])
    appearance = np.repeat(real[:, :1], real.shape[1], axis=1)
    return Panels(
        ("appearance: A", "motion: B", "A moves as B"), np.stack([appearance, other, decoded])
    )


def samples(trained: "Trained", real: np.ndarray, keys: list[str], shown, given=None) -> Panels:
    """Show the real clip, samples of its first frame, and their standard deviation a pixel."""
    fakes = [
        trained.generate(real[:, 0], [f"{key}#{s}" for key in keys], given)
        for s in range(shown.samples)
    ]
    deviation = spread(np.stack(fakes))
    labels = ("real", *(f"sample {s + 1}" for s in range(shown.samples)), "std of the samples")
    return Panels(
        labels,
        np.stack([real, *fakes, heat(deviation)]),
        {"std": deviation.mean(axis=(1, 2, 3)).tolist()},
    )


def prompts(trained: "Trained", real: np.ndarray, keys: list[str], shown, given=None) -> Panels:
    """Show samples of one first frame and noise under each prompt, then of the first one again."""

    def told(prompt: str, sample: int) -> np.ndarray:
        noise = [f"{key}#{sample}" for key in keys]
        return trained.generate(real[:, 0], noise, [prompt] * len(keys))

    clips = [told(prompt, 0) for prompt in shown.prompts]
    clips += [told(shown.prompts[0], sample) for sample in range(1, shown.samples)]
    again = [f"{shown.prompts[0]} (noise {sample + 1})" for sample in range(1, shown.samples)]
    return Panels((*shown.prompts, *again), np.stack(clips))


def timesteps(trained: "Trained", real: np.ndarray, keys: list[str], shown, given=None) -> Panels:
    """Show the clips decoded from z_m^t, noise at first, along one sampling run."""
    run = dict(trained.trajectory(real[:, 0], [f"{key}#0" for key in keys], given))
    visited = [t for t in run if t >= 0]
    picked = [min(visited, key=lambda t: abs(t - wanted)) for wanted in shown.steps]
    picked = [*dict.fromkeys(picked), -1]
    clips = [trained.decode(run[t], real[:, 0]) for t in picked]
    labels = [f"t = {t}" if t >= 0 else "sample" for t in picked]
    return Panels(tuple(labels), np.stack(clips), {"steps": [float(t) for t in picked]})


def interpolation(
    trained: "Trained", real: np.ndarray, keys: list[str], shown, given=None
) -> Panels:
    """Show clips on the arc between two sampled motion latents of one first frame."""
    ends = [
        last(trained.trajectory(real[:, 0], [f"{key}#{s}" for key in keys], given))[1]
        for s in (0, 1)
    ]
    clips = [trained.decode(slerp(*ends, weight), real[:, 0]) for weight in shown.weights]
    labels = [f"{1 - weight:g} a + {weight:g} b" for weight in shown.weights]
    return Panels(tuple(labels), np.stack(clips))


def scaling(trained: "Trained", real: np.ndarray, keys: list[str], shown, given=None) -> Panels:
    """Show clips of z_0 + s (z_m - z_0), where z_0 is z_m of the first frame held still.

    `change` is the mean absolute difference of successive frames in grey levels, a factor each.
    """
    still = trained.encode(np.repeat(real[:, :1], real.shape[1], axis=1))
    moving = trained.encode(real)
    clips = np.stack(
        [trained.decode(still + s * (moving - still), real[:, 0]) for s in shown.factors]
    )
    return Panels(
        ("real", *(f"{s:g} x motion" for s in shown.factors)),
        np.concatenate([real[None], clips]),
        {"factors": list(shown.factors), "change": [frame_change(c).mean() for c in clips]},
    )


_MAKERS = {
    "prompts": prompts,
    "reconstruction": reconstruction,
    "motion_transfer": motion_transfer,
    "samples": samples,
    "timesteps": timesteps,
    "interpolation": interpolation,
    "scaling": scaling,
}


def spread(fakes: np.ndarray) -> np.ndarray:
    """Return the standard deviation over samples (S, N, L, H, W, 3), mean of RGB: (N, L, H, W)."""
    return fakes.astype(np.float32).std(axis=0).mean(axis=-1)


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


def frame_change(clips: np.ndarray) -> np.ndarray:
    """Return the mean absolute difference of successive frames: (N, L - 1), grey levels."""
    return np.abs(np.diff(clips.astype(np.int16), axis=1)).mean(axis=(2, 3, 4))
