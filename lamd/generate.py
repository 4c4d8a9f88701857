"""The inference path (paper): x_0 -> f_x0, skips; z_T -> K steps -> z_m -> D_V -> clip."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lamd.config import DMGConfig, SamplerConfig
from lamd.diffusion import Schedule, make_schedule, sample, sampling_steps
from lamd.models.dmg import DMG
from lamd.models.mcd_vae import MCDVAE
from lamd.rng import torch_generator


def schedule_of(dmg: DMGConfig) -> Schedule:
    """Build the noise schedule of a config."""
    return make_schedule(dmg.schedule, dmg.num_train_steps, dmg.beta_start, dmg.beta_end)


class KeyedNoise:
    """Standard normal noise with one CPU generator a sample key.

    A sample therefore depends on its key and the seed, not on batch size, order or device.
    """

    def __init__(
        self, keys: Sequence[str], seed: int, shape: tuple[int, ...], device: torch.device
    ):
        self.generators = [torch_generator(seed, "noise", key) for key in keys]
        self.shape, self.device = shape, device

    def __call__(self) -> Tensor:
        """Return the next draw, (len(keys), *shape)."""
        draws = [torch.randn(self.shape, generator=g) for g in self.generators]
        return torch.stack(draws).to(self.device)


@torch.inference_mode()
def generate(
    vae: MCDVAE,
    dmg: DMG,
    schedule: Schedule,
    sampler: SamplerConfig,
    x0: Tensor,
    keys: Sequence[str],
) -> Tensor:
    """Generate one clip per first frame.

    Args:
        vae, dmg: trained models in eval mode on one device.
        schedule: the DMG's noise schedule.
        sampler: name, K, eta, seed; its batch size is the caller's matter.
        x0: (B, 3, H, W) in [-1, 1].
        keys: B names; equal names, seeds and frames give equal clips.

    Returns:
        x_hat (B, L, 3, H, W), not clamped; frame 0 is D_V's, not the given one.
    """
    f_x0, skips = vae.encode_image(x0)
    noise = KeyedNoise(keys, sampler.seed, vae.latent_shape, x0.device)
    z = sample(
        lambda z_t, t: dmg(z_t, t, f_x0),
        schedule,
        noise(),
        steps=sampling_steps(len(schedule), sampler.num_steps),
        name=sampler.name,
        eta=sampler.eta,
        noise=noise,
    )
    return vae.decode(vae.from_diffusion(z), f_x0, skips)
