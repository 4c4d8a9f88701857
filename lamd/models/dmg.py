"""DMG, the diffusion-based motion generator (arXiv 2304.11603, stage II).

    eps_hat = eps_theta(z_t, t, y),  y = f_x0

eps_theta is the 2-D UNet of latent diffusion (paper); f_x0 enters as cross-attention tokens
(reported), by concatenation at the input, by both, or not at all (`DMGConfig.condition`).
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from lamd.config import Target
from lamd.models.unet import Parts, UNet
from lamd.nn import KeysValues, ResBlock2d, SpatialTransformer, group_norm, sinusoidal_embedding


class ContentTokens(nn.Module):
    """f_x0 as cross-attention tokens, one a latent cell, with a 2-D sinusoidal position (ours)."""

    def __init__(self, content_channels: int, context_channels: int):
        super().__init__()
        self.norm = group_norm(content_channels)
        self.project = nn.Conv2d(content_channels, context_channels, 1)

    def forward(self, f_x0: Tensor) -> Tensor:
        """Map (B, d', h, w) to tokens (B, h * w, context_channels)."""
        tokens = self.project(self.norm(f_x0))
        channels, height, width = tokens.shape[1:]
        rows, columns = (
            sinusoidal_embedding(torch.arange(n, device=tokens.device), channels // 2, 100.0)
            for n in (height, width)
        )
        position = torch.cat(
            [
                rows[:, None].expand(-1, width, -1),
                columns[None].expand(height, -1, -1),
            ],
            dim=-1,
        )  # (h, w, C)
        return (tokens + position.permute(2, 0, 1)).flatten(2).transpose(1, 2)


@dataclass(frozen=True)
class Condition:
    """What the denoiser takes of y, the same at each step.

    Attributes:
        keys_values: of the tokens, one pair for each attention block; empty without tokens.
        features: (B, C, h, w) concatenated to z_t, or None.
    """

    keys_values: list[KeysValues]
    features: Tensor | None


class DMG(UNet):
    """Latent-diffusion UNet over z_t, conditioned on f_x0."""

    def __init__(
        self,
        *,
        motion_channels: int,
        content_channels: int,
        base_channels: int,
        channel_multipliers: tuple[int, ...],
        num_res_blocks: int,
        attention_factors: tuple[int, ...],
        head_channels: int,
        context_channels: int,
        condition: str,
    ):
        super().__init__(base_channels)
        self.tokens = self.concat = None
        if condition in ("cross_attention", "both"):
            self.tokens = ContentTokens(content_channels, context_channels)
        if condition in ("concat", "both"):
            self.concat = nn.Sequential(
                group_norm(content_channels), nn.Conv2d(content_channels, base_channels, 1)
            )
        context = context_channels if self.tokens is not None else None
        self.build_scales(
            motion_channels + (base_channels if self.concat is not None else 0),
            motion_channels,
            channel_multipliers=channel_multipliers,
            num_res_blocks=num_res_blocks,
            attention_factors=attention_factors,
            parts=Parts(
                residual=ResBlock2d,
                attention=lambda channels: SpatialTransformer(channels, head_channels, context),
                conv=partial(nn.Conv2d, kernel_size=3, padding=1),
                stride=2,
            ),
        )

    def condition(self, f_x0: Tensor) -> Condition:
        """Encode f_x0 (B, d', h, w), the content feature of the first frame, once for all steps."""
        keys_values: list[KeysValues] = []
        if self.tokens is not None:
            tokens = self.tokens(f_x0)  # (B, h * w, C')
            keys_values = [a.cross_attention.keys_values(tokens) for a in self.attentions()]
        return Condition(keys_values, self.concat(f_x0) if self.concat is not None else None)

    def denoise(self, z_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict the noise in z_t.

        Args:
            z_t: (B, d, h, w) noisy motion latent, unit scale.
            t: (B,) int64 diffusion step in 0..T-1.

        Returns:
            eps_hat (B, d, h, w).
        """
        if condition.features is not None:
            z_t = torch.cat([z_t, condition.features], dim=1)
        return self.predict(z_t, t, condition.keys_values)

    def forward(self, z_t: Tensor, t: Tensor, f_x0: Tensor) -> Tensor:
        """Predict the noise in z_t, as `denoise`, from the content feature itself."""
        return self.denoise(z_t, t, self.condition(f_x0))


def build_dmg(target: Target) -> DMG:
    """Build the DMG of a target."""
    process = {"latent", "num_train_steps", "schedule", "beta_start", "beta_end"}
    return DMG(
        motion_channels=target.vae.motion_channels,
        content_channels=target.vae.image_channels[-1],
        **target.dmg.model_dump(exclude=process),
    )
