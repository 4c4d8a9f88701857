"""MCD-VAE, the motion-content decomposed video autoencoder (arXiv 2304.11603, stage I).

    {f_x0, f^1..f^k} = E_I(x_0)
    z_m = norm(mu(E_M(x_{0:L})) + eps * sigma(E_M(x_{0:L})))
    x^_{0:L} = D_V(z_m, f_x0, f^1..f^k)

z_m has no time axis where f_t = L (paper). With f_t below L it keeps l = L / f_t frames (paper: an
ablation), and the 2-D blocks around the bottleneck process them frame by frame.

With `first_frame_residual: compose` the last layer of D_V has colours c, a share m and a flow, and
x^_t = c_t + m_t * warp(x_0, flow_t): what leaves can be erased by m, not only by its negative.

The structure is the paper's; widths, the order in which space and time are down- and upsampled, and
every operator that the paper leaves open are ours and named in `VAEConfig`.
"""

import math
from functools import partial
from itertools import pairwise

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from lamd.config import DataConfig, VAEConfig
from lamd.models.latent import Posterior, ScaledLatent, VAEOutput
from lamd.nn import (
    CopyAttention,
    FullConv,
    Fusion,
    ResBlock,
    TemporalUpsample,
    all_gather_with_grad,
    channels_last_3d,
    each_frame,
    group_norm,
    scale_strides,
    warp,
    zero_init,
)

_KEPT = 2.0  # logit of the share of x_0 that D_V keeps at first


class LatentNorm(nn.Module):
    """Normalisation of z_m without affine parameters, over the axes of `VAEConfig`."""

    def __init__(self, motion_channels: int, axes: str):
        super().__init__()
        self.axes = axes
        self.num_clips: int | None = None  # of the training clips at once; None: of all processes
        self.batch = nn.BatchNorm2d(motion_channels, affine=False) if axes == "channel" else None

    def forward(self, z: Tensor) -> Tensor:
        """Map (B, d, h, w) or (B, d, l, h, w) to the same shape; time counts as space."""
        if self.batch is not None:
            # the training statistics are those of micro-batches, which processes may share
            gathered, own = all_gather_with_grad(z) if self.training else (z, slice(None))
            clips = rearrange(gathered, "b d ... w -> b d (...) w")
            out = torch.cat(
                [self.batch(part) for part in clips.split(self.num_clips or len(clips))]
            )
            return out[own].reshape(z.shape)
        if self.axes == "instance":
            return F.instance_norm(z)
        return F.layer_norm(z, z.shape[1:]) if self.axes == "layer" else z


class ImageEncoder(nn.Module):
    """E_I: 2-D UNet encoder of the first frame."""

    def __init__(self, config: VAEConfig):
        super().__init__()
        self.num_skip_scales = config.num_skip_scales
        self.keeps_frame = config.first_frame_residual != "none"
        channels = config.image_channels
        self.stem = nn.Conv2d(3, channels[0], 3, padding=1)
        self.scales = nn.ModuleList(
            nn.Sequential(*(ResBlock(width, width) for _ in range(count)))
            for width, count in zip(channels, config.num_res_blocks, strict=True)
        )
        self.downs = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(channels)
        )

    def forward(self, x0: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Map (B, 3, H, W) to f_x0 (B, d', h, w) and the skips, finest first.

        The skips are the k coarsest scales above f_x0; a first-frame residual puts x0 before them.
        """
        h = self.stem(x0)
        skips = []
        for scale, down in zip(self.scales, self.downs, strict=False):
            h = scale(h)
            skips.append(h)
            h = down(h)
        skips = skips[len(skips) - self.num_skip_scales :]
        return self.scales[-1](h), [x0, *skips] if self.keeps_frame else skips


class MotionEncoder(nn.Module):
    """E_M: light 3-D encoder of the clip; halves time together with space, then time alone."""

    def __init__(self, config: VAEConfig):
        super().__init__()
        channels, d = config.motion_encoder_channels, config.motion_channels
        layers: list[nn.Module] = []
        width = 6
        strides = scale_strides(config.spatial_downsampling, config.temporal_downsampling)
        for i, stride in enumerate(strides):
            wider = channels[min(i, len(channels) - 1)]
            if i > 0:
                layers += [group_norm(width), nn.SiLU()]
            layers.append(FullConv(width, wider, stride))
            if i >= len(channels) - 1:
                layers.append(ResBlock(wider, wider, config.conv3d))
            width = wider
        self.layers = nn.Sequential(*layers)
        blocks = (ResBlock(width, width) for _ in range(config.num_latent_blocks))
        self.latent = nn.Sequential(*blocks, group_norm(width), nn.SiLU())
        self.to_posterior = nn.Conv2d(width, 2 * d, 3, padding=1)
        # with sigma near 1 at the start, the normalised latent is noise, and D_V learns to ignore
        # it before E_M has learnt anything
        nn.init.constant_(self.to_posterior.get_parameter("bias")[d:], -4.0)

    def forward(self, x: Tensor) -> Posterior:
        """Map (B, L, 3, H, W) to the posterior over z (B, d, h, w), or (B, d, l, h, w)."""
        x = torch.cat([x, x - x[:, :1]], dim=2)  # makes the change, which z_m encodes, explicit
        h = each_frame(self.latent, self.layers(x.transpose(1, 2)))  # (B, C, l, h, w)
        h = each_frame(self.to_posterior, h).squeeze(2)
        mean, logvar = h.float().chunk(2, dim=1)
        return Posterior(mean, logvar.clamp(-30.0, 20.0))  # LDM's clamp


def _finer(flow: Tensor | None, offset: Tensor) -> Tensor:
    """Add an offset (B, 2, L, h, w) to a flow (B, L, 2, h, w), and double its height and width."""
    offset = offset.transpose(1, 2)
    total = offset if flow is None else flow + offset
    frames = F.interpolate(total.flatten(0, 1), scale_factor=2, mode="bilinear")
    return frames.unflatten(0, total.shape[:2])


class VideoDecoder(nn.Module):
    """D_V: fuse z_m with f_x0, upsample time, then space, and fuse the skips on the way."""

    def __init__(self, config: VAEConfig):
        super().__init__()
        channels, image_channels = config.decoder_channels, config.image_channels
        width = channels[-1]

        def res_blocks(level: int) -> nn.Sequential:
            width, count = channels[level], config.num_res_blocks[level]
            return nn.Sequential(*(ResBlock(width, width, config.conv3d) for _ in range(count)))

        self.stem = nn.Conv2d(config.motion_channels, width, 3, padding=1)
        self.content = Fusion(width, image_channels[-1], config.fusion)
        blocks = (ResBlock(width, width) for _ in range(config.num_latent_blocks))
        self.latent = nn.Sequential(*blocks)
        self.temporal = nn.ModuleList(
            nn.Sequential(ResBlock(width, width, config.conv3d), TemporalUpsample(width))
            for _ in range(int(math.log2(config.temporal_downsampling)))
        )
        self.bottleneck = res_blocks(-1)
        # only the first, coarsest scales have a fusion
        self.ups, self.fusions, self.scales = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        up = partial(nn.ConvTranspose3d, kernel_size=(1, 4, 4), stride=(1, 2, 2), padding=(0, 1, 1))
        for level in reversed(range(len(channels) - 1)):
            self.ups.append(up(channels[level + 1], channels[level]))
            if level >= len(channels) - 1 - config.num_skip_scales:
                self.fusions.append(Fusion(channels[level], image_channels[level], config.fusion))
            self.scales.append(res_blocks(level))
        self.residual = config.first_frame_residual
        in_frame = partial(nn.Conv3d, kernel_size=(1, 3, 3), padding=(0, 1, 1))
        # colours, where each pixel of x_0 comes from, how much of it is kept
        self.to_rgb = in_frame(channels[0], 3 + {"warp": 2, "compose": 3}.get(self.residual, 0))
        nn.init.zeros_(self.to_rgb.weight[3:])  # nothing moves at the start
        nn.init.zeros_(self.to_rgb.get_parameter("bias")[3:])
        nn.init.constant_(self.to_rgb.get_parameter("bias")[5:], _KEPT)
        self.flows = nn.ModuleList()
        if config.moved_skips:  # one before each upsampling that a moved picture follows
            moves_frame = self.residual in ("warp", "compose")
            count = len(self.ups) if moves_frame else len(self.fusions)
            self.flows.extend(zero_init(in_frame(width, 2)) for width in channels[:0:-1][:count])
        self.copy = None
        if config.copy_attention:
            contents = image_channels[::-1][: config.num_skip_scales + 1]
            self.copy = CopyAttention(channels[::-1], contents)

    def forward(self, z_m: Tensor, f_x0: Tensor, skips: list[Tensor]) -> Tensor:
        """Map z_m (B, d, [l,] h, w), f_x0 (B, d', h, w) and the skips to x_hat (B, L, 3, H, W)."""
        z_m = z_m[:, :, None] if z_m.ndim == 4 else z_m
        h = self.content(each_frame(self.stem, z_m), f_x0)
        h = each_frame(self.latent, h)  # (B, C, l, h, w)
        for upsample_time in self.temporal:
            h = upsample_time(h)
        h = self.bottleneck(h)  # (B, C, L, h, w)
        remaining, copied, flow = list(skips), [], None
        if self.copy is not None:
            h, copied = self.copy(h, f_x0, skips[-len(self.fusions) :])
        for i, (up, scale) in enumerate(zip(self.ups, self.scales, strict=True)):
            if i < len(self.flows):
                flow = _finer(flow, self.flows[i](F.silu(h)))
            h = up(h)
            if i < len(self.fusions):
                h = self.fusions[i](h, remaining.pop(), flow)
            if copied:
                h = h + copied.pop()
            h = scale(h)
        out = self.to_rgb(F.silu(h)).transpose(1, 2)  # (B, L, C, H, W)
        if self.residual in ("none", "add"):
            return out + remaining.pop()[:, None] if remaining else out
        colours, offset, share = out.split([3, 2, out.shape[2] - 5], dim=2)
        moved = warp(remaining.pop(), offset if flow is None else offset + flow)
        if self.residual == "warp":
            return colours + moved
        return colours + share.float().sigmoid() * moved


class MCDVAE(ScaledLatent):
    """MCD-VAE with E_I, E_M, the normalised bottleneck and D_V."""

    def __init__(self, config: VAEConfig, *, num_frames: int, size: int):
        super().__init__(config.motion_channels)
        self.clip_shape = (num_frames, 3, size, size)
        l, side = num_frames // config.temporal_downsampling, size // config.spatial_downsampling
        self.latent_shape = (config.motion_channels, *(() if l == 1 else (l,)), side, side)
        self.image_encoder = ImageEncoder(config)  # E_I
        self.motion_encoder = MotionEncoder(config)  # E_M
        self.latent_norm = LatentNorm(config.motion_channels, config.normalisation)
        self.video_decoder = VideoDecoder(config)  # D_V
        channels_last_3d(self)

    def encode_image(self, x0: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Map x0 (B, 3, H, W) in [-1, 1] to f_x0 (B, d', h, w) and the skips, finest first."""
        return self.image_encoder(x0)

    def encode(self, x: Tensor) -> Posterior:
        """Map x (B, L, 3, H, W) in [-1, 1] by E_M to the posterior before normalisation.

        The frames may have another size, a multiple of f_s.
        """
        if x.shape[1] != self.clip_shape[0]:
            raise ValueError(f"expected clips of {self.clip_shape[0]} frames, got {x.shape[1]}")
        return self.motion_encoder(x)

    def normalise(self, z: Tensor) -> Tensor:
        """Map a posterior value (B, *latent_shape) to z_m, the latent of D_V and the DMG."""
        return self.latent_norm(z)

    def from_diffusion(self, z: Tensor) -> Tensor:
        """Invert `to_diffusion`; what each training latent had by its norm, z_m has as well."""
        z_m = super().from_diffusion(z)
        return self.latent_norm(z_m) if self.latent_norm.axes in ("instance", "layer") else z_m

    def decode(self, z_m: Tensor, f_x0: Tensor, skips: list[Tensor]) -> Tensor:
        """Map z_m and the content features to x_hat (B, L, 3, H, W), not clamped."""
        return self.video_decoder(z_m, f_x0, skips)

    def forward(self, x: Tensor, eps: Tensor, x_motion: Tensor | None = None) -> VAEOutput:
        """Reconstruct x (B, L, 3, H, W) in [-1, 1], given x[:, 0], through one posterior sample.

        eps (B, *latent_shape) is standard normal; zeros decode the posterior mean. E_M sees
        `x_motion`, by default x.
        """
        posterior = self.encode(x if x_motion is None else x_motion)
        z_m = self.normalise(posterior.sample(eps))
        f_x0, skips = self.encode_image(x[:, 0])
        return VAEOutput(self.decode(z_m, f_x0, skips), posterior, z_m)

    @property
    def last_layer(self) -> Tensor:
        """Weight of D_V's last convolution, where the adaptive GAN weight is measured."""
        return self.video_decoder.to_rgb.weight


def build_vae(vae: VAEConfig, data: DataConfig) -> MCDVAE:
    """Build the MCD-VAE of a config."""
    return MCDVAE(vae, num_frames=data.num_frames, size=data.size)
