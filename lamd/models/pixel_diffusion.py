"""Baseline: diffusion in pixel space, on all L x H x W of a clip (the paradigm of VDM).

q(x_t | x) = N(sqrt(abar_t) x, (1 - abar_t) I),  eps_hat = eps_theta(x_t, t, x_0)
"""

from torch import Tensor

from lamd.config import Target, unet_options
from lamd.models.unet import UNet3d


class PixelDiffusion(UNet3d):
    """The 3-D UNet on clips in [-1, 1]; frame 0 is generated along with the others."""

    def __init__(self, **unet):
        super().__init__(channels=3, **unet)

    def forward(self, x_t: Tensor, t: Tensor, x0: Tensor) -> Tensor:
        """Predict the noise in x_t (B, L, 3, H, W) at t (B,) from x_t and x0 (B, 3, H, W)."""
        return super().forward(x_t.transpose(1, 2), t, x0).transpose(1, 2)


def build_pixel(target: Target) -> PixelDiffusion:
    """Build the pixel-space baseline of a target."""
    return PixelDiffusion(**unet_options(target, "pixel"))
