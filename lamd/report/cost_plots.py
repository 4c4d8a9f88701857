"""The figure of cost over frames from its `CostReport` alone, and how lines are drawn and named."""

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from lamd.cost.paradigms import SPATIAL_FACTOR, TEMPORAL_FACTOR
from lamd.pipeline.steps.latency import spread
from lamd.report.cost_tables import (
    NAMES,
    OURS,
    cost_caption,
    growth,
    run_flops,
    run_seconds,
    swept_rows,
)
from lamd.report.plots import save_figure
from lamd.report.results import CostReport, CostRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GREY = "#8a8a8a"
_COLORS = dict(
    zip(NAMES.values(), ("#1b6ca8", "#b8860b", "#e0a800", "#8b1a1a", "#d9534f"), strict=True)
)
# What theory asks of latent video and of pixel space, beside LaMD's own step.
_THEORY = {
    f"LaMD x L/f_t (f_t = {TEMPORAL_FACTOR})": 1 / TEMPORAL_FACTOR,
    f"LaMD x L f_s² (f_s = {SPATIAL_FACTOR})": SPATIAL_FACTOR**2,
}


class Dot(NamedTuple):
    """A value over x, with its interval."""

    x: float
    value: float
    low: float
    high: float


Lines = dict[str, list[Dot]]


def cost_lines(report: CostReport) -> dict[str, Lines]:
    """Return the lines of each panel by its axis: a step and a run, computed and measured.

    The two lines of theory are LaMD's own step times L f_s^2, pixel space, and that divided by
    f_t f_s^2, latent video.
    """
    swept = swept_rows(report)

    def lines(value: Callable[[CostRow], Sequence[float]], unit: float) -> Lines:
        return {
            NAMES[paradigm]: [Dot(row.frames, *(unit * v for v in value(row))) for row in rows]
            for paradigm, rows in swept.items()
        }

    step = (
        lines(lambda r: [r.flops["step"]] * 3, 1e-9),
        lines(lambda r: spread(r.seconds["step"]), 1e3),
    )
    for one in step:
        ours = one[NAMES[OURS]]
        for label, factor in _THEORY.items():
            one[label] = [Dot(dot.x, *[dot.value * dot.x * factor] * 3) for dot in ours]
    return {
        "a denoising step, GFLOPs (closed form)": step[0],
        "a denoising step, ms (measured)": step[1],
        f"a sampling run (K = {report.num_steps}), TFLOPs (closed form)": lines(
            lambda r: [run_flops(report, r)] * 3, 1e-12
        ),
        f"a sampling run (K = {report.num_steps}), seconds (measured)": lines(
            lambda r: run_seconds(report, r), 1.0
        ),
    }


def render_cost_figure(report: CostReport) -> dict[str, bytes]:
    """Return `figure.png` and `figure.svg`; the same report gives the same SVG bytes."""
    size = report.rows[0].size
    with canvas_of(report.target, (12, 9)) as canvas:
        canvas.suptitle(f"{report.title}: one clip of {size}x{size} pixels", fontsize=11)
        panels = canvas.subplots(2, 2, sharex=True).flat
        for axes, (title, lines) in zip(panels, cost_lines(report).items(), strict=True):
            axes.set(xscale="log", yscale="log", title=title, ylabel=title.rpartition(", ")[2])
            for label, dots in lines.items():
                draw_dots(axes, dots, _COLORS.get(label, GREY), "o-" if label in _COLORS else "--")
            ticks = [dot.x for dot in lines[NAMES[OURS]]]
            axes.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
            axes.set_xticks([], minor=True)
            # Room for the labels, three fifths of the lines' own width.
            axes.set_xlim(0.9 * ticks[0], ticks[-1] * (ticks[-1] / ticks[0]) ** 0.6)
            ends = {label: dots[-1] for label, dots in lines.items()}
            _label_ends(axes, ends, {label: _COLORS.get(label, GREY) for label in ends})
        for axes in canvas.axes[2:]:
            axes.set_xlabel("frames of a clip")
        return finished(canvas, [cost_caption(report), *growth(report)])


@contextmanager
def canvas_of(target: str, inches: tuple[float, float]) -> Iterator["Figure"]:
    """Give an empty figure in the style of all of them."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style = {"svg.hashsalt": f"lamd-{target}", "font.size": 9, "axes.titlesize": 9,
             "axes.grid": True, "axes.axisbelow": True, "grid.alpha": 0.3}  # fmt: skip
    with rc_context(style):
        yield Figure(figsize=inches, layout="constrained")


def finished(canvas: "Figure", captions: Sequence[str]) -> dict[str, bytes]:
    """Write captions below a figure and return its two files."""
    lines = [line for caption in captions for line in textwrap.wrap(caption, 210)]
    canvas.supxlabel("\n".join(lines), fontsize=7.5, x=0.01, ha="left")
    return {f"figure.{kind}": save_figure(canvas, kind) for kind in ("png", "svg")}


def draw_dots(axes, dots: Sequence[Dot], color: str, style: str) -> None:
    """Draw a line through dots, with their intervals."""
    values = [dot.value for dot in dots]
    bars = [[max(d.value - d.low, 0.0) for d in dots], [max(d.high - d.value, 0.0) for d in dots]]
    shown = bars if any(map(any, bars)) else None
    axes.errorbar([dot.x for dot in dots], values, yerr=shown, fmt=style, color=color,
                  markersize=4, linewidth=1.2, capsize=2)  # fmt: skip


def _label_ends(axes, ends: Mapping[str, Dot], colors: Mapping[str, str]) -> None:
    """Write each line's name beside its end, moved up where two would overlap."""
    places = axes.transData.transform([(dot.x, dot.value) for dot in ends.values()])
    height, above = 13.0, float("-inf")  # pixels
    for label, (_, y) in sorted(zip(ends, places, strict=True), key=lambda one: one[1][1]):
        above = max(y, above + height)
        raised = (above - y) * 72 / axes.figure.dpi
        axes.annotate(label, ends[label][:2], (6, raised), textcoords="offset points",
                      va="center", color=colors[label], fontsize=8)  # fmt: skip
