"""Noise schedule and samplers as free functions; independent of networks and of video.

    q(z_t | z) = N(sqrt(abar_t) z, (1 - abar_t) I)                                    (paper)
    mu = (z_t - beta / sqrt(1 - abar_t) eps_hat) / sqrt(alpha)                        (paper)

On a sub-sequence of K steps, alpha = abar_t / abar_s for the neighbours s < t of the sub-sequence
and beta = 1 - alpha, which is the full schedule's own formula when s = t - 1.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lamd import config
from lamd.config import DMGConfig, SamplerConfig, SamplerRule

Denoiser = Callable[[Tensor, Tensor], Tensor]  # (z_t, t (B,) on any device) -> eps_hat
NoiseSource = Callable[[], Tensor]  # draws standard normal noise, shaped like z_t
Visit = tuple[int, Tensor]  # a step and the z_hat predicted at it


@dataclass(frozen=True)
class Schedule:
    """betas and alpha_bar of steps 0..T-1, float64 (T,), and the network's prediction target.

    `prediction` is `eps` (paper) or `v`, sqrt(abar) eps - sqrt(1 - abar) z (arXiv 2202.00512).
    """

    betas: Tensor
    alpha_bar: Tensor
    prediction: str = "eps"

    def __len__(self) -> int:
        return len(self.betas)


def make_schedule(
    schedule: str,
    num_train_steps: int,
    beta_start: float = 0.0,
    beta_end: float = 0.0,
    prediction: str = "eps",
) -> Schedule:
    """Build a schedule: `linear`, `sqrt_linear` (linear in sqrt(beta), LDM's) or `cosine`.

    `cosine` ignores beta_start and beta_end; else ValueError unless 0 < beta_start <= beta_end.
    """
    if schedule in ("linear", "sqrt_linear") and not 0 < beta_start <= beta_end:
        raise ValueError(f"{schedule}: needs 0 < beta_start <= beta_end")
    if schedule == "linear":
        betas = torch.linspace(beta_start, beta_end, num_train_steps, dtype=torch.float64)
    elif schedule == "sqrt_linear":
        ends = math.sqrt(beta_start), math.sqrt(beta_end)
        betas = torch.linspace(*ends, num_train_steps, dtype=torch.float64) ** 2
    elif schedule == "cosine":  # Nichol & Dhariwal, arXiv 2102.09672, Eq. 17
        edges = torch.linspace(0, 1, num_train_steps + 1, dtype=torch.float64)
        level = torch.cos((edges + 0.008) / 1.008 * math.pi / 2) ** 2
        betas = (1 - level[1:] / level[:-1]).clamp(max=0.999)
    else:
        raise ValueError(f"unknown schedule {schedule!r}")
    return Schedule(betas, torch.cumprod(1 - betas, dim=0), prediction)


def schedule_of(dmg: DMGConfig, prediction: str | None = None) -> Schedule:
    """Build the noise schedule of a config; `prediction` overrides that of the config."""
    betas = dmg.beta_start or 0.0, dmg.beta_end or 0.0
    return make_schedule(dmg.schedule, dmg.num_train_steps, *betas, prediction or dmg.prediction)


def q_sample(schedule: Schedule, z: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """Diffuse clean z (B, ...) to step t (B,) with noise eps."""
    abar = _abar_of_rows(schedule, z, t)
    return abar.sqrt() * z + (1 - abar).sqrt() * eps


def prediction_target(schedule: Schedule, z: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """Return the network's target for clean z (B, ...) at step t (B,) with noise eps."""
    if schedule.prediction == "eps":
        return eps
    abar = _abar_of_rows(schedule, z, t)
    return abar.sqrt() * eps - (1 - abar).sqrt() * z


def min_snr_weight(schedule: Schedule, t: Tensor, gamma: float) -> Tensor:
    """Return the weight of the squared error at steps t (B,), float32 (arXiv 2303.09556).

    It is min(SNR, gamma) for the error of z, in the units of what the network predicts.
    """
    abar = schedule.alpha_bar.to(t.device)[t]
    snr = abar / (1 - abar)
    return (snr.clamp(max=gamma) / (snr + (schedule.prediction == "v"))).float()


def as_eps_denoiser(network: Denoiser, schedule: Schedule) -> Denoiser:
    """Return eps_theta(z_t, t) from a network that predicts eps or v."""
    if schedule.prediction == "eps":
        return network

    def denoise(z_t: Tensor, t: Tensor) -> Tensor:
        abar = _abar_of_rows(schedule, z_t, t)
        return abar.sqrt() * network(z_t, t) + (1 - abar).sqrt() * z_t

    return denoise


def autoguided(
    denoiser: Denoiser, weaker: Denoiser, scale: float, steps: tuple[int, int]
) -> Denoiser:
    """Extrapolate from a `weaker` network of the same target beyond `denoiser` (arXiv 2406.02507).

    It does so from the lower to the higher of `steps` (arXiv 2404.07724). All rows of a batch must
    be at the same step.
    """

    def denoise(z_t: Tensor, t: Tensor) -> Tensor:
        prediction = denoiser(z_t, t)
        if not steps[0] <= int(t[0]) <= steps[1]:
            return prediction
        return torch.lerp(weaker(z_t, t), prediction, scale)

    return denoise


def num_passes(sampler: SamplerConfig, num_train_steps: int) -> int:
    """Return how many passes of a denoiser a sampling run takes, those of guidance too."""
    visited, rule = sampling_steps(num_train_steps, sampler.num_steps), sampler.autoguidance
    if rule is not None:
        visited += [t for t in visited if rule.steps[0] <= t <= rule.steps[1]]
    return len(visited) * (2 if sampler.guidance_scale is not None else 1)


def sampling_steps(num_train_steps: int, num_steps: int) -> list[int]:
    """Return the K steps to visit, descending from T - 1 and evenly spaced (`trailing`).

    The first step is always the one whose z_t is noise in training; latent diffusion starts at a
    lower one, which depends on K (arXiv 2305.08891, Table 2).
    """
    stride = num_train_steps / num_steps
    return [round(num_train_steps - i * stride) - 1 for i in range(num_steps)]


def predict_clean(schedule: Schedule, z_t: Tensor, eps_hat: Tensor, t: int) -> Tensor:
    """Return z_hat (B, ...), the clean value implied by z_t at step t and its predicted noise."""
    abar_t = _abar(schedule, t)
    return (z_t - math.sqrt(1 - abar_t) * eps_hat) / math.sqrt(abar_t)


def clip_denoised(denoiser: Denoiser, schedule: Schedule, bound: float = 1.0) -> Denoiser:
    """Return eps_theta with z_hat clipped to [-bound, bound] (Ho et al., arXiv 2006.11239).

    Samplers receive the noise that corresponds to the clipped z_hat. All rows of a batch must be at
    the same step.
    """

    def denoise(z_t: Tensor, t: Tensor) -> Tensor:
        step = int(t[0])
        z_hat = predict_clean(schedule, z_t, denoiser(z_t, t), step).clamp(-bound, bound)
        abar_t = _abar(schedule, step)
        return (z_t - math.sqrt(abar_t) * z_hat) / math.sqrt(1 - abar_t)

    return denoise


def ddim_step(
    schedule: Schedule, z_t: Tensor, eps_hat: Tensor, t: int, s: int, eta: float, noise: NoiseSource
) -> Tensor:
    """Move from step t to s < t by DDIM (arXiv 2010.02502, Eq. 12); s = -1 is the clean end."""
    abar_t, abar_s = _abar(schedule, t), _abar(schedule, s)
    z_hat = predict_clean(schedule, z_t, eps_hat, t)
    variance = (1 - abar_s) / (1 - abar_t) * (1 - abar_t / abar_s)
    sigma = eta * math.sqrt(max(variance, 0.0))
    mean = math.sqrt(abar_s) * z_hat + math.sqrt(max(1 - abar_s - sigma**2, 0.0)) * eps_hat
    return mean + sigma * noise() if sigma > 0 else mean


def _ddim(schedule, z_t, eps_hat, t, s, before, *, eta, noise):
    return ddim_step(schedule, z_t, eps_hat, t, s, eta or 0.0, noise), None


def _ddpm(schedule, z_t, eps_hat, t, s, before, *, eta, noise):
    """Draw from p(z_s | z_t), the ancestral step (paper), with the posterior variance.

    s = -1 returns the mean.
    """
    abar_t, abar_s = _abar(schedule, t), _abar(schedule, s)
    alpha = abar_t / abar_s
    mean = (z_t - (1 - alpha) / math.sqrt(1 - abar_t) * eps_hat) / math.sqrt(alpha)
    if s < 0:
        return mean, None
    return mean + math.sqrt((1 - abar_s) / (1 - abar_t) * (1 - alpha)) * noise(), None


def _dpmpp_2m(schedule, z_t, eps_hat, t, s, before, *, eta, noise):
    """Move from step t to s < t by DPM-Solver++ (2M) (arXiv 2211.01095, Algorithm 2).

    Without a visit `before`, the step is of order 1, which is DDIM's; s = -1 returns z_hat.
    """
    z_hat = extrapolated = predict_clean(schedule, z_t, eps_hat, t)
    if s < 0:
        return z_hat, None
    h = _half_log_snr(schedule, s) - _half_log_snr(schedule, t)
    if before is not None:
        u, z_hat_u = before
        r = (_half_log_snr(schedule, t) - _half_log_snr(schedule, u)) / h
        extrapolated = z_hat + (z_hat - z_hat_u) / (2 * r)
    abar_t, abar_s = _abar(schedule, t), _abar(schedule, s)
    kept = math.sqrt((1 - abar_s) / (1 - abar_t)) * z_t
    return kept - math.sqrt(abar_s) * math.expm1(-h) * extrapolated, (t, z_hat)


# (schedule, z_t, eps_hat, t, s, before, *, eta, noise) -> z_s, and `before` of the next step
SAMPLERS: dict[str, Callable[..., tuple[Tensor, Visit | None]]] = {
    "ddim": _ddim,
    "ddpm": _ddpm,
    "dpmpp_2m": _dpmpp_2m,
}


def register_sampler(
    name: str, step: Callable[..., tuple[Tensor, Visit | None]], rule: SamplerRule
) -> None:
    """Add a sampler that a YAML can name; `step` has the signature of those in `SAMPLERS`."""
    config.SAMPLERS[name] = rule
    SAMPLERS[name] = step


def trajectory(
    denoiser: Denoiser,
    schedule: Schedule,
    z: Tensor,
    *,
    steps: Sequence[int],
    name: str,
    eta: float | None,
    noise: NoiseSource,
) -> Iterator[tuple[int, Tensor]]:
    """Yield (t, z_t) for each visited step, starting with the noise z, and (-1, sample) last.

    The steps are descending, as from `sampling_steps`; `name` is one of `SAMPLERS`. eta is DDIM's;
    None, for the other samplers, counts as 0.
    """
    if name not in SAMPLERS:
        raise ValueError(f"unknown sampler {name!r}")
    step, before = SAMPLERS[name], None
    for t, s in zip(steps, [*steps[1:], -1], strict=True):
        yield t, z
        # on the CPU: to read t on a GPU would wait for the step before
        eps_hat = denoiser(z, torch.full((len(z),), t, device="cpu"))
        z, before = step(schedule, z, eps_hat, t, s, before, eta=eta, noise=noise)
    yield -1, z


def sample(denoiser: Denoiser, schedule: Schedule, z: Tensor, **options) -> Tensor:
    """Return the last value of `trajectory`; `options` are its keyword arguments."""
    for _, value in trajectory(denoiser, schedule, z, **options):
        z = value
    return z


def _abar_of_rows(schedule: Schedule, z: Tensor, t: Tensor) -> Tensor:
    abar = schedule.alpha_bar.to(t.device)[t].to(z, non_blocking=True)
    return abar.reshape(-1, *[1] * (z.ndim - 1))


def _abar(schedule: Schedule, t: int) -> float:
    return schedule.alpha_bar[t].item() if t >= 0 else 1.0


def _half_log_snr(schedule: Schedule, t: int) -> float:
    abar = _abar(schedule, t)
    return 0.5 * math.log(abar / (1 - abar))
