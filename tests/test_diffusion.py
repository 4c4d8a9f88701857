"""The schedule and samplers against closed forms and against diffusers, all in float64."""

import math

import numpy as np
import pytest
import torch

from lamd import config
from lamd.config import SamplerConfig, SamplerRule
from lamd.diffusion import (
    SAMPLERS,
    Schedule,
    as_eps_denoiser,
    autoguided,
    clip_denoised,
    ddim_step,
    make_schedule,
    min_snr_weight,
    num_passes,
    prediction_target,
    q_sample,
    register_sampler,
    sample,
    sampling_steps,
    trajectory,
)

LDM = make_schedule("sqrt_linear", 1000, 0.0015, 0.0195)
V = make_schedule("sqrt_linear", 1000, 0.0015, 0.0195, "v")
HO = make_schedule("linear", 1000, 1e-4, 0.02)


def no_noise() -> torch.Tensor:
    raise AssertionError("a deterministic sampler drew noise")


def keyed_noise(seed: int, shape: tuple[int, ...]):
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(shape, generator=generator, dtype=torch.float64)


def gaussian_denoiser(schedule: Schedule, mean: float, std: float):
    """Return the exact eps(z_t, t) of data N(mean, std^2)."""

    def denoise(z_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        abar = schedule.alpha_bar[t].reshape(-1, *[1] * (z_t.ndim - 1))
        return (1 - abar).sqrt() * (z_t - abar.sqrt() * mean) / (abar * std**2 + 1 - abar)

    return denoise


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_min_snr_weights_agree_with_diffusers(prediction):
    """Their training examples weight eps by min(SNR, gamma) / SNR and v by / (SNR + 1)."""
    from diffusers import DDPMScheduler
    from diffusers.training_utils import compute_snr

    ours = make_schedule("sqrt_linear", 1000, 0.0015, 0.0195, prediction)
    theirs = DDPMScheduler(1000, 0.0015, 0.0195, "scaled_linear")
    t = torch.arange(1000)
    snr = compute_snr(theirs, t)
    weight = snr.clamp(max=5.0) / (snr + (prediction == "v"))
    torch.testing.assert_close(min_snr_weight(ours, t, 5.0), weight, rtol=2e-4, atol=0)


def test_v_agrees_with_diffusers():
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear")
    theirs.alphas_cumprod = V.alpha_bar
    z, eps = torch.randn(2, 5, 3, 4, 4, dtype=torch.float64)
    t = torch.tensor([0, 3, 400, 800, 999])
    v = prediction_target(V, z, t, eps)
    torch.testing.assert_close(v, theirs.get_velocity(z, eps, t))
    noise = as_eps_denoiser(lambda *_: v, V)(q_sample(V, z, t, eps), t)
    torch.testing.assert_close(noise, eps)


@pytest.mark.parametrize("num_steps", [1, 10, 50, 250, 300, 1000])
@pytest.mark.parametrize(("name", "eta"), [("ddim", 0.0), ("dpmpp_2m", None)])
def test_any_number_of_steps_returns_the_point_of_a_single_point_distribution(num_steps, name, eta):
    z = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    steps = sampling_steps(1000, num_steps)
    denoise = gaussian_denoiser(LDM, 0.7, 0.0)
    out = sample(denoise, LDM, z, steps=steps, name=name, eta=eta, noise=no_noise)
    assert torch.allclose(out, torch.full_like(z, 0.7), rtol=1e-9)


# Standard deviation and mean for steps even from T-1 to 0, computed independently in plain Python.
@pytest.mark.parametrize(
    ("num_steps", "std", "mean"),
    [(10, 0.3616, 0.9977), (50, 0.4719, 0.9970), (200, 0.4929, 0.9969), (250, 0.4943, 0.9969)],
)
def test_ddim_on_a_gaussian_is_the_known_affine_map(num_steps, std, mean):
    z = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    steps = np.linspace(0, 999, num_steps).round().astype(int)[::-1].tolist()
    denoise = gaussian_denoiser(HO, 1.0, 0.5)
    out = sample(denoise, HO, z, steps=steps, name="ddim", eta=0.0, noise=no_noise).flatten()
    assert (out[1] - out[0]).item() == pytest.approx(std, abs=5e-5)
    assert out[0].item() == pytest.approx(mean, abs=5e-5)


@pytest.mark.parametrize("num_steps", [1, 7, 20, 200, 999, 1000])
def test_steps_start_at_the_noisiest_and_never_repeat(num_steps):
    steps = sampling_steps(1000, num_steps)
    assert len(set(steps)) == num_steps
    assert steps[0] == 999 and steps[-1] >= 0
    assert steps == sorted(steps, reverse=True)


def test_full_ancestral_ddpm_on_a_gaussian_has_the_known_spread():
    denoise = gaussian_denoiser(HO, 1.0, 0.5)
    gain, variance = 1.0, 0.0
    zero = torch.zeros(1, 1, dtype=torch.float64)
    steps = sampling_steps(1000, 1000)
    for t, s in zip(steps, [*steps[1:], -1], strict=True):
        at = torch.tensor([t])
        slope = (denoise(zero + 1, at) - denoise(zero, at)).item()
        abar_t, abar_s = HO.alpha_bar[t].item(), HO.alpha_bar[s].item() if s >= 0 else 1.0
        alpha = abar_t / abar_s
        factor = (1 - (1 - alpha) / math.sqrt(1 - abar_t) * slope) / math.sqrt(alpha)
        added = (1 - abar_s) / (1 - abar_t) * (1 - alpha)
        gain, variance = gain * factor, variance * factor**2 + added
    expected = math.sqrt(gain**2 + variance)
    assert expected == pytest.approx(0.4961, abs=5e-5)

    n = 20_000
    z = torch.randn(n, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    out = sample(denoise, HO, z, steps=steps, name="ddpm", eta=None, noise=keyed_noise(2, (n, 1)))
    assert out.std().item() == pytest.approx(expected, abs=4 * expected / math.sqrt(2 * n))
    assert out.mean().item() == pytest.approx(1.0, abs=4 * expected / math.sqrt(n))


def _curved(z_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return torch.tanh(z_t * 0.8 + 0.001 * t.reshape(-1, 1, 1, 1).double())


@pytest.mark.parametrize("prediction", ["eps", "v"])
@pytest.mark.parametrize("num_steps", [10, 200, 1000])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_agrees_with_diffusers(num_steps, eta, prediction):
    from diffusers import DDIMScheduler

    theirs = DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.0015,
        beta_end=0.0195,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
        prediction_type={"eps": "epsilon", "v": "v_prediction"}[prediction],
    )
    assert np.allclose(theirs.alphas_cumprod, LDM.alpha_bar, rtol=1e-4)
    theirs.alphas_cumprod = LDM.alpha_bar  # their table is float32
    theirs.final_alpha_cumprod = torch.ones((), dtype=torch.float64)
    theirs.set_timesteps(num_steps)
    assert theirs.timesteps.tolist() == sampling_steps(1000, num_steps)
    start = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected, noise = start, keyed_noise(5, start.shape)
    for t in theirs.timesteps:
        output = _curved(expected, t.repeat(2))
        expected = theirs.step(
            output, t, expected, eta=eta, variance_noise=noise() if eta else None
        ).prev_sample
    ours = sample(
        as_eps_denoiser(_curved, {"eps": LDM, "v": V}[prediction]),
        LDM,
        start,
        name="ddim",
        steps=sampling_steps(1000, num_steps),
        eta=eta,
        noise=keyed_noise(5, start.shape),
    )
    assert torch.allclose(ours, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("num_steps", [10, 200, 1000])
def test_ddpm_agrees_with_diffusers(num_steps):
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(
        num_train_timesteps=1000,
        beta_start=0.0015,
        beta_end=0.0195,
        beta_schedule="scaled_linear",
        variance_type="fixed_small",
        clip_sample=False,
        timestep_spacing="trailing",
    )
    theirs.alphas_cumprod = LDM.alpha_bar
    theirs.one = torch.ones((), dtype=torch.float64)
    theirs.set_timesteps(num_steps)
    start = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected, generator = start, torch.Generator().manual_seed(7)
    for t in theirs.timesteps:
        eps_hat = _curved(expected, t.repeat(2))
        expected = theirs.step(eps_hat, t, expected, generator=generator).prev_sample
    ours = sample(
        _curved,
        LDM,
        start,
        name="ddpm",
        steps=sampling_steps(1000, num_steps),
        eta=None,
        noise=keyed_noise(7, start.shape),
    )
    assert torch.allclose(ours, expected, rtol=1e-7, atol=1e-7)  # theirs ends with noise of 1e-10


@pytest.mark.parametrize("num_steps", [1, 2, 10, 20, 200])
def test_dpmpp_2m_agrees_with_diffusers(num_steps):
    from diffusers import DPMSolverMultistepScheduler

    theirs = DPMSolverMultistepScheduler(
        num_train_timesteps=1000,
        beta_start=0.0015,
        beta_end=0.0195,
        beta_schedule="scaled_linear",
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        timestep_spacing="trailing",
    )
    theirs.set_timesteps(num_steps)
    steps = sampling_steps(1000, num_steps)
    assert theirs.timesteps.tolist() == steps
    abar = LDM.alpha_bar[steps]
    theirs.sigmas = torch.cat([((1 - abar) / abar).sqrt(), abar.new_zeros(1)])  # theirs is float32
    start = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected, clean = start, []
    for i, t in enumerate(steps):  # `step` itself would round z_t to float32
        theirs._step_index = i
        eps_hat = _curved(expected, torch.full((2,), t))
        clean.append(theirs.convert_model_output(eps_hat, sample=expected))
        if i in (0, num_steps - 1):
            expected = theirs.dpm_solver_first_order_update(clean[-1], sample=expected)
        else:
            expected = theirs.multistep_dpm_solver_second_order_update(clean, sample=expected)
    ours = sample(_curved, LDM, start, name="dpmpp_2m", steps=steps, eta=None, noise=no_noise)
    assert torch.allclose(ours, expected, rtol=1e-9, atol=1e-9)


def test_dpmpp_2m_takes_the_orders_that_diffusers_takes():
    from diffusers import DPMSolverMultistepScheduler

    theirs = DPMSolverMultistepScheduler(
        trained_betas=LDM.betas.numpy(), timestep_spacing="trailing"
    )
    theirs.set_timesteps(10)
    start = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = start
    for t in theirs.timesteps:
        expected = theirs.step(_curved(expected, t.repeat(2)), t, expected).prev_sample
    steps = sampling_steps(1000, 10)
    ours = sample(_curved, LDM, start, name="dpmpp_2m", steps=steps, eta=None, noise=no_noise)
    assert torch.allclose(ours, expected, rtol=1e-4, atol=1e-4)


def test_dpmpp_2m_converges_with_order_two_on_a_gaussian():
    # The flow's exact solution keeps (z_t - alpha mean) / sqrt(alpha^2 std^2 + sigma^2) constant.
    mean, std, schedule = 0.7, 0.5, make_schedule("linear", 200_000, 1e-7, 1e-4)
    abar = schedule.alpha_bar.numpy()
    half_log_snr = 0.5 * np.log(abar / (1 - abar))

    def scaled(z: torch.Tensor, t: int) -> float:
        return (z.item() - math.sqrt(abar[t]) * mean) / math.sqrt(abar[t] * std**2 + 1 - abar[t])

    errors = []
    for num_steps in (20, 40, 80, 160):
        levels = np.linspace(-3.0, 0.5, num_steps + 1)
        steps = np.searchsorted(-half_log_snr, -levels).tolist()
        z, denoise = torch.ones(1, 1, dtype=torch.float64), gaussian_denoiser(schedule, mean, std)
        visits = dict(
            trajectory(denoise, schedule, z, name="dpmpp_2m", steps=steps, eta=None, noise=no_noise)
        )
        errors.append(abs(scaled(visits[steps[-1]], steps[-1]) - scaled(z, steps[0])))
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert orders == pytest.approx(2.0, abs=0.15)


def test_ancestral_sampling_is_ddim_with_eta_one_between_inner_steps():
    z = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    eps_hat = torch.tanh(z)
    a = ddim_step(LDM, z, eps_hat, 500, 400, 1.0, keyed_noise(1, z.shape))
    noise = keyed_noise(1, z.shape)
    b, _ = SAMPLERS["ddpm"](LDM, z, eps_hat, 500, 400, None, eta=None, noise=noise)
    assert torch.allclose(a, b, rtol=1e-12)


def test_q_sample_has_the_stated_mean_and_variance_and_inverts():
    z = torch.full((50_000, 1), 2.0, dtype=torch.float64)
    t = torch.full((50_000,), 300)
    eps = torch.randn(z.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z_t = q_sample(LDM, z, t, eps)
    abar = LDM.alpha_bar[300]
    assert z_t.mean().item() == pytest.approx(2 * abar.sqrt().item(), abs=0.02)
    assert z_t.var().item() == pytest.approx(1 - abar.item(), rel=0.03)
    assert torch.allclose((z_t - (1 - abar).sqrt() * eps) / abar.sqrt(), z, rtol=1e-12)


@pytest.mark.parametrize("name", ["linear", "sqrt_linear", "cosine"])
def test_alpha_bar_falls_from_near_one(name):
    betas = (0.0015, 0.0195) if name != "cosine" else ()
    abar = make_schedule(name, 1000, *betas).alpha_bar
    assert torch.all(abar[1:] < abar[:-1])
    assert abar[0] > 0.998
    assert abar[-1] < 0.01


def test_cosine_schedule_is_that_of_diffusers():
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2").betas.double()
    torch.testing.assert_close(make_schedule("cosine", 1000).betas, theirs, rtol=1e-4, atol=0)


def test_known_end_of_the_latent_diffusion_schedule():
    # product over linspace(sqrt(.0015), sqrt(.0195), 1000)^2, computed with NumPy in float64
    betas = np.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2
    assert LDM.alpha_bar[-1].item() == pytest.approx(np.prod(1 - betas), rel=1e-12)


@pytest.mark.parametrize("steps", [(0, 999), (200, 800), (500, 500)])
@pytest.mark.parametrize("guidance_scale", [None, 2.0])
def test_passes_are_those_of_a_run(steps, guidance_scale):
    rule = {"scale": 3.0, "snapshot": 1, "steps": steps}
    sampler = SamplerConfig(
        name="dpmpp_2m", num_steps=20, seed=0, guidance_scale=guidance_scale, autoguidance=rule
    )
    calls = []

    def denoiser(z_t, t):
        calls.append(int(t[0]))
        return 0.5 * z_t

    guided = autoguided(denoiser, denoiser, 3.0, steps)
    plain, z = make_schedule("linear", 1000, 1e-4, 2e-2), torch.ones(1, 2)
    options = {"steps": sampling_steps(1000, 20), "name": "dpmpp_2m", "eta": None, "noise": None}
    with_guide = sample(guided, plain, z, **options)
    passes = len(calls) * (1 if guidance_scale is None else 2)
    assert num_passes(sampler, 1000) == passes
    alone = 20 if guidance_scale is None else 40
    assert num_passes(sampler.model_copy(update={"autoguidance": None}), 1000) == alone
    torch.testing.assert_close(with_guide, sample(denoiser, plain, z, **options))


def test_register_sampler_makes_a_name_usable_in_a_config(monkeypatch):
    assert list(SAMPLERS) == list(config.SAMPLERS)
    for registry in (SAMPLERS, config.SAMPLERS):
        monkeypatch.setitem(registry, "zero", None)  # so that it is removed again
    register_sampler("zero", lambda *args, **_: (0 * args[1], None), SamplerRule("Zero"))
    assert SamplerConfig(name="zero", num_steps=1, seed=0).eta is None
    options = {"steps": [1, 0], "name": "zero", "eta": None, "noise": None}
    assert not sample(lambda z, t: z, LDM, torch.ones(2, 3), **options).any()


def test_unknown_names_raise():
    with pytest.raises(ValueError, match="unknown schedule"):
        make_schedule("sine", 10, 0.1, 0.2)
    with pytest.raises(ValueError, match="needs 0 < beta_start"):
        make_schedule("linear", 10)
    with pytest.raises(ValueError, match="unknown sampler"):
        sample(
            _curved,
            LDM,
            torch.zeros(1, 1, 1, 1),
            name="euler",
            steps=[9, 4],
            eta=None,
            noise=no_noise,
        )


@pytest.mark.parametrize("bound", [1.0, 0.3])
def test_clipping_agrees_with_diffusers(bound):
    from diffusers import DDIMScheduler

    schedule = make_schedule("sqrt_linear", 1000, 0.0015, 0.0195)
    theirs = DDIMScheduler(
        num_train_timesteps=1000, beta_start=0.0015, beta_end=0.0195, clip_sample=True,
        beta_schedule="scaled_linear", set_alpha_to_one=True, timestep_spacing="trailing",
        clip_sample_range=bound,
    )  # fmt: skip
    theirs.alphas_cumprod = schedule.alpha_bar  # their table is float32
    theirs.final_alpha_cumprod = torch.ones((), dtype=torch.float64)
    theirs.set_timesteps(10)
    start = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def denoiser(z_t, t):
        return torch.tanh(z_t + 0.001 * t.reshape(-1, 1, 1))

    expected = start
    for t in theirs.timesteps:
        eps_hat = denoiser(expected, t.repeat(2))
        expected = theirs.step(eps_hat, t, expected, use_clipped_model_output=True).prev_sample
    options = {"steps": sampling_steps(1000, 10), "name": "ddim", "eta": 0.0, "noise": None}
    ours = sample(clip_denoised(denoiser, schedule, bound), schedule, start, **options)
    assert torch.allclose(ours, expected, rtol=1e-9, atol=1e-9)
    free = sample(denoiser, schedule, start, **options)
    assert free.abs().max() > bound
    assert ours.abs().max() <= bound
