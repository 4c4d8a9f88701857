"""Loss terms at their minimum, against closed forms, and the flow of their gradients."""

import math

import pytest
import torch

from lamd.config import LossConfig
from lamd.diffusion import make_schedule, min_snr_weight
from lamd.losses import (
    adaptive_weight,
    diffusion_loss,
    discriminator_loss,
    generator_adversarial,
    reconstruction_terms,
)
from lamd.models.mcd_vae import Posterior, VAEOutput


def loss_config(**changes) -> LossConfig:
    base = {
        "l1_weight": 2.0,
        "lpips_weight": 0.0,
        "lpips_backbone": "alex",
        "lpips_frames": None,
        "kl_weight": 0.5,
        "kl_reduction": "mean",
        "gan": None,
    }
    return LossConfig(**(base | changes))


def output(x_hat: torch.Tensor, mean: float = 0.0) -> VAEOutput:
    latent = torch.zeros(len(x_hat), 1, 2, 2)
    return VAEOutput(x_hat, Posterior(latent + mean, latent), latent)


def test_terms_are_weighted_and_zero_at_their_minimum():
    x = torch.rand(2, 4, 3, 8, 8)
    order = torch.rand(2, 4)
    perfect = reconstruction_terms(x, output(x), loss_config(), None, order)
    assert set(perfect) == {"l1", "kl"}
    assert perfect["l1"] == perfect["kl"] == 0
    off = reconstruction_terms(x, output(x + 0.25, mean=2.0), loss_config(), None, order)
    assert off["l1"].item() == pytest.approx(0.5)
    assert off["kl"].item() == pytest.approx(0.5 * 0.5 * 4.0)


def test_the_kl_per_pixel_is_the_sum_over_the_latent_per_value_of_one_clip():
    x = torch.rand(3, 4, 3, 8, 8)
    loss = loss_config(kl_weight=1.0, kl_reduction="per_pixel")
    terms = reconstruction_terms(x, output(x, mean=2.0), loss, None, torch.rand(3, 4))
    assert terms["kl"].item() == pytest.approx(4 * 0.5 * 2.0**2 / (4 * 3 * 8 * 8))


def test_reconstruction_terms_mse_joins_or_replaces_l1():
    x = torch.rand(2, 4, 3, 8, 8)
    order = torch.rand(2, 4)
    config = loss_config(l1_weight=0.0, mse_weight=10.0)
    terms = reconstruction_terms(x, output(x + 0.25), config, None, order)
    assert set(terms) == {"mse", "kl"}
    assert terms["mse"].item() == pytest.approx(10 * 0.25**2)


def test_lpips_sees_the_same_random_frames_of_both_clips():
    x = torch.arange(2 * 6.0).reshape(2, 6, 1, 1, 1).expand(-1, -1, 3, 4, 4)
    seen = []

    def spy(fake: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        seen.append((fake[:, 0, 0, 0], real[:, 0, 0, 0]))
        return torch.zeros(len(real), 1, 1, 1)

    config = loss_config(lpips_weight=1.0, lpips_frames=2)
    draws = torch.Generator().manual_seed(0)
    for _ in range(20):
        reconstruction_terms(x, output(x), config, spy, torch.rand(2, 6, generator=draws))
    for fake, real in seen:
        assert torch.equal(fake, real)
        assert len(set(real.tolist())) == 4
        assert (real[:2] < 6).all() and (real[2:] >= 6).all()
    assert len({f for _, real in seen for f in real.tolist()}) == 12


def test_adversarial_terms_at_known_logits():
    zero, large = torch.zeros(3), torch.full((3,), 40.0)
    assert generator_adversarial(zero, "bce").item() == pytest.approx(math.log(2))
    assert generator_adversarial(large, "bce").item() == pytest.approx(0.0, abs=1e-6)
    assert discriminator_loss(zero, zero, "bce").item() == pytest.approx(2 * math.log(2))
    assert discriminator_loss(large, -large, "bce").item() == pytest.approx(0.0, abs=1e-6)
    assert discriminator_loss(large, -large, "hinge") == 0
    assert discriminator_loss(zero, zero, "hinge") == 2
    assert generator_adversarial(large, "hinge") == -40


def test_adaptive_weight_is_the_gradient_ratio_and_is_clamped():
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    rec, gan = (weight * torch.tensor([3.0, 4.0])).sum(), (weight * torch.tensor([0.0, 0.5])).sum()
    ratio = adaptive_weight(gan, rec, weight, 3)
    assert ratio.item() == pytest.approx(0.5 / (5.0 + 1e-4))
    assert not ratio.requires_grad
    assert adaptive_weight(rec, (weight * 0).sum(), weight, 3) == 1


def test_diffusion_loss_weights_each_row_by_its_step():
    schedule, t = make_schedule("cosine", 100), torch.tensor([5, 95])
    z = eps = torch.zeros(2, 3, 4, 4)
    errors = torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1)
    loss = diffusion_loss(lambda *_: errors.expand_as(z), schedule, z, t, eps, min_snr=5.0)
    expected = (min_snr_weight(schedule, t, 5.0) * torch.tensor([1.0, 4.0])).mean()
    assert loss.item() == pytest.approx(expected.item())


def test_diffusion_loss_is_zero_for_a_denoiser_that_knows_the_noise():
    schedule = make_schedule("sqrt_linear", 1000, 0.0015, 0.0195)
    z_m, eps = torch.randn(4, 3, 2, 2), torch.randn(4, 3, 2, 2)
    t = torch.tensor([0, 10, 500, 999])
    assert diffusion_loss(lambda *_: eps, schedule, z_m, t, eps, None) == 0
    blind = diffusion_loss(lambda z, *_: torch.zeros_like(z), schedule, z_m, t, eps, None)
    assert blind.item() == pytest.approx(eps.square().mean().item())
    v_schedule = make_schedule("sqrt_linear", 1000, 0.0015, 0.0195, "v")
    abar = v_schedule.alpha_bar[t].reshape(-1, 1, 1, 1).float()
    v = abar.sqrt() * eps - (1 - abar).sqrt() * z_m
    assert diffusion_loss(lambda *_: v, v_schedule, z_m, t, eps, None).item() < 1e-12
