"""The paradigms of the cost table, untrained and at equal widths, as the parts of a sampling run.

All denoisers share their widths, and so do D_V and the 3-D decoder, so that paradigms are compared
and not networks.
"""

from collections.abc import Callable
from typing import Any

import torch

from lamd.config import DMGConfig, VAEConfig, VideoAutoencoderConfig
from lamd.config.kinds import SPATIAL_DOWNSAMPLING, TEMPORAL_DOWNSAMPLING, WidthsConfig
from lamd.config.kinds import Paradigm as Name
from lamd.config.networks import UNetWidths
from lamd.diffusion import make_schedule, sample, sampling_steps
from lamd.flops import Cost, count
from lamd.models.baselines import PixelDiffusion, VideoAutoencoder
from lamd.models.dmg import DMG
from lamd.models.mcd_vae import MCDVAE
from lamd.models.unet import UNet, UNet3d
from lamd.paradigms.base import Paradigm
from lamd.paradigms.latent_motion import LatentMotion
from lamd.paradigms.latent_video import LatentVideo
from lamd.paradigms.pixel import Pixel

Parts = dict[str, Callable[[], object]]

LATENT_CHANNELS = 3  # as many as a pixel has
_PROCESS: dict[str, Any] = {
    "schedule": "sqrt_linear",
    "num_train_steps": 1000,
    "beta_start": 0.0015,
    "beta_end": 0.0195,
}
_DMG_FIELDS = {*UNetWidths.model_fields, "context_channels", "condition"}
_VAE_FIELDS = {"image_channels", "motion_encoder_channels", "decoder_channels", "fusion"}
SCHEDULE = make_schedule(**_PROCESS)


def build_paradigm(name: Name, widths: WidthsConfig) -> Callable[..., Parts]:
    """Build a paradigm's denoiser once; return a function from a shape to the parts of a run.

    The parts are `encode` and `decode`, where the paradigm has them, `step`, a single call of the
    denoiser, and `denoise`, a sampling run of `num_steps`. Weights and inputs are on torch's
    default device and random: no time depends on their values.
    """
    kind, network = build_denoiser(name, widths)

    def parts_at(*, batch: int, frames: int, size: int, num_steps: int) -> Parts:
        autoencoder: Any = None
        shape: tuple[int, ...] = (frames, 3, size, size)
        if kind.autoencoder_stage is not None:
            autoencoder = _AUTOENCODERS[kind.autoencoder_stage](widths, frames, size).eval()
            shape = autoencoder.latent_shape
        paradigm = kind(autoencoder, network.eval(), SCHEDULE)
        x0, z = torch.rand(batch, 3, size, size), torch.randn(batch, *shape)
        t, given = torch.full((batch,), len(SCHEDULE) // 2), paradigm.encode(x0)
        denoiser = paradigm.denoiser(given, None, None)
        sampler: dict[str, Any] = {"name": "dpmpp_2m", "eta": None, "noise": lambda: None}
        sampler["steps"] = sampling_steps(len(SCHEDULE), num_steps)
        parts: Parts = {
            "encode": lambda: paradigm.denoiser(paradigm.encode(x0), None, None),
            "step": lambda: denoiser(z, t),
            "denoise": lambda: sample(denoiser, SCHEDULE, z, **sampler),
            "decode": lambda: paradigm.decode(z, given),
        }
        idle = {"encode", "decode"} if autoencoder is None else {}
        return {name: run for name, run in parts.items() if name not in idle}

    return parts_at


def build_denoiser(name: Name, widths: WidthsConfig) -> tuple[type[Paradigm], UNet]:
    """Build the denoiser of a paradigm, in pixel space with scales down to those of latents."""
    space, _, conv3d = name.rpartition("-")
    if name == "latent-motion":
        return LatentMotion, build_dmg(widths)
    if space == "pixel":
        deeper = SPATIAL_DOWNSAMPLING.bit_length() - 1
        widths = WidthsConfig.model_validate(
            widths.model_dump()
            | {
                "attention_factors": [SPATIAL_DOWNSAMPLING * f for f in widths.attention_factors],
                "channel_multipliers": widths.channel_multipliers
                + deeper * widths.channel_multipliers[-1:],
            }
        )
        return Pixel, PixelDiffusion(widths, channels=3, conv3d=conv3d)
    return LatentVideo, UNet3d(widths, channels=LATENT_CHANNELS, conv3d=conv3d)


def sampling_costs(
    name: Name, widths: WidthsConfig, *, batch: int, frames: int, size: int
) -> dict[str, Cost]:
    """Return the costs per clip of `encode`, one denoising `step` and `decode` of a batch."""
    with torch.device("meta"):
        parts = build_paradigm(name, widths)(batch=batch, frames=frames, size=size, num_steps=1)
    costs = {part: count(run, batch) for part, run in parts.items() if part != "denoise"}
    return {part: costs.get(part, Cost()) for part in ("encode", "step", "decode")}


def build_dmg(widths: WidthsConfig) -> DMG:
    """Build the DMG."""
    shared = widths.model_dump(include=_DMG_FIELDS)
    config = DMGConfig(posterior="sample", **shared, **_PROCESS)
    content_channels = widths.image_channels[-1]
    return DMG(config, motion_channels=LATENT_CHANNELS, content_channels=content_channels)


def build_mcd_vae(widths: WidthsConfig, frames: int, size: int) -> MCDVAE:
    """Build the MCD-VAE, whose latent has no time axis."""
    config = VAEConfig(
        spatial_downsampling=SPATIAL_DOWNSAMPLING,
        temporal_downsampling=frames,
        motion_channels=LATENT_CHANNELS,
        num_res_blocks=widths.vae_res_blocks,
        num_latent_blocks=1,
        num_skip_scales=2,
        first_frame_residual="add",
        conv3d="full",
        normalisation="channel",
        **widths.model_dump(include=_VAE_FIELDS),
    )
    return MCDVAE(config, num_frames=frames, size=size)


def build_autoencoder(widths: WidthsConfig, frames: int, size: int) -> VideoAutoencoder:
    """Build the 3-D autoencoder, with D_V's widths."""
    config = VideoAutoencoderConfig(
        spatial_downsampling=SPATIAL_DOWNSAMPLING,
        temporal_downsampling=TEMPORAL_DOWNSAMPLING,
        latent_channels=LATENT_CHANNELS,
        channels=widths.decoder_channels,
        num_res_blocks=1,
        conv3d="full",
    )
    return VideoAutoencoder(config, num_frames=frames, size=size)


_AUTOENCODERS = {"vae": build_mcd_vae, "video_vae": build_autoencoder}
