"""The paradigms' networks, untrained, cut into the parts of a sampling run that are timed."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from lamd.cost.paradigms import (
    LATENT_CHANNELS,
    Widths,
    autoencoder_options_of,
    dmg_options,
    mcd_vae_options,
    unet_widths,
)
from lamd.diffusion import Denoiser, make_schedule, sample, sampling_steps
from lamd.models.dmg import DMG
from lamd.models.latent_video import VideoAutoencoder
from lamd.models.mcd_vae import MCDVAE
from lamd.models.pixel_diffusion import PixelDiffusion
from lamd.models.unet3d import UNet3d

Parts = dict[str, Callable[[], object]]
PartsAt = Callable[..., Parts]  # (batch=, frames=, size=, num_steps=)

SCHEDULE = make_schedule("sqrt_linear", 1000, 0.0015, 0.0195)


def build_paradigm(paradigm: str, widths: Widths) -> PartsAt:
    """Build a paradigm's denoiser once; return what gives the parts of a run at a shape.

    The parts are `encode` and `decode`, where the paradigm has them, `step`, one call of the
    denoiser, and `denoise`, a sampling run of `num_steps`. Weights and inputs are on torch's
    default device and random: no time depends on their values.
    """
    if paradigm == "latent-motion":
        return partial(_latent_motion, widths, DMG(**dmg_options(widths)).eval())
    space, _, conv3d = paradigm.rpartition("-")
    if space == "pixel":
        return partial(_pixel_space, PixelDiffusion(conv3d=conv3d, **unet_widths(widths)).eval())
    unet = UNet3d(channels=LATENT_CHANNELS, conv3d=conv3d, **unet_widths(widths)).eval()
    return partial(_latent_video, widths, unet)


def _latent_motion(
    widths: Widths, dmg: DMG, *, batch: int, frames: int, size: int, num_steps: int
) -> Parts:
    vae = MCDVAE(**mcd_vae_options(widths, frames, size)).eval()
    x0, z = torch.rand(batch, 3, size, size), torch.randn(batch, *vae.latent_shape)
    f_x0, skips = vae.encode_image(x0)
    condition = dmg.condition(f_x0)
    return {
        "encode": lambda: dmg.condition(vae.encode_image(x0)[0]),
        **_denoising(lambda z_t, t: dmg.denoise(z_t, t, condition), z, num_steps),
        "decode": lambda: vae.decode(z, f_x0, skips),
    }


def _latent_video(
    widths: Widths, unet: UNet3d, *, batch: int, frames: int, size: int, num_steps: int
) -> Parts:
    autoencoder = VideoAutoencoder(**autoencoder_options_of(widths, frames, size)).eval()
    x0, z = torch.rand(batch, 3, size, size), torch.randn(batch, *autoencoder.latent_shape)
    given = autoencoder.encode_image(x0)
    return {
        "encode": lambda: autoencoder.encode_image(x0),
        **_denoising(lambda z_t, t: unet(z_t, t, given), z, num_steps),
        "decode": lambda: autoencoder.decode(z),
    }


def _pixel_space(
    unet: PixelDiffusion, *, batch: int, frames: int, size: int, num_steps: int
) -> Parts:
    x0, x = torch.rand(batch, 3, size, size), torch.randn(batch, frames, 3, size, size)
    return _denoising(lambda x_t, t: unet(x_t, t, x0), x, num_steps)


def _denoising(denoiser: Denoiser, z: Tensor, num_steps: int) -> Parts:
    t = torch.full((len(z),), len(SCHEDULE) // 2, dtype=torch.int64)
    run = partial(
        sample,
        denoiser,
        SCHEDULE,
        z,
        steps=sampling_steps(len(SCHEDULE), num_steps),
        name="dpmpp_2m",
        eta=None,
        noise=lambda: None,
    )
    return {"step": lambda: denoiser(z, t), "denoise": run}
