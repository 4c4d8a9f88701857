"""Pixel-space, latent-video and latent-motion diffusion at one width, as parts to be timed."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lamd import cost
from lamd.cost import Cost
from lamd.diffusion import make_schedule, sample, sampling_steps
from lamd.models.dmg import DMG
from lamd.models.latent_video import VideoAutoencoder
from lamd.models.mcd_vae import MCDVAE
from lamd.models.pixel_diffusion import PixelDiffusion
from lamd.models.unet3d import UNet3d

SCHEDULE = make_schedule("sqrt_linear", 1000, 0.0015, 0.0195)
# With a batch of one, PyTorch sends small 3-D convolutions on a CPU to a kernel several times
# slower, and the 3-D paradigms would look dearer than they are.
BATCH = 2


@dataclass(frozen=True)
class Scale:
    """One width for all denoisers, and the sizes that are swept.

    Attributes:
        sweep: (frames, pixels) of the denoiser steps.
        shape: (frames, pixels) of everything else.
        num_steps: K of a whole sampling run.
    """

    base_channels: int
    channel_multipliers: tuple[int, ...]
    num_res_blocks: int
    attention_factors: tuple[int, ...]
    head_channels: int
    context_channels: int
    image_channels: tuple[int, int, int]
    motion_encoder_channels: tuple[int, int]
    decoder_channels: tuple[int, int, int]
    matmul_size: int
    sweep: tuple[tuple[int, int], ...]
    shape: tuple[int, int]
    num_steps: int


_FRAMES = (8, 16, 32, 64, 128)
REDUCED = Scale(
    base_channels=16,
    channel_multipliers=(1, 2, 2),
    num_res_blocks=1,
    attention_factors=(4,),
    head_channels=16,
    context_channels=32,
    image_channels=(8, 16, 32),
    motion_encoder_channels=(16, 32),
    decoder_channels=(8, 16, 32),
    matmul_size=1024,
    sweep=(*((frames, 32) for frames in _FRAMES), (16, 64)),
    shape=(16, 32),
    num_steps=5,
)
FULL = Scale(
    base_channels=224,
    channel_multipliers=(1, 2, 3, 4),
    num_res_blocks=2,
    attention_factors=(2, 4),
    head_channels=32,
    context_channels=512,
    image_channels=(128, 256, 512),
    motion_encoder_channels=(64, 128),
    decoder_channels=(64, 128, 256),
    matmul_size=8192,
    sweep=(*((frames, 64) for frames in _FRAMES), (16, 128), (16, 256)),
    shape=(16, 64),
    num_steps=20,
)


def unet_widths(scale: Scale) -> dict:
    """Return the widths that all denoisers share."""
    return {
        "base_channels": scale.base_channels,
        "channel_multipliers": scale.channel_multipliers,
        "num_res_blocks": scale.num_res_blocks,
        "attention_factors": scale.attention_factors,
        "head_channels": scale.head_channels,
    }


@dataclass(frozen=True)
class Part:
    """Something to time, and what it costs by the closed form."""

    run: Callable[[], object]
    cost: Cost


def latent_motion(scale: Scale, frames: int, size: int) -> dict[str, Part]:
    """LaMD: E_I and the condition once, the DMG's steps, D_V."""
    vae_options = mcd_vae_options(scale, frames, size)
    dmg_options = unet_widths(scale) | {
        "motion_channels": 3,
        "content_channels": scale.image_channels[-1],
        "context_channels": scale.context_channels,
        "condition": "cross_attention",
    }
    vae, dmg = MCDVAE(**vae_options).eval(), DMG(**dmg_options).eval()
    x0, z, t = torch.rand(BATCH, 3, size, size), torch.randn(BATCH, *vae.latent_shape), _step()
    f_x0, skips = vae.encode_image(x0)
    condition = dmg.condition(f_x0)
    latent = {"batch": BATCH, "size": size // 4} | dmg_options
    step = cost.dmg_step(**latent)
    given = cost.image_encoder(batch=BATCH, **vae_options) + cost.dmg_condition(**latent)
    return {
        "encode": Part(lambda: dmg.condition(vae.encode_image(x0)[0]), given),
        "step": Part(lambda: dmg.denoise(z, t, condition), step),
        "denoise": _denoise(lambda z, t: dmg.denoise(z, t, condition), z, scale, step),
        "decode": Part(
            lambda: vae.decode(z, f_x0, skips), cost.video_decoder(batch=BATCH, **vae_options)
        ),
    }


def latent_video(scale: Scale, frames: int, size: int, conv3d: str) -> dict[str, Part]:
    """Latent-video diffusion: the first frame's latent, the 3-D UNet's steps, the decoder."""
    autoencoder_options = autoencoder_options_of(scale, frames, size)
    unet_options = unet_widths(scale) | {"channels": 3, "conv3d": conv3d}
    autoencoder = VideoAutoencoder(**autoencoder_options).eval()
    unet = UNet3d(**unet_options).eval()
    x0, z, t = (
        torch.rand(BATCH, 3, size, size),
        torch.randn(BATCH, *autoencoder.latent_shape),
        _step(),
    )
    given = autoencoder.encode_image(x0)
    step = cost.unet3d_step(batch=BATCH, frames=frames // 4, size=size // 4, **unet_options)
    still = autoencoder_options | {"num_frames": autoencoder.temporal_factor}
    return {
        "encode": Part(
            lambda: autoencoder.encode_image(x0), cost.latent_video_encoder(batch=BATCH, **still)
        ),
        "step": Part(lambda: unet(z, t, given), step),
        "denoise": _denoise(lambda z, t: unet(z, t, given), z, scale, step),
        "decode": Part(
            lambda: autoencoder.decode(z),
            cost.latent_video_decoder(batch=BATCH, **autoencoder_options),
        ),
    }


def pixel_space(scale: Scale, frames: int, size: int, conv3d: str) -> dict[str, Part]:
    """Diffusion in pixel space: the 3-D UNet's steps and nothing else."""
    widths = unet_widths(scale) | {"conv3d": conv3d}
    unet = PixelDiffusion(**widths).eval()
    x0, x, t = torch.rand(BATCH, 3, size, size), torch.randn(BATCH, frames, 3, size, size), _step()
    step = cost.unet3d_step(batch=BATCH, frames=frames, size=size, channels=3, **widths)
    return {
        "step": Part(lambda: unet(x, t, x0), step),
        "denoise": _denoise(lambda x, t: unet(x, t, x0), x, scale, step),
    }


PARADIGMS = {
    "latent-motion": latent_motion,
    "latent-video-full": lambda *shape: latent_video(*shape, "full"),
    "latent-video-factorised": lambda *shape: latent_video(*shape, "factorised"),
    "pixel-full": lambda *shape: pixel_space(*shape, "full"),
    "pixel-factorised": lambda *shape: pixel_space(*shape, "factorised"),
}


def mcd_vae_options(scale: Scale, frames: int, size: int) -> dict:
    """Return the MCD-VAE's options at f_s = 4."""
    return {
        "num_frames": frames,
        "size": size,
        "spatial_factor": 4,
        "temporal_factor": frames,
        "motion_channels": 3,
        "image_channels": scale.image_channels,
        "motion_encoder_channels": scale.motion_encoder_channels,
        "decoder_channels": scale.decoder_channels,
        "num_res_blocks": (0, 1, 1),
        "num_latent_blocks": 1,
        "num_skip_scales": 2,
        "frame_skip": True,
        "fusion": "spade",
        "conv3d": "full",
        "normalisation": "channel",
    }


def autoencoder_options_of(scale: Scale, frames: int, size: int) -> dict:
    """Return the 3-D autoencoder's options at f_s = f_t = 4, with D_V's widths."""
    return {
        "num_frames": frames,
        "size": size,
        "spatial_factor": 4,
        "temporal_factor": 4,
        "latent_channels": 3,
        "channels": scale.decoder_channels,
        "num_res_blocks": 1,
        "conv3d": "full",
    }


def _step() -> Tensor:
    return torch.full((BATCH,), 500, dtype=torch.int64)


def _denoise(denoiser: Callable, z: Tensor, scale: Scale, step: Cost) -> Part:
    """One sampling run; its cost counts the parameters once."""

    def run() -> Tensor:
        steps = sampling_steps(len(SCHEDULE), scale.num_steps)
        return sample(
            denoiser, SCHEDULE, z, steps=steps, name="dpmpp_2m", eta=None, noise=lambda: None
        )

    return Part(run, Cost(scale.num_steps * step.flops, step.parameters, step.activations))
