"""The page of a sweep's diagnostics, from its `SweepReport` alone: why a point is as it is."""

import csv
import io
from collections.abc import Sequence

from lamd.report.results import SweepReport
from lamd.report.sweep_tables import Row, Summary, mean_summary, rows_of
from lamd.report.tables import caption, exact, markdown_table, measured_heading

# name: label, digits, how it is measured
COLUMNS = {
    "kl": ("KL (nats)", 2, "of q(z | x) to N(0, I), over all units of z_m, mean over clips"),
    "active_units": (
        "active units",
        1,
        "units (channel and latent cell) whose posterior mean varies over clips by more than 0.01 "
        "(Burda et al., arXiv 1509.00519), before normalisation",
    ),
    "active_channels": (
        "active channels",
        1,
        "channels for which the mean of that variance over their cells is above 0.01",
    ),
    "first_frame_share": (
        "explained by the first frame (R²)",
        3,
        "of the normalised posterior mean by a ridge regression from f_x0 at the cell and its mean "
        "over cells, fitted on the first half of the clips, scored on the second against the mean "
        "at each cell; strength by 4 folds of the first half; 0 and below: nothing",
    ),
    "swap_score": (
        "motion swap",
        3,
        "D_V(z_m of clip B, x_0 of clip A): correlation of its motion with B's less that with A's; "
        "motion is the change of each frame from frame 0 of its clip, mean of RGB and 3x3 pixels, "
        "B stands half the set from A",
    ),
    "swap_motion": ("swap, r with B", 3, "the first of these two correlations"),
    "swap_content": ("swap, r with A", 3, "the second"),
    "zero_motion": (
        "zero motion",
        3,
        "mean absolute change of D_V(z_m = 0, x_0) from x_0 over that of the real clips; 0: still",
    ),
}
SHOWN = ("kl", "active_units", "first_frame_share", "swap_score", "zero_motion")  # in the figure


def diagnostic(row: Row, name: str) -> Summary | None:
    """Return the mean of one diagnostic over the seeds; None when none was measured."""
    found = row.diagnostics()
    return mean_summary([one.values[name] for one in found]) if found else None


def channel_means(row: Row, name: str) -> list[float]:
    """Return one value a channel, mean over the seeds; channels in falling order of their KL."""
    total, found = [], row.diagnostics()
    for one in found:
        order = sorted(range(len(one.channels["kl"])), key=lambda c: -one.channels["kl"][c])
        total.append([one.channels[name][c] for c in order])
    return [sum(values) / len(found) for values in zip(*total, strict=True)]


def render_page(report: SweepReport) -> str:
    """Return `diagnostics.md`."""
    rows = rows_of(report)
    lines = [f"# {report.title}: diagnostics", "", caption(report), ""]
    lines += [f"## {measured_heading(report)}", "", *markdown_table(_table(report, rows)), ""]
    counts = sorted({str(one.clips) for row in rows for one in row.diagnostics()})
    lines += [
        f"- On {' or '.join(counts) or 'no'} test clips, nothing is trained; several seeds: mean "
        "[95 % interval, Student's t], seeds that the MCD-VAE does not depend on are not counted.",
        *(f"- {label}: {text}." for label, _, text in COLUMNS.values()),
        *(f"- {note}" for note in report.notes),
    ]
    lines += ["", "## By channel, in falling order of the KL", "", *_channel_table(report, rows)]
    return "\n".join(lines) + "\n"


def render_csv(report: SweepReport) -> str:
    """Return `diagnostics.csv`: one line a row and diagnostic, those by channel with its number."""
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n").writerow
    write([*report.axes, "diagnostic", "channel", "value", "low", "high", "seeds", "data", "scale",
           "reason"])  # fmt: skip
    for row in rows_of(report):
        count, ending = len(row.diagnostics()), [report.data, report.scale, _reasons(row)]
        for name in COLUMNS:
            found = diagnostic(row, name)
            low, high = (found and found.interval) or (None, None)
            numbers = [exact(value) for value in (found and found.value, low, high)]
            write([*row.values.values(), name, "", *numbers, count, *ending])
        for name in ("kl", "active_units"):
            for number, value in enumerate(channel_means(row, name), start=1):
                write([*row.values.values(), name, number, exact(value), "", "", count, *ending])
    return out.getvalue()


PAGES = {"diagnostics.md": render_page, "diagnostics.csv": render_csv}


def _table(report: SweepReport, rows: Sequence[Row]) -> list[list[str]]:
    table = [[*report.axes, *(label for label, _, _ in COLUMNS.values()), "seeds", "data"]]
    for row in rows:
        cells = [_cell(row, name, digits) for name, (_, digits, _) in COLUMNS.items()]
        seeds = str(len(row.diagnostics()))
        table.append([*map(str, row.values.values()), *cells, seeds, report.data])
    return table


def _cell(row: Row, name: str, digits: int) -> str:
    found, reasons = diagnostic(row, name), _reasons(row)
    if found is None:
        return f"not run ({reasons})"
    text = f"{found.value:.{digits}f}"
    if found.interval is not None:
        text += " [{:.{d}f}, {:.{d}f}]".format(*found.interval, d=digits)
    return f"{text} ({reasons})" if reasons else text


def _channel_table(report: SweepReport, rows: Sequence[Row]) -> list[str]:
    table = [[*report.axes, "KL (nats)", "active units"]]
    for row in rows:
        kl, active = (channel_means(row, name) for name in ("kl", "active_units"))
        cells = [", ".join(f"{v:.2f}" for v in kl), ", ".join(f"{v:.1f}" for v in active)]
        table.append([*map(str, row.values.values()), *(cell or "-" for cell in cells)])
    return markdown_table(table)


def _reasons(row: Row) -> str:
    holes = [hole for p in row.points for hole in p.holes if hole.row == "diagnostics"]
    return "; ".join(dict.fromkeys(hole.reason for hole in holes))
