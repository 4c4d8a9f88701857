"""Posterior and latent scale, shared by the autoencoders whose latent is diffused."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

STATISTICS_WINDOWS = 1024  # windows that the statistics of a latent are measured on, at most


@dataclass(frozen=True)
class Posterior:
    """Diagonal Gaussian q(z | x); `mean` and `logvar` are (B, d, h, w), or (B, d, l, h, w)."""

    mean: Tensor
    logvar: Tensor

    def sample(self, eps: Tensor) -> Tensor:
        """Return mean + eps * sigma for standard normal `eps`, shaped like the mean."""
        return self.mean + eps * torch.exp(0.5 * self.logvar)

    def kl(self, reduction: str, num_pixel_values: int = 1) -> Tensor:
        """Return KL(q || N(0, I)) in nats, mean over the batch.

        `mean` and `sum` are over a latent's elements; `per_pixel` is the sum over the number of
        values in a clip, L 3 H W, as if L1 were a sum as well (latent diffusion's units).
        """
        element = self._kl_elements()
        if reduction == "mean":
            return element.mean()
        kl = element.sum(dim=tuple(range(1, element.ndim))).mean()
        return kl / num_pixel_values if reduction == "per_pixel" else kl

    def kl_per_channel(self) -> Tensor:
        """Return the KL of each channel (d,) in nats, summed over positions, batch mean."""
        return self._kl_elements().flatten(2).sum(dim=2).mean(dim=0)

    def _kl_elements(self) -> Tensor:
        return 0.5 * (self.mean**2 + self.logvar.exp() - 1.0 - self.logvar)


@dataclass(frozen=True)
class VAEOutput:
    """Outputs of a training pass: x_hat (B, L, 3, H, W), the posterior, the decoded latent."""

    x_hat: Tensor
    posterior: Posterior
    z_m: Tensor


class ScaledLatent(nn.Module):
    """Statistics of the latent over the training set, by which it is scaled for diffusion."""

    clip_shape: tuple[int, ...]
    latent_shape: tuple[int, ...]
    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, latent_channels: int):
        super().__init__()
        self.register_buffer("latent_mean", torch.zeros(latent_channels))
        self.register_buffer("latent_std", torch.ones(latent_channels))

    def encode(self, x: Tensor) -> Posterior:
        """Map clips x (B, L, 3, H, W) in [-1, 1] to q(z | x)."""
        raise NotImplementedError

    def set_latent_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Store the per-channel mean and standard deviation (d,) of the latent."""
        self.latent_mean.copy_(mean)
        self.latent_std.copy_(std)

    def normalise(self, z: Tensor) -> Tensor:
        """Map a posterior value to the latent that is decoded (here: itself)."""
        return z

    def to_diffusion(self, z: Tensor) -> Tensor:
        """Scale a latent (B, d, ...) to zero mean and unit variance per channel."""
        return (z - _channelwise(self.latent_mean, z)) / _channelwise(self.latent_std, z)

    def from_diffusion(self, z: Tensor) -> Tensor:
        """Invert `to_diffusion`."""
        return z * _channelwise(self.latent_std, z) + _channelwise(self.latent_mean, z)


def _channelwise(statistic: Tensor, z: Tensor) -> Tensor:
    return statistic.reshape(-1, *[1] * (z.ndim - 2))
