"""What the parts of both autoencoders cost; see `lamd.cost`."""

import math

from lamd.cost.layers import Cost, conv, conv2d, conv3d_of, norm, res_block


def image_encoder(
    *,
    batch: int,
    size: int,
    image_channels: tuple[int, ...],
    num_res_blocks: tuple[int, ...],
    **_,
) -> Cost:
    """Cost of E_I."""
    cost, width = Cost(), 3
    for channels, count in zip(image_channels, num_res_blocks, strict=True):
        cells = batch * size**2
        cost += conv2d(width, channels, cells)  # the stem, then each halving
        cost += count * res_block(channels, channels, cells, conv2d)
        width, size = channels, size // 2
    return cost


def motion_encoder(
    *,
    batch: int,
    num_frames: int,
    size: int,
    temporal_downsampling: int,
    motion_channels: int,
    motion_encoder_channels: tuple[int, ...],
    num_latent_blocks: int,
    conv3d: str,
    **_,
) -> Cost:
    """Cost of E_M."""
    cost, width, frames = Cost(), 6, num_frames
    in_space, in_time = len(motion_encoder_channels), int(math.log2(temporal_downsampling))
    for i in range(max(in_space, in_time)):
        wider = motion_encoder_channels[min(i, in_space - 1)]
        if i > 0:
            cost += norm(width, batch * frames * size**2)
        frames, size = frames // (1 + (i < in_time)), size // (1 + (i < in_space))
        cells = batch * frames * size**2
        cost += conv(width, wider, cells, kernel=27)
        if i >= in_space - 1:
            cost += res_block(wider, wider, cells, conv3d_of(conv3d))
        width = wider
    cells = batch * frames * size**2
    cost += num_latent_blocks * res_block(width, width, cells, conv2d) + norm(width, cells)
    return cost + conv2d(width, 2 * motion_channels, cells)


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
    cost += _fusion(width, image_channels[-1], fusion, cells, frames)
    cost += num_latent_blocks * res_block(width, width, cells * frames, conv2d)
    while frames < num_frames:
        cost += res_block(width, width, cells * frames, layer)
        cost += conv(width, 2 * width, cells * frames)
        frames *= 2
    cost += num_res_blocks[-1] * res_block(width, width, cells * frames, layer)
    for level in reversed(range(len(decoder_channels) - 1)):
        narrower = decoder_channels[level]
        cost += _grow(width, narrower, cells * frames)
        width, cells = narrower, 4 * cells
        if level >= len(decoder_channels) - 1 - num_skip_scales:
            cost += _fusion(width, image_channels[level], fusion, cells, frames)
        cost += num_res_blocks[level] * res_block(width, width, cells * frames, layer)
    shown = 5 if first_frame_residual == "warp" else 3
    return cost + conv(width, shown, cells * frames, kernel=9)


def latent_video_encoder(
    *,
    batch: int,
    num_frames: int,
    size: int,
    spatial_downsampling: int,
    temporal_downsampling: int,
    latent_channels: int,
    channels: tuple[int, ...],
    num_res_blocks: int,
    conv3d: str,
) -> Cost:
    """Cost of `VideoAutoencoder.encode`."""
    layer, cells = conv3d_of(conv3d), batch * num_frames * size**2
    cost = conv(3, channels[0], cells, kernel=27)
    widths, shrinkage = _scales(channels, spatial_downsampling, temporal_downsampling)
    for i, factor in enumerate(shrinkage):
        cost += num_res_blocks * res_block(widths[i], widths[i], cells, layer)
        cells //= factor
        cost += conv(widths[i], widths[i + 1], cells, kernel=27)
    cost += num_res_blocks * res_block(widths[-1], widths[-1], cells, layer)
    return cost + norm(widths[-1], cells) + conv(widths[-1], 2 * latent_channels, cells)


def latent_video_decoder(
    *,
    batch: int,
    num_frames: int,
    size: int,
    spatial_downsampling: int,
    temporal_downsampling: int,
    latent_channels: int,
    channels: tuple[int, ...],
    num_res_blocks: int,
    conv3d: str,
) -> Cost:
    """Cost of `VideoAutoencoder.decode`."""
    layer = conv3d_of(conv3d)
    widths, shrinkage = _scales(channels, spatial_downsampling, temporal_downsampling)
    cells = batch * num_frames * size**2 // math.prod(shrinkage)
    cost = conv(latent_channels, widths[-1], cells, kernel=27)
    for i, factor in reversed(list(enumerate(shrinkage))):
        cost += num_res_blocks * res_block(widths[i + 1], widths[i + 1], cells, layer)
        cells *= factor
        cost += conv(widths[i + 1], widths[i], cells, kernel=27)
    cost += num_res_blocks * res_block(widths[0], widths[0], cells, layer)
    return cost + norm(widths[0], cells) + conv(widths[0], 3, cells, kernel=27)


def _grow(a: int, b: int, cells: int) -> Cost:
    """Cost of a transposed 1x4x4 convolution of stride 2 in space that reads `cells`."""
    return Cost(2 * a * b * 16 * cells, a * b * 16 + b, b * 4 * cells)


def _fusion(channels: int, content_channels: int, kind: str, cells: int, frames: int) -> Cost:
    """Cost of a `Fusion` whose content has `cells`."""
    if kind == "spade":
        cost = conv2d(content_channels, 2 * channels, cells)
        return cost + norm(channels, cells * frames, affine=False)
    cost = conv2d(content_channels, channels, cells)
    if kind == "concat":  # one weight, used in two halves
        cost += conv(channels, channels, cells * frames)
        cost += conv(channels, channels, cells, bias=False)
    return cost


def _scales(
    channels: tuple[int, ...], spatial_downsampling: int, temporal_downsampling: int
) -> tuple[list[int], list[int]]:
    in_space, in_time = int(math.log2(spatial_downsampling)), int(math.log2(temporal_downsampling))
    steps = range(max(in_space, in_time))
    widths = [channels[min(i, len(channels) - 1)] for i in (*steps, len(steps))]
    return widths, [(1 + (i < in_time)) * (1 + (i < in_space)) ** 2 for i in steps]
