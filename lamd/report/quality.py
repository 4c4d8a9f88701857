"""The figure of quality over cost: FVD of samplers and their steps, over seconds and FLOPs."""

from itertools import product

import pandas as pd
from matplotlib.axes import Axes

from lamd.config import SAMPLERS
from lamd.report import frame, plots, wording
from lamd.report.results import Results

_COSTS = {"seconds": "seconds per clip (measured)", "tflops": "TFLOPs per clip (counted)"}
Lines = dict[tuple[str, str], pd.DataFrame]


def quality_lines(results: Results, source: str) -> Lines:
    """Return the measured points by row and sampler.

    A frame has a line per K, ascending, and the columns value, low and high of FVD and of costs.
    """
    values = frame.to_frame(results)
    points = values[values["source"] == source].pivot(
        index=["row", "sampler", "num_steps"], columns="metric", values=["value", "low", "high"]
    )
    needed = [("value", metric) for metric in ("fvd", *_COSTS)]
    if not {*needed} <= {*points.columns}:
        return {}
    lines = dict(list(points.dropna(subset=needed).astype(float).groupby(["row", "sampler"])))
    order = product([*wording.ROWS, *results.config["series"]], SAMPLERS)
    return {pair: lines[pair].loc[pair] for pair in order if pair in lines}


def render_quality(results: Results) -> dict[str, bytes]:
    """Return `fvd_over_cost.png` and `values.csv`; nothing without values."""
    measured = {p.source: quality_lines(results, p.source) for p in results.pictures}
    if not any(measured.values()):
        return {}
    chosen = results.config["reference"]
    reference = next(iter(results.config["series"])), chosen["sampler"], chosen["num_steps"]
    name, marks, dotted = wording.point_name(*reference), "Numbers next to points: K", "FVD"
    if wording.has_intervals(results, "fvd"):
        marks, dotted = f"{marks}; bands and bars: 95 % interval of FVD over clips", "interval"
    captions = " ".join(picture.caption for picture in results.pictures)
    words = f"{marks}; dotted: {dotted} of {name}. {captions}"
    title = f"{results.title}, profile {results.profile}"
    with plots.canvas(title, 0.9 + 3.0 * len(measured), words) as figure:
        grid = figure.subplots(len(measured), len(_COSTS), squeeze=False, sharey="row")
        for axes, (source, lines) in zip(grid, measured.items(), strict=True):
            for ax, (metric, label) in zip(axes, _COSTS.items(), strict=True):
                ax.set(xlabel=label, title=wording.data_words(results.sources[source]))
                _draw(ax, lines, metric, reference)
                plots.label_logarithmic(ax, "x")
                fvd = pd.concat([line["value", "fvd"] for line in lines.values()])
                if fvd.max() > 2 * fvd.min():  # else a line far above flattens the others
                    plots.label_logarithmic(ax, "y")
                elif not wording.has_intervals(results, "fvd"):  # a small range would look large
                    ax.set_ylim(0, 1.1 * fvd.max())
            axes[0].set_ylabel("FVD ↓")
        plots.add_legend(figure, grid[0][0], 3)
        return {"fvd_over_cost.png": plots.save(figure), "values.csv": frame.csv(results)}


def _draw(ax: Axes, lines: Lines, metric: str, reference: tuple[str, str, int]) -> None:
    for (row, sampler), line in lines.items():
        index, hue = list(SAMPLERS).index(sampler), plots.color(row)
        xs, fvd = line["value", metric], line["value", "fvd"]
        lows, highs = line["low", "fvd"].fillna(fvd), line["high", "fvd"].fillna(fvd)
        if len(line) > 1:  # a band, since bars of equal K would hide each other
            ax.fill_between(xs, lows, highs, color=hue, alpha=0.1, linewidth=0)
        else:
            ax.vlines(xs, lows, highs, color=hue, linestyle=":", linewidth=1)
        label = plots.plain(f"{wording.ROWS.get(row, row)}, {SAMPLERS[sampler].label}")
        ax.plot(xs, fvd, f"{plots.MARKERS[index]}{plots.LINES[index]}", color=hue, label=label)
        # DDIM's numbers above its line, DPM-Solver++'s below, DDPM's to the right: they are close
        offset = {"ddim": (0, 8), "dpmpp_2m": (0, -9)}.get(sampler, (11, 0))
        for steps in line.index:
            centre = {"ha": "center", "va": "center", "fontsize": 8}
            plots.note(ax, xs[steps], fvd[steps], str(steps), offset, hue, **centre)
            for end in (lows, highs) if (row, sampler, steps) == reference else ():
                ax.axhline(end[steps], linestyle=":", linewidth=1, color=hue)
