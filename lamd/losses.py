"""Named loss terms of both stages.

stage I   L1(x, x^) + LPIPS(x, x^) + beta KL(q || N(0, I)) + lambda L_GAN        (paper)
stage II  || eps_theta(z_t, t, y) - eps ||^2                                     (paper)
"""

import torch
from accelerate.utils import reduce
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from lamd.config import LossConfig
from lamd.diffusion import Schedule, min_snr_weight, prediction_target, q_sample
from lamd.models.latent import VAEOutput

_SCALE = 2.0**10  # of the adaptive weight's losses: fp16 rounds gradients of means to zero


def reconstruction_terms(
    x: Tensor, output: VAEOutput, loss: LossConfig, lpips_net: nn.Module | None, order: Tensor
) -> dict[str, Tensor]:
    """Return the weighted terms of L_GEN by name for x (B, L, 3, H, W) in [-1, 1].

    A term of weight zero is left out. The frozen LPIPS is None only with lpips_weight 0; it sees
    the first `loss.lpips_frames` frames of each clip in the random order (B, L) of numbers.
    """
    terms = {}
    if loss.l1_weight:
        terms["l1"] = loss.l1_weight * F.l1_loss(output.x_hat, x)
    if loss.mse_weight:
        terms["mse"] = loss.mse_weight * F.mse_loss(output.x_hat, x)
    if loss.lpips_weight:
        assert lpips_net is not None, "lpips_weight above 0 needs the LPIPS network"
        real, fake = _pick_frames(x, output.x_hat, loss.lpips_frames, order)
        terms["lpips"] = loss.lpips_weight * lpips_net(fake, real).mean()
    if loss.kl_weight:
        terms["kl"] = loss.kl_weight * output.posterior.kl(loss.kl_reduction, x[0].numel())
    return terms


def generator_adversarial(fake_logits: Tensor, kind: str) -> Tensor:
    """Return the generator's term over logits (B, 1, L', h, w); `bce` is non-saturating."""
    return F.softplus(-fake_logits).mean() if kind == "bce" else -fake_logits.mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor, kind: str) -> Tensor:
    """Return the negative of log D(x) + log(1 - D(x^)) for `bce` (paper), or the hinge form."""
    if kind == "bce":
        return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()
    return F.relu(1.0 - real_logits).mean() + F.relu(1.0 + fake_logits).mean()


def adaptive_weight(
    reconstruction: Tensor, adversarial: Tensor, last_layer: Tensor, num_clips: int
) -> Tensor:
    """Return lambda = |grad rec| / (|grad gan| + 1e-4) at D_V's last layer, in [0, 1].

    The gradients are those of the mean over the `num_clips` clips of each training process.
    reported: adaptive; the rule is latent diffusion's. Its bound of 1e4 is for a reconstruction
    summed over pixels: with a mean, it would amplify the noise of a discriminator at chance.
    """
    total = reduce(torch.tensor(float(num_clips), device=last_layer.device), "sum")
    rec_grad, gan_grad = (
        reduce(
            num_clips * torch.autograd.grad(_SCALE * term, last_layer, retain_graph=True)[0], "sum"
        )
        / total
        for term in (reconstruction, adversarial)
    )
    return (rec_grad.norm() / (gan_grad.norm() + 1e-4 * _SCALE)).clamp(0.0, 1.0).detach()


def diffusion_loss(
    network: nn.Module,
    schedule: Schedule,
    z: Tensor,
    t: Tensor,
    eps: Tensor,
    *y: Tensor,
    min_snr: float | None = None,
) -> Tensor:
    """Return L_simple as a mean over elements, on eps or, for a network that predicts it, on v.

    z (B, ...) is clean and at unit scale, t (B,) int64 in 0..T-1, y the paradigm's condition and
    the token ids (B, M) of the prompts, if any. `min_snr` is gamma of `min_snr_weight`.
    """
    if min_snr is not None:
        errors = diffusion_errors(network, schedule, z, t, eps, *y)
        return (min_snr_weight(schedule, t, min_snr) * errors).mean()
    z_t = q_sample(schedule, z, t, eps)
    return F.mse_loss(network(z_t, t, *y), prediction_target(schedule, z, t, eps))


def diffusion_errors(
    network: nn.Module, schedule: Schedule, z: Tensor, t: Tensor, eps: Tensor, *y: Tensor
) -> Tensor:
    """Return the mean squared error of each row (B,), without a weight; else as the loss."""
    prediction = network(q_sample(schedule, z, t, eps), t, *y)
    target = prediction_target(schedule, z, t, eps)
    return F.mse_loss(prediction, target, reduction="none").flatten(1).mean(1)


def _pick_frames(x: Tensor, x_hat: Tensor, count: int | None, order: Tensor) -> list[Tensor]:
    if count is not None:
        picks = order.argsort(dim=1)[:, :count]  # (B, count)
        rows = torch.arange(len(x))[:, None]
        x, x_hat = x[rows, picks], x_hat[rows, picks]
    return [rearrange(clip, "b l c h w -> (b l) c h w") for clip in (x, x_hat)]
