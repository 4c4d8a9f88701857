"""Networks small enough for unit tests."""

import torch

from lamd.config import DMGConfig, VAEConfig
from lamd.config.networks import PromptConfig, UNetWidths
from lamd.data.vocabulary import Vocabulary
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


def make_vae(*, num_frames: int, size: int, **options) -> MCDVAE:
    """Return an MCD-VAE of `VAEConfig`'s options."""
    return MCDVAE(VAEConfig(**options), num_frames=num_frames, size=size)


def make_dmg(
    *,
    motion_channels: int,
    content_channels: int,
    num_latent_frames: int = 1,
    vocabulary: Vocabulary | None = None,
    pooled_prompt: bool = False,
    max_prompt_tokens: int = 1,
    num_prompt_layers: int = 0,
    **widths,
) -> DMG:
    """Return a DMG, also of widths that a config may not combine."""
    prompt = None
    if vocabulary is not None:
        text = {"max_tokens": max_prompt_tokens, "num_layers": num_prompt_layers}
        own = text if vocabulary.kind == "text" else {}
        prompt = PromptConfig(kind=vocabulary.kind, dropout=0.0, pooled=pooled_prompt, **own)
    return DMG(
        DMGConfig.model_construct(**widths, prompt=prompt),
        motion_channels=motion_channels,
        content_channels=content_channels,
        num_latent_frames=num_latent_frames,
        vocabulary=vocabulary,
    )


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
    return make_vae(**(options | changes))


def small_dmg(condition: str = "both", **options) -> DMG:
    """Return a DMG for the latent of `small_vae`."""
    torch.manual_seed(0)
    return make_dmg(
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


def small_unet3d(conv3d: str, *, channels: int = 3, **changes) -> UNet3d:
    torch.manual_seed(0)
    return UNet3d(UNetWidths(**(UNET_WIDTHS | changes)), channels=channels, conv3d=conv3d)


def wake(module: torch.nn.Module) -> None:
    """Fill zero-initialised weights, behind which nothing could depend on anything."""
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        if parameter.ndim > 1 and not parameter.any():
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
