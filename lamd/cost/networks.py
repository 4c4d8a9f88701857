"""What the networks beside the models cost: discriminator, captioner, LPIPS, I3D."""

import math

from lamd.cost.layers import Cost, conv, norm, total, transformer_layer

# Blocks of LPIPS' trunks, a head behind each: whether it begins with a pool, and its convolutions,
# (channels, taps).
_TRUNKS = {
    "alex": (
        (False, ((64, 121),)),
        (True, ((192, 25),)),
        (True, ((384, 9),)),
        (False, ((256, 9),)),
        (False, ((256, 9),)),
    ),
    "vgg": (
        (False, ((64, 9),) * 2),
        (True, ((128, 9),) * 2),
        (True, ((256, 9),) * 3),
        (True, ((512, 9),) * 3),
        (True, ((512, 9),) * 3),
    ),
}
# Output channels of branch 0, 1 (reduce, out), 2 (reduce, out), 3 of I3D's inception blocks.
_MIXED = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)


def discriminator(
    *, batch: int, num_frames: int, size: int, base_channels: int, num_layers: int
) -> Cost:
    """Cost of the `VideoDiscriminator` on clips (batch, num_frames, 3, size, size)."""
    frames, width, size = num_frames, base_channels, size // 2
    cost = conv(3, width, batch * frames * size**2, kernel=48)
    for i in range(1, num_layers):
        wider = base_channels * min(2**i, 8)
        frames, size = frames // 2, size // 2
        cells = batch * frames * size**2
        cost += conv(width, wider, cells, kernel=64, bias=False) + norm(wider, cells)
        width = wider
    return cost + conv(width, 1, batch * frames * size**2, kernel=27)


def captioner(
    *,
    batch: int,
    num_frames: int,
    size: int,
    num_words: int,
    max_tokens: int,
    channels: tuple[int, ...],
    num_layers: int,
    **_,
) -> Cost:
    """Cost of the `Captioner` on clips and whole captions, as in training."""
    cost, width, frames = Cost(), 6, num_frames
    for wider in channels:
        frames, size = frames // (2 if frames > 4 else 1), size // 2
        cells = batch * frames * size**2
        cost += conv(width, wider, cells, kernel=27) + norm(wider, cells)
        width = wider
    places, told = frames * size**2, max_tokens - 1
    cost += conv(3 * width, width, places)
    cost += Cost(0, (num_words + max_tokens) * width, batch * told * width)
    cost += num_layers * transformer_layer(width, batch, told, places)
    return cost + norm(width, batch * told) + conv(width, num_words, batch * told)


def lpips(backbone: str, *, frames: int, size: int) -> tuple[Cost, Cost]:
    """Cost of LPIPS' trunk on `frames` pictures, and of its heads on as many pairs."""
    trunk, heads, width = Cost(), Cost(), 3
    if backbone == "alex":
        size = (size + 4 - 11) // 4 + 1
    for pool, layers in _TRUNKS[backbone]:
        if pool:
            size = (size - 3) // 2 + 1 if backbone == "alex" else size // 2
        cells = frames * size**2
        for wider, kernel in layers:
            trunk += conv(width, wider, cells, kernel=kernel)
            width = wider
        heads += conv(width, 1, cells, bias=False)
    return trunk, heads


def i3d(*, batch: int, num_frames: int) -> Cost:
    """Cost of I3D's logits of clips of `num_frames` frames, scaled to 224x224."""
    frames, size = math.ceil(num_frames / 2), 112
    cost = conv(3, 64, batch * frames * size**2, kernel=343)
    size //= 2
    cells = batch * frames * size**2
    cost += conv(64, 64, cells) + conv(64, 192, cells, kernel=27)
    size, width = size // 2, 192
    for stage, blocks in enumerate(_MIXED):
        if stage:
            frames, size = math.ceil(frames / 2), size // 2
        cells = batch * frames * size**2
        for b0, b1_in, b1, b2_in, b2, b3 in blocks:
            cost += total(conv(width, wider, cells) for wider in (b0, b1_in, b2_in, b3))
            cost += conv(b1_in, b1, cells, kernel=27) + conv(b2_in, b2, cells, kernel=27)
            width = b0 + b1 + b2 + b3
    return cost + conv(width, 400, batch * (frames - 1))
