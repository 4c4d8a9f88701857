"""DMG, the diffusion-based motion generator (arXiv 2304.11603, stage II).

    eps_hat = eps_theta(z_t, t, y),  y = f_x0

eps_theta is the 2-D UNet of latent diffusion (paper); f_x0 enters as cross-attention tokens
(reported), by concatenation at the input, by both, or not at all (`DMGConfig.condition`).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamd.config import Target
from lamd.nn import ResBlock2d, SpatialTransformer, group_norm, sinusoidal_embedding, zero_init


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


class DMG(nn.Module):
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
        super().__init__()
        self.base_channels = base_channels
        embedding = 4 * base_channels
        self.step_embedding = nn.Sequential(
            nn.Linear(base_channels, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )
        self.tokens = self.concat = None
        if condition in ("cross_attention", "both"):
            self.tokens = ContentTokens(content_channels, context_channels)
        if condition in ("concat", "both"):
            self.concat = nn.Sequential(
                group_norm(content_channels), nn.Conv2d(content_channels, base_channels, 1)
            )
        context = context_channels if self.tokens is not None else None

        def stage(in_channels: int, out_channels: int, factor: int) -> nn.ModuleList:
            attention = (
                SpatialTransformer(out_channels, head_channels, context)
                if factor in attention_factors
                else None
            )
            return nn.ModuleList([ResBlock2d(in_channels, out_channels, embedding), attention])

        in_channels = motion_channels + (base_channels if self.concat is not None else 0)
        self.stem = nn.Conv2d(in_channels, base_channels, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        width, widths, factor = base_channels, [base_channels], 1
        for level, multiplier in enumerate(channel_multipliers):
            for _ in range(num_res_blocks):
                self.down.append(stage(width, base_channels * multiplier, factor))
                width = base_channels * multiplier
                widths.append(width)
            if level < len(channel_multipliers) - 1:
                self.down.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                widths.append(width)
                factor *= 2
        self.middle_in = ResBlock2d(width, width, embedding)
        self.middle_attention = SpatialTransformer(width, head_channels, context)
        self.middle_out = ResBlock2d(width, width, embedding)
        for level, multiplier in reversed(list(enumerate(channel_multipliers))):
            for _ in range(num_res_blocks + 1):
                self.up.append(stage(width + widths.pop(), base_channels * multiplier, factor))
                width = base_channels * multiplier
            if level > 0:
                self.up.append(nn.Conv2d(width, width, 3, padding=1))
                factor //= 2
        self.norm = group_norm(width)
        self.to_eps = zero_init(nn.Conv2d(width, motion_channels, 3, padding=1))

    def forward(self, z_t: Tensor, t: Tensor, f_x0: Tensor) -> Tensor:
        """Predict the noise in z_t.

        Args:
            z_t: (B, d, h, w) noisy motion latent, unit scale.
            t: (B,) int64 diffusion step in 0..T-1.
            f_x0: (B, d', h, w) content feature of the first frame.

        Returns:
            eps_hat (B, d, h, w).
        """
        embedding = self.step_embedding(sinusoidal_embedding(t, self.base_channels))  # (B, 4 C)
        context = self.tokens(f_x0) if self.tokens is not None else None  # (B, h * w, C')
        if self.concat is not None:
            z_t = torch.cat([z_t, self.concat(f_x0)], dim=1)
        h = self.stem(z_t)
        hidden = [h]
        for block in self.down:
            h = _apply(block, h, embedding, context)
            hidden.append(h)
        h = self.middle_in(h, embedding)
        h = self.middle_attention(h, context)
        h = self.middle_out(h, embedding)
        for block in self.up:
            if isinstance(block, nn.Conv2d):
                h = block(F.interpolate(h, scale_factor=2, mode="nearest"))
            else:
                h = _apply(block, torch.cat([h, hidden.pop()], dim=1), embedding, context)
        return self.to_eps(F.silu(self.norm(h)))


def build_dmg(target: Target) -> DMG:
    """Build the DMG of a target."""
    process = {"latent", "num_train_steps", "schedule", "beta_start", "beta_end"}
    return DMG(
        motion_channels=target.vae.motion_channels,
        content_channels=target.vae.image_channels[-1],
        **target.dmg.model_dump(exclude=process),
    )


def _apply(block: nn.Module, h: Tensor, embedding: Tensor, context: Tensor | None) -> Tensor:
    if isinstance(block, nn.Conv2d):
        return block(h)
    residual, attention = block
    h = residual(h, embedding)
    return h if attention is None else attention(h, context)
