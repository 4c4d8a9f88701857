"""Baseline: latent-video diffusion (the paradigm of LVDM): a 3-D KL autoencoder and `UNet3d`.

    z = mu(E(x_{0:L})) + eps * sigma(E(x_{0:L})),  x^_{0:L} = D(z)

z keeps a time axis of length L / f_t. The condition is the latent of the first frame alone.
"""

from einops import repeat
from torch import Tensor, nn

from lamd.config import Target, denoised_shape, unet_options
from lamd.models.latent import Posterior, ScaledLatent, VAEOutput
from lamd.models.unet import UNet3d
from lamd.nn import ResBlock3d, channels_last_3d, group_norm, scale_strides


class VideoAutoencoder(ScaledLatent):
    """3-D KL autoencoder with its own f_s and f_t; halves both together, then the larger alone."""

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
        side = size // spatial_downsampling
        self.latent_shape = (latent_channels, num_frames // temporal_downsampling, side, side)
        strides = scale_strides(spatial_downsampling, temporal_downsampling)

        def scale(width: int) -> list[nn.Module]:
            return [ResBlock3d(width, width, conv3d) for _ in range(num_res_blocks)]

        widths = [channels[min(i, len(channels) - 1)] for i in range(len(strides) + 1)]
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
        self.to_rgb = nn.Conv3d(widths[0], 3, 3, padding=1)
        channels_last_3d(self)

    def encode(self, x: Tensor) -> Posterior:
        """Map x (B, L, 3, H, W) in [-1, 1] to q(z | x) over (B, d, L / f_t, h, w).

        Raises:
            ValueError: if L is not a multiple of f_t.
        """
        if x.shape[1] % self.temporal_downsampling:
            f_t = self.temporal_downsampling
            raise ValueError(f"{x.shape[1]} frames: not a multiple of f_t = {f_t}")
        h = self.to_posterior(self.encoder(x.transpose(1, 2))).float()
        mean, logvar = h.chunk(2, dim=1)
        return Posterior(mean, logvar.clamp(-30.0, 20.0))  # LDM's clamp

    def encode_image(self, x0: Tensor) -> Tensor:
        """Map x0 (B, 3, H, W) to its latent (B, d, h, w), that of x0 repeated f_t times."""
        still = repeat(x0, "b c h w -> b l c h w", l=self.temporal_downsampling)
        return self.encode(still).mean.squeeze(2)

    def decode(self, z: Tensor) -> Tensor:
        """Map z (B, d, l, h, w) to x_hat (B, l * f_t, 3, H, W), not clamped."""
        return self.to_rgb(self.decoder(z)).transpose(1, 2)

    def forward(self, x: Tensor, eps: Tensor) -> VAEOutput:
        """Reconstruct x (B, L, 3, H, W) through one posterior sample; eps (B, d, l, h, w)."""
        posterior = self.encode(x)
        z = posterior.sample(eps)
        return VAEOutput(self.decode(z), posterior, z)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last convolution, where the adaptive GAN weight is measured."""
        return self.to_rgb.weight


def build_video_autoencoder(target: Target) -> VideoAutoencoder:
    """Build the autoencoder of a target's latent-video baseline."""
    assert target.baselines is not None and target.baselines.latent_video is not None
    options = target.baselines.latent_video.autoencoder.model_dump()
    return VideoAutoencoder(num_frames=target.data.num_frames, size=target.data.size, **options)


def build_latent_video(target: Target) -> UNet3d:
    """Build the denoiser of a target's latent-video baseline."""
    channels, _, _ = denoised_shape(target, "latent_video")
    return UNet3d(channels=channels, **unet_options(target, "latent_video"))
