"""Pixel-space diffusion (baseline): a 3-D UNet on clips in [-1, 1]."""

from typing import Any, ClassVar, Self

from torch import Tensor

from lamd.config import Target, denoiser_config
from lamd.models.baselines import build_denoiser
from lamd.paradigms.base import Given, Network, Paradigm


class Pixel(Paradigm):
    """The 3-D UNet on the frames themselves, given the first one.

    The clip predicted at each step is clamped to [-1, 1], as is usual.
    """

    name = denoiser_stage = "pixel"
    options, bound = "baselines.pixel", 1.0
    networks: ClassVar = {
        "pixel": Network(
            lambda target, _: build_denoiser(target, "pixel"),
            lambda target: denoiser_config(target, "pixel"),
        )
    }

    @classmethod
    def of(cls, target: Target, network: Any, autoencoder: None = None) -> Self:
        """Return the baseline for clips of the target's shape."""
        paradigm = super().of(target, network)
        paradigm.latent_shape = (target.data.num_frames, 3, *[target.data.size] * 2)
        return paradigm

    def encode(self, x0: Tensor) -> Given:
        return Given(x0)

    def decode(self, z: Tensor, given: Given) -> Tensor:
        return z

    def from_diffusion(self, z: Tensor) -> Tensor:
        return z
