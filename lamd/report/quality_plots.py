"""The figure of quality against cost, from its `FigureReport` alone."""

from typing import NamedTuple

from lamd.config import Point
from lamd.report.cost_plots import Dot, canvas_of, draw_dots, finished
from lamd.report.results import FigureReport, Picture
from lamd.report.tables import data_words
from lamd.targets.reporting import SAMPLER_NAMES

AXES = {"seconds": "seconds a clip (measured)", "tflops": "TFLOPs a clip (closed form)"}
_ROWS = {
    "lamd": "LaMD",
    "pixel_clips": "pixel space, equal clips",
    "pixel_flops": "pixel space, equal training FLOPs",
    "latent_video_clips": "latent video, equal clips",
    "latent_video_flops": "latent video, equal training FLOPs",
}


class Step(NamedTuple):
    """One dot of a line, and its K."""

    num_steps: int
    dot: Dot


def point_name(point: Point) -> str:
    """Return e.g. `LaMD, DDIM, K = 200`."""
    return f"{_series(point)}, K = {point.num_steps}"


def quality_lines(picture: Picture, axis: str) -> dict[str, list[Step]]:
    """Return FVD over `axis`, seconds or tflops, by row and sampler, in the order of K."""
    numbers, lines = picture.numbers, {}
    for i, label in enumerate(picture.labels):
        row, sampler, num_steps = label.split()
        point = Point(row, sampler, int(num_steps))
        dot = Dot(numbers[axis][i], *(numbers[name][i] for name in ("fvd", "fvd_low", "fvd_high")))
        lines.setdefault(_series(point), []).append(Step(point.num_steps, dot))
    return {series: sorted(steps) for series, steps in lines.items()}


def render_quality_figure(report: FigureReport) -> dict[str, bytes]:
    """Return `figure.png` and `figure.svg`: a row of panels a source, one over each kind of cost.

    The same report gives the same SVG bytes.
    """
    if not report.pictures:
        return {}
    chosen = report.config["reference"]
    reference = Point(next(iter(report.config["series"])), chosen["sampler"], chosen["num_steps"])
    height = 1.2 + 4.6 * len(report.pictures)
    with canvas_of(report.target, (12, height)) as canvas:
        grid = canvas.subplots(len(report.pictures), len(AXES), squeeze=False, sharey="row")
        for places, picture in zip(grid, report.pictures, strict=True):
            for axes, (axis, label) in zip(places, AXES.items(), strict=True):
                axes.set(xlabel=label, title=data_words(picture.data, picture.dataset))
                _draw(axes, quality_lines(picture, axis), reference)
                _logarithmic(axes, "x")
                values = picture.numbers["fvd"]
                if max(values) > 2 * min(values):  # else a line far above flattens the others
                    _logarithmic(axes, "y")
            places[0].set_ylabel(
                "FVD (lower is better), band: 95 % interval; beside each point: K\n"
                f"dotted: interval of {point_name(reference)}",
                fontsize=8,
            )
        # names beside the lines ran over each other and off the page
        canvas.legend(*grid[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=3,
                      frameon=False, title=f"{report.title}, profile {report.profile}",
                      title_fontsize=11)  # fmt: skip
        return finished(canvas, [picture.caption for picture in report.pictures])


def _draw(axes, lines: dict[str, list[Step]], reference: Point) -> None:
    colors = {series: f"C{number}" for number, series in enumerate(lines)}
    for series, steps in lines.items():
        dots = [step.dot for step in steps]
        if len(dots) > 1:  # a band, since bars of equal K would hide each other
            axes.fill_between([d.x for d in dots], [d.low for d in dots], [d.high for d in dots],
                              color=colors[series], alpha=0.12, linewidth=0)  # fmt: skip
            dots = [Dot(dot.x, *[dot.value] * 3) for dot in dots]
        draw_dots(axes, dots, colors[series], "o-")
        axes.plot([], [], "o-", color=colors[series], markersize=4, label=series)
        # DPM-Solver++'s numbers below its line, since DDIM's of the same K lies close to it
        side = -1 if series.endswith(SAMPLER_NAMES["dpmpp_2m"]) else 1
        for num_steps, dot in steps:
            axes.annotate(str(num_steps), dot[:2], (3, 8 * side), textcoords="offset points",
                          va="center", fontsize=7, color=colors[series])  # fmt: skip
            if (series, num_steps) == (_series(reference), reference.num_steps):
                for end in (dot.low, dot.high):
                    axes.axhline(end, linestyle=":", linewidth=1, color=colors[series])


def _logarithmic(axes, name: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set(**{f"{name}scale": "log"})
    axis = getattr(axes, f"{name}axis")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _series(point: Point) -> str:
    return f"{_ROWS[point.row]}, {SAMPLER_NAMES[point.sampler]}"
