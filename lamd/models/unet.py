"""The skeleton of latent diffusion's UNet (Rombach et al., arXiv 2112.10752), in 2-D or 3-D.

The DMG and both baselines are this one skeleton, so that their costs differ by paradigm alone.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamd.nn import KeysValues, group_norm, sinusoidal_embedding, zero_init


@dataclass(frozen=True)
class Parts:
    """Constructors of what a UNet is made of; `stride` is what one scale shrinks by."""

    residual: Callable[[int, int, int], nn.Module]  # channels in, out and of the step embedding
    attention: Callable[[int], nn.Module]
    conv: Callable[..., nn.Module]  # (channels in, out, stride=1)
    stride: int | tuple[int, ...]


class UNet(nn.Module):
    """Residual blocks over scales, with attention at some of them and one skip a block."""

    def __init__(self, base_channels: int):
        super().__init__()
        self.base_channels = base_channels
        self.embedding_channels = 4 * base_channels
        self.step_embedding = nn.Sequential(
            nn.Linear(base_channels, self.embedding_channels),
            nn.SiLU(),
            nn.Linear(self.embedding_channels, self.embedding_channels),
        )

    def build_scales(
        self,
        in_channels: int,
        out_channels: int,
        *,
        channel_multipliers: tuple[int, ...],
        num_res_blocks: int,
        attention_factors: tuple[int, ...],
        parts: Parts,
    ) -> None:
        """Make all after the step embedding; what a subclass adds before draws its weights first.

        Args:
            attention_factors: down-sampling factors that get attention; the middle always does.
        """
        base_channels, embedding = self.base_channels, self.embedding_channels

        def stage(in_channels: int, out_channels: int, factor: int) -> nn.ModuleList:
            attention = parts.attention(out_channels) if factor in attention_factors else None
            return nn.ModuleList([parts.residual(in_channels, out_channels, embedding), attention])

        self.stride = parts.stride
        self.stem = parts.conv(in_channels, base_channels)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        width, widths, factor = base_channels, [base_channels], 1
        for level, multiplier in enumerate(channel_multipliers):
            for _ in range(num_res_blocks):
                self.down.append(stage(width, base_channels * multiplier, factor))
                width = base_channels * multiplier
                widths.append(width)
            if level < len(channel_multipliers) - 1:
                self.down.append(parts.conv(width, width, stride=parts.stride))
                widths.append(width)
                factor *= 2
        self.middle_in = parts.residual(width, width, embedding)
        self.middle_attention = parts.attention(width)
        self.middle_out = parts.residual(width, width, embedding)
        for level, multiplier in reversed(list(enumerate(channel_multipliers))):
            for _ in range(num_res_blocks + 1):
                self.up.append(stage(width + widths.pop(), base_channels * multiplier, factor))
                width = base_channels * multiplier
            if level > 0:
                self.up.append(parts.conv(width, width))
                factor //= 2
        self.norm = group_norm(width)
        self.to_eps = zero_init(parts.conv(width, out_channels))

    def attentions(self) -> list[nn.Module]:
        """Return the attention blocks in the order in which `predict` meets them."""
        down, up = (
            [block[1] for block in blocks if _is_stage(block) and block[1] is not None]
            for blocks in (self.down, self.up)
        )
        return [*down, self.middle_attention, *up]

    def predict(
        self,
        h: Tensor,
        t: Tensor,
        keys_values: Iterable[KeysValues] = (),
        pooled: Tensor | None = None,
    ) -> Tensor:
        """Map (B, C, ..., h, w) and steps t (B,) to the output.

        Args:
            keys_values: of the context, one pair for each of `attentions`; none without a context.
            pooled: (B, 4 base_channels) added to the step embedding.
        """
        pairs = iter(keys_values)
        embedding = self.step_embedding(sinusoidal_embedding(t, self.base_channels))  # (B, 4 C)
        if pooled is not None:
            embedding = embedding + pooled
        h = self.stem(h)
        hidden = [h]
        for block in self.down:
            h = _apply(block, h, embedding, pairs) if _is_stage(block) else block(h)
            hidden.append(h)
        h = _apply((self.middle_in, self.middle_attention), h, embedding, pairs)
        h = self.middle_out(h, embedding)
        for block in self.up:
            if _is_stage(block):
                h = _apply(block, torch.cat([h, hidden.pop()], dim=1), embedding, pairs)
            else:
                h = block(F.interpolate(h, scale_factor=self.stride, mode="nearest"))
        return self.to_eps(F.silu(self.norm(h)))


def _is_stage(block: nn.Module) -> bool:
    return isinstance(block, nn.ModuleList)


def _apply(
    stage: Iterable[nn.Module | None], h: Tensor, embedding: Tensor, pairs: Iterator[KeysValues]
) -> Tensor:
    residual, attention = stage
    h = residual(h, embedding)
    if attention is None:
        return h
    pair = next(pairs, None)
    return attention(h) if pair is None else attention(h, pair)
