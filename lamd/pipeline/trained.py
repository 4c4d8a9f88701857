"""A target's trained models on data as it is stored: uint8 clips and frames in, uint8 clips out."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lamd.config import Target, baseline_sampler, split_row
from lamd.diffusion import schedule_of
from lamd.evaluate import resolve_device
from lamd.generate import (
    compile_denoiser,
    generate,
    generate_latent_video,
    generate_pixel,
    motion_trajectory,
)
from lamd.io.video import to_model, to_uint8
from lamd.models.latent import Posterior
from lamd.training import load_denoiser, load_dmg, load_vae, load_video_vae


class Trained:
    """The MCD-VAE of a target, and its DMG when asked for, frozen and in eval mode.

    Clips are uint8 (N, L, H, W, 3), frames uint8 (N, H, W, 3), motion latents float32
    (N, *latent_shape) on the CPU, scaled as D_V takes them. All methods work in batches of
    `runtime.sampling_batch_size`, which changes no value.
    """

    def __init__(
        self, target: Target, inputs: dict[str, Path], device: str, *, with_dmg: bool = True
    ):
        """Load from the folders of the finished cells `vae` and `dmg` in `inputs`."""
        self.device = resolve_device(device)
        self.sampler = target.sampler
        self.batch_size = target.runtime.sampling_batch_size
        self.vae = load_vae(inputs["vae"], target, device=self.device)
        self.dmg = load_dmg(inputs["dmg"], target, device=self.device) if with_dmg else None
        if with_dmg and target.runtime.compile:
            compile_denoiser(self.dmg)
        self.schedule = schedule_of(target.dmg)

    @torch.inference_mode()
    def encode(self, clips: np.ndarray) -> Tensor:
        """Return z_m of each clip, from the posterior mean."""
        return self.normalise(self.posterior(clips).mean)

    @torch.inference_mode()
    def posterior(self, clips: np.ndarray) -> Posterior:
        """Return q(z | x) of each clip, before normalisation, on the CPU."""
        found = []
        for at in _batches(len(clips), self.batch_size, "encoding"):
            x = to_model(torch.from_numpy(np.array(clips[at])).to(self.device))
            q = self.vae.encode_motion(x)
            found.append((q.mean.cpu(), q.logvar.cpu()))
        return Posterior(*map(torch.cat, zip(*found, strict=True)))

    @torch.inference_mode()
    def normalise(self, z: Tensor) -> Tensor:
        """Return z_m of posterior values."""
        return self.vae.normalise(z.to(self.device)).cpu()

    @torch.inference_mode()
    def content(self, frames: np.ndarray) -> Tensor:
        """Return f_x0 of each frame, float32 (N, d', h, w) on the CPU."""
        found = (
            self.vae.encode_image(_x0(frames[at], self.device))[0].float().cpu()
            for at in _batches(len(frames), self.batch_size, "encoding frames")
        )
        return torch.cat(list(found))

    @torch.inference_mode()
    def decode(self, z_m: Tensor, frames: np.ndarray) -> np.ndarray:
        """Return D_V(z_m, content of each frame); frame 0 is as decoded."""
        found = []
        for at in _batches(len(frames), self.batch_size, "decoding"):
            content = self.vae.encode_image(_x0(frames[at], self.device))
            found.append(to_uint8(self.vae.decode(z_m[at].to(self.device), *content)).cpu().numpy())
        return np.concatenate(found)

    def generate(
        self, frames: np.ndarray, keys: Sequence[str], prompts: Sequence[str] | None = None
    ) -> np.ndarray:
        """Return one generated clip a frame; frame 0 is the given one, `keys` fix the noise."""

        def sample(x0: Tensor, at: slice) -> Tensor:
            told = None if prompts is None else prompts[at]
            return generate(self.vae, self.dmg, self.schedule, self.sampler, x0, keys[at], told)

        return _generated(sample, frames, self.batch_size, self.device)

    @torch.inference_mode()
    def trajectory(
        self, frames: np.ndarray, keys: Sequence[str], prompts: Sequence[str] | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield (t, z_m^t) along one sampling run, all frames in one batch; t = -1 comes last."""
        f_x0, _ = self.vae.encode_image(_x0(frames, self.device))
        run = motion_trajectory(
            self.vae, self.dmg, self.schedule, self.sampler, f_x0, keys, prompts
        )
        for t, z_m in run:
            yield t, z_m.cpu()


class TrainedBaseline:
    """The models of a baseline row, frozen and in eval mode."""

    def __init__(self, target: Target, inputs: dict[str, Path], device: str, row: str):
        """Load from the folders of the row's finished cells in `inputs`."""
        name, budget = split_row(row)
        self.device = resolve_device(device)
        self.sampler = baseline_sampler(target, name)
        self.batch_size = target.runtime.sampling_batch_size
        self.model = load_denoiser(name, inputs[f"{name} {budget}"], target, device=self.device)
        if target.runtime.compile:
            compile_denoiser(self.model)
        self.schedule = schedule_of(target.dmg, target.baselines.of(name).prediction)
        self.autoencoder = None
        shared = (self.model, self.schedule, self.sampler)
        if name == "pixel":
            self.sample = partial(generate_pixel, *shared, target.data.num_frames)
        else:
            self.autoencoder = load_video_vae(inputs["video_vae"], target, device=self.device)
            self.sample = partial(generate_latent_video, self.autoencoder, *shared)

    def generate(self, frames: np.ndarray, keys: Sequence[str]) -> np.ndarray:
        """Return one generated clip a frame, as `Trained.generate`."""

        def sample(x0: Tensor, at: slice) -> Tensor:
            return self.sample(x0, keys[at])

        return _generated(sample, frames, self.batch_size, self.device)


def _generated(
    sample: Callable[[Tensor, slice], Tensor], frames: np.ndarray, size: int, device: torch.device
) -> np.ndarray:
    found = []
    for at in _batches(len(frames), size, "sampling"):
        found.append(to_uint8(sample(_x0(frames[at], device), at)).cpu().numpy())
    clips = np.concatenate(found)
    clips[:, 0] = frames
    return clips


def _x0(frames: np.ndarray, device: torch.device) -> Tensor:
    video = torch.from_numpy(np.array(frames)[:, None])
    return to_model(video.to(device))[:, 0]


def _batches(count: int, size: int, label: str) -> Iterator[slice]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    starts = range(0, count, size)
    for start in track(starts, label, console=console, disable=not console.is_terminal):
        yield slice(start, min(start + size, count))
