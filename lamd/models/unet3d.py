"""The 3-D UNet of both baselines: the DMG's skeleton over frames, given one of them.

    eps_hat = eps_theta(z_t, t, y),  y = the first frame, or its latent, beside each frame of z_t

Space shrinks with the scales and time never does, as in Video Diffusion Models (Ho et al.,
arXiv 2204.03458). `conv3d` chooses the blocks: `full` 3x3x3 convolutions, or `factorised` ones with
attention over the frames.
"""

from functools import partial

import torch
from torch import Tensor, nn

from lamd.models.unet import Parts, UNet
from lamd.nn import ResBlock3d, SpaceTimeTransformer, channels_last_3d


class UNet3d(UNet):
    """Denoiser of (B, C, L, H, W); in the latent space of `VideoAutoencoder`, latent diffusion."""

    def __init__(
        self,
        *,
        channels: int,
        base_channels: int,
        channel_multipliers: tuple[int, ...],
        num_res_blocks: int,
        attention_factors: tuple[int, ...],
        head_channels: int,
        conv3d: str,
    ):
        super().__init__(base_channels)
        kernel, padding = (3, 1) if conv3d == "full" else ((1, 3, 3), (0, 1, 1))
        self.build_scales(
            2 * channels,
            channels,
            channel_multipliers=channel_multipliers,
            num_res_blocks=num_res_blocks,
            attention_factors=attention_factors,
            parts=Parts(
                residual=lambda a, b, embedding: ResBlock3d(a, b, conv3d, embedding),
                attention=lambda width: SpaceTimeTransformer(width, head_channels, conv3d),
                conv=partial(nn.Conv3d, kernel_size=kernel, padding=padding),
                stride=(1, 2, 2),
            ),
        )
        if conv3d == "full":  # factorised ones are faster as they are
            channels_last_3d(self)

    def forward(self, z_t: Tensor, t: Tensor, given: Tensor) -> Tensor:
        """Predict the noise in z_t.

        Args:
            z_t: (B, C, L, H, W) noisy video or video latent, unit scale.
            t: (B,) int64 diffusion step in 0..T-1.
            given: (B, C, H, W) first frame or its latent, unit scale.

        Returns:
            eps_hat (B, C, L, H, W).
        """
        beside = given[:, :, None].expand(-1, -1, z_t.shape[2], -1, -1)
        return self.predict(torch.cat([z_t, beside], dim=1), t)
