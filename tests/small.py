"""Networks small enough for unit tests."""

import torch

from lamd.models.dmg import DMG
from lamd.models.mcd_vae import MCDVAE
from lamd.models.unet import UNet3d

UNET_WIDTHS = {
    "base_channels": 16,
    "channel_multipliers": (1, 2),
    "num_res_blocks": 1,
    "attention_factors": (2,),
    "head_channels": 8,
}


def small_vae(**changes) -> MCDVAE:
    torch.manual_seed(0)
    options = {
        "num_frames": 8,
        "size": 16,
        "spatial_downsampling": 4,
        "temporal_downsampling": 8,
        "motion_channels": 3,
        "image_channels": (8, 8, 16),
        "motion_encoder_channels": (8, 16),
        "decoder_channels": (8, 8, 16),
        "num_res_blocks": (0, 1, 1),
        "num_latent_blocks": 1,
        "num_skip_scales": 2,
        "first_frame_residual": "none",
        "fusion": "spade",
        "conv3d": "full",
        "normalisation": "channel",
    }
    return MCDVAE(**(options | changes))


def small_dmg(condition: str = "both", **options) -> DMG:
    """Return a DMG for the latent of `small_vae`."""
    torch.manual_seed(0)
    return DMG(
        motion_channels=3,
        content_channels=16,
        base_channels=16,
        channel_multipliers=(1, 2),
        num_res_blocks=1,
        attention_factors=(1, 2),
        head_channels=8,
        context_channels=16,
        condition=condition,
        **options,
    )


def small_unet3d(conv3d: str, **changes) -> UNet3d:
    torch.manual_seed(0)
    return UNet3d(**({"channels": 3, "conv3d": conv3d} | UNET_WIDTHS | changes))


def wake(module: torch.nn.Module) -> None:
    """Fill zero-initialised weights, behind which nothing could depend on anything."""
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        if parameter.ndim > 1 and not parameter.any():
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
