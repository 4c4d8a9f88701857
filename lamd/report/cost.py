"""Cost by paradigm: a denoising step, a sampling run, published seconds; tables and a figure.

Everything is per clip. Ratios are to LaMD at the same frames and size.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from lamd.config.kinds import SPATIAL_DOWNSAMPLING, TEMPORAL_DOWNSAMPLING
from lamd.report import frame
from lamd.report.plots import add_legend, canvas, color, errors, label_logarithmic, save
from lamd.report.results import Results, Value
from lamd.report.tables import machine_words, provenance, published_table, table_files

if TYPE_CHECKING:
    import pandas as pd

LAMD = "latent-motion"
_FEWEST = 16  # frames of the paper's own sampling-time table


class Costs:
    """The values of a cost target by row, point, part and metric.

    `swept` holds the points of the first size in the order of their frames; `num_steps` is K.
    """

    def __init__(self, results: Results) -> None:
        self.values: dict[tuple[str, str, str, str], Value] = {
            (value.row, value.point, value.part, value.metric): value for value in results.values
        }
        self.labels = {row.name: row.label for row in results.rows}
        self.points = results.points
        self.size = next(iter(self.points.values()))["size"]
        swept = (name for name, point in self.points.items() if point["size"] == self.size)
        self.swept = sorted(swept, key=lambda name: self.points[name]["frames"])
        self.num_steps = int(results.measured["num_steps"])

    def of(self, row: str, point: str, part: str, metric: str) -> float:
        """Return a value; 0 for a part that the row does not have, such as decoding."""
        value = self.values.get((row, point, part, metric))
        return value.value if value else 0.0

    def ratio(self, row: str, point: str, part: str, metric: str) -> str:
        """Return a value over LaMD's at the same point, as text."""
        return f"{self.of(row, point, part, metric) / self.of(LAMD, point, part, metric):.4g}"

    def spread(self, row: str, point: str, part: str, unit: float = 1.0) -> str:
        """Return median and quartiles of the seconds in units of `unit` seconds, as text."""
        value = self.values[row, point, part, "seconds"]
        median, low, high = (v / unit for v in (value.value, value.low or 0.0, value.high or 0.0))
        return f"{median:.4g} [{low:.4g}, {high:.4g}]"


def render_cost_table(results: Results) -> dict[str, bytes]:
    """Return `table.md`, `table.tex` and `values.csv`."""
    costs = Costs(results)
    blocks = {
        "One denoising step": step_table(results),
        f"A sampling run, K = {costs.num_steps}": _run_table(costs),
    }
    papers = "Published: seconds per video, taken from papers, not measured here"
    blocks[papers] = published_table(results.published)
    notes = [
        "FLOPs, parameters and activations are counted, 1 multiply-accumulate = 2 FLOPs; "
        "activations: what the layers of one step write, 4 bytes each. All per clip.",
        "Times: median [quartiles] over rounds that time every paradigm and shape once each. "
        f"A run is encoding, {costs.num_steps} times a step, and decoding; the step's time is from "
        "shorter runs, since every step costs the same.",
        "GFLOP/s is why the two ratios differ: a small 2-D network keeps a processor less busy "
        "than a large 3-D one.",
        *growth(results),
    ]
    return table_files(results, cost_caption(results), blocks, notes)


def render_cost_figure(results: Results) -> dict[str, bytes]:
    """Return `cost_over_frames.png`, at the first size, and `values.csv`.

    The two grey lines of theory are LaMD's own step times L f_s^2, pixel space, and that divided
    by f_t f_s^2, latent video.
    """
    costs = Costs(results)
    frames = [costs.points[point]["frames"] for point in costs.swept]
    run = f"a sampling run, K = {costs.num_steps}"
    panels = {
        ("step", "flops", 1e9): "a denoising step, GFLOPs (counted)",
        ("step", "seconds", 1e-3): "a denoising step, ms (measured)",
        ("run", "flops", 1e12): f"{run}, TFLOPs (counted)",
        ("run", "seconds", 1): f"{run}, seconds (measured)",
    }
    theory = {
        f"LaMD x $L f_s^2$ ($f_s$ = {SPATIAL_DOWNSAMPLING})": SPATIAL_DOWNSAMPLING**2,
        f"LaMD x $L / f_t$ ($f_t$ = {TEMPORAL_DOWNSAMPLING})": 1 / TEMPORAL_DOWNSAMPLING,
    }
    title = f"{results.title}: one clip of {costs.size}x{costs.size} pixels"
    with canvas(title, 6.4, cost_caption(results)) as figure:
        grid = figure.subplots(2, 2, sharex=True)
        for ax, ((part, metric, unit), label) in zip(grid.flat, panels.items(), strict=True):
            for row, name in costs.labels.items():
                values = [costs.values[row, point, part, metric] for point in costs.swept]
                style = "s--" if row.endswith("factorised") else "o-"
                ys = [value.value / unit for value in values]
                ax.plot(frames, ys, style, color=color(row), label=name)
                for x, value in zip(frames, values, strict=True):
                    low, high = (bound and bound / unit for bound in (value.low, value.high))
                    bars = errors(value.value / unit, low, high)
                    ax.errorbar(x, value.value / unit, yerr=bars, color=color(row), capsize=2)
            for (name, factor), style in zip(theory.items(), ("-.", ":"), strict=True):
                step = [costs.of(LAMD, point, "step", metric) / unit for point in costs.swept]
                ys = [factor * count * y for count, y in zip(frames, step, strict=True)]
                if part == "step":
                    ax.plot(frames, ys, style, color=color(""), label=name)
            label_logarithmic(ax, "x")
            ax.set_yscale("log")
            ax.set_xticks(frames, [str(count) for count in frames])
            ax.set_title(label)
        for ax in grid[1]:
            ax.set_xlabel("frames per clip")
        add_legend(figure, grid[0][0], 3)
        return {"cost_over_frames.png": save(figure), "values.csv": frame.csv(results)}


def cost_caption(results: Results) -> str:
    """Return one line: on which machine, when, and how the times were taken."""
    remark = " Times are indicative: this machine; the ratios are the statement."
    return (
        "Untrained networks of equal width; measured on "
        f"{machine_words(results.measured)}; {provenance(results)}."
        f"{remark * results.measured['device'].startswith('cpu')}"
    )


def growth(results: Results) -> Iterator[str]:
    """Yield how many times the costs grow up to the most frames, from 16 on as in the paper."""
    costs = Costs(results)
    last = costs.swept[-1]
    first = next(
        (name for name in costs.swept if costs.points[name]["frames"] == _FEWEST), costs.swept[0]
    )
    frames = f"{costs.points[first]['frames']} to {costs.points[last]['frames']} frames"
    parts = {"step": "a step", "decode": "decoding", "run": "the whole run"}
    for row, label in costs.labels.items() if first != last else ():
        ratios = [
            f"{words} x{costs.of(row, last, part, 'flops') / flops:.2f} in FLOPs, x"
            f"{costs.of(row, last, part, 'seconds') / costs.of(row, first, part, 'seconds'):.2f} "
            "in time"
            for part, words in parts.items()
            if (flops := costs.of(row, first, part, "flops"))  # pixel space does not decode
        ]
        yield f"{label}, {frames} of {costs.size}x{costs.size}: {'; '.join(ratios)}."
    published = [
        f"{row.method} x{row.metrics['frames128'].value / row.metrics['frames16'].value:.2f}"
        for row in results.published
        if {"frames16", "frames128"} <= row.metrics.keys()
    ]
    if published:
        yield f"Published, 16 to 128 frames, the whole run in time: {', '.join(published)}."


def step_table(results: Results) -> "pd.DataFrame":
    """Return one denoising step per paradigm and shape, as text."""
    costs = Costs(results)
    return _table(
        costs,
        lambda row, point: {
            "parameters (M)": f"{costs.of(row, point, 'step', 'parameters') / 1e6:.3g}",
            "activations (MB)": f"{4 * costs.of(row, point, 'step', 'activations') / 1e6:.4g}",
            "GFLOPs": f"{(flops := costs.of(row, point, 'step', 'flops')) / 1e9:.4g}",
            "FLOPs / LaMD": costs.ratio(row, point, "step", "flops"),
            "ms": costs.spread(row, point, "step", unit=1e-3),
            "time / LaMD": costs.ratio(row, point, "step", "seconds"),
            "GFLOP/s": f"{flops / costs.of(row, point, 'step', 'seconds') / 1e9:.3g}",
        },
    )


def _run_table(costs: Costs) -> "pd.DataFrame":
    repeats = {"encode": 1, "denoise": costs.num_steps, "decode": 1}

    def line(row: str, point: str) -> dict[str, str]:
        cells = {"parameters (M)": f"{costs.of(row, point, 'run', 'parameters') / 1e6:.3g}"}
        for metric, unit, label in (("flops", 1e9, "GFLOPs"), ("seconds", 1, "seconds")):
            for name, times in repeats.items():
                value = costs.of(row, point, "step" if name == "denoise" else name, metric)
                cells[f"{label}: {name}"] = f"{times * value / unit:.4g}"
            if metric == "seconds":
                cells["seconds: sum"] = costs.spread(row, point, "run")
            cells[f"{label}: sum / LaMD"] = costs.ratio(row, point, "run", metric)
        return cells

    return _table(costs, line)


def _table(costs: Costs, line: Callable[[str, str], dict[str, str]]) -> "pd.DataFrame":
    import pandas as pd

    lines = [
        {"paradigm": label, "frames": str(point["frames"]), "size": "{0}x{0}".format(point["size"])}
        | line(row, name)
        for name, point in costs.points.items()
        for row, label in costs.labels.items()
    ]
    return pd.DataFrame(lines, dtype=str)
