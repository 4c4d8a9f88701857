"""Moving pictures of clips: WebP, GIF and MP4, and the labelled comparison grid."""

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from einops import rearrange

from lamd.base.errors import LamdError

if TYPE_CHECKING:
    from PIL.Image import Image

TILE = 128  # pixels of an enlarged clip, about
FRAMES_PER_SECOND = 8
PAD, LINE, LETTER = 4, 16, 6  # pixels
_INK, _PAPER = (20, 20, 20), (255, 255, 255)


def comparison_grid(columns: Mapping[str, np.ndarray], caption: str) -> np.ndarray:
    """Lay clips out: one column per set, one row per clip, labels above, caption and frame below.

    Args:
        columns: label -> uint8 (N, L, H, W, 3), all of one shape.
        caption: one line under the grid.

    Returns:
        uint8 (L, H', W', 3) with even H' and W'.
    """
    sets = np.stack(list(columns.values()))
    count, length, height, width = sets.shape[1:5]
    scale = max(1, TILE // width)
    step, across = height * scale + PAD, width * scale + PAD
    labels = [textwrap.fill(label, across // LETTER) for label in columns]
    head = LINE * (1 + max(label.count("\n") for label in labels))
    bottom = head + PAD + count * step
    size = (len(columns) * across + PAD, bottom + 2 * LINE)
    frames = []
    for frame in range(length):
        texts = {(PAD + j * across, 2): label for j, label in enumerate(labels)}
        texts[PAD, bottom] = f"frame {frame}{' (given)' * (frame == 0)}"
        texts[PAD, bottom + LINE - 2] = caption
        tiles = {
            (PAD + j * across, head + PAD + i * step): sets[j, i, frame]
            for j, i in np.ndindex(len(sets), count)
        }
        frames.append(np.asarray(compose(size, scale, tiles, texts)))
    return np.stack(frames)


def compose(
    size: tuple[int, int],
    scale: int,
    tiles: dict[tuple[int, int], np.ndarray],
    texts: dict[tuple[int, int], str],
) -> "Image":
    """Return a picture of texts and tiles by their corners, tiles enlarged by a whole factor."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (size[0] + size[0] % 2, size[1] + size[1] % 2), _PAPER)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=12)
    for corner, text in texts.items():
        draw.text(corner, text, _INK, font)
    for corner, tile in tiles.items():  # pixels stay square
        picture.paste(Image.fromarray(np.asarray(tile).repeat(scale, 0).repeat(scale, 1)), corner)
    return picture


def encode_webp(frames: np.ndarray) -> bytes:
    """Encode uint8 (L, H, W, 3) as an endless animated WebP; lossy, so never measured."""
    from PIL import Image

    return _save([Image.fromarray(frame) for frame in frames], "WEBP", quality=80, method=4)


def encode_gif(frames: np.ndarray) -> bytes:
    """Encode uint8 (L, H, W, 3) as an endless GIF with one palette."""
    from PIL import Image

    # One palette from all frames: a palette per frame would flicker.
    sheet = Image.fromarray(np.concatenate(list(frames)))
    palette = sheet.quantize(256, method=Image.Quantize.MEDIANCUT)
    pictures = [
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in frames
    ]
    return _save(pictures, "GIF", optimize=True)


def _save(pictures: Sequence["Image"], kind: str, **options) -> bytes:
    step, buffer = 1000 // FRAMES_PER_SECOND, io.BytesIO()
    pictures[0].save(
        buffer,
        format=kind,
        save_all=True,
        append_images=pictures[1:],
        duration=[step] * (len(pictures) - 1) + [6 * step],  # the last frame is held
        loop=0,
        **options,
    )
    return buffer.getvalue()


def encode_mp4(frames: np.ndarray) -> bytes:
    """Encode uint8 (L, H, W, 3), H and W even, as H.264 MP4 for viewing; lossy, so never measured.

    Raises:
        LamdError: when PyAV was built without an H.264 encoder.
    """
    import av

    if "libx264" not in av.codecs_available:
        raise LamdError("mp4: PyAV has no H.264 encoder (libx264); install PyAV's own wheel")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(FRAMES_PER_SECOND))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "16", "preset": "medium"}
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return buffer.getvalue()


ENCODERS = {".mp4": encode_mp4, ".webp": encode_webp, ".gif": encode_gif}  # by suffix


def tile_clips(clips: np.ndarray) -> np.ndarray:
    """Lay clips uint8 (N, L, H, W, 3) out as one near-square video, uint8 (L, H', W', 3)."""
    across = math.ceil(math.sqrt(len(clips)))
    blank = np.full((-len(clips) % across, *clips.shape[1:]), 255, np.uint8)
    tiles = np.concatenate([clips, blank])
    sheet = rearrange(tiles, "(down across) l h w c -> l (down h) (across w) c", across=across)
    odd = [(0, 0), *((0, size % 2) for size in sheet.shape[1:3]), (0, 0)]
    return np.pad(sheet, odd, constant_values=255)
