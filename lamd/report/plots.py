"""The style of all figures, one colour per row name, and the figure of a table."""

import io
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image

from lamd.base.terminal import printable
from lamd.metrics.registry import METRICS
from lamd.report import wording
from lamd.report.results import PublishedRow, Results

WIDTH = 9.0  # inches, at 9 pt: no smaller than 8 pt at the width at which README shows figures
MARKERS, LINES = "osD^v", ("-", "--", ":", "-.", "-")
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 0.3,
    "lines.markersize": 5,
    "lines.linewidth": 1.3,
    "savefig.facecolor": "white",
}
# Okabe and Ito's palette, safe for colour-blind readers; by the first words of a row's name.
_COLORS = {
    "lamd": "#0072B2",
    "latent_motion": "#0072B2",
    "permuted_prompts": "#CC79A7",
    "reconstruction": "#009E73",
    "diagnostics": "#009E73",
    "pixel": "#D55E00",
    "latent_video": "#E69F00",
    "real_test": "#56B4E9",
    "real_train": "#000000",
    "another_future": "#332288",
}
_GREY = "#767676"
_TITLE: dict[str, Any] = {"size": 10.5, "weight": "bold"}


def wrap(text: str, width: int) -> str:
    """Break a text into lines, but not at hyphens, around `=` or before an arrow."""
    glued = re.sub(r" (?=[↑↓=])|(?<==) ", "\u00a0", text)
    return textwrap.fill(glued, width, break_on_hyphens=False)


def color(row: str) -> str:
    """Return the colour of a row, grey where it has none."""
    name = row.replace("-", "_")
    return next((hue for start, hue in _COLORS.items() if name.startswith(start)), _GREY)


def shade(row: str, number: int, count: int) -> tuple[float, ...]:
    """Return the colour of the `number`th of `count` lines of a row, the first full."""
    share = 0.45 * number / max(count - 1, 1)  # towards white
    return tuple(value + share * (1 - value) for value in to_rgb(color(row)))


def plain(text: str) -> str:
    """Return a text that matplotlib draws as it is: `$` begins no formula."""
    return printable(text, keep="\n\u00a0").replace("$", r"\$")


def label_ticks(
    ax: Axes, name: str, labels: Sequence[str], at: Sequence[float] | None = None
) -> None:
    """Label positions of an axis, `x` or `y`; by default 0, 1, ..."""
    ticks = range(len(labels)) if at is None else at
    getattr(ax, f"set_{name}ticks")(ticks, [*map(plain, labels)])


@contextmanager
def canvas(title: str, height: float, caption: str = "") -> Iterator[Figure]:
    """Give an empty figure with a title above and a caption below; `height` is in inches."""
    text, title = plain(wrap(caption.replace("`", ""), 130)), plain(wrap(title, 92))
    size = (WIDTH, height + 0.15 * (1 + text.count("\n") + title.count("\n")))
    with rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        figure.suptitle(title, **_TITLE)
        figure.supxlabel(text, fontsize=8.5, x=0.01, ha="left", color="#404040")
        yield figure


def add_legend(figure: Figure, ax: Axes, columns: int) -> None:
    """Put one legend for all panels under the title; its entries are those of `ax`."""
    title = figure.get_suptitle()
    figure.suptitle("")
    figure.legend(
        *ax.get_legend_handles_labels(),
        loc="outside upper center",
        ncols=columns,
        title=title,
        title_fontproperties=_TITLE,
    )


def save(figure: Figure) -> bytes:
    """Return a figure as PNG of 256 colours; the same figure gives the same bytes."""
    drawn, buffer = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=160)
    picture = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    picture.save(buffer, "PNG", optimize=True)  # a third of the bytes of all colours
    return buffer.getvalue()


def errors(value: float, low: float | None, high: float | None) -> list[list[float]] | None:
    """Return the error bar of an interval as matplotlib takes it; None without one."""
    if low is None or high is None or not low <= high:  # pandas has NaN for None
        return None
    return [[max(value - low, 0.0)], [max(high - value, 0.0)]]


def note(
    ax: Axes, x: float, y: float, text: str, offset: tuple[int, int], hue: str, **style: Any
) -> None:
    """Write a text next to a point; the offset is in points."""
    ax.annotate(text, (x, y), offset, textcoords="offset points", color=hue, **style)


def label_logarithmic(ax: Axes, name: str) -> None:
    """Make an axis logarithmic, with plain numbers at 1, 2 and 5."""
    ax.set(**{f"{name}scale": "log"})
    axis = getattr(ax, f"{name}axis")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def draw_rows(results: Results) -> dict[str, bytes]:
    """Return `<metric>_by_row.png`: measured and published values in panels with their own axes.

    So a stand-in value is never compared with a published one by eye. The metric is FVD where the
    table has it; a table of captions has a second panel for their first metric.
    """
    metrics = list(dict.fromkeys(column.metric for column in results.columns))
    first = "fvd" if "fvd" in metrics else metrics[0]
    drawn = [first, *[m for m in metrics if METRICS[m].needs == "captions"][:1]]
    papers = [row for row in results.published if first in row.metrics]
    papers.sort(key=lambda row: row.metrics[first].value)
    rows = [wrap(row.label, 30) for row in results.rows]
    height = 1.3 + 0.22 * max(len(papers), sum(2 + row.count("\n") for row in rows))
    noted = [value for value in results.values if value.metric in drawn and value.note]
    notes = dict.fromkeys(f"{METRICS[value.metric].label}: {value.note}" for value in noted)
    caption = "; ".join([wording.capitalized(wording.code_words(results)), *notes])
    title = f"{results.title}, profile {results.profile}"
    with canvas(title, height, caption) as figure:
        axes = figure.subplots(1, len(drawn) + bool(papers), squeeze=False)[0]
        for ax, metric in zip(axes, drawn, strict=False):
            _draw_measured(ax, results, metric)
            ax.set_title(wrap(wording.measured_heading(results), 72 // len(axes)))
            label_ticks(ax, "y", rows)
            if ax is not axes[0]:  # the same rows
                ax.set_yticklabels([])
        if papers:
            _draw_published(axes[-1], first, papers)
            axes[-1].set_title(wrap(wording.published_heading(results), 72 // len(axes)))
        return {f"{first}_by_row.png": save(figure)}


def _draw_published(ax: Axes, metric: str, papers: Sequence[PublishedRow]) -> None:
    for y, row in enumerate(papers):
        value, name = row.metrics[metric].value, row.method.removeprefix("MCD-VAE ").lower()
        hue = color(name)
        ax.plot(value, y, "s", color=hue)
        note(ax, value, y, f"{value:g}", (6, -3), hue)
    label_ticks(ax, "y", [row.method + " *" * (not row.verified) for row in papers])
    ax.set_ylim(len(papers) - 0.5, -0.5)
    ax.set_xlabel(f"{METRICS[metric].heading}; * second-hand, not verified")
    _fit(ax)


def _fit(ax: Axes) -> None:
    """Leave room for labels; begin at 0 unless something is negative."""
    ax.margins(x=0.2)
    if ax.dataLim.x0 >= 0:
        ax.set_xlim(left=0)


def _draw_measured(ax: Axes, results: Results, metric: str) -> None:
    values = {value.row: value for value in results.values if value.metric == metric}
    for y, row in enumerate(results.rows):
        value = values.get(row.name)
        if value is None:
            lacking = any(e.row == row.name and e.metric in (None, metric) for e in results.missing)
            text = "not run" if lacking else "not defined"
            middle: dict[str, Any] = {"ha": "center", "va": "center", "style": "italic"}
            ax.annotate(text, (0.5, y), xycoords=("axes fraction", "data"), **middle)
            continue
        bars, hue = errors(value.value, value.low, value.high), color(row.name)
        ax.errorbar(value.value, y, xerr=bars, fmt="o", color=hue, capsize=3)
        text = f"{value.value:.{METRICS[metric].digits}f}"
        note(ax, value.value, y, text, (0, 6), hue, ha="center")
    ax.set_ylim(len(results.rows) - 0.5, -0.7)
    counts = dict.fromkeys(str(value.n_fake) for value in values.values())
    interval = "95 % interval, " * wording.has_intervals(results, metric)
    ax.set_xlabel(f"{METRICS[metric].heading}\n{interval}n = {' or '.join(counts)} clips")
    _fit(ax)
