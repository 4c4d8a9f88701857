"""Cost by paradigm: a denoising step, a sampling run, published seconds; tables and a figure.

Everything is per clip. Ratios are to LaMD at the same frames and size.
"""

from collections.abc import Iterator, Mapping

import pandas as pd
from matplotlib.ticker import NullLocator

from lamd.config.kinds import SPATIAL_DOWNSAMPLING, TEMPORAL_DOWNSAMPLING
from lamd.report import frame, plots
from lamd.report.results import Results
from lamd.report.tables import published_table, table_files
from lamd.report.wording import machine_words, provenance

LAMD = "latent-motion"
_FEWEST = 16  # frames of the paper's own sampling-time table


def costs_of(results: Results) -> dict[tuple[str, str], pd.DataFrame]:
    """Return value, low and high by row and point, for each part of a run and metric."""
    values = frame.to_frame(results).set_index(["row", "point"])
    order = [(row.name, point) for point in results.points for row in results.rows]
    return {
        part_and_metric: own.loc[order, ["value", "low", "high"]]
        for part_and_metric, own in values.groupby(["part", "metric"])
    }


def _sweep(results: Results) -> tuple[dict[str, int], int]:
    """Return the frames of each point of the first size, in ascending order, and that size."""
    size = next(iter(results.points.values()))["size"]
    frames = {name: at["frames"] for name, at in results.points.items() if at["size"] == size}
    return dict(sorted(frames.items(), key=lambda entry: entry[1])), size


def render_cost_table(results: Results) -> dict[str, bytes]:
    """Return `table.md`, `table.tex` and `values.csv`."""
    num_steps = results.measured["num_steps"]
    blocks = {
        "One denoising step": step_table(results),
        f"A sampling run, K = {num_steps}": _run_table(results),
        "Published: seconds per video, taken from papers, not measured here": published_table(
            results.published
        ),
    }
    notes = [
        "FLOPs, parameters and activations are counted, 1 multiply-accumulate = 2 FLOPs; "
        "activations: what the layers of one step write, 4 bytes each. All per clip.",
        "Times: median [quartiles] over rounds that time every paradigm and shape once each. "
        f"A run is encoding, {num_steps} times a step, and decoding; the step's time is from "
        "shorter runs, since every step costs the same.",
        "GFLOP/s is why the two ratios differ: a small 2-D network keeps a processor less busy "
        "than a large 3-D one.",
        *growth(results),
    ]
    return table_files(results, cost_caption(results), blocks, notes)


def cost_caption(results: Results) -> str:
    """Return one line: on which machine, when, and how the times were taken."""
    remark = " Times are indicative: this machine; the ratios are the statement."
    return (
        "Untrained networks of equal width; measured on "
        f"{machine_words(results.measured)}; {provenance(results)}."
        f"{remark * results.measured['device'].startswith('cpu')}"
    )


def step_table(results: Results) -> pd.DataFrame:
    """Return one denoising step per paradigm and shape, as text."""
    costs = costs_of(results)
    step = {metric: own["value"] for (part, metric), own in costs.items() if part == "step"}
    columns = {
        "parameters (M)": _digits(step["parameters"] / 1e6, 3),
        "activations (MB)": _digits(4 * step["activations"] / 1e6, 4),
        "GFLOPs": _digits(step["flops"] / 1e9, 4),
        "FLOPs / LaMD": _ratio(step["flops"]),
        "ms": _spread(costs["step", "seconds"] / 1e-3),
        "time / LaMD": _ratio(step["seconds"]),
        "GFLOP/s": _digits(step["flops"] / step["seconds"] / 1e9, 3),
    }
    return _table(results, columns)


def _run_table(results: Results) -> pd.DataFrame:
    costs, num_steps = costs_of(results), int(results.measured["num_steps"])
    parts = {"encode": ("encode", 1), "denoise": ("step", num_steps), "decode": ("decode", 1)}
    columns = {"parameters (M)": _digits(costs["run", "parameters"]["value"] / 1e6, 3)}
    for metric, unit, label in (("flops", 1e9, "GFLOPs"), ("seconds", 1, "seconds")):
        for name, (part, times) in parts.items():
            total = times * costs[part, metric]["value"]
            columns[f"{label}: {name}"] = _digits(total / unit, 4)
        if metric == "seconds":
            columns["seconds: sum"] = _spread(costs["run", "seconds"])
        columns[f"{label}: sum / LaMD"] = _ratio(costs["run", metric]["value"])
    return _table(results, columns)


def _table(results: Results, columns: Mapping[str, pd.Series]) -> pd.DataFrame:
    shapes = [
        {"paradigm": row.label, "frames": str(at["frames"]), "size": f"{at['size']}x{at['size']}"}
        for at in results.points.values()
        for row in results.rows
    ]
    return pd.DataFrame(shapes).join(pd.DataFrame(columns).reset_index(drop=True))


def _digits(values: pd.Series, digits: int) -> pd.Series:
    return values.map(f"{{:.{digits}g}}".format)


def _ratio(values: pd.Series) -> pd.Series:
    """Return values over those of LaMD at the same point, as text."""
    return _digits(values.div(values[LAMD], level="point"), 4)


def _spread(times: pd.DataFrame) -> pd.Series:
    """Return median and quartiles as text."""
    texts = {name: _digits(own, 4) for name, own in times.items()}
    return texts["value"] + " [" + texts["low"] + ", " + texts["high"] + "]"


def growth(results: Results) -> Iterator[str]:
    """Yield how many times the costs grow up to the most frames, from 16 on as in the paper."""
    costs, (sweep, size) = costs_of(results), _sweep(results)
    points, last = list(sweep), list(sweep)[-1]
    first = next((name for name in points if sweep[name] == _FEWEST), points[0])
    parts = {"step": "a step", "decode": "decoding", "run": "the whole run"}
    for row in results.rows if first != last else ():
        ratios = []
        for part, words in parts.items():
            flops, seconds = (
                costs[part, metric]["value"][row.name] for metric in ("flops", "seconds")
            )
            if flops[first]:  # pixel space does not decode
                ratios.append(
                    f"{words} x{flops[last] / flops[first]:.2f} in FLOPs, "
                    f"x{seconds[last] / seconds[first]:.2f} in time"
                )
        shapes = f"{sweep[first]} to {sweep[last]} frames of {size}x{size}"
        yield f"{row.label}, {shapes}: {'; '.join(ratios)}."
    published = [
        f"{row.method} x{row.metrics['frames128'].value / row.metrics['frames16'].value:.2f}"
        for row in results.published
        if {"frames16", "frames128"} <= row.metrics.keys()
    ]
    if published:
        yield f"Published, 16 to 128 frames, the whole run in time: {', '.join(published)}."


def render_cost_figure(results: Results) -> dict[str, bytes]:
    """Return `cost_over_frames.png`, at the first size, and `values.csv`.

    The two grey lines of theory are LaMD's own step times L f_s^2, pixel space, and that divided
    by f_t f_s^2, latent video.
    """
    costs, (sweep, size) = costs_of(results), _sweep(results)
    frames = list(sweep.values())
    run = f"a sampling run, K = {results.measured['num_steps']}"
    panels = {
        ("step", "flops", 1e9): "a denoising step, GFLOPs (counted)",
        ("step", "seconds", 1e-3): "a denoising step, ms (measured)",
        ("run", "flops", 1e12): f"{run}, TFLOPs (counted)",
        ("run", "seconds", 1): f"{run}, seconds (measured)",
    }
    theory = {
        f"LaMD x $L f_s^2$ ($f_s$ = {SPATIAL_DOWNSAMPLING})": ("-.", SPATIAL_DOWNSAMPLING**2),
        f"LaMD x $L / f_t$ ($f_t$ = {TEMPORAL_DOWNSAMPLING})": (":", 1 / TEMPORAL_DOWNSAMPLING),
    }
    title = f"{results.title}: one clip of {size}x{size} pixels"
    words = (
        f"{cost_caption(results)} Times: medians, bars: quartiles over rounds. Grey, in the first "
        "panel: LaMD's step times L f_s², the positions of pixel space, and times L / f_t, those "
        "of latent video."
    )
    with plots.canvas(title, 6.4, words) as figure:
        grid = figure.subplots(2, 2, sharex=True)
        for ax, ((part, metric, unit), label) in zip(grid.flat, panels.items(), strict=True):
            scaled = costs[part, metric] / unit
            for number, row in enumerate(results.rows):
                own, hue = scaled.loc[row.name].loc[list(sweep)], plots.color(row.name)
                line = "--" if row.name.endswith("factorised") else "-"
                style = plots.MARKERS[number % 5] + line
                ax.plot(frames, own["value"], style, color=hue, label=plots.plain(row.label))
                for x, (y, low, high) in zip(frames, own.to_numpy(), strict=True):
                    ax.errorbar(x, y, yerr=plots.errors(y, low, high), color=hue, capsize=2)
            for name, (style, factor) in (
                theory.items() if (part, metric) == ("step", "flops") else ()
            ):
                ys = scaled["value"][LAMD][list(sweep)] * frames * factor
                ax.plot(frames, ys, style, color=plots.color(""), label=name)
            plots.label_logarithmic(ax, "x")
            ax.set_yscale("log")
            ax.set_xticks(frames, [str(count) for count in frames])
            ax.xaxis.set_minor_locator(NullLocator())
            ax.set_title(label)
        for ax in grid[1]:
            ax.set_xlabel("frames per clip")
        plots.add_legend(figure, grid[0][0], 3)
        return {"cost_over_frames.png": plots.save(figure), "values.csv": frame.csv(results)}
