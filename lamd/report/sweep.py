"""The table of a sweep, one row per position, the page of its diagnostics, and all its files."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lamd.metrics.registry import METRICS
from lamd.report.curves import Position, Summaries, axes_of, draw_curves, draw_sweep
from lamd.report.results import Column, Results
from lamd.report.tables import (
    BLANK,
    Notes,
    blocks_of,
    caption,
    column_heading,
    document,
    is_constant,
    measured_heading,
    reading,
    symbol_key,
    symbols,
    table_files,
)

if TYPE_CHECKING:
    import pandas as pd

ROW = "diagnostics"


class Diagnostic(NamedTuple):
    """Label, decimals, how it is measured, and whether the figure has a panel of it."""

    label: str
    digits: int
    text: str
    drawn: bool = False


DIAGNOSTICS = {
    "kl": Diagnostic(
        "KL (nats)", 2, "of q(z | x) to N(0, I), over all units of z_m, mean over clips", True
    ),
    "active_units": Diagnostic(
        "active units",
        1,
        "units (channel and latent position) whose posterior mean varies over clips by more than "
        "0.01 (Burda et al., arXiv 1509.00519), before normalisation",
        True,
    ),
    "active_channels": Diagnostic(
        "active channels",
        1,
        "channels for which the mean of that variance over their positions is above 0.01",
    ),
    "linear_probe_r2": Diagnostic(
        "explained by the first frame (R²)",
        3,
        "of the normalised posterior mean by a ridge regression from f_x0 at the position and its "
        "mean over positions, fitted on the first half of the clips, scored on the second against "
        "the mean at each position; strength by 4 folds of the first half; 0 and below: nothing",
        True,
    ),
    "swap_score": Diagnostic(
        "motion swap",
        3,
        "D_V(z_m of clip B, x_0 of clip A): correlation of its motion with B's less that with A's; "
        "motion is the change of each frame from frame 0 of its clip, mean of RGB and 3x3 pixels; "
        "B is half the set away from A",
        True,
    ),
    "swap_motion": Diagnostic("swap, r with B", 3, "the first of these two correlations"),
    "swap_content": Diagnostic("swap, r with A", 3, "the second"),
    "zero_latent_change": Diagnostic(
        "zero motion",
        3,
        "mean absolute change of D_V(z_m = 0, x_0) from x_0 over that of the real clips; 0: still",
        True,
    ),
}


def render_sweep(results: Results) -> dict[str, bytes]:
    """Return the files of a sweep: table, figure, and its diagnostics when it has any."""
    table, common, notes = sweep_table(results)
    files = table_files(results, caption(results, common), blocks_of(results, table), notes)
    return files | draw_sweep(results) | _render_diagnostics(results)


def sweep_table(results: Results) -> tuple["pd.DataFrame", list[str], list[str]]:
    """Return a row per position, seeds averaged, as text; what is common to all; and notes."""
    import pandas as pd

    notes, axes, lines = Notes(), axes_of(results), []
    summary = Summaries(results)
    for position, names in summary.points.items():
        line = dict(zip(symbols(axes), map(str, position), strict=True))
        for column in results.columns:
            line[column_heading(column)] = summary.cell(position, column, notes)
        lines.append(line | {"seeds": str(len(names))})
    table = pd.DataFrame(lines, dtype=str)
    counts = dict.fromkeys(str(v.n_fake) for v in results.values if v.metric in METRICS)
    common = [f"n = {' or '.join(counts)} clips"]
    if is_constant(table, "seeds"):
        number = int(table.pop("seeds").iloc[0])
        common.append(f"{number} seed{'s' * (number != 1)}")
    key = [symbol_key(axes)] if axes else []
    return table, common, [*notes.lines(), *key, *reading(results)]


def _render_diagnostics(results: Results) -> dict[str, bytes]:
    """Return `diagnostics.md` and `diagnostics.png`; nothing when nothing was diagnosed."""
    if ROW not in {v.row for v in results.values} | {m.row for m in results.missing}:
        return {}
    import pandas as pd

    summary, notes, axes = Summaries(results), Notes(), symbols(axes_of(results))
    lines, channels = [], []
    for position in summary.points:
        line = channel = dict(zip(axes, map(str, position), strict=True))
        cells = {
            entry.label: summary.cell(position, Column(row=ROW, metric=name), notes, entry.digits)
            for name, entry in DIAGNOSTICS.items()
        }
        count = len(summary.by_seed(position, Column(row=ROW, metric="kl")))
        lines.append(line | cells | {"MCD-VAEs": str(count)})
        for name, digits in (("kl", 2), ("active_units", 1)):
            means = channel_means(summary, position, name)
            text = ", ".join(f"{value:.{digits}f}" for value in means)
            channel = channel | {DIAGNOSTICS[name].label: text or BLANK}
        channels.append(channel)
    clips = dict.fromkeys(str(v.n_real) for v in results.values if v.row == ROW and not v.part)
    keys = [symbol_key(axes_of(results))] if axes else []
    explained = [
        *notes.lines(),
        *keys,
        "Nothing is trained; several seeds: mean [95 % interval, Student's t], seeds that the "
        "MCD-VAE does not depend on are not counted",
        *(f"{entry.label}: {entry.text}" for entry in DIAGNOSTICS.values()),
        *results.notes,
    ]
    blocks = {
        measured_heading(results): pd.DataFrame(lines, dtype=str),
        "By channel, in falling order of the KL": pd.DataFrame(channels, dtype=str),
    }
    title = f"{results.title}: diagnostics"
    words = caption(results, [f"{' or '.join(clips) or 'no'} test clips"])
    panels = {
        Column(row=ROW, metric=name): entry.label
        for name, entry in DIAGNOSTICS.items()
        if entry.drawn
    }
    return {
        "diagnostics.md": document(title, words, blocks, explained),
        "diagnostics.png": draw_curves(results, title, panels),
    }


def channel_means(summary: Summaries, position: Position, metric: str) -> np.ndarray:
    """Return one value per channel, mean over the seeds; channels in falling order of their KL."""
    table = summary.frame
    rows = table[(table["position"] == position) & (table["row"] == ROW) & (table["part"] != "")]
    rows = rows.drop_duplicates(["cells", "part", "metric"])
    ordered = []
    for _, group in rows.groupby("point", sort=False):
        values = group.pivot(index="part", columns="metric", values="value")
        ordered.append(values.sort_values("kl", ascending=False, kind="stable")[metric].to_numpy())
    return np.mean(ordered, axis=0) if ordered else np.array([])
