"""Blocks shared by all networks: convolutions, norms, attention, embeddings.

The 2-D UNet parts follow the latent-diffusion UNet (Rombach et al., arXiv 2112.10752), so that the
DMG's parameter count is that model's. Layout is channels first: (B, C, h, w) or (B, C, L, H, W).
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

_COPY_CHANNELS = 32  # of the queries and keys of `CopyAttention`
# of PyTorch's own transformer layers
PRE_NORM: dict[str, Any] = {
    "dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True,
}  # fmt: skip


def group_norm(channels: int, *, affine: bool = True, norm_eps: float = 1e-5) -> nn.GroupNorm:
    """Return a GroupNorm of 32 groups, or of fewer, a power of two, of four channels at least.

    A group of a single channel would lose its mean, and with it brightness and step embedding.
    """
    largest = 2 ** int(math.log2(max(1, channels // 4)))
    return nn.GroupNorm(min(math.gcd(32, channels), largest), channels, eps=norm_eps, affine=affine)


def zero_init(module: nn.Module) -> nn.Module:
    """Set the parameters to zero, so that a residual branch starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def channels_last_3d(module: nn.Module) -> None:
    """Store the weights of 3-D convolutions channels last, a quarter faster on a CPU."""
    for part in module.modules():
        if isinstance(part, nn.Conv3d | nn.ConvTranspose3d):
            part.to(memory_format=torch.channels_last_3d)


def all_gather_with_grad(x: Tensor) -> tuple[Tensor, slice]:
    """Concatenate the batches (B, ...) of all training processes; the slice selects x's own rows.

    A row's gradient, summed over the processes, returns to the process that owns the row.
    """
    if x.is_meta or not (dist.is_available() and dist.is_initialized()):
        return x, slice(None)
    from torch.distributed.nn.functional import all_reduce  # unlike dist's, it has a gradient

    rank, rows = dist.get_rank(), torch.tensor([len(x)], device=x.device)
    counts = [torch.zeros_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, rows)
    first, after = int(sum(counts[:rank])), int(sum(counts[rank + 1 :]))
    zeros = [x.new_zeros(number, *x.shape[1:]) for number in (first, after)]
    return all_reduce(torch.cat([zeros[0], x, zeros[1]])), slice(first, first + len(x))


def warp(x0: Tensor, flow: Tensor) -> Tensor:
    """Return (B, L, C, H, W): x0 (B, C, H, W) sampled bilinearly along flow (B, L, 2, H, W).

    flow is the offset (x, y) from each pixel to its source, in sixteenths of the image size; beyond
    the image, the edges repeat.
    """
    length = flow.shape[1]
    frames = repeat(x0, "b c h w -> (b l) c h w", l=length)
    device = "cuda" if x0.is_cuda else "cpu"
    with torch.autocast(device, enabled=False):  # else the grid is rounded to bf16
        identity = F.affine_grid(torch.eye(2, 3, device=x0.device)[None], [1, *x0.shape[1:]], False)
    offset = rearrange(flow, "b l xy h w -> (b l) h w xy").float() / 8  # the grid is 2 wide
    out = F.grid_sample(
        frames.float(), identity + offset, padding_mode="border", align_corners=False
    )
    return rearrange(out, "(b l) c h w -> b l c h w", l=length)


def sinusoidal_embedding(position: Tensor, channels: int, max_period: float = 10_000.0) -> Tensor:
    """Embed positions or diffusion steps (N,) as float32 (N, channels): cosines, then sines."""
    half = channels // 2
    exponent = torch.arange(half, dtype=torch.float32, device=position.device) / half
    angles = position.float()[:, None] * torch.exp(-math.log(max_period) * exponent)[None]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def grid_embedding(
    shape: Sequence[int], channels: int, device: torch.device, spacing: int = 1
) -> Tensor:
    """Embed the positions of a grid of D axes, float32 (N, D * channels), the last axis fastest.

    A cell covers `spacing` cells of the grid in whose units its centre is.
    """
    grid = torch.cartesian_prod(*(torch.arange(n, device=device) for n in shape))
    axes = sinusoidal_embedding(grid.flatten() * spacing + (spacing - 1) / 2, channels, 100.0)
    return rearrange(axes, "(n d) c -> n (d c)", d=len(shape))


def scale_strides(spatial: int, temporal: int) -> list[tuple[int, int, int]]:
    """Return each scale's stride (time, height, width), finest first; factors are powers of two."""
    in_space, in_time = spatial.bit_length() - 1, temporal.bit_length() - 1
    strides = ((1 + (i < in_time), 1 + (i < in_space)) for i in range(max(in_time, in_space)))
    return [(time, space, space) for time, space in strides]


def each_frame(module: Callable[[Tensor], Tensor], h: Tensor) -> Tensor:
    """Apply a 2-D module to each frame of (B, C, L, h, w)."""
    if h.shape[2] == 1:  # the general path gives other strides, and with them other last bits
        return module(h.squeeze(2)).unsqueeze(2)
    frames = module(rearrange(h, "b c l h w -> (b l) c h w"))
    return rearrange(frames, "(b l) c h w -> b c l h w", b=len(h))


def conv3x3(in_channels: int, out_channels: int, kind: str | None) -> nn.Module:
    """Return a 2-D convolution, or a 3-D one, `full` or `factorised` into 1x3x3 and 3x1x1."""
    if kind is None:
        return nn.Conv2d(in_channels, out_channels, 3, padding=1)
    if kind == "full":
        return FullConv(in_channels, out_channels)
    return nn.Sequential(
        nn.Conv3d(in_channels, out_channels, (1, 3, 3), padding=(0, 1, 1)),
        TemporalConv(out_channels, out_channels, (3, 1, 1), padding=(1, 0, 0)),
    )


class FullConv(nn.Conv3d):
    """A 3x3x3 convolution with a padding of 1, whose gradient is right in bf16 on CPUs.

    PyTorch 2.14 leaves the gradient of the weights uninitialised for two frames at a stride of 1 in
    time. These are computed as a 2-D convolution over the channels of both frames.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: tuple[int, int, int] = (1, 1, 1)
    ):
        super().__init__(in_channels, out_channels, 3, stride=stride, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        """Map (B, C, L, h, w) to (B, C', L, h, w), smaller by the stride."""
        affected = h.shape[2] == 2 and self.stride[0] == 1
        if not (affected and h.is_cpu and torch.is_autocast_enabled("cpu")):
            return super().forward(h)
        before, same, after = self.weight.unbind(2)
        kernel = torch.cat([torch.cat([same, after], 1), torch.cat([before, same], 1)])
        bias = None if self.bias is None else self.bias.repeat(2)
        frames = rearrange(h, "b c l h w -> b (l c) h w")
        out = F.conv2d(frames, kernel, bias, stride=self.stride[1:], padding=1)
        return rearrange(out, "b (l c) h w -> b c l h w", l=2)


class TemporalConv(nn.Conv3d):
    """A 3x1x1 convolution, computed as a 2-D one over (L, h * w): PyTorch's 3-D kernel is slow."""

    def forward(self, h: Tensor) -> Tensor:
        """Map (B, C, L, h, w) to (B, C', L, h, w)."""
        flat = rearrange(h, "b c l h w -> b c l (h w)")
        out = F.conv2d(flat, self.weight[..., 0], self.bias, padding=(1, 0))
        return rearrange(out, "b c l (h w) -> b c l h w", h=h.shape[3])


class ResBlock(nn.Module):
    """Pre-activation residual block on (B, C, h, w), or with a 3-D `kind` on (B, C, L, h, w).

    With `embedding_channels`, the step embedding is added.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kind: str | None = None,
        embedding_channels: int | None = None,
    ):
        super().__init__()
        self.norm1 = group_norm(in_channels)
        self.conv1 = conv3x3(in_channels, out_channels, kind)
        self.embed = nn.Linear(embedding_channels, out_channels) if embedding_channels else None
        self.norm2 = group_norm(out_channels)
        self.conv2 = conv3x3(out_channels, out_channels, kind)
        *_, last = self.conv2.modules()
        zero_init(last)  # with zeros in both convolutions of a factorised pair, neither would learn
        project: Any = nn.Conv2d if kind is None else nn.Conv3d
        same = in_channels == out_channels
        self.skip = nn.Identity() if same else project(in_channels, out_channels, 1)

    def forward(self, h: Tensor, embedding: Tensor | None = None) -> Tensor:
        """Map (B, C, ..., h, w) and the step embedding (B, C_e), if used, to (B, C', ..., h, w)."""
        out = self.conv1(F.silu(self.norm1(h)))
        if self.embed is not None:
            assert embedding is not None, "this block was built for a step embedding"
            shift = self.embed(F.silu(embedding))
            out = out + shift.reshape(*shift.shape, *[1] * (h.ndim - 2))
        out = self.conv2(F.silu(self.norm2(out)))
        return self.skip(h) + out


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return softmax(q k^T / sqrt(C)) v of (B, heads, N, C); in mixed precision on a CPU, in fp32.

    There, PyTorch 2.14's backward pass in bf16 takes ten times as long.
    """
    if not (q.is_cpu and torch.is_autocast_enabled("cpu")):  # entering autocast costs a step 4 %
        return F.scaled_dot_product_attention(q, k, v)
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float())


class Context(NamedTuple):
    """A source of M tokens as one attention block needs it: constant over the diffusion steps."""

    keys: Tensor  # (B, heads, M, C / heads)
    values: Tensor
    positions: Tensor  # (N, C), added to the queries


class Attention(nn.Module):
    """Multi-head attention of (B, N, C) on itself or on a context (B, M, C')."""

    def __init__(self, channels: int, head_channels: int, context_channels: int | None = None):
        super().__init__()
        self.num_heads = max(1, channels // head_channels)
        source = context_channels or channels
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(source, channels, bias=False)
        self.to_v = nn.Linear(source, channels, bias=False)
        self.to_out = nn.Linear(channels, channels)

    def keys_values(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Project a source (B, M, C') to keys and values (B, heads, M, C / heads)."""
        return self._heads(self.to_k(source)), self._heads(self.to_v(source))

    def forward(self, h: Tensor, context: Context | None = None) -> Tensor:
        """Map (B, N, C) to the same shape; without a context, h attends to itself."""
        q = self._heads(self.to_q(h if context is None else h + context.positions))
        k, v = self.keys_values(h) if context is None else context[:2]
        out = attend(q, k, v)
        return self.to_out(rearrange(out, "b heads n c -> b n (heads c)"))

    def _heads(self, x: Tensor) -> Tensor:
        return rearrange(x, "b n (heads c) -> b heads n c", heads=self.num_heads)


class FeedForward(nn.Module):
    """GEGLU feed-forward of ratio 4."""

    def __init__(self, channels: int):
        super().__init__()
        self.project = nn.Linear(channels, 8 * channels)
        self.out = nn.Linear(4 * channels, channels)

    def forward(self, h: Tensor) -> Tensor:
        """Map (B, N, C) to the same shape."""
        value, gate = self.project(h).chunk(2, dim=-1)
        return self.out(value * F.gelu(gate))


class SpatialTransformer(nn.Module):
    """Self-attention, cross-attention (when there is a context) and GEGLU over all positions.

    Queries of the context carry the position of their cell, which covers `factor` cells of f_x0.
    Latent diffusion's have none; without, 16x16 cells took far longer to find their own token.
    """

    def __init__(
        self, channels: int, head_channels: int, context_channels: int | None, factor: int
    ):
        super().__init__()
        self.channels, self.factor = channels, factor
        self.norm = group_norm(channels, norm_eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.norm1 = nn.LayerNorm(channels)
        self.self_attention = Attention(channels, head_channels)
        self.cross_attention = None
        if context_channels is not None:
            self.norm2 = nn.LayerNorm(channels)
            self.cross_attention = Attention(channels, head_channels, context_channels)
        self.norm3 = nn.LayerNorm(channels)
        self.feed_forward = FeedForward(channels)
        self.proj_out = zero_init(nn.Conv2d(channels, channels, 1))

    def context(self, source: Tensor, shape: Sequence[int]) -> Context | None:
        """Project a source (B, M, C'), for x of f_x0's `shape` (h, w) over `factor`."""
        if self.cross_attention is None:
            return None
        cells = [n // self.factor for n in shape]
        positions = grid_embedding(cells, self.channels // 2, source.device, self.factor)
        return Context(*self.cross_attention.keys_values(source), positions)

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        h = rearrange(self.proj_in(self.norm(x)), "b c h w -> b (h w) c")
        h = h + self.self_attention(self.norm1(h))
        if self.cross_attention is not None:
            h = h + self.cross_attention(self.norm2(h), context)
        h = h + self.feed_forward(self.norm3(h))
        return x + self.proj_out(rearrange(h, "b (h w) c -> b c h w", h=x.shape[-2]))


class TemporalAttention(nn.Module):
    """Self-attention of each position over the frames, with a sinusoidal frame embedding."""

    def __init__(self, channels: int, head_channels: int):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attention = Attention(channels, head_channels)
        zero_init(self.attention.to_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, L, h, w) to the same shape."""
        _, channels, length, height, width = x.shape
        h = self.norm(rearrange(x, "b c l h w -> (b h w) l c"))
        h = h + sinusoidal_embedding(torch.arange(length, device=x.device), channels).to(h.dtype)
        h = self.attention(h)
        return x + rearrange(h, "(b h w) l c -> b c l h w", h=height, w=width)


class SpaceTimeTransformer(nn.Module):
    """`SpatialTransformer` within each frame, then (`factorised`) attention over the frames.

    Each frame attends to the same context. With `full` convolutions, these alone mix the frames:
    attention over all L * h * w positions at once would cost L times more.
    """

    def __init__(
        self,
        channels: int,
        head_channels: int,
        kind: str,
        context_channels: int | None,
        factor: int,
    ):
        super().__init__()
        self.space = SpatialTransformer(channels, head_channels, context_channels, factor)
        self.time = TemporalAttention(channels, head_channels) if kind == "factorised" else None

    def context(self, source: Tensor, shape: Sequence[int]) -> Context | None:
        """Project a source (B, M, C'), for frames of f_x0's `shape` (h, w) over the factor."""
        return self.space.context(source, shape)

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        """Map (B, C, L, h, w) to the same shape."""
        if context is not None:
            k, v = (repeat(h, "b heads m c -> (b l) heads m c", l=x.shape[2]) for h in context[:2])
            context = Context(k, v, context.positions)
        x = each_frame(partial(self.space, context=context), x)
        return x if self.time is None else self.time(x)


class Fusion(nn.Module):
    """Fuse content (B, C', H, W) into h (B, C, L, H, W) at equal resolution.

    The content is constant in time, so its convolution runs once per clip, not once per frame.
    `spade` scales and shifts the normalised h by it (reported: spatially adaptive), `add` adds it.
    Concatenation would be `add`, since h comes from a linear layer and the content's is one.
    """

    def __init__(self, channels: int, content_channels: int, kind: str):
        super().__init__()
        width = 2 * channels if kind == "spade" else channels
        self.content = nn.Conv2d(content_channels, width, 3, padding=1)
        self.norm = group_norm(channels, affine=False) if kind == "spade" else None

    def forward(self, h: Tensor, content: Tensor, flow: Tensor | None = None) -> Tensor:
        """Map (B, C, L, H, W) to the same shape; a flow (B, L, 2, H, W) moves the content."""
        c = self.content(content)
        c = c[:, :, None] if flow is None else warp(c, flow).transpose(1, 2).to(h.dtype)
        if self.norm is None:
            return h + c
        scale, shift = c.chunk(2, dim=1)
        return torch.addcmul(shift, self.norm(h), 1.0 + scale)


class CopyAttention(nn.Module):
    """Gather content for D_V's deepest cells from the cells of the first frame, by attention.

    One softmax over the cells of f_x0 weights f_x0 and the cells' parts of the skips.
    """

    def __init__(self, widths: Sequence[int], contents: Sequence[int]):
        """Take the channels of D_V, and those of f_x0 and the skips, from coarse to fine."""
        super().__init__()
        self.norm = group_norm(widths[0])
        self.query = nn.Conv3d(widths[0], _COPY_CHANNELS, 1)
        self.key = nn.Conv2d(contents[0], _COPY_CHANNELS, 1)
        pairs = list(zip(contents, widths, strict=False))
        self.values = nn.ModuleList(nn.Conv2d(content, width, 1) for content, width in pairs)
        self.outs = nn.ModuleList(zero_init(nn.Conv3d(width, width, 1)) for _, width in pairs)

    def forward(self, h: Tensor, f_x0: Tensor, skips: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Map h (B, C, L, h, w) to its shape, and the skips to those of L frames, finest first."""
        _, _, length, *shape = h.shape
        position = grid_embedding(shape, _COPY_CHANNELS // 2, h.device)
        query = rearrange(self.query(self.norm(h)), "b c l h w -> b l (h w) c") + position
        key = rearrange(self.key(f_x0), "b c h w -> b (h w) c") + position
        query = rearrange(query, "b l n c -> b 1 (l n) c")
        parts = []
        for i, (project, content) in enumerate(zip(self.values, [f_x0, *skips[::-1]], strict=True)):
            parts.append(F.pixel_unshuffle(project(content), 2**i).flatten(2).mT)  # (B, h w, C)
        gathered = attend(query, key[:, None], torch.cat(parts, dim=2)[:, None])[:, 0]
        frames = rearrange(gathered, "b (l h w) c -> b l c h w", l=length, h=shape[0])
        widths, copies = [part.shape[2] for part in parts], []
        for i, (part, out) in enumerate(zip(frames.split(widths, 2), self.outs, strict=True)):
            copies.append(out(F.pixel_shuffle(part, 2**i).transpose(1, 2)))
        return h + copies[0], copies[:0:-1]


class TemporalUpsample(nn.Module):
    """Double the number of frames: linear interpolation plus a learned sub-frame offset.

    reported: temporal interpolation blocks. Without the offset, the copies of a latent frame would
    differ only through zero padding.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.offset = nn.Conv3d(channels, 2 * channels, 1)

    def forward(self, h: Tensor) -> Tensor:
        """Map (B, C, L, H, W) to (B, C, 2 L, H, W)."""
        offset = torch.stack(self.offset(h).chunk(2, dim=1), dim=3)  # (B, C, L, 2, H, W)
        previous = torch.cat([h[:, :, :1], h[:, :, :-1]], dim=2)
        following = torch.cat([h[:, :, 1:], h[:, :, -1:]], dim=2)
        between = torch.stack([0.75 * h + 0.25 * previous, 0.75 * h + 0.25 * following], dim=3)
        return rearrange(between + offset, "b c l two h w -> b c (l two) h w")


_BLOCKS = (
    ResBlock, SpatialTransformer, SpaceTimeTransformer, Fusion, CopyAttention, TemporalUpsample,
)  # fmt: skip


def checkpoint_blocks(network: nn.Module, **options: Any) -> None:
    """Let residual, attention, fusion and upsampling blocks keep only their inputs to train.

    Each block runs again in the backward pass. It draws no random numbers and updates no
    statistics, so that gradients are the same up to rounding. `options` are further ones of
    `torch.utils.checkpoint`.
    """
    options = {"use_reentrant": False, "preserve_rng_state": False} | options
    for child in network.children():
        if isinstance(child, _BLOCKS):
            child.forward = partial(checkpoint, child.forward, **options)  # type: ignore[method-assign]  # in place
        else:
            checkpoint_blocks(child, **options)
