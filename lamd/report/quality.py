"""The figure of quality over cost: FVD of samplers and their steps, over seconds and FLOPs."""

from collections import defaultdict
from collections.abc import Mapping
from itertools import product

from matplotlib.axes import Axes

from lamd.config import SAMPLERS
from lamd.report import frame, plots, wording
from lamd.report.results import Results, Value

_COSTS = {"seconds": "seconds per clip (measured)", "tflops": "TFLOPs per clip (counted)"}
Line = list[dict[str, Value]]  # of each K, the values by metric


def quality_lines(results: Results, source: str) -> dict[tuple[str, str], Line]:
    """Return the measured points by row and sampler, in the order of K."""
    points: dict[tuple[str, str, int], dict[str, Value]] = defaultdict(dict)
    for value in results.values:
        if value.source == source:
            at = results.points[value.point]
            points[value.row, at["sampler"], at["num_steps"]][value.metric] = value
    lines = {
        pair: [
            points[key]
            for key in sorted(points)
            if key[:2] == pair and {"fvd", *_COSTS} <= points[key].keys()
        ]
        for pair in product([*wording.ROWS, *results.config["series"]], SAMPLERS)
    }
    return {pair: line for pair, line in lines.items() if line}


def render_quality(results: Results) -> dict[str, bytes]:
    """Return `fvd_over_cost.png` and `values.csv`; nothing without values."""
    measured = {p.source: quality_lines(results, p.source) for p in results.pictures}
    if not any(measured.values()):
        return {}
    chosen = results.config["reference"]
    reference = next(iter(results.config["series"])), chosen["sampler"], chosen["num_steps"]
    words = (
        "Bands and bars: 95 % interval of FVD over clips; numbers next to points: K; dotted: "
        f"interval of {wording.point_name(*reference)}. "
        + " ".join(picture.caption for picture in results.pictures)
    )
    title = f"{results.title}, profile {results.profile}"
    with plots.canvas(title, 0.9 + 3.6 * len(measured), words) as figure:
        grid = figure.subplots(len(measured), len(_COSTS), squeeze=False, sharey="row")
        for axes, (source, lines) in zip(grid, measured.items(), strict=True):
            for ax, (metric, label) in zip(axes, _COSTS.items(), strict=True):
                ax.set(xlabel=label, title=wording.data_words(results.sources[source]))
                _draw(ax, results, lines, metric, reference)
                plots.label_logarithmic(ax, "x")
                values = [point["fvd"].value for line in lines.values() for point in line]
                if max(values) > 2 * min(values):  # else a line far above flattens the others
                    plots.label_logarithmic(ax, "y")
            axes[0].set_ylabel("FVD ↓")
        plots.add_legend(figure, grid[0][0], 2)
        return {"fvd_over_cost.png": plots.save(figure), "values.csv": frame.csv(results)}


def _draw(
    ax: Axes,
    results: Results,
    lines: Mapping[tuple[str, str], Line],
    metric: str,
    reference: tuple[str, str, int],
) -> None:
    for (row, sampler), line in lines.items():
        index, hue = list(SAMPLERS).index(sampler), plots.color(row)
        xs = [point[metric].value for point in line]
        fvd = [point["fvd"] for point in line]
        ys = [value.value for value in fvd]
        bounds = [
            (v.value, v.value) if v.low is None or v.high is None else (v.low, v.high) for v in fvd
        ]
        lows, highs = zip(*bounds, strict=True)
        if len(line) > 1:  # a band, since bars of equal K would hide each other
            ax.fill_between(xs, lows, highs, color=hue, alpha=0.1, linewidth=0)
        else:
            ax.vlines(xs, lows, highs, color=hue, linestyle=":", linewidth=1)
        label = f"{wording.ROWS.get(row, row)}, {SAMPLERS[sampler].label}"
        ax.plot(xs, ys, f"{plots.MARKERS[index]}{plots.LINES[index]}", color=hue, label=label)
        # DDIM's numbers above its line, DPM-Solver++'s below, DDPM's to the right: they are close
        offset = {"ddim": (0, 8), "dpmpp_2m": (0, -9)}.get(sampler, (11, 0))
        for x, value, ends in zip(xs, fvd, bounds, strict=True):
            steps = results.points[value.point]["num_steps"]
            centre = {"ha": "center", "va": "center", "fontsize": 8}
            plots.note(ax, x, value.value, str(steps), offset, hue, **centre)
            if (row, sampler, steps) == reference:
                for end in ends:
                    ax.axhline(end, linestyle=":", linewidth=1, color=hue)
