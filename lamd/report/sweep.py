"""Sweeps: the table, one row per position, and the diagnostics of z_m."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from lamd.metrics.registry import METRICS
from lamd.report import curves, wording
from lamd.report.frame import Position, Summaries
from lamd.report.results import DIAGNOSED, Column, Results
from lamd.report.tables import (
    BLANK,
    Notes,
    TextTable,
    document,
    format_difference,
    is_constant,
    measured_cell,
    reading,
    result_files,
    row_files,
    seed_words,
)


class Diagnostic(NamedTuple):
    """Label, how it is measured, decimals, and whether the figure has a panel of it."""

    label: str
    text: str
    digits: int = 3
    drawn: bool = True


DIAGNOSTICS = {
    "kl": Diagnostic(
        "KL (nats)", "of q(z | x) to N(0, I), over all units of z_m, mean over clips", digits=2
    ),
    "active_units": Diagnostic(
        "active units",
        "units (channel and latent position) whose posterior mean varies over clips by more than "
        "0.01 (Burda et al., arXiv 1509.00519), before normalisation",
        digits=1,
    ),
    "active_channels": Diagnostic(
        "active channels",
        "channels for which the mean of that variance over their positions is above 0.01",
        digits=1,
        drawn=False,
    ),
    "linear_probe_r2": Diagnostic(
        "explained by the first frame (R²)",
        "of the normalised posterior mean by a ridge regression from f_x0 at the position and its "
        "mean over positions, fitted on the first half of the clips, scored on the second against "
        "the mean at each position; strength by 4 folds of the first half; 0 and below: nothing",
    ),
    "swap_score": Diagnostic(
        "motion swap",
        "D_V(z_m of clip B, x_0 of clip A): correlation of its motion with B's less that with A's; "
        "motion is the change of each frame from frame 0 of its clip, mean of RGB and 3x3 pixels; "
        "B is half the set away from A",
    ),
    "swap_motion": Diagnostic("swap, r with B", "the first of these two correlations", drawn=False),
    "swap_content": Diagnostic("swap, r with A", "the second", drawn=False),
    "zero_latent_change": Diagnostic(
        "zero motion",
        "mean absolute change of D_V(z_m = 0, x_0) from x_0 over that of the real clips; 0: still",
    ),
}


def render_sweep(results: Results) -> dict[str, bytes]:
    """Return the files of a sweep: table, figure, and its diagnostics when it has any.

    The table of a sweep over seeds alone has a line per row, and their verdicts.
    """
    if Summaries(results).axes:
        differences, changes = _differences(results), _changes(results)
        files = result_files(results, *sweep_table(results), differences, changes)
    else:
        files = row_files(results)
    files |= _render_diagnostics(results)
    figure = results.config["figure"]
    if figure["name"] == "curves":
        columns = [Column(**entry) for entry in figure["columns"]]
        panels = {column: wording.column_heading(column) for column in columns}
        reference = figure.get("reference")
        line = Column(**reference) if reference else None
        files["curves.png"] = curves.draw_curves(results, results.title, panels, line)
    else:
        columns = [Column(**figure["x"]), Column(**figure["y"])]
        files["tradeoff.png"] = curves.draw_tradeoff(results, *columns)
    return files


def sweep_table(results: Results) -> TextTable:
    """Return one line per position, seeds averaged, and one column per metric of a row."""
    notes, lines, summary = Notes(), [], Summaries(results)
    for position, names in summary.points.items():
        line = wording.coordinates(summary.axes, position)
        for column in results.columns:
            line[wording.column_heading(column)] = measured_cell(summary, position, column, notes)
        lines.append(line | {"seeds": str(len(names))})
    table = pd.DataFrame(lines, dtype=str)
    counts = dict.fromkeys(str(v.n_fake) for v in results.values if v.metric in METRICS)
    common = [f"n = {' or '.join(counts)} clips"]
    if is_constant(table, "seeds"):
        common.append(seed_words(results, int(table.pop("seeds").iloc[0])))
    explained = [
        *notes.lines(),
        *wording.axis_keys(summary.axes),
        *_variants(results),
        *reading(results),
    ]
    return table, common, explained


def _differences(results: Results) -> tuple[str, list[dict[str, str]]]:
    """Return the first position in words, and the differences of the others to it."""
    summary = Summaries(results)
    at = {name: wording.coordinates(summary.axes, p) for name, p in summary.position.items()}
    lines: dict[str, dict[str, str]] = {}
    for entry in results.differences:
        line = lines.setdefault(entry.point, dict(at[entry.point]))
        column = Column(row=entry.row, metric=entry.metric)
        line[wording.column_heading(column)] = format_difference(entry)
    first = ", ".join(f"{name} = {value}" for name, value in next(iter(at.values()), {}).items())
    return first, [*lines.values()]


def _changes(results: Results) -> list[dict[str, str]]:
    """Return the changes of each position from the first one, one per seed that both have."""
    summary, lines = Summaries(results), []
    for position in summary.points:
        line = {}
        for column in results.columns:
            seeds = summary.changes(position, column)
            if len(seeds) > 1:
                digits = METRICS[column.metric].digits
                texts = (f"{change:+.{digits}f}" for change in seeds)
                line[wording.column_heading(column)] = ", ".join(texts)
        lines += [wording.coordinates(summary.axes, position) | line] if line else []
    return lines


def _render_diagnostics(results: Results) -> dict[str, bytes]:
    """Return `diagnostics.md` and `diagnostics.png`; nothing when nothing was diagnosed."""
    if DIAGNOSED not in {v.row for v in results.values} | {m.row for m in results.missing}:
        return {}
    summary, notes, lines, by_channel = Summaries(results), Notes(), [], []
    columns = {name: Column(row=DIAGNOSED, metric=name) for name in DIAGNOSTICS}
    for position in summary.points:
        cells, channels = {}, {}
        for name, entry in DIAGNOSTICS.items():
            cells[entry.label] = measured_cell(
                summary, position, columns[name], notes, entry.digits
            )
            if name in ("kl", "active_units"):
                means = channel_means(summary, position, name)
                texts = [f"{value:.{entry.digits}f}" for value in means]
                channels[entry.label] = ", ".join(texts) or BLANK
        cells["MCD-VAEs"] = str(len(summary.by_seed(position, columns["kl"])))
        lines.append(wording.coordinates(summary.axes, position) | cells)
        by_channel.append(wording.coordinates(summary.axes, position) | channels)
    blocks = {
        wording.measured_heading(results): pd.DataFrame(lines, dtype=str),
        "By channel, in falling order of the KL": pd.DataFrame(by_channel, dtype=str),
    }
    clips = dict.fromkeys(
        str(v.n_real) for v in results.values if v.row == DIAGNOSED and not v.part
    )
    caption = wording.caption(results, [f"{' or '.join(clips) or 'no'} test clips"])
    explained = [
        *notes.lines(),
        *wording.axis_keys(summary.axes),
        *_variants(results),
        "Nothing is trained; several seeds: mean [95 % interval, Student's t], of two their mean "
        "(both values); seeds that the MCD-VAE does not depend on are not counted",
        *(f"{entry.label}: {entry.text}" for entry in DIAGNOSTICS.values()),
        *results.notes,
    ]
    title = f"{results.title}: diagnostics"
    drawn = {columns[name]: entry.label for name, entry in DIAGNOSTICS.items() if entry.drawn}
    return {
        "diagnostics.md": document(title, caption, blocks, explained).encode(),
        "diagnostics.png": curves.draw_curves(results, title, drawn),
    }


def channel_means(summary: Summaries, position: Position, metric: str) -> np.ndarray:
    """Return one value per channel, mean over the seeds; channels in falling order of their KL."""
    table = summary.frame
    rows = table[
        (table["position"] == position) & (table["row"] == DIAGNOSED) & (table["part"] != "")
    ]
    rows = rows.drop_duplicates(["cells", "part", "metric"])
    ordered = []
    for _, group in rows.groupby("point", sort=False):
        values = group.pivot(index="part", columns="metric", values="value")
        ordered.append(values.sort_values("kl", ascending=False, kind="stable")[metric].to_numpy())
    return np.mean(ordered, axis=0) if ordered else np.array([])


def _variants(results: Results) -> list[str]:
    """Return what each variant sets, the first in full and the others where they differ from it."""
    variants: dict[str, dict] = results.config.get("variants", {})
    first, lines = next(iter(variants), ""), []
    for name, values in variants.items():
        known, start = ({}, "") if name == first else (variants[first], f"as {first}, but ")
        stated = [item for item in values.items() if item not in known.items()]
        words = ", ".join(f"`{key}` = {wording.setting(value)}" for key, value in stated)
        lines.append(f"{name}: {start}{words}")
    return lines
