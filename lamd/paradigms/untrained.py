"""The paradigms of the cost table, untrained and at equal widths, as the parts of a sampling run.

All denoisers share their widths, and so do D_V and the 3-D decoder, so that paradigms are compared
and not networks.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lamd.config.kinds import SPATIAL_DOWNSAMPLING, TEMPORAL_DOWNSAMPLING, Paradigm, WidthsConfig
from lamd.config.schema import UNetWidths
from lamd.diffusion import Denoiser, make_schedule, sample, sampling_steps
from lamd.flops import Cost, count
from lamd.models.dmg import DMG
from lamd.models.latent_video import VideoAutoencoder
from lamd.models.mcd_vae import MCDVAE
from lamd.models.pixel_diffusion import PixelDiffusion
from lamd.models.unet import UNet3d

Parts = dict[str, Callable[[], object]]
PartsAt = Callable[..., Parts]  # (batch=, frames=, size=, num_steps=)

LATENT_CHANNELS = 3  # as many as a pixel has
SCHEDULE = make_schedule("sqrt_linear", 1000, 0.0015, 0.0195)


def build_paradigm(paradigm: Paradigm, widths: WidthsConfig) -> PartsAt:
    """Build a paradigm's denoiser once; return a function from a shape to the parts of a run.

    The parts are `encode` and `decode`, where the paradigm has them, `step`, a single call of the
    denoiser, and `denoise`, a sampling run of `num_steps`. Weights and inputs are on torch's
    default device and random: no time depends on their values.
    """
    if paradigm == "latent-motion":
        return partial(_latent_motion, widths, build_dmg(widths).eval())
    space, _, conv3d = paradigm.rpartition("-")
    options = unet_widths(widths) | {"conv3d": conv3d}
    if space == "pixel":
        return partial(_pixel_space, PixelDiffusion(**options).eval())
    return partial(_latent_video, widths, UNet3d(channels=LATENT_CHANNELS, **options).eval())


def sampling_costs(
    paradigm: Paradigm, widths: WidthsConfig, *, batch: int, frames: int, size: int
) -> dict[str, Cost]:
    """Return the costs per clip of `encode`, one denoising `step` and `decode` of a batch."""
    with torch.device("meta"):
        parts = build_paradigm(paradigm, widths)(batch=batch, frames=frames, size=size, num_steps=1)
    costs = {part: count(run, batch) for part, run in parts.items() if part != "denoise"}
    return {part: costs.get(part, Cost()) for part in ("encode", "step", "decode")}


def unet_widths(widths: WidthsConfig) -> dict[str, Any]:
    """Return the options that all denoisers share."""
    return widths.model_dump(include=set(UNetWidths.model_fields))


def build_dmg(widths: WidthsConfig) -> DMG:
    """Build the DMG, with f_x0 by cross-attention."""
    return DMG(
        motion_channels=LATENT_CHANNELS,
        content_channels=widths.image_channels[-1],
        context_channels=widths.context_channels,
        condition="cross_attention",
        **unet_widths(widths),
    )


def build_mcd_vae(widths: WidthsConfig, frames: int, size: int) -> MCDVAE:
    """Build the MCD-VAE, whose latent has no time axis."""
    return MCDVAE(
        num_frames=frames,
        size=size,
        spatial_downsampling=SPATIAL_DOWNSAMPLING,
        temporal_downsampling=frames,
        motion_channels=LATENT_CHANNELS,
        image_channels=widths.image_channels,
        motion_encoder_channels=widths.motion_encoder_channels,
        decoder_channels=widths.decoder_channels,
        num_res_blocks=(0, 1, 1),
        num_latent_blocks=1,
        num_skip_scales=2,
        first_frame_residual="add",
        fusion="spade",
        conv3d="full",
        normalisation="channel",
    )


def build_autoencoder(widths: WidthsConfig, frames: int, size: int) -> VideoAutoencoder:
    """Build the 3-D autoencoder, with D_V's widths."""
    return VideoAutoencoder(
        num_frames=frames,
        size=size,
        spatial_downsampling=SPATIAL_DOWNSAMPLING,
        temporal_downsampling=TEMPORAL_DOWNSAMPLING,
        latent_channels=LATENT_CHANNELS,
        channels=widths.decoder_channels,
        num_res_blocks=1,
        conv3d="full",
    )


def _latent_motion(
    widths: WidthsConfig, dmg: DMG, *, batch: int, frames: int, size: int, num_steps: int
) -> Parts:
    vae = build_mcd_vae(widths, frames, size).eval()
    x0, z = torch.rand(batch, 3, size, size), torch.randn(batch, *vae.latent_shape)
    f_x0, skips = vae.encode_image(x0)
    condition = dmg.condition(f_x0)
    return {
        "encode": lambda: dmg.condition(vae.encode_image(x0)[0]),
        **_denoising(lambda z_t, t: dmg.denoise(z_t, t, condition), z, num_steps),
        "decode": lambda: vae.decode(z, f_x0, skips),
    }


def _latent_video(
    widths: WidthsConfig, unet: UNet3d, *, batch: int, frames: int, size: int, num_steps: int
) -> Parts:
    autoencoder = build_autoencoder(widths, frames, size).eval()
    x0, z = torch.rand(batch, 3, size, size), torch.randn(batch, *autoencoder.latent_shape)
    first_frame = autoencoder.encode_image(x0)
    return {
        "encode": lambda: autoencoder.encode_image(x0),
        **_denoising(lambda z_t, t: unet(z_t, t, first_frame), z, num_steps),
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
