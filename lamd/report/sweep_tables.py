"""Tables of a sweep, from its `SweepReport` alone: one row a point, the mean over its seeds.

Several seeds: mean and 95 % interval of the mean by Student's t over the seeds. One seed, or
seeds that a column does not depend on: the metric's own interval, over clips.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lamd.config.sweep import is_seed
from lamd.report.results import Diagnostics, Record, SweepPoint, SweepReport
from lamd.report.tables import (
    LABELS,
    caption,
    digits_of,
    exact,
    format_value,
    latex_tables,
    markdown_table,
    measured_heading,
    published_heading,
    published_table,
)

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """A column at a point: mean and interval over the seeds that were measured."""

    value: float
    interval: tuple[float, float] | None
    records: tuple[Record, ...]


@dataclass(frozen=True)
class Row:
    """The points that differ in seeds alone."""

    values: dict[str, Any]
    points: tuple[SweepPoint, ...]

    def summary(self, column: str) -> Summary | None:
        """Return a column's mean over the seeds; None when none was measured."""
        row, metric = column.split(" ", 1)
        found = [r for p in self.points for r in p.records if (r.row, r.metric) == (row, metric)]
        different = {r.cells: r for r in found}  # a seed that the column does not depend on
        return summarise(list(different.values())) if found else None

    def diagnostics(self) -> list[Diagnostics]:
        """Return what was diagnosed, each MCD-VAE once."""
        found = [point.diagnostics for point in self.points if point.diagnostics]
        return list({one.cells: one for one in found}.values())

    def reasons(self, column: str) -> list[str]:
        """Return why a column was not measured at some seeds, each reason once."""
        row, metric = column.split(" ", 1)
        holes = [hole for point in self.points for hole in point.holes if hole.row == row]
        return list(dict.fromkeys(h.reason for h in holes if h.metric in (None, metric)))


def summarise(records: Sequence[Record]) -> Summary:
    """Return mean and interval of one column's records, one a seed."""
    if len(records) == 1:
        return Summary(records[0].value, records[0].interval, tuple(records))
    return mean_summary([record.value for record in records], tuple(records))


def mean_summary(values: Sequence[float], records: tuple[Record, ...] = ()) -> Summary:
    """Return mean and interval of values, one a seed; no interval for one."""
    if len(values) == 1:
        return Summary(values[0], None, records)
    import numpy as np
    from scipy import stats

    mean, error = float(np.mean(values)), float(stats.sem(values))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * error
    return Summary(mean, (mean - half, mean + half), records)


def rows_of(report: SweepReport) -> list[Row]:
    """Return the rows, in the order of the points."""
    found: dict[str, tuple[dict[str, Any], list[SweepPoint]]] = {}
    for point in report.points:
        values = {key: value for key, value in point.values.items() if not is_seed(key)}
        found.setdefault(json.dumps(values), (values, []))[1].append(point)
    return [Row(values, tuple(points)) for values, points in found.values()]


def sweep_table(report: SweepReport) -> list[list[str]]:
    """Return header and rows of what was measured."""
    header = [*report.axes, *map(column_label, report.columns), "seeds", "data", "scale"]
    return [header, *(_table_row(report, row) for row in rows_of(report))]


def column_label(column: str) -> str:
    """Return e.g. `reconstruction FVD ↓`."""
    row, metric = column.split(" ", 1)
    return f"{'LaMD' if row == 'lamd' else row} {LABELS.get(metric, metric)}"


def render_markdown(report: SweepReport) -> str:
    """Return `table.md`."""
    lines = [f"# {report.title}", "", caption(report), "", f"## {measured_heading(report)}", ""]
    lines += markdown_table(sweep_table(report))
    lines += ["", *(f"- {note}" for note in _notes(report))]
    if report.published:
        lines += ["", f"## {published_heading(report)}", ""]
        lines += markdown_table(published_table(report))
    lines += ["", "## Protocols", ""]
    lines += [f"- `{name}`: {text}" for name, text in report.protocols.items()]
    return "\n".join(lines) + "\n"


def render_latex(report: SweepReport) -> str:
    """Return `table.tex`."""
    blocks = [(measured_heading(report), sweep_table(report))]
    if report.published:
        blocks.append((published_heading(report), published_table(report)))
    return latex_tables(report.target, *blocks)


def render_csv(report: SweepReport) -> str:
    """Return `table.csv`: one line a point and column, `block` says measured or published."""
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n").writerow
    write(["block", *report.axes, "column", "protocol", "value", "low", "high", "seeds", "data",
           "scale", "reason", "verified", "source"])  # fmt: skip
    for row in rows_of(report):
        for column in report.columns:
            found = row.summary(column)
            low, high = (found and found.interval) or (None, None)
            protocol = found.records[0].protocol if found else ""
            numbers = [exact(v) for v in (found and found.value, low, high)]
            write(
                ["measured", *row.values.values(), column, protocol, *numbers,
                 len(found.records) if found else 0, report.data, report.scale,
                 "; ".join(row.reasons(column)), "", ""]
            )  # fmt: skip
    for p in report.published:
        for metric, value in p.metrics.items():
            method = [p.method, *[""] * (len(report.axes) - 1)] if report.axes else []
            write(["published", *method, metric, p.protocol or "", exact(value), "", "", "", "real",
                   "", "", "yes" if p.verified else "no", p.source])  # fmt: skip
    return out.getvalue()


TABLES = {"table.md": render_markdown, "table.csv": render_csv, "table.tex": render_latex}


def _table_row(report: SweepReport, row: Row) -> list[str]:
    summaries = [row.summary(column) for column in report.columns]
    cells = [_cell(one, row, column) for one, column in zip(summaries, report.columns, strict=True)]
    return [*map(str, row.values.values()), *cells, str(len(row.points)), report.data, report.scale]


def _cell(found: Summary | None, row: Row, column: str) -> str:
    reasons = row.reasons(column)
    if found is None:
        return f"not run ({'; '.join(reasons)})" if reasons else "-"
    if len(found.records) == 1:
        text = format_value(found.records[0])
    else:
        digits = digits_of(found.records[0].metric)
        low, high = found.interval
        text = f"{found.value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
    if not reasons:
        return text
    return f"{text}, {len(found.records)} of {len(row.points)} seeds ({'; '.join(reasons)})"


def _notes(report: SweepReport) -> list[str]:
    reading = "Value [95 % interval over clips], N→∞ = extrapolated to infinitely many clips"
    if any(len(row.points) > 1 for row in rows_of(report)):
        reading += "; where it depends on the seeds, their mean [95 % interval, Student's t]"
    records = [record for point in report.points for record in point.records]
    remarks = {f"{r.metric.upper()}: {r.note}" for r in records if r.note}
    departures = {f"`{r.protocol}`: {d}" for r in records for d in r.deviations}
    counts = sorted({str(r.n_fake) for r in records})
    return [
        f"{reading}; {' or '.join(counts)} clips a set",
        *sorted(remarks),
        *sorted(departures),
        *report.notes,
    ]
