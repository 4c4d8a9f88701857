"""Baseline: latent-video diffusion (the paradigm of LVDM): a 3-D KL autoencoder and `UNet3d`.

    z = mu(E(x_{0:L})) + eps * sigma(E(x_{0:L})),  x^_{0:L} = D(z)

z keeps a time axis, L / f_t long. The condition is the latent of the first frame alone.
"""

import math

from torch import Tensor, nn

from lamd.config import Target, denoised_shape, unet_options
from lamd.models.latent import Posterior, ScaledLatent, VAEOutput
from lamd.models.unet3d import UNet3d
from lamd.nn import ResBlock3d, channels_last_3d, group_norm


class VideoAutoencoder(ScaledLatent):
    """3-D KL autoencoder with its own f_s and f_t; both shrink together, then the larger alone."""

    def __init__(
        self,
        *,
        num_frames: int,
        size: int,
        spatial_downsampling: int,
        temporal_downsampling: int,
        latent_channels: int,
        channels: tuple[int, ...],
        num_res_blocks: int,
        conv3d: str,
    ):
        super().__init__(latent_channels)
        self.clip_shape = (num_frames, 3, size, size)
        self.temporal_downsampling = temporal_downsampling
        cells = size // spatial_downsampling
        self.latent_shape = (latent_channels, num_frames // temporal_downsampling, cells, cells)
        strides = scale_strides(spatial_downsampling, temporal_downsampling)

        def scale(width: int) -> list[nn.Module]:
            return [ResBlock3d(width, width, conv3d) for _ in range(num_res_blocks)]

        widths = scale_widths(channels, len(strides))
        encoder: list[nn.Module] = [nn.Conv3d(3, widths[0], 3, padding=1)]
        for i, stride in enumerate(strides):
            down = nn.Conv3d(widths[i], widths[i + 1], 3, stride=stride, padding=1)
            encoder += [*scale(widths[i]), down]
        encoder += [*scale(widths[-1]), group_norm(widths[-1]), nn.SiLU()]
        decoder: list[nn.Module] = [nn.Conv3d(latent_channels, widths[-1], 3, padding=1)]
        for i, stride in reversed(list(enumerate(strides))):
            up = nn.Conv3d(widths[i + 1], widths[i], 3, padding=1)
            decoder += [*scale(widths[i + 1]), nn.Upsample(scale_factor=stride), up]
        decoder += [*scale(widths[0]), group_norm(widths[0]), nn.SiLU()]
        self.encoder = nn.Sequential(*encoder)
        self.to_posterior = nn.Conv3d(widths[-1], 2 * latent_channels, 1)
        self.decoder = nn.Sequential(*decoder)
        self.to_pixels = nn.Conv3d(widths[0], 3, 3, padding=1)
        channels_last_3d(self)

    def encode(self, x: Tensor) -> Posterior:
        """Map x (B, L, 3, H, W) in [-1, 1] to q(z | x) over (B, d, L / f_t, h, w).

        Raises:
            ValueError: when L is no multiple of f_t.
        """
        if x.shape[1] % self.temporal_downsampling:
            raise ValueError(
                f"{x.shape[1]} frames: no multiple of f_t = {self.temporal_downsampling}"
            )
        h = self.to_posterior(self.encoder(x.transpose(1, 2))).float()
        mean, logvar = h.chunk(2, dim=1)
        return Posterior(mean, logvar.clamp(-30.0, 20.0))  # LDM's clamp

    def encode_image(self, x0: Tensor) -> Tensor:
        """Map x0 (B, 3, H, W) to its latent (B, d, h, w), that of f_t frames at rest (ours)."""
        still = x0[:, None].expand(-1, self.temporal_downsampling, -1, -1, -1)
        return self.encode(still).mean.squeeze(2)

    def decode(self, z: Tensor) -> Tensor:
        """Map z (B, d, l, h, w) to x_hat (B, l * f_t, 3, H, W), not clamped."""
        return self.to_pixels(self.decoder(z)).transpose(1, 2)

    def forward(self, x: Tensor, eps: Tensor) -> VAEOutput:
        """Reconstruct x (B, L, 3, H, W) through one posterior sample; eps (B, d, l, h, w)."""
        posterior = self.encode(x)
        z = posterior.sample(eps)
        return VAEOutput(self.decode(z), posterior, z)

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the last convolution, where the adaptive GAN weight is measured."""
        return self.to_pixels.weight


def build_video_autoencoder(target: Target) -> VideoAutoencoder:
    """Build the autoencoder of a target's latent-video baseline."""
    options = target.baselines.latent_video.autoencoder.model_dump()
    return VideoAutoencoder(num_frames=target.data.num_frames, size=target.data.size, **options)


def build_latent_video(target: Target) -> UNet3d:
    """Build the denoiser of a target's latent-video baseline."""
    channels, _, _ = denoised_shape(target, "latent_video")
    return UNet3d(channels=channels, **unet_options(target, "latent_video"))


def scale_strides(
    spatial_downsampling: int, temporal_downsampling: int
) -> list[tuple[int, int, int]]:
    """Return the stride (time, height, width) of each scale, finest first.

    Raises:
        ValueError: when a factor is no power of two.
    """
    halvings = []
    for factor in (temporal_downsampling, spatial_downsampling):
        if factor < 1 or factor & (factor - 1):
            raise ValueError(f"factor {factor}: must be a power of two")
        halvings.append(int(math.log2(factor)))
    in_time, in_space = halvings
    return [
        (1 + (i < in_time), 1 + (i < in_space), 1 + (i < in_space)) for i in range(max(halvings))
    ]


def scale_widths(channels: tuple[int, ...], num_strides: int) -> list[int]:
    """Return the channels at each scale, finest first; scales beyond the last entry repeat it."""
    return [channels[min(i, len(channels) - 1)] for i in range(num_strides + 1)]
