"""Moving pictures: clips to GIF (Pillow) and MP4 (PyAV), and the labelled comparison grid."""

import io
import textwrap
from fractions import Fraction

import numpy as np

from lamd.base.errors import LamdError

TILE = 128  # pixels of a clip in the grid, about
FRAMES_PER_SECOND = 8
_PAD, _BAR, _LETTER = 4, 16, 6  # pixels
_INK, _PAPER = (20, 20, 20), (255, 255, 255)


def comparison_grid(columns: dict[str, np.ndarray], caption: str) -> np.ndarray:
    """Lay clips out: one column a set, one row a clip, labels above, caption and frame below.

    A label that is wider than its column takes more lines.

    Args:
        columns: label -> uint8 (N, L, H, W, 3), all of one shape.
        caption: one line under the grid.

    Returns:
        uint8 (L, H', W', 3) with even H' and W'.
    """
    from PIL import Image, ImageDraw, ImageFont

    shapes = {clips.shape for clips in columns.values()}
    if len(shapes) != 1:
        raise ValueError(f"columns differ in shape: {sorted(shapes)}")
    count, length, height, width, _ = shapes.pop()
    scale = max(1, TILE // width)
    cell_h, cell_w = height * scale + _PAD, width * scale + _PAD
    font = ImageFont.load_default(size=11)
    labels = [textwrap.fill(label, cell_w // _LETTER) for label in columns]
    head = _BAR * (1 + max(label.count("\n") for label in labels))
    size = (len(columns) * cell_w + _PAD, head + count * cell_h + 2 * _BAR + _PAD)
    frames = []
    for frame in range(length):
        picture = Image.new("RGB", (size[0] + size[0] % 2, size[1] + size[1] % 2), _PAPER)
        draw = ImageDraw.Draw(picture)
        for j, (label, clips) in enumerate(zip(labels, columns.values(), strict=True)):
            left = _PAD + j * cell_w
            draw.text((left, 2), label, _INK, font)
            for i in range(count):
                tile = Image.fromarray(np.asarray(clips[i, frame]))
                tile = tile.resize((width * scale, height * scale), Image.Resampling.LANCZOS)
                picture.paste(tile, (left, head + _PAD + i * cell_h))
        bottom = head + _PAD + count * cell_h
        given = " (given)" if frame == 0 else ""
        draw.text((_PAD, bottom), f"frame {frame}{given}", _INK, font)
        draw.text((_PAD, bottom + _BAR - 2), caption, _INK, font)
        frames.append(np.asarray(picture))
    return np.stack(frames)


def encode_gif(frames: np.ndarray) -> bytes:
    """Encode uint8 (L, H, W, 3) as an endless GIF with one palette, the last frame held."""
    from PIL import Image

    # One palette from all frames: a palette a frame would flicker.
    sheet = Image.fromarray(np.concatenate(list(frames)))
    palette = sheet.quantize(256, method=Image.Quantize.MEDIANCUT)
    pictures = [
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in frames
    ]
    step = 1000 // FRAMES_PER_SECOND
    out = io.BytesIO()
    pictures[0].save(
        out,
        format="GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=[step] * (len(pictures) - 1) + [6 * step],
        loop=0,
        optimize=True,
    )
    return out.getvalue()


def encode_mp4(frames: np.ndarray) -> bytes:
    """Encode uint8 (L, H, W, 3), H and W even, as H.264 MP4 for viewing; lossy, so never measured.

    Raises:
        LamdError: when PyAV was built without an H.264 encoder.
    """
    import av

    if "libx264" not in av.codecs_available:
        raise LamdError("mp4: PyAV has no H.264 encoder (libx264); install PyAV's own wheel")
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(FRAMES_PER_SECOND))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "16", "preset": "medium"}
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return out.getvalue()


def tile_clips(clips: np.ndarray) -> np.ndarray:
    """Lay clips uint8 (N, L, H, W, 3) out as one near-square video, uint8 (L, H', W', 3)."""
    count, length, height, width, _ = clips.shape
    across = int(np.ceil(np.sqrt(count)))
    down = -(-count // across)
    h, w = down * height, across * width
    sheet = np.full((length, h + h % 2, w + w % 2, 3), 255, np.uint8)
    for n, clip in enumerate(clips):
        top, left = (n // across) * height, (n % across) * width
        sheet[:, top : top + height, left : left + width] = clip
    return sheet
