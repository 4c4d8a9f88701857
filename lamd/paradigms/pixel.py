"""Pixel-space diffusion (baseline): a 3-D UNet on clips in [-1, 1]."""

from collections.abc import Sequence
from typing import ClassVar, Self

from torch import Tensor

from lamd.config import Target, denoiser_config
from lamd.diffusion import Denoiser, clip_denoised
from lamd.models.pixel_diffusion import PixelDiffusion, build_pixel
from lamd.paradigms.base import Given, Network, Paradigm


class Pixel(Paradigm):
    """The 3-D UNet on the frames themselves, given the first one."""

    name = denoiser_stage = "pixel"
    options = "baselines.pixel"
    networks: ClassVar = {
        "pixel": Network(
            lambda target, _: build_pixel(target), lambda target: denoiser_config(target, "pixel")
        )
    }

    @classmethod
    def of(cls, target: Target, network: PixelDiffusion, autoencoder: None = None) -> Self:
        """Return the baseline for clips of the target's shape."""
        paradigm = super().of(target, network)
        paradigm.latent_shape = (target.data.num_frames, 3, *[target.data.size] * 2)
        return paradigm

    def encode(self, x0: Tensor) -> Given:
        """Return the frames unchanged."""
        return Given(x0)

    def denoiser(
        self, given: Given, prompts: Sequence[str] | None, scale: float | None
    ) -> Denoiser:
        """Return eps_theta whose predicted clip is clamped to [-1, 1] at each step, as is usual."""
        return clip_denoised(super().denoiser(given, prompts, scale), self.schedule)

    def decode(self, z: Tensor, given: Given) -> Tensor:
        """Return the clips unchanged."""
        return z

    def from_diffusion(self, z: Tensor) -> Tensor:
        """Return the clips unchanged."""
        return z
