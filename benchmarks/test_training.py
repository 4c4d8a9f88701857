"""The autoencoders on clips, and one training step of each network."""

import pytest
import torch
from paradigms import BATCH, Scale
from timing import Measure, assert_not_slower, compare, synchronised
from torch import Tensor, nn

from lamd.base.errors import LamdError
from lamd.config import load_target
from lamd.flops import count
from lamd.forecast.probe import check_lpips
from lamd.forecast.step import noise_stage
from lamd.losses import diffusion_loss
from lamd.paradigms.untrained import (
    SCHEDULE,
    build_autoencoder,
    build_denoiser,
    build_dmg,
    build_mcd_vae,
)
from lamd.training.engine import StepTimer

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
        _, model = build_denoiser("pixel-factorised", scale.widths)
        z, y = torch.randn(BATCH, frames, 3, size, size), torch.randn(BATCH, 3, size, size)
    eps = torch.randn_like(z)
    measure(_step(model, lambda: diffusion_loss(model, SCHEDULE, z, t, eps, y)), clips=BATCH)


@pytest.mark.parametrize("stage", ["vae", "dmg"])
def test_stage_in_mixed_precision(benchmark, stage: str):
    """A whole step of table_bair's `standard` training at 64x64 in bf16 and in fp32.

    On a device without bf16 both are fp32, and nothing is compared.
    """
    timers = {}
    for precision in ("bf16", "fp32"):
        chosen = [f"train_{part}.precision={precision}" for part in ("vae", "dmg")]
        target = load_target("table_bair", "standard", chosen)
        try:
            check_lpips(stage, target)
        except LamdError as error:
            pytest.skip(str(error))
        whole = target.at_size(target.data.size)  # the first steps are of small clips
        timers[precision] = StepTimer(noise_stage(stage, whole))
    info = compare(timers["bf16"].step, timers["fp32"].step, "mixed_precision")
    benchmark.extra_info |= info | {"used": timers["bf16"].precision}
    benchmark.pedantic(synchronised(timers["bf16"].step), rounds=3)
    # a GPU spends its time on launching these small kernels
    if timers["bf16"].precision == "bf16" and not torch.cuda.is_available():
        assert_not_slower(info, "mixed_precision")


def _step(model: nn.Module, loss):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        return value

    return step
