"""The oracle of `lamd.flops`: the UNets and D_V in closed form, from their widths alone.

A second account of the networks, kept apart from their code. The functions take the constructors'
keyword arguments, a batch size and a size, and no network is built.
"""

from collections.abc import Callable
from functools import partial

from lamd.flops import Cost

Layer = Callable[[int, int, int], Cost]  # channels in, channels out, cells written


def times(count: int, cost: Cost) -> Cost:
    """Return the cost of `count` equal layers."""
    return sum([cost] * count, Cost())


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
    return times(2, conv(source_channels, channels, cells, bias=False))


def self_attention(channels: int, groups: int, cells: int) -> Cost:
    """Cost of a layer norm and self-attention within each of `groups` of `cells`."""
    everywhere = groups * cells
    cost = norm(channels, everywhere) + attend(channels, everywhere, cells)
    return cost + keys_values(channels, channels, everywhere)


def spatial_transformer(channels: int, groups: int, cells: int, context_cells: int) -> Cost:
    """Cost of a `SpatialTransformer`, without the context's keys and values."""
    everywhere = groups * cells
    cost = norm(channels, everywhere) + times(2, conv(channels, channels, everywhere))
    cost += self_attention(channels, groups, cells)
    if context_cells:
        cost += norm(channels, everywhere) + attend(channels, everywhere, context_cells)
    cost += norm(channels, everywhere) + conv(channels, 8 * channels, everywhere)
    return cost + conv(4 * channels, channels, everywhere)


def transformer_layer(channels: int, batch: int, tokens: int) -> Cost:
    """Cost of one of PyTorch's transformer encoder layers."""
    cells = batch * tokens
    cost = norm(channels, cells) + times(4, conv(channels, channels, cells))
    cost += Cost(4 * channels * cells * tokens, 0, channels * cells)
    cost += norm(channels, cells) + conv(channels, 4 * channels, cells)
    return cost + conv(4 * channels, channels, cells)


def unet(
    in_channels: int,
    out_channels: int,
    *,
    batch: int,
    frames: int,
    size: int,
    base_channels: int,
    channel_multipliers: tuple[int, ...],
    num_res_blocks: int,
    attention_factors: tuple[int, ...],
    layer: Layer,
    rescale: Layer,
    attention: Callable[[int, int], Cost],
) -> Cost:
    """Cost of the UNet skeleton on (batch, in_channels, frames, size, size).

    Args:
        layer: the convolutions of its residual blocks.
        rescale: its other convolutions.
        attention: cost at (channels, cells of one frame).
    """
    embedding = 4 * base_channels

    def cells(factor: int) -> int:
        return batch * frames * (size // factor) ** 2

    def residual(a: int, b: int, factor: int) -> Cost:
        return res_block(a, b, cells(factor), layer, batch, embedding)

    def stage(a: int, b: int, factor: int) -> Cost:
        cost = residual(a, b, factor)
        return cost + attention(b, (size // factor) ** 2) if factor in attention_factors else cost

    cost = conv(base_channels, embedding, batch) + conv(embedding, embedding, batch)
    cost += rescale(in_channels, base_channels, cells(1))
    width, skips, deepest = base_channels, [base_channels], 2 ** (len(channel_multipliers) - 1)
    for level, multiplier in enumerate(channel_multipliers):
        for _ in range(num_res_blocks):
            cost += stage(width, base_channels * multiplier, 2**level)
            width = base_channels * multiplier
            skips.append(width)
        if 2**level < deepest:
            cost += rescale(width, width, cells(2 ** (level + 1)))
            skips.append(width)
    cost += times(2, residual(width, width, deepest)) + attention(width, (size // deepest) ** 2)
    for level, multiplier in reversed(list(enumerate(channel_multipliers))):
        for _ in range(num_res_blocks + 1):
            cost += stage(width + skips.pop(), base_channels * multiplier, 2**level)
            width = base_channels * multiplier
        if level:
            cost += rescale(width, width, cells(2 ** (level - 1)))
    return cost + norm(width, cells(1)) + rescale(width, out_channels, cells(1))


def dmg_step(
    *,
    batch: int,
    size: int,
    motion_channels: int,
    content_channels: int,
    head_channels: int,
    context_channels: int,
    condition: str,
    base_channels: int,
    num_latent_frames: int = 1,
    num_words: int = 0,
    max_prompt_tokens: int = 1,
    num_prompt_layers: int = 0,
    pooled_prompt: bool = False,
    **widths,
) -> Cost:
    """Cost of one `DMG.denoise`; the number of heads changes nothing.

    `num_words` is the size of the prompts' vocabulary, 0 without prompts.
    """
    frames = num_latent_frames

    def attention(channels: int, cells: int) -> Cost:
        cost = spatial_transformer(channels, batch * frames, cells, context_cells)
        return cost + self_attention(channels, batch * cells, frames) if frames > 1 else cost

    context_cells = size**2 if condition in ("cross_attention", "both") else 0
    context_cells += max_prompt_tokens if num_words else 0
    concat = base_channels if condition in ("concat", "both") else 0
    return unet(
        motion_channels + concat,
        motion_channels,
        batch=batch,
        frames=frames,
        size=size,
        base_channels=base_channels,
        layer=conv2d if frames == 1 else conv3d_of("factorised"),
        rescale=conv2d,
        attention=attention,
        **widths,
    )


def dmg_condition(
    *,
    batch: int,
    size: int,
    content_channels: int,
    base_channels: int,
    channel_multipliers: tuple[int, ...],
    num_res_blocks: int,
    attention_factors: tuple[int, ...],
    context_channels: int,
    condition: str,
    num_words: int = 0,
    max_prompt_tokens: int = 1,
    num_prompt_layers: int = 0,
    pooled_prompt: bool = False,
    **_,
) -> Cost:
    """Cost of `DMG.condition`: what one clip pays once, for all steps."""
    cells, cost, tokens = batch * size**2, Cost(), 0
    if condition in ("cross_attention", "both"):
        cost += norm(content_channels, cells) + conv(content_channels, context_channels, cells)
        tokens = cells
    if num_words:
        cost += prompt_encoder(
            context_channels, batch, num_words, max_prompt_tokens, num_prompt_layers
        )
        tokens += batch * max_prompt_tokens
        if pooled_prompt:
            pooled = 4 * base_channels
            cost += Cost(0, num_words * pooled, batch * pooled)
    if tokens:
        widths = [base_channels * channel_multipliers[-1]]  # the middle
        for level, multiplier in enumerate(channel_multipliers):
            if 2**level in attention_factors:
                widths += [base_channels * multiplier] * (2 * num_res_blocks + 1)
        cost += sum((keys_values(context_channels, width, tokens) for width in widths), Cost())
    if condition in ("concat", "both"):
        cost += norm(content_channels, cells) + conv(content_channels, base_channels, cells)
    return cost


def prompt_encoder(channels: int, batch: int, words: int, tokens: int, layers: int) -> Cost:
    cells = batch * tokens
    embedding = Cost(0, (words + tokens) * channels, cells * channels)
    encoded = times(layers, transformer_layer(channels, batch, tokens))
    return embedding + encoded + norm(channels, cells)


def unet3d_step(
    *,
    batch: int,
    frames: int,
    size: int,
    channels: int,
    head_channels: int,
    conv3d: str,
    **widths,
) -> Cost:
    """Cost of one `UNet3d` step on (batch, channels, frames, size, size)."""

    def attention(width: int, cells: int) -> Cost:
        cost = spatial_transformer(width, batch * frames, cells, 0)
        if conv3d == "factorised":
            cost += self_attention(width, batch * cells, frames)
        return cost

    return unet(
        2 * channels,
        channels,
        batch=batch,
        frames=frames,
        size=size,
        layer=conv3d_of(conv3d),
        rescale=partial(conv, kernel=27 if conv3d == "full" else 9),
        attention=attention,
        **widths,
    )


def video_decoder(
    *,
    batch: int,
    num_frames: int,
    size: int,
    spatial_downsampling: int,
    temporal_downsampling: int,
    motion_channels: int,
    image_channels: tuple[int, ...],
    decoder_channels: tuple[int, ...],
    num_res_blocks: tuple[int, ...],
    num_latent_blocks: int,
    num_skip_scales: int,
    first_frame_residual: str,
    fusion: str,
    conv3d: str,
    **_,
) -> Cost:
    """Cost of D_V."""
    layer, width, side = conv3d_of(conv3d), decoder_channels[-1], size // spatial_downsampling
    frames, cells = num_frames // temporal_downsampling, batch * side**2
    cost = conv2d(motion_channels, width, cells * frames)
    cost += fusion_cost(width, image_channels[-1], fusion, cells, frames)
    cost += times(num_latent_blocks, res_block(width, width, cells * frames, conv2d))
    while frames < num_frames:
        cost += res_block(width, width, cells * frames, layer)
        cost += conv(width, 2 * width, cells * frames)
        frames *= 2
    cost += times(num_res_blocks[-1], res_block(width, width, cells * frames, layer))
    for level in reversed(range(len(decoder_channels) - 1)):
        narrower = decoder_channels[level]
        cost += upsample(width, narrower, cells * frames)
        width, cells = narrower, 4 * cells
        if level >= len(decoder_channels) - 1 - num_skip_scales:
            cost += fusion_cost(width, image_channels[level], fusion, cells, frames)
        cost += times(num_res_blocks[level], res_block(width, width, cells * frames, layer))
    channels = 3 + {"warp": 2, "compose": 3}.get(first_frame_residual, 0)
    return cost + conv(width, channels, cells * frames, kernel=9)


def upsample(a: int, b: int, cells: int) -> Cost:
    """Cost of a transposed 1x4x4 convolution of stride 2 in space that reads `cells`."""
    return Cost(2 * a * b * 16 * cells, a * b * 16 + b, b * 4 * cells)


def fusion_cost(channels: int, content_channels: int, kind: str, cells: int, frames: int) -> Cost:
    """Cost of a `Fusion` whose content has `cells`."""
    if kind == "spade":
        cost = conv2d(content_channels, 2 * channels, cells)
        return cost + norm(channels, cells * frames, affine=False)
    return conv2d(content_channels, channels, cells)
