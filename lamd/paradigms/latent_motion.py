"""Latent-motion diffusion (LaMD, paper): x_0 -> f_x0, skips; z_T -> K steps -> z_m -> D_V."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from lamd.config import SamplerConfig, Target
from lamd.diffusion import Denoiser, schedule_of
from lamd.models.dmg import build_dmg
from lamd.models.latent import Posterior
from lamd.models.mcd_vae import build_vae
from lamd.paradigms.base import Given, Network, Paradigm


class LatentMotion(Paradigm):
    """The DMG on z_m of an MCD-VAE."""

    name, denoiser_stage, autoencoder_stage = "latent_motion", "dmg", "vae"
    options = train_key = "train_dmg"
    networks: ClassVar = {
        "vae": Network(
            lambda target, _: build_vae(target.vae, target.data),
            lambda target: target.model_dump(mode="json", include={"vae"}),
        ),
        "dmg": Network(
            build_dmg, lambda target: target.model_dump(mode="json", include={"vae", "dmg"})
        ),
    }

    @classmethod
    def of(cls, target: Target, network: Any, autoencoder: Any = None) -> Self:
        """Return LaMD with these networks; without a DMG it can only encode and decode."""
        lamd = cls(autoencoder, network, schedule_of(target.dmg))
        lamd.min_snr = target.dmg.min_snr
        return lamd

    @classmethod
    def sampler(cls, target: Target) -> SamplerConfig:
        """Return the target's own sampler."""
        return target.sampler

    def encode(self, x0: Tensor) -> Given:
        """Return f_x0 as the condition; f_x0 and the skips go to D_V."""
        content = self.autoencoder.encode_image(x0)
        return Given(content[0].float(), content)

    def denoiser(
        self, given: Given, prompts: Sequence[str] | None, scale: float | None
    ) -> Denoiser:
        """Encode the condition once; guidance is that of arXiv 2207.12598."""
        dmg, f_x0 = self.network, given.condition
        token_ids = None if prompts is None else dmg.prompt.token_ids(prompts).to(f_x0.device)
        cond = dmg.condition(f_x0, token_ids)
        if scale is None:
            return lambda z_t, t: dmg.denoise(z_t, t, cond)
        assert token_ids is not None, "guidance needs prompts, checked with the config"
        uncond = dmg.condition(f_x0, torch.zeros_like(token_ids))

        def guided(z_t: Tensor, t: Tensor) -> Tensor:
            return torch.lerp(dmg.denoise(z_t, t, uncond), dmg.denoise(z_t, t, cond), scale)

        return guided

    def posterior(self, x: Tensor, copies: int) -> Posterior:
        """Encode each clip once and repeat its posterior."""
        q = self.autoencoder.encode(x)
        return Posterior(torch.cat([q.mean] * copies), torch.cat([q.logvar] * copies))
