"""The figure of quality against cost, from its `FigureReport` alone."""

from typing import NamedTuple

from lamd.config import Point
from lamd.harness.cost_figures import Dot, canvas_of, draw_dots, finished, label_ends
from lamd.harness.reporting import SAMPLER_NAMES
from lamd.harness.tables import data_words
from lamd.records import FigureReport, Picture

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
    from matplotlib.ticker import LogLocator, NullFormatter

    if not report.pictures:
        return {}
    chosen = report.config["reference"]
    reference = Point(next(iter(report.config["series"])), chosen["sampler"], chosen["num_steps"])
    height = 0.8 + 4.6 * len(report.pictures)
    with canvas_of(report.target, (12, height)) as canvas:
        canvas.suptitle(f"{report.title}, profile {report.profile}", fontsize=11)
        grid = canvas.subplots(len(report.pictures), len(AXES), squeeze=False, sharey="row")
        for places, picture in zip(grid, report.pictures, strict=True):
            for axes, (axis, label) in zip(places, AXES.items(), strict=True):
                axes.set(
                    xscale="log", xlabel=label, title=data_words(picture.data, picture.dataset)
                )
                _draw(axes, quality_lines(picture, axis), reference)
                axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axes.xaxis.set_major_formatter("{x:g}")
                axes.xaxis.set_minor_formatter(NullFormatter())
            places[0].set_ylabel(
                "FVD (lower is better), band: 95 % interval; above each point: K\n"
                f"dotted: interval of {point_name(reference)}",
                fontsize=8,
            )
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
        for num_steps, dot in steps[:-1]:
            axes.annotate(str(num_steps), dot[:2], (0, 6), textcoords="offset points",
                          ha="center", fontsize=7, color=colors[series])  # fmt: skip
        for num_steps, dot in steps:
            if (series, num_steps) == (_series(reference), reference.num_steps):
                for end in (dot.low, dot.high):
                    axes.axhline(end, linestyle=":", linewidth=1, color=colors[series])
    xs = [step.dot.x for steps in lines.values() for step in steps]
    axes.set_xlim(0.85 * min(xs), max(xs) * max(max(xs) / min(xs), 2.0) ** 0.75)  # for the labels
    names = {series: f"{series}, K = {steps[-1].num_steps}" for series, steps in lines.items()}
    ends = {names[series]: steps[-1].dot for series, steps in lines.items()}
    label_ends(axes, ends, {names[series]: color for series, color in colors.items()})


def _series(point: Point) -> str:
    return f"{_ROWS[point.row]}, {SAMPLER_NAMES[point.sampler]}"
