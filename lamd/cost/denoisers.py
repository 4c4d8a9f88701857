"""What one step of each denoiser costs; see `lamd.cost`."""

from collections.abc import Callable
from functools import partial

from lamd.cost.layers import (
    Cost,
    Layer,
    conv,
    conv2d,
    conv3d_of,
    keys_values,
    norm,
    res_block,
    self_attention,
    spatial_transformer,
    total,
    transformer_layer,
)


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
    cost += 2 * residual(width, width, deepest) + attention(width, (size // deepest) ** 2)
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
    """Cost of one `DMG.denoise` of (batch, d, size, size); the number of heads changes nothing.

    With more than one latent frame, of (batch, d, l, size, size). `num_words` is the size of the
    prompts' vocabulary, 0 without prompts.
    """
    frames = num_latent_frames

    def attention(channels: int, cells: int) -> Cost:
        cost = spatial_transformer(channels, batch * frames, cells, context_cells)
        return cost + self_attention(channels, batch * cells, frames) if frames > 1 else cost

    context_cells = size**2 if condition in ("cross_attention", "both") else 0
    context_cells += max_prompt_tokens if num_words else 0
    beside = base_channels if condition in ("concat", "both") else 0
    return unet(
        motion_channels + beside,
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
        cost += _prompt_encoder(
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
        cost += total(keys_values(context_channels, width, tokens) for width in widths)
    if condition in ("concat", "both"):
        cost += norm(content_channels, cells) + conv(content_channels, base_channels, cells)
    return cost


def _prompt_encoder(channels: int, batch: int, words: int, tokens: int, layers: int) -> Cost:
    cells = batch * tokens
    embedding = Cost(0, (words + tokens) * channels, cells * channels)
    encoded = layers * transformer_layer(channels, batch, tokens)
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
