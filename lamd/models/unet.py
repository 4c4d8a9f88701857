"""The skeleton of latent diffusion's UNet (Rombach et al., arXiv 2112.10752), in 2-D or 3-D.

The DMG and both baselines share this skeleton, so that their costs differ by paradigm alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from einops import repeat
from torch import Tensor, nn
from torch.nn import functional as F

from lamd.config.networks import UNetWidths
from lamd.nn import (
    Context,
    FullConv,
    ResBlock,
    SpaceTimeTransformer,
    SpatialTransformer,
    channels_last_3d,
    group_norm,
    sinusoidal_embedding,
    zero_init,
)

Transformer = SpatialTransformer | SpaceTimeTransformer


class Stage(nn.Module):
    """A residual block, followed by attention at some scales."""

    def __init__(self, residual: nn.Module, attention: Transformer | None):
        super().__init__()
        self.residual, self.attention = residual, attention

    def forward(self, h: Tensor, embedding: Tensor, contexts: Iterator[Context]) -> Tensor:
        """Map (B, C, ..., h, w) to (B, C', ..., h, w); attention takes the next context."""
        h = self.residual(h, embedding)
        return h if self.attention is None else self.attention(h, next(contexts, None))


class UNet(nn.Module):
    """Residual blocks over scales, with attention at some of them and one skip per block."""

    def __init__(self, config: UNetWidths):
        super().__init__()
        self.base_channels, self.embedding_channels = config.base_channels, 4 * config.base_channels
        self.step_embedding = nn.Sequential(
            nn.Linear(self.base_channels, self.embedding_channels),
            nn.SiLU(),
            nn.Linear(self.embedding_channels, self.embedding_channels),
        )

    def build_scales(
        self,
        config: UNetWidths,
        kind: str | None,
        in_channels: int,
        out_channels: int,
        context_channels: int | None = None,
    ) -> None:
        """Build all layers but the step embedding, after those that a subclass adds.

        They are 2-D, or 3-D with convolutions of a `kind` of `conv3x3`.
        """
        scales = [(2**i, self.base_channels * m) for i, m in enumerate(config.channel_multipliers)]
        conv: Any = FullConv
        if kind is None:
            conv = partial(nn.Conv2d, kernel_size=3, padding=1)
        elif kind == "factorised":
            conv = partial(nn.Conv3d, kernel_size=(1, 3, 3), padding=(0, 1, 1))

        def residual(in_channels: int, out_channels: int) -> nn.Module:
            return ResBlock(in_channels, out_channels, kind, self.embedding_channels)

        def attention(width: int, factor: int) -> Transformer:
            heads, context = config.head_channels, context_channels
            if kind is None:
                return SpatialTransformer(width, heads, context, factor)
            return SpaceTimeTransformer(width, heads, kind, context, factor)

        def stage(in_channels: int, out_channels: int, factor: int) -> Stage:
            # attention draws its initial weights first
            attends = factor in config.attention_factors
            block = attention(out_channels, factor) if attends else None
            return Stage(residual(in_channels, out_channels), block)

        self.stride: int | tuple[int, ...] = 2 if kind is None else (1, 2, 2)
        self.stem = conv(in_channels, self.base_channels)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        width, skips = self.base_channels, [self.base_channels]
        for factor, wider in scales:
            for _ in range(config.num_res_blocks):
                self.down.append(stage(width, wider, factor))
                width = wider
                skips.append(width)
            if factor < scales[-1][0]:
                self.down.append(conv(width, width, stride=self.stride))
                skips.append(width)
        self.middle = Stage(residual(width, width), attention(width, scales[-1][0]))
        self.middle_out = residual(width, width)
        for factor, narrower in reversed(scales):
            for _ in range(config.num_res_blocks + 1):
                self.up.append(stage(width + skips.pop(), narrower, factor))
                width = narrower
            if factor > 1:
                self.up.append(conv(width, width))
        self.norm = group_norm(width)
        self.to_eps = zero_init(conv(width, out_channels))

    def attentions(self) -> list[Transformer]:
        """Return the attention blocks in the order in which `predict` runs them."""
        stages = [s for s in (*self.down, self.middle, *self.up) if isinstance(s, Stage)]
        return [stage.attention for stage in stages if stage.attention is not None]

    def contexts(self, source: Tensor, shape: Sequence[int]) -> list[Context]:
        """Project a source (B, M, C') for each attention block, for z_t of a shape (..., h, w)."""
        contexts = (block.context(source, shape) for block in self.attentions())
        return [context for context in contexts if context is not None]

    def predict(
        self, h: Tensor, t: Tensor, contexts: Iterable[Context] = (), pooled: Tensor | None = None
    ) -> Tensor:
        """Map (B, C, ..., h, w) and steps t (B,), on any device, to an output of equal resolution.

        There is one context per block of `attentions`, or none; `pooled` (B, 4 base_channels) is
        added to the step embedding.
        """
        contexts = iter(contexts)
        steps = sinusoidal_embedding(t.to(h.device, non_blocking=True), self.base_channels)
        embedding = self.step_embedding(steps)  # (B, 4 C)
        if pooled is not None:
            embedding = embedding + pooled
        h = self.stem(h)
        hidden = [h]
        for block in self.down:
            h = block(h, embedding, contexts) if isinstance(block, Stage) else block(h)
            hidden.append(h)
        h = self.middle_out(self.middle(h, embedding, contexts), embedding)
        for block in self.up:
            if isinstance(block, Stage):
                h = block(torch.cat([h, hidden.pop()], dim=1), embedding, contexts)
            else:
                h = block(F.interpolate(h, scale_factor=self.stride, mode="nearest"))
        return self.to_eps(F.silu(self.norm(h)))


class UNet3d(UNet):
    """The denoiser of both baselines: the skeleton over frames, conditioned on the first.

        eps_hat = eps_theta(z_t, t, y),  y = the first frame, or its latent

    y is concatenated to each frame of z_t. The scales downsample space and never time, as in Video
    Diffusion Models (Ho et al., arXiv 2204.03458). `conv3d` chooses the blocks: `full` 3x3x3
    convolutions, or `factorised` ones with attention over the frames.
    """

    def __init__(self, config: UNetWidths, *, channels: int, conv3d: str):
        super().__init__(config)
        self.build_scales(config, conv3d, 2 * channels, channels)
        if conv3d == "full":  # factorised ones are slower channels last
            channels_last_3d(self)

    def forward(self, z_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Predict the noise in z_t (B, C, L, H, W) at t (B,) in 0..T-1 from y (B, C, H, W)."""
        frames = repeat(y, "b c h w -> b c l h w", l=z_t.shape[2])
        return self.predict(torch.cat([z_t, frames], dim=1), t)
