"""What single layers cost; see `lamd.cost`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial


@dataclass(frozen=True)
class Cost:
    """What one forward pass takes.

    Attributes:
        flops: of convolutions, linear maps and attention; 1 multiply-accumulate = 2 FLOPs.
        parameters: all trainable ones of the layers that ran.
        activations: elements that these layers and the norms write; what training keeps at least.
    """

    flops: int = 0
    parameters: int = 0
    activations: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.flops + other.flops,
            self.parameters + other.parameters,
            self.activations + other.activations,
        )

    def __rmul__(self, count: int) -> "Cost":
        """Return the cost of `count` equal layers."""
        return Cost(count * self.flops, count * self.parameters, count * self.activations)


Layer = Callable[[int, int, int], Cost]  # channels in, channels out, cells written


def conv(a: int, b: int, cells: int, *, kernel: int = 1, bias: bool = True) -> Cost:
    """Cost of a convolution from `a` to `b` channels, or a linear map, that writes `cells`.

    `kernel` is the number of its taps.
    """
    return Cost(2 * a * b * kernel * cells, a * b * kernel + bias * b, b * cells)


conv2d = partial(conv, kernel=9)


def conv3d_of(kind: str) -> Layer:
    """Return the cost of a `full` or `factorised` 3x3x3 convolution."""
    if kind == "full":
        return partial(conv, kernel=27)
    return lambda a, b, cells: conv(a, b, cells, kernel=9) + conv(b, b, cells, kernel=3)


def norm(channels: int, cells: int, *, affine: bool = True) -> Cost:
    """Cost of a group or layer norm; its few FLOPs are not counted."""
    return Cost(0, 2 * channels * affine, channels * cells)


def res_block(a: int, b: int, cells: int, layer: Layer, batch: int = 0, embedding: int = 0) -> Cost:
    """Cost of a residual block, with the step embedding where it has channels."""
    cost = norm(a, cells) + layer(a, b, cells) + norm(b, cells) + layer(b, b, cells)
    if embedding:
        cost += conv(embedding, b, batch)
    return cost if a == b else cost + conv(a, b, cells)


def attend(channels: int, cells: int, source_cells: int) -> Cost:
    """Cost of queries, products and output where each cell sees `source_cells` keys."""
    products = Cost(4 * channels * cells * source_cells, 0, channels * cells)
    return conv(channels, channels, cells, bias=False) + products + conv(channels, channels, cells)


def keys_values(source_channels: int, channels: int, cells: int) -> Cost:
    """Cost of projecting a source to keys and values."""
    return 2 * conv(source_channels, channels, cells, bias=False)


def self_attention(channels: int, groups: int, cells: int) -> Cost:
    """Cost of a layer norm and self-attention within each of `groups` of `cells`."""
    everywhere = groups * cells
    cost = norm(channels, everywhere) + attend(channels, everywhere, cells)
    return cost + keys_values(channels, channels, everywhere)


def spatial_transformer(channels: int, groups: int, cells: int, context_cells: int) -> Cost:
    """Cost of a `SpatialTransformer`, without the context's keys and values."""
    everywhere = groups * cells
    cost = norm(channels, everywhere) + 2 * conv(channels, channels, everywhere)
    cost += self_attention(channels, groups, cells)
    if context_cells:
        cost += norm(channels, everywhere) + attend(channels, everywhere, context_cells)
    cost += norm(channels, everywhere) + conv(channels, 8 * channels, everywhere)
    return cost + conv(4 * channels, channels, everywhere)


def transformer_layer(channels: int, batch: int, tokens: int, source_tokens: int = 0) -> Cost:
    """Cost of a transformer encoder layer of PyTorch's, or of a decoder layer over a source."""

    def attention(keys: int) -> Cost:
        cost = conv(channels, channels, cells) + 2 * conv(channels, channels, batch * keys)
        products = Cost(4 * channels * cells * keys, 0, channels * cells)
        return norm(channels, cells) + cost + products + conv(channels, channels, cells)

    cells = batch * tokens
    cost = attention(tokens) + (attention(source_tokens) if source_tokens else Cost())
    cost += norm(channels, cells) + conv(channels, 4 * channels, cells)
    return cost + conv(4 * channels, channels, cells)


def total(costs: Iterable[Cost]) -> Cost:
    """Return the sum of costs."""
    return sum(costs, Cost())
