"""Pixel-space, latent-video and latent-motion diffusion at one width: options and closed forms.

All denoisers share their widths, and D_V and the 3-D decoder theirs, so that a comparison is one
of paradigms. `timed` builds what these options say.
"""

from dataclasses import dataclass

from lamd.cost.autoencoders import (
    image_encoder,
    latent_video_decoder,
    latent_video_encoder,
    video_decoder,
)
from lamd.cost.denoisers import dmg_condition, dmg_step, unet3d_step
from lamd.cost.layers import Cost

PARADIGMS = (
    "latent-motion",
    "latent-video-full",
    "latent-video-factorised",
    "pixel-full",
    "pixel-factorised",
)
SPATIAL_FACTOR = 4  # f_s of both autoencoders
TEMPORAL_FACTOR = 4  # f_t of the latent-video one; the MCD-VAE's is the number of frames
LATENT_CHANNELS = 3  # as many as a pixel has


@dataclass(frozen=True)
class Widths:
    """One width for all denoisers, and those of the autoencoders."""

    base_channels: int
    channel_multipliers: tuple[int, ...]
    num_res_blocks: int
    attention_factors: tuple[int, ...]
    head_channels: int
    context_channels: int
    image_channels: tuple[int, int, int]
    motion_encoder_channels: tuple[int, int]
    decoder_channels: tuple[int, int, int]


def sampling_costs(
    paradigm: str, widths: Widths, *, batch: int, frames: int, size: int
) -> dict[str, Cost]:
    """Return what `encode`, one denoising `step` and `decode` of a sampling run cost.

    Raises:
        ValueError: on an unknown paradigm.
    """
    if paradigm not in PARADIGMS:
        raise ValueError(f"unknown paradigm {paradigm!r}")
    if paradigm == "latent-motion":
        vae = mcd_vae_options(widths, frames, size)
        return latent_motion_costs(vae, dmg_options(widths), batch=batch)
    space, _, conv3d = paradigm.rpartition("-")
    unet = unet_widths(widths) | {"channels": 3, "conv3d": conv3d, "batch": batch}
    if space == "pixel":
        step = unet3d_step(frames=frames, size=size, **unet)
        return {"encode": Cost(), "step": step, "decode": Cost()}
    video = autoencoder_options_of(widths, frames, size)
    still = video | {"num_frames": TEMPORAL_FACTOR}  # the given frame, held
    step = unet3d_step(frames=frames // TEMPORAL_FACTOR, size=size // SPATIAL_FACTOR, **unet)
    return {
        "encode": latent_video_encoder(batch=batch, **still),
        "step": step,
        "decode": latent_video_decoder(batch=batch, **video),
    }


def latent_motion_costs(vae: dict, dmg: dict, *, batch: int) -> dict[str, Cost]:
    """Return what LaMD with these options of `MCDVAE` and `DMG` costs, as `sampling_costs`."""
    latent = {"batch": batch, "size": vae["size"] // vae["spatial_downsampling"]} | dmg
    return {
        "encode": image_encoder(batch=batch, **vae) + dmg_condition(**latent),
        "step": dmg_step(**latent),
        "decode": video_decoder(batch=batch, **vae),
    }


def unet_widths(widths: Widths) -> dict:
    """Return the widths that all denoisers share."""
    return {
        "base_channels": widths.base_channels,
        "channel_multipliers": widths.channel_multipliers,
        "num_res_blocks": widths.num_res_blocks,
        "attention_factors": widths.attention_factors,
        "head_channels": widths.head_channels,
    }


def dmg_options(widths: Widths) -> dict:
    """Return the DMG's options: f_x0 by cross-attention."""
    return unet_widths(widths) | {
        "motion_channels": LATENT_CHANNELS,
        "content_channels": widths.image_channels[-1],
        "context_channels": widths.context_channels,
        "condition": "cross_attention",
    }


def mcd_vae_options(widths: Widths, frames: int, size: int) -> dict:
    """Return the MCD-VAE's options."""
    return {
        "num_frames": frames,
        "size": size,
        "spatial_downsampling": SPATIAL_FACTOR,
        "temporal_downsampling": frames,
        "motion_channels": LATENT_CHANNELS,
        "image_channels": widths.image_channels,
        "motion_encoder_channels": widths.motion_encoder_channels,
        "decoder_channels": widths.decoder_channels,
        "num_res_blocks": (0, 1, 1),
        "num_latent_blocks": 1,
        "num_skip_scales": 2,
        "first_frame_residual": "add",
        "fusion": "spade",
        "conv3d": "full",
        "normalisation": "channel",
    }


def autoencoder_options_of(widths: Widths, frames: int, size: int) -> dict:
    """Return the 3-D autoencoder's options, with D_V's widths."""
    return {
        "num_frames": frames,
        "size": size,
        "spatial_downsampling": SPATIAL_FACTOR,
        "temporal_downsampling": TEMPORAL_FACTOR,
        "latent_channels": LATENT_CHANNELS,
        "channels": widths.decoder_channels,
        "num_res_blocks": 1,
        "conv3d": "full",
    }
