"""The networks of both baselines: diffusion in pixel space (VDM), and on a video latent (LVDM).

Pixel space is all L x H x W of a clip, given its first frame:

    q(x_t | x) = N(sqrt(abar_t) x, (1 - abar_t) I),  eps_hat = eps_theta(x_t, t, x_0)

The video latent is that of a 3-D KL autoencoder and keeps a time axis of length L / f_t. The
condition is the latent of the first frame alone:

    z = mu(E(x_{0:L})) + eps * sigma(E(x_{0:L})),  x^_{0:L} = D(z), or D(z, x_0)
"""

import torch
from einops import repeat
from torch import Tensor, nn
from torch.nn import functional as F

from lamd.config import Baseline, LatentVideoConfig, Target, VideoAutoencoderConfig
from lamd.models.latent import Posterior, ScaledLatent, VAEOutput
from lamd.models.unet import UNet3d
from lamd.nn import FullConv, ResBlock, channels_last_3d, group_norm, scale_strides


class PixelDiffusion(UNet3d):
    """The 3-D UNet on clips in [-1, 1]; frame 0 is generated along with the others."""

    def forward(self, x_t: Tensor, t: Tensor, x0: Tensor) -> Tensor:
        """Predict the noise in x_t (B, L, 3, H, W) at t (B,) from x_t and x0 (B, 3, H, W)."""
        return super().forward(x_t.transpose(1, 2), t, x0).transpose(1, 2)


class VideoAutoencoder(ScaledLatent):
    """3-D KL autoencoder with its own f_s and f_t; halves both together, then the larger alone.

    With `first_frame: concat` the decoder sees x_0 at each of its scales.
    """

    def __init__(self, config: VideoAutoencoderConfig, *, num_frames: int, size: int):
        channels, f_t = config.channels, config.temporal_downsampling
        self.sees_x0 = config.first_frame == "concat"
        super().__init__(config.latent_channels)
        self.clip_shape, self.f_t = (num_frames, 3, size, size), f_t
        side = size // config.spatial_downsampling
        self.latent_shape = (config.latent_channels, num_frames // f_t, side, side)
        strides = scale_strides(config.spatial_downsampling, f_t)

        def scale(width: int) -> list[nn.Module]:
            return [ResBlock(width, width, config.conv3d) for _ in range(config.num_res_blocks)]

        widths = [channels[min(i, len(channels) - 1)] for i in range(len(strides) + 1)]
        encoder: list[nn.Module] = [FullConv(3, widths[0])]
        for i, stride in enumerate(strides):
            down = FullConv(widths[i], widths[i + 1], stride)
            encoder += [*scale(widths[i]), down]
        encoder += [*scale(widths[-1]), group_norm(widths[-1]), nn.SiLU()]
        decoder: list[nn.Module] = [FullConv(config.latent_channels, widths[-1])]
        for i, stride in reversed(list(enumerate(strides))):
            up = FullConv(widths[i + 1] + 3 * self.sees_x0, widths[i])
            decoder += [*scale(widths[i + 1]), nn.Upsample(scale_factor=stride), up]
        decoder += [*scale(widths[0]), group_norm(widths[0]), nn.SiLU()]
        self.encoder = nn.Sequential(*encoder)
        self.to_posterior = nn.Conv3d(widths[-1], 2 * config.latent_channels, 1)
        self.decoder = nn.Sequential(*decoder)
        self.to_rgb = FullConv(widths[0], 3)
        channels_last_3d(self)

    def encode(self, x: Tensor) -> Posterior:
        """Map x (B, L, 3, H, W) in [-1, 1] to q(z | x) over (B, d, L / f_t, h, w)."""
        if x.shape[1] % self.f_t:
            raise ValueError(f"{x.shape[1]} frames: not a multiple of f_t = {self.f_t}")
        h = self.to_posterior(self.encoder(x.transpose(1, 2))).float()
        mean, logvar = h.chunk(2, dim=1)
        return Posterior(mean, logvar.clamp(-30.0, 20.0))  # LDM's clamp

    def encode_image(self, x0: Tensor) -> Tensor:
        """Map x0 (B, 3, H, W) to its latent (B, d, h, w), that of x0 repeated f_t times."""
        still = repeat(x0, "b c h w -> b l c h w", l=self.f_t)
        return self.encode(still).mean.squeeze(2)

    def decode(self, z: Tensor, x0: Tensor) -> Tensor:
        """Map z (B, d, l, h, w) and x0 (B, 3, H, W) to x_hat (B, l * f_t, 3, H, W), not clamped."""
        h = z
        for layer in self.decoder:
            h = layer(h)
            if self.sees_x0 and isinstance(layer, nn.Upsample):
                still = F.adaptive_avg_pool2d(x0, h.shape[-2:])
                h = torch.cat([h, repeat(still, "b c h w -> b c l h w", l=h.shape[2])], dim=1)
        return self.to_rgb(h).transpose(1, 2)

    def forward(self, x: Tensor, eps: Tensor) -> VAEOutput:
        """Reconstruct x (B, L, 3, H, W) through one posterior sample; eps (B, d, l, h, w)."""
        posterior = self.encode(x)
        z = posterior.sample(eps)
        return VAEOutput(self.decode(z, x[:, 0]), posterior, z)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last convolution, where the adaptive GAN weight is measured."""
        return self.to_rgb.weight


def build_video_autoencoder(target: Target) -> VideoAutoencoder:
    """Build the autoencoder of a target's latent-video baseline."""
    assert target.baselines is not None and target.baselines.latent_video is not None
    config = target.baselines.latent_video.autoencoder
    return VideoAutoencoder(config, num_frames=target.data.num_frames, size=target.data.size)


def build_denoiser(target: Target, name: Baseline) -> UNet3d:
    """Build the denoiser of a target's baseline."""
    options, channels = target.denoiser(name), 3
    if isinstance(options, LatentVideoConfig):
        channels = options.autoencoder.latent_channels
    network = PixelDiffusion if name == "pixel" else UNet3d
    return network(options.unet or target.dmg, channels=channels, conv3d=options.conv3d)
