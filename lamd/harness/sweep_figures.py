"""The figure of a sweep, from its `SweepReport` alone: curves over an axis, or a trade-off.

Only what was measured here is drawn; published values stand in the table.
"""

from collections.abc import Sequence
from typing import Any

from lamd.harness.figures import save_figure
from lamd.harness.sweep_tables import Row, Summary, column_label, rows_of
from lamd.harness.tables import measured_heading
from lamd.records import SweepReport


def render_sweep_figure(report: SweepReport) -> dict[str, bytes]:
    """Return `figure.png` and `figure.svg`; the same report gives the same SVG bytes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    shown, rows = report.config["figure"], rows_of(report)
    style = {"svg.hashsalt": f"lamd-{report.target}", "font.size": 9, "axes.titlesize": 9,
             "axes.grid": True, "axes.axisbelow": True, "grid.alpha": 0.3}  # fmt: skip
    with rc_context(style):
        panels = len(shown["columns"]) if shown["name"] == "curves" else 3
        figure = Figure(figsize=(1 + 3.6 * panels, 3.8), layout="constrained")
        figure.suptitle(f"{report.title}\n{measured_heading(report)}, profile {report.profile}")
        axes = list(figure.subplots(1, panels, squeeze=False)[0])
        if shown["name"] == "curves":
            for place, column in zip(axes, shown["columns"], strict=True):
                _draw_curves(place, report, rows, column)
        else:
            _draw_tradeoff(axes[0], report, rows, shown["x"], shown["y"])
            for place, column in zip(axes[1:], (shown["x"], shown["y"]), strict=True):
                _draw_map(place, report, rows, column)
        return {f"figure.{kind}": save_figure(figure, kind) for kind in ("png", "svg")}


def _draw_curves(place, report: SweepReport, rows: Sequence[Row], column: str) -> None:
    first, *others = report.axes or ("",)
    ticks = _distinct(row.values.get(first, "") for row in rows)
    lines = _distinct(_line(row, others) for row in rows)
    for number, line in enumerate(lines):
        found = [
            (ticks.index(row.values.get(first, "")), summary)
            for row in rows
            if _line(row, others) == line and (summary := row.summary(column))
        ]
        _errorbar(place, [x for x, _ in found], [s for _, s in found], number, line)
    place.set_xticks(range(len(ticks)), [str(tick) for tick in ticks])
    place.set_xlim(-0.5, len(ticks) - 0.5)
    place.set_xlabel(first)
    place.set_title(column_label(column))
    if others:
        place.legend(fontsize=7)


def _draw_tradeoff(place, report: SweepReport, rows: Sequence[Row], x: str, y: str) -> None:
    first, second = report.axes
    for number, line in enumerate(_distinct(row.values[first] for row in rows)):
        found = [
            (row, a, b)
            for row in rows
            if row.values[first] == line and (a := row.summary(x)) and (b := row.summary(y))
        ]
        place.errorbar(
            [a.value for _, a, _ in found], [b.value for _, _, b in found],
            xerr=_spread([a for _, a, _ in found]), yerr=_spread([b for _, _, b in found]),
            fmt="o-", color=f"C{number}", capsize=2, linewidth=1, label=f"{first} = {line}",
        )  # fmt: skip
        for row, a, b in found:
            place.annotate(str(row.values[second]), (a.value, b.value), (4, 4), fontsize=7,
                           textcoords="offset points", color=f"C{number}")  # fmt: skip
    place.set_xlabel(column_label(x))
    place.set_ylabel(column_label(y))
    place.set_title(f"beside each point: {second}")
    place.legend(fontsize=7)


def _draw_map(place, report: SweepReport, rows: Sequence[Row], column: str) -> None:
    import numpy as np

    across, up = (_distinct(row.values[axis] for row in rows) for axis in report.axes)
    grid = np.full((len(up), len(across)), np.nan)
    for row in rows:
        summary = row.summary(column)
        at = up.index(row.values[report.axes[1]]), across.index(row.values[report.axes[0]])
        grid[at] = summary.value if summary else np.nan
        place.annotate(f"{summary.value:.4g}" if summary else "not run", at[::-1], color="w",
                       ha="center", va="center", fontsize=8,
                       bbox={"facecolor": "k", "alpha": 0.4, "linewidth": 0})  # fmt: skip
    place.imshow(grid, origin="lower", aspect="auto", cmap="viridis")
    place.grid(visible=False)
    place.set_xticks(range(len(across)), [str(value) for value in across])
    place.set_yticks(range(len(up)), [str(value) for value in up])
    place.set_xlabel(report.axes[0])
    place.set_ylabel(report.axes[1])
    place.set_title(column_label(column))


def _errorbar(place, x: list[int], found: list[Summary], number: int, label: str) -> None:
    place.errorbar(x, [one.value for one in found], yerr=_spread(found), fmt="o-", capsize=3,
                   color=f"C{number}", linewidth=1, label=label)  # fmt: skip


def _spread(found: Sequence[Summary]) -> list[list[float]]:
    ends = [(one.value, *(one.interval or (one.value, one.value))) for one in found]
    return [[max(v - low, 0.0) for v, low, _ in ends], [max(high - v, 0.0) for v, _, high in ends]]


def _line(row: Row, axes: Sequence[str]) -> str:
    return ", ".join(f"{axis} = {row.values[axis]}" for axis in axes)


def _distinct(values) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found
