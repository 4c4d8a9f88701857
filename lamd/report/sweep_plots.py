"""The figure of a sweep, from its `SweepReport` alone: curves over an axis, or a trade-off.

Only what was measured here is drawn; published values stand in the table.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from lamd.report.diagnostics import COLUMNS, SHOWN, diagnostic
from lamd.report.plots import save_figure
from lamd.report.results import SweepReport
from lamd.report.sweep_tables import Row, Summary, column_label, rows_of
from lamd.report.tables import measured_heading


def render_sweep_figure(report: SweepReport) -> dict[str, bytes]:
    """Return `figure.png` and `figure.svg`; the same report gives the same SVG bytes."""
    shown, rows = report.config["figure"], rows_of(report)
    if shown["name"] == "curves":
        curves = {
            column_label(column): partial(Row.summary, column=column) for column in shown["columns"]
        }
        return _render(report, "figure", report.title, _curve_panels(report, rows, curves))
    panels = [
        partial(_draw_tradeoff, report=report, rows=rows, x=shown["x"], y=shown["y"]),
        *(partial(_draw_map, report=report, rows=rows, column=shown[key]) for key in "xy"),
    ]
    return _render(report, "figure", report.title, panels)


def render_diagnostics_figure(report: SweepReport) -> dict[str, bytes]:
    """Return `diagnostics.png` and `.svg`: one panel a diagnostic over the first axis."""
    curves = {COLUMNS[name][0]: partial(diagnostic, name=name) for name in SHOWN}
    panels = _curve_panels(report, rows_of(report), curves)
    return _render(report, "diagnostics", f"{report.title}: diagnostics", panels)


def _render(
    report: SweepReport, name: str, title: str, panels: Sequence[Callable[[Any], None]]
) -> dict[str, bytes]:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style = {"svg.hashsalt": f"lamd-{report.target}", "font.size": 9, "axes.titlesize": 9,
             "axes.grid": True, "axes.axisbelow": True, "grid.alpha": 0.3}  # fmt: skip
    with rc_context(style):
        figure = Figure(figsize=(1 + 3.6 * len(panels), 3.8), layout="constrained")
        figure.suptitle(f"{title}\n{measured_heading(report)}, profile {report.profile}")
        for place, draw in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            draw(place)
        return {f"{name}.{kind}": save_figure(figure, kind) for kind in ("png", "svg")}


def _curve_panels(
    report: SweepReport, rows: Sequence[Row], curves: dict[str, Callable[[Row], Summary | None]]
) -> list[Callable[[Any], None]]:
    return [
        partial(_draw_curves, report=report, rows=rows, title=title, summary=summary)
        for title, summary in curves.items()
    ]


def _draw_curves(
    place,
    report: SweepReport,
    rows: Sequence[Row],
    title: str,
    summary: Callable[[Row], Summary | None],
) -> None:
    first, *others = report.axes or ("",)
    ticks = _distinct(row.values.get(first, "") for row in rows)
    # names and switches have no between; a bool is an int
    ordered = all(type(tick) in (int, float) for tick in ticks)
    lines = _distinct(_line(row, others) for row in rows)
    for number, line in enumerate(lines):
        found = [
            (ticks.index(row.values.get(first, "")), measured)
            for row in rows
            if _line(row, others) == line and (measured := summary(row))
        ]
        aside = 0.08 * (number - (len(lines) - 1) / 2)  # intervals of two lines at one tick
        place.errorbar(
            [x + aside for x, _ in found], [one.value for _, one in found],
            yerr=_spread([one for _, one in found]), fmt="o-" if ordered else "o",
            color=f"C{number}", capsize=3, linewidth=1, label=line,
        )  # fmt: skip
    place.set_xticks(range(len(ticks)), [str(tick) for tick in ticks])
    place.set_xlim(-0.5, len(ticks) - 0.5)
    place.set_xlabel(first)
    place.set_title(title)
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
