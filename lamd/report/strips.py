"""The pictures of a clip figure: strips of frames, animations, and a rollout over its distance."""

import io
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from lamd.report.media import LETTER, LINE, PAD, TILE, comparison_grid, compose, encode_webp
from lamd.report.plots import canvas, color, save
from lamd.report.results import Results
from lamd.report.tables import data_words, dataset_label

if TYPE_CHECKING:
    from lamd.pipeline.contents import Panels

_LABEL = 150  # pixels


def render_clip_figure(results: Results, panels: Mapping[str, "Panels"]) -> dict[str, bytes]:
    """Return strips and an animation per source, and the chart of a rollout.

    Args:
        panels: the clips of each source.
    """
    files, figure = {}, results.config["figure"]
    for picture in results.pictures:
        source, own = results.sources[picture.source], panels[picture.source]
        name, title = source.dataset, f"{results.title}: {dataset_label(source.dataset)}"
        files[f"strips_{name}.png"] = draw_strips(
            own, title=title, caption=picture.caption, frames=figure["frames"]
        )
        words = f"{data_words(source)}, profile {results.profile}"
        columns = dict(zip(own.labels, own.clips, strict=True))
        files[f"clips_{name}.webp"] = encode_webp(comparison_grid(columns, words))
        if figure["name"] == "rollout":
            files[f"rollout_{name}.png"] = draw_rollout(own.numbers, title, words)
    return files


def draw_strips(panels: "Panels", *, title: str, caption: str, frames: int) -> bytes:
    """Return a PNG with a block of labelled rows per first frame, `frames` frames in each row.

    Frames are at even distances and enlarged by a whole factor. A row that does not move shows its
    frame once.
    """
    num_rows, count, length, height, width = panels.clips.shape[:5]
    scale = max(1, TILE // width)
    picked = np.unique(np.linspace(0, length - 1, frames).round().astype(int))
    step, across = height * scale + PAD, width * scale + PAD
    labels = [textwrap.fill(label, (_LABEL - 2 * PAD) // LETTER) for label in panels.labels]
    total = _LABEL + len(picked) * across
    head, block = 2 * LINE + PAD, num_rows * step + 2 * PAD
    texts, tiles = {(PAD, 2): title}, {}
    for j, frame in enumerate(picked):
        texts[_LABEL + j * across, LINE + 2] = f"frame {frame}"
    for n in range(count):
        for row, label in enumerate(labels):
            top, clip = head + n * block + row * step, panels.clips[row, n]
            texts[PAD, top + step // 2 - LINE * (1 + label.count("\n")) // 2] = label
            still = length > 1 and not (clip != clip[:1]).any()
            for j, frame in enumerate(picked[:1] if still else picked):
                tiles[_LABEL + j * across, top] = clip[frame]
    words = textwrap.fill(caption, total // LETTER)
    bottom = head + count * block
    texts[PAD, bottom] = words
    size = (total, bottom + LINE * (2 + words.count("\n")))
    buffer = io.BytesIO()
    compose(size, scale, tiles, texts).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def draw_rollout(numbers: Mapping[str, list[float]], title: str, caption: str) -> bytes:
    """Return a PNG of FVD per chunk and of the change per frame over the distance."""
    fvd, change = np.array(numbers["fvd"]), numbers["change_by_frame"]
    starts = np.arange(len(fvd)) * (len(change) // len(fvd))
    bounds = np.abs([fvd - numbers["fvd_low"], numbers["fvd_high"] - fvd])
    with canvas(title, 3.4, caption) as figure:
        left, right = figure.subplots(1, 2)
        left.errorbar(starts, fvd, yerr=bounds, fmt="o-", capsize=3, color=color("lamd"))
        left.set(xlabel="first frame of the chunk", ylabel="FVD ↓, 95 % interval")
        left.set_ylim(bottom=0)
        right.plot(range(1, len(change) + 1), change, color=color("lamd"), label="rollout")
        for seam in starts[1:]:
            right.axvline(seam + 1, linestyle=":", color=color(""))
        right.axhline(
            numbers["real_change"][0], linestyle="--", color=color("real_test"), label="real clips"
        )
        right.set(xlabel="frame (dotted: first new one of a chunk)", ylabel="change, grey levels")
        right.set_ylim(bottom=0)
        right.legend()
        return save(figure)
