"""Pictures of clips: the comparison grid, strips of frames, the rollout chart; WebP, GIF, MP4."""

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import product

import av
import numpy as np
from einops import rearrange
from PIL import Image, ImageDraw, ImageFont

from lamd.base.errors import LamdError
from lamd.base.terminal import printable
from lamd.pipeline.contents import Panels
from lamd.report import plots
from lamd.report.results import Results
from lamd.report.wording import data_words

TILE = 128  # pixels of an enlarged clip, about
FRAMES_PER_SECOND = 8
PAD, LINE, LETTER, LABEL = 4, 20, 8, 170  # pixels; a letter at most in the mean, a label's column
_FONT = 15  # pixels: legible at half size, as pages show wide pictures
XY = tuple[int, int]  # pixels from the left and from the top
_INK, _PAPER = (20, 20, 20), (255, 255, 255)


def comparison_grid(
    columns: Mapping[str, np.ndarray], caption: str, *, given: bool = False
) -> np.ndarray:
    """Lay clips out: one column per set, one row per clip, labels above, caption and frame below.

    Sets are uint8 (N, L, H, W, 3), all of one shape; returns uint8 (L, H', W', 3), H' and W' even.
    `given` says that all sets begin with the given frame, none with a decoded one.
    """
    sets = np.stack(list(columns.values()))
    tiles = rearrange(_enlarged(sets), "s n l h w c -> l (n h) (s w) c")
    height, width = tiles.shape[1:3]
    across = width // len(columns)
    labels = [textwrap.fill(label, across // LETTER) for label in columns]
    top = LINE * (1 + max(label.count("\n") for label in labels)) + PAD
    words, bottom, frames = textwrap.fill(caption, width // LETTER), top + height, []
    for number, frame in enumerate(tiles):
        texts = {(PAD + j * across, 2): label for j, label in enumerate(labels)}
        texts[PAD, bottom] = f"frame {number}{' (given)' * (given and number == 0)}"
        texts[PAD, bottom + LINE - 2] = words
        size = (PAD + width, bottom + LINE * (2 + words.count("\n")))
        frames.append(np.asarray(_picture(size, frame, (PAD, top), texts)))
    return np.stack(frames)


def _enlarged(tiles: np.ndarray) -> np.ndarray:
    """Enlarge uint8 (..., H, W, 3) by a whole factor; PAD pixels right and below are white."""
    scale = max(1, TILE // tiles.shape[-2])  # pixels stay square
    margins = [(0, 0)] * (tiles.ndim - 3) + [(0, PAD), (0, PAD), (0, 0)]
    return np.pad(tiles.repeat(scale, -3).repeat(scale, -2), margins, constant_values=255)


def _picture(size: XY, tiles: np.ndarray, corner: XY, texts: Mapping[XY, str]) -> Image.Image:
    """Return a picture, of even width and height, of tiles and texts by their corners."""
    picture = Image.new("RGB", (size[0] + size[0] % 2, size[1] + size[1] % 2), _PAPER)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_FONT)
    for at, text in texts.items():
        draw.text(at, printable(text, keep="\n"), _INK, font)
    picture.paste(Image.fromarray(tiles), corner)
    return picture


def encode_webp(frames: np.ndarray) -> bytes:
    """Encode uint8 (L, H, W, 3) as an endless animated WebP; lossy, so never measured."""
    return _save([Image.fromarray(frame) for frame in frames], "WEBP", quality=80, method=4)


def encode_gif(frames: np.ndarray) -> bytes:
    """Encode uint8 (L, H, W, 3) as an endless GIF with one palette."""
    # One palette from all frames: a palette per frame would flicker.
    sheet = Image.fromarray(np.concatenate(list(frames)))
    palette = sheet.quantize(256, method=Image.Quantize.MEDIANCUT)
    pictures = [
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in frames
    ]
    return _save(pictures, "GIF", optimize=True)


def _save(pictures: Sequence[Image.Image], kind: str, **options) -> bytes:
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

    LamdError when PyAV was built without an H.264 encoder.
    """
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


def render_clip_figure(results: Results, panels: Mapping[str, Panels]) -> dict[str, bytes]:
    """Return strips and an animation per source, and the chart of a rollout."""
    files, figure = {}, results.config["figure"]
    for picture in results.pictures:
        source, own = results.sources[picture.source], panels[picture.source]
        name, title = source.dataset, f"{results.title}: {data_words(source)}"
        files[f"strips_{name}.png"] = _draw_strips(own, title, picture.caption, figure["frames"])
        words = f"{data_words(source)}, profile {results.profile}"
        columns = dict(zip(own.labels, own.clips, strict=True))
        files[f"clips_{name}.webp"] = encode_webp(comparison_grid(columns, words))
        if figure["name"] == "rollout":
            number = next(v.n_fake for v in results.values if v.source == picture.source)
            words = f"{words}; n = {number} clips"
            files[f"rollout_{name}.png"] = _draw_rollout(own.numbers, title, words)
    return files


def _draw_strips(panels: Panels, title: str, caption: str, frames: int) -> bytes:
    """Return a PNG with a block of labelled rows per first frame, `frames` frames in each row.

    Frames are at even distances and enlarged by a whole factor. A row that does not move shows its
    frame once.
    """
    clips = panels.clips
    num_rows, count, length = clips.shape[:3]
    picked = np.unique(np.linspace(0, length - 1, frames).round().astype(int))
    strips = _enlarged(clips[:, :, picked])
    for row, n in np.ndindex(num_rows, count):
        if length > 1 and not (clips[row, n] != clips[row, n, :1]).any():
            strips[row, n, 1:] = 255
    step, across = strips.shape[3:5]
    blocks = rearrange(strips, "r n k h w c -> n (r h) (k w) c")
    blocks = np.pad(blocks, [(0, 0), (0, 2 * PAD), (0, 0), (0, 0)], constant_values=255)
    tiles = rearrange(blocks, "n h w c -> (n h) w c")
    top, width = 2 * LINE + PAD, LABEL + tiles.shape[1]
    texts = {(PAD, 2): title}
    texts |= {(LABEL + j * across, LINE + 2): f"frame {k}" for j, k in enumerate(picked)}
    for n, (row, name) in product(range(count), enumerate(panels.labels)):
        name = f"{name}, clip {n + 1}" if num_rows == 1 < count else name
        label = textwrap.fill(name, (LABEL - 2 * PAD) // LETTER)
        middle = top + n * blocks.shape[1] + row * step + step // 2
        texts[PAD, middle - LINE * (1 + label.count("\n")) // 2] = label
    words, bottom = textwrap.fill(caption, width // LETTER), top + len(tiles)
    texts[PAD, bottom] = words
    size = (width, bottom + LINE * (2 + words.count("\n")))
    buffer = io.BytesIO()
    _picture(size, tiles, (LABEL, top), texts).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _draw_rollout(numbers: Mapping[str, list[float]], title: str, caption: str) -> bytes:
    """Return a PNG of FVD per chunk and of the change per frame over the distance."""
    fvd, change = np.array(numbers["fvd"]), numbers["change_by_frame"]
    starts = np.arange(len(fvd)) * (len(change) // len(fvd))
    bounds, axis = None, "FVD ↓"
    if "fvd_low" in numbers:  # not with few clips
        bounds = np.abs([fvd - numbers["fvd_low"], numbers["fvd_high"] - fvd])
        axis += ", 95 % interval"
    with plots.canvas(title, 3.4, caption) as figure:
        left, right = figure.subplots(1, 2)
        left.errorbar(starts, fvd, yerr=bounds, fmt="o-", capsize=3, color=plots.color("lamd"))
        left.set(xlabel="first frame of the chunk", ylabel=axis, ylim=(0, None))
        right.plot(range(1, len(change) + 1), change, color=plots.color("lamd"), label="rollout")
        for seam in starts[1:]:
            right.axvline(seam + 1, linestyle=":", color=plots.color(""))
        real, hue = numbers["real_change"][0], plots.color("real_test")
        right.axhline(real, linestyle="--", color=hue, label="real clips")
        right.set(xlabel="frame (dotted: first new one of a chunk)", ylabel="change, grey levels")
        right.set_ylim(bottom=0)
        right.legend()
        return plots.save(figure)
