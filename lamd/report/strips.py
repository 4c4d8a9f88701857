"""The still picture of a figure: for each first frame a block of labelled rows of frames."""

import textwrap

import numpy as np

from lamd.pipeline.steps.panels import Panels
from lamd.report.plots import save_figure

_TILE, _GAP, _LABEL, _HEAD = 0.62, 0.04, 1.15, 0.3  # inches


def draw_strips(panels: Panels, *, title: str, caption: str, frames: int, name: str) -> dict:
    """Return `<name>.png` and `<name>.svg` with `frames` frames a row, at even distances.

    A row that stands still shows its frame once.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    num_rows, count, length = panels.clips.shape[:3]
    shown = np.unique(np.linspace(0, length - 1, frames).round().astype(int))
    step, block = _TILE + _GAP, num_rows * (_TILE + _GAP) + 3 * _GAP
    width = _LABEL + len(shown) * step + _GAP
    foot = 0.16 * (1 + len(caption) * 0.075 / width) + 0.1
    height = _HEAD + 0.2 + count * block + foot
    with rc_context({"svg.hashsalt": name, "font.size": 7}):
        figure = Figure(figsize=(width, height))

        def text(x: float, y: float, words: str, **style) -> None:
            figure.text(x / width, 1 - y / height, words, **style)

        text(_GAP, 0.2, title, fontsize=9, weight="bold")
        for j, frame in enumerate(shown):
            words = f"{frame}" if j else "frame 0"
            text(_LABEL + j * step + _TILE / 2, _HEAD + 0.14, words, ha="center")
        for n in range(count):
            for row, label in enumerate(panels.labels):
                top = _HEAD + 0.2 + n * block + row * step
                words = _wrapped(label, _LABEL - 2 * _GAP)
                text(_LABEL - 2 * _GAP, top + _TILE / 2, words, ha="right", va="center")
                clip = panels.clips[row, n]
                still = len(clip) > 1 and not (clip != clip[:1]).any()
                for j, frame in enumerate(shown[:1] if still else shown):
                    left = _LABEL + j * step
                    place = (
                        left / width,
                        1 - (top + _TILE) / height,
                        _TILE / width,
                        _TILE / height,
                    )
                    axes = figure.add_axes(place)
                    axes.imshow(clip[frame], interpolation="nearest")
                    axes.set_axis_off()
        text(_GAP, height - foot + 0.06, _wrapped(caption, width), va="top", color="#444444")
        return {f"{name}.{kind}": save_figure(figure, kind) for kind in ("png", "svg")}


def draw_moving(panels: Panels, caption: str) -> np.ndarray:
    """Return the animation, uint8 (L, H', W', 3): a column for each row of the still picture."""
    from lamd.report.media import comparison_grid

    return comparison_grid(dict(zip(panels.labels, panels.clips, strict=True)), caption)


def _wrapped(text: str, width: float) -> str:
    return "\n".join(textwrap.wrap(text, int(width / 0.056)))
