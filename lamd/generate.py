"""The inference path (paper): x_0 -> f_x0, skips; z_T -> K steps -> z_m -> D_V -> clip."""

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from lamd.base.errors import LamdError
from lamd.base.rng import torch_generator
from lamd.config import SamplerConfig
from lamd.diffusion import (
    Denoiser,
    Schedule,
    clipped,
    predicted_noise,
    sampling_steps,
    trajectory,
)
from lamd.models.dmg import DMG
from lamd.models.latent_video import VideoAutoencoder
from lamd.models.mcd_vae import MCDVAE
from lamd.models.pixel_diffusion import PixelDiffusion
from lamd.models.unet import UNet
from lamd.models.unet3d import UNet3d

T = TypeVar("T")


class KeyedNoise:
    """Standard normal noise with one CPU generator a sample key.

    A sample therefore depends on its key and the seed, not on batch size, order or device.
    """

    def __init__(
        self, keys: Sequence[str], seed: int, shape: tuple[int, ...], device: torch.device
    ):
        self.generators = [torch_generator(seed, "noise", key) for key in keys]
        self.shape, self.device = shape, device

    def __call__(self) -> Tensor:
        """Return the next draw, (len(keys), *shape)."""
        draws = [torch.randn(self.shape, generator=g) for g in self.generators]
        return torch.stack(draws).to(self.device)


@torch.inference_mode()
def motion_trajectory(
    vae: MCDVAE,
    dmg: DMG,
    schedule: Schedule,
    sampler: SamplerConfig,
    f_x0: Tensor,
    keys: Sequence[str],
    prompts: Sequence[str] | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Yield (t, z_m^t), scaled for D_V, along one sampling run; t = -1 is the sample.

    Args:
        vae, dmg: trained models in eval mode on one device.
        schedule: the DMG's noise schedule.
        sampler: name, K, eta, seed; its batch size is the caller's matter.
        f_x0: (B, d', h, w) content feature of the given frames.
        keys: B names; equal names, seeds and frames give equal latents.
        prompts: B captions or classes for a model with prompts, and only there.

    Returns:
        z_m^t (B, *latent_shape) at each step.

    Raises:
        LamdError: on a prompt that the model's vocabulary cannot say.
    """
    denoiser = denoiser_given(dmg, schedule, sampler.guidance_scale, f_x0, prompts)
    noise = KeyedNoise(keys, sampler.seed, vae.latent_shape, f_x0.device)
    for t, z in _run(denoiser, schedule, sampler, noise):
        yield t, vae.from_diffusion(z)


def _run(
    denoiser: Denoiser, schedule: Schedule, sampler: SamplerConfig, noise: KeyedNoise
) -> Iterator[tuple[int, Tensor]]:
    return trajectory(
        denoiser,
        schedule,
        noise(),
        steps=sampling_steps(len(schedule), sampler.num_steps),
        name=sampler.name,
        eta=sampler.eta,
        noise=noise,
    )


def denoiser_given(
    dmg: DMG,
    schedule: Schedule,
    scale: float | None,
    f_x0: Tensor,
    prompts: Sequence[str] | None,
) -> Denoiser:
    """Return eps_theta(z_t, t) given y; with a scale, classifier-free guided (arXiv 2207.12598)."""
    words = None if prompts is None else dmg.prompt.words(prompts).to(f_x0.device)
    told = dmg.condition(f_x0, words)
    if scale is None:
        return predicted_noise(lambda z_t, t: dmg.denoise(z_t, t, told), schedule)
    untold = dmg.condition(f_x0, torch.zeros_like(words))

    def guided(z_t: Tensor, t: Tensor) -> Tensor:
        return torch.lerp(dmg.denoise(z_t, t, untold), dmg.denoise(z_t, t, told), scale)

    return predicted_noise(guided, schedule)


def compile_denoiser(denoiser: UNet) -> None:
    """Compile the UNet's pass in place: eps_hat moves by rounding, at most 1e-4 at unit scale.

    Raises:
        LamdError: on a CPU without a C++ compiler.
    """
    on_cpu = next(denoiser.parameters()).device.type == "cpu"
    if on_cpu and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        raise LamdError("runtime.compile: no C++ compiler here; install g++ or leave it out")
    denoiser.predict = torch.compile(denoiser.predict)


def last(run: Iterable[T]) -> T:
    """Return the last value of a run, the sample, and keep no other."""
    return deque(run, maxlen=1).pop()


@torch.inference_mode()
def generate(
    vae: MCDVAE,
    dmg: DMG,
    schedule: Schedule,
    sampler: SamplerConfig,
    x0: Tensor,
    keys: Sequence[str],
    prompts: Sequence[str] | None = None,
) -> Tensor:
    """Generate one clip per first frame; arguments as for `motion_trajectory`.

    Args:
        x0: (B, 3, H, W) in [-1, 1].

    Returns:
        x_hat (B, L, 3, H, W), not clamped; frame 0 is D_V's, not the given one.
    """
    f_x0, skips = vae.encode_image(x0)
    _, z_m = last(motion_trajectory(vae, dmg, schedule, sampler, f_x0, keys, prompts))
    return vae.decode(z_m, f_x0, skips)


@torch.inference_mode()
def generate_pixel(
    model: PixelDiffusion,
    schedule: Schedule,
    sampler: SamplerConfig,
    num_frames: int,
    x0: Tensor,
    keys: Sequence[str],
) -> Tensor:
    """Generate clips (B, L, 3, H, W) by the pixel-space baseline; else as `generate`.

    The predicted clip is clamped to [-1, 1] at each step, as is usual in pixel space.
    """
    denoiser = clipped(predicted_noise(lambda x_t, t: model(x_t, t, x0), schedule), schedule)
    noise = KeyedNoise(keys, sampler.seed, (num_frames, *x0.shape[1:]), x0.device)
    return last(_run(denoiser, schedule, sampler, noise))[1]


@torch.inference_mode()
def generate_latent_video(
    autoencoder: VideoAutoencoder,
    model: UNet3d,
    schedule: Schedule,
    sampler: SamplerConfig,
    x0: Tensor,
    keys: Sequence[str],
) -> Tensor:
    """Generate clips (B, L, 3, H, W) by the latent-video baseline; else as `generate`."""
    given = autoencoder.to_diffusion(autoencoder.encode_image(x0))
    shape = autoencoder.latent_shape
    z = denoise_latent_video(model, schedule, sampler, shape, given, keys)
    return autoencoder.decode(autoencoder.from_diffusion(z))


@torch.inference_mode()
def denoise_latent_video(
    model: UNet3d,
    schedule: Schedule,
    sampler: SamplerConfig,
    latent_shape: tuple[int, ...],
    given: Tensor,
    keys: Sequence[str],
) -> Tensor:
    """Return the latents (B, *latent_shape) at unit scale that follow `given` (B, d, h, w)."""
    noise = KeyedNoise(keys, sampler.seed, latent_shape, given.device)
    denoiser = predicted_noise(lambda z_t, t: model(z_t, t, given), schedule)
    return last(_run(denoiser, schedule, sampler, noise))[1]


def roll_out(
    extend: Callable[[np.ndarray, Sequence[str]], np.ndarray],
    frames: np.ndarray,
    keys: Sequence[str],
    num_chunks: int,
) -> np.ndarray:
    """Generate long clips chunk by chunk, each from the last frame of the one before (ours).

    Args:
        extend: maps first frames uint8 (N, H, W, 3) and keys to clips (N, L, H, W, 3) that begin
            with them.
        frames: uint8 (N, H, W, 3).
        keys: N names; chunk c > 0 has the noise of `<key>+<c>`.

    Returns:
        uint8 (N, L + (num_chunks - 1) (L - 1), H, W, 3): a frame shared by two chunks stands once.
    """
    clips = extend(frames, keys)
    for c in range(1, num_chunks):
        following = extend(clips[:, -1], [f"{key}+{c}" for key in keys])
        clips = np.concatenate([clips, following[:, 1:]], axis=1)
    return clips
