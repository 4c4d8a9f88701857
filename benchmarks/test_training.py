"""The autoencoders on clips, and one training step of each network."""

import pytest
import torch
from paradigms import (
    BATCH,
    SCHEDULE,
    Scale,
    autoencoder_options_of,
    mcd_vae_options,
    unet_widths,
)
from timing import Measure
from torch import Tensor, nn

from lamd import cost
from lamd.losses import diffusion_loss
from lamd.models.dmg import DMG
from lamd.models.latent_video import VideoAutoencoder
from lamd.models.mcd_vae import MCDVAE
from lamd.models.pixel_diffusion import PixelDiffusion


def test_mcd_vae_encode_motion(measure: Measure, scale: Scale):
    options = mcd_vae_options(scale, *scale.shape)
    vae = MCDVAE(**options).eval()
    x = torch.rand(BATCH, *vae.clip_shape)
    with torch.inference_mode():
        measure(
            lambda: vae.encode_motion(x), cost.motion_encoder(batch=BATCH, **options), clips=BATCH
        )


def test_video_autoencoder_encode(measure: Measure, scale: Scale):
    options = autoencoder_options_of(scale, *scale.shape)
    autoencoder = VideoAutoencoder(**options).eval()
    x = torch.rand(BATCH, *autoencoder.clip_shape)
    closed = cost.latent_video_encoder(batch=BATCH, **options)
    with torch.inference_mode():
        measure(lambda: autoencoder.encode(x), closed, clips=BATCH)


@pytest.mark.parametrize("network", ["mcd-vae", "video-autoencoder"])
def test_autoencoder_training_step(measure: Measure, scale: Scale, network: str):
    if network == "mcd-vae":
        model: nn.Module = MCDVAE(**mcd_vae_options(scale, *scale.shape))
    else:
        model = VideoAutoencoder(**autoencoder_options_of(scale, *scale.shape))
    x = torch.rand(BATCH, *model.clip_shape)
    eps = torch.randn(BATCH, *model.latent_shape)
    measure(_step(model, lambda: (model(x, eps).x_hat - x).abs().mean()), clips=BATCH)


@pytest.mark.parametrize("network", ["dmg", "pixel-factorised"])
def test_denoiser_training_step(measure: Measure, scale: Scale, network: str):
    frames, size = scale.shape
    t = torch.full((BATCH,), 500)
    if network == "dmg":
        model: nn.Module = DMG(
            motion_channels=3,
            content_channels=16,
            context_channels=scale.context_channels,
            condition="cross_attention",
            **unet_widths(scale),
        )
        z, y = (
            torch.randn(BATCH, 3, size // 4, size // 4),
            torch.randn(BATCH, 16, size // 4, size // 4),
        )
    else:
        model = PixelDiffusion(conv3d="factorised", **unet_widths(scale))
        z, y = torch.randn(BATCH, frames, 3, size, size), torch.randn(BATCH, 3, size, size)
    eps = torch.randn_like(z)
    measure(_step(model, lambda: diffusion_loss(model, SCHEDULE, z, t, eps, y)), clips=BATCH)


def _step(model: nn.Module, loss):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        return value

    return step
