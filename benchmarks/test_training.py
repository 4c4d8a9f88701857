"""The autoencoders on clips, and one training step of each network."""

import pytest
import torch
from paradigms import BATCH, Scale
from timing import Measure
from torch import Tensor, nn

from lamd.flops import count
from lamd.losses import diffusion_loss
from lamd.models.baselines import PixelDiffusion
from lamd.paradigms.untrained import SCHEDULE, build_autoencoder, build_dmg, build_mcd_vae

AUTOENCODERS = {"mcd-vae": build_mcd_vae, "video-autoencoder": build_autoencoder}


@pytest.mark.parametrize("network", AUTOENCODERS)
def test_autoencoder_encode(measure: Measure, scale: Scale, network: str):
    model = AUTOENCODERS[network](scale.widths, *scale.shape).eval()
    x = torch.rand(BATCH, *model.clip_shape)
    with torch.device("meta"):
        twin = AUTOENCODERS[network](scale.widths, *scale.shape)
    cost = count(lambda: twin.encode(x.to("meta")))
    with torch.inference_mode():
        measure(lambda: model.encode(x), cost, clips=BATCH)


@pytest.mark.parametrize("network", AUTOENCODERS)
def test_autoencoder_training_step(measure: Measure, scale: Scale, network: str):
    model = AUTOENCODERS[network](scale.widths, *scale.shape)
    x = torch.rand(BATCH, *model.clip_shape)
    eps = torch.randn(BATCH, *model.latent_shape)
    measure(_step(model, lambda: (model(x, eps).x_hat - x).abs().mean()), clips=BATCH)


@pytest.mark.parametrize("network", ["dmg", "pixel-factorised"])
def test_denoiser_training_step(measure: Measure, scale: Scale, network: str):
    frames, size = scale.shape
    t = torch.full((BATCH,), 500)
    if network == "dmg":
        model: nn.Module = build_dmg(scale.widths)
        z = torch.randn(BATCH, 3, size // 4, size // 4)
        y = torch.randn(BATCH, scale.widths.image_channels[-1], size // 4, size // 4)
    else:
        model = PixelDiffusion(scale.widths, channels=3, conv3d="factorised")
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
