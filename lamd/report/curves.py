"""The values of a sweep over its seeds, and its figure: curves over an axis, or a trade-off."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lamd.config.sweep import is_seed
from lamd.report import frame
from lamd.report.plots import LINES, MARKERS, add_legend, canvas, color, errors, save, shade
from lamd.report.results import Column, PublishedRow, Results
from lamd.report.tables import (
    BLANK,
    SYMBOLS,
    Notes,
    capitalized,
    column_heading,
    format_value,
    heading,
    published_heading,
    sources_words,
    symbol,
    symbol_key,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Position = tuple  # the coordinates of a point, without seeds


def axes_of(results: Results) -> list[str]:
    """Return the coordinates of the points, without seeds."""
    keys = dict.fromkeys(key for point in results.points.values() for key in point)
    return [key for key in keys if not is_seed(key)]


class Summaries:
    """Mean and interval over the seeds of each position and column.

    Attributes:
        points: the names of the points of each position.
        frame: all values, with `position` and `seeds` as columns.
    """

    def __init__(self, results: Results) -> None:
        self._missing, axes = results.missing, axes_of(results)
        self.points: dict[Position, list[str]] = {}
        positions, seeds = {}, {}
        for name, point in results.points.items():
            positions[name] = tuple(_hashable(point.get(axis)) for axis in axes)
            seeds[name] = tuple(value for key, value in point.items() if is_seed(key))
            self.points.setdefault(positions[name], []).append(name)
        self.frame = frame.to_frame(results)
        self.frame["position"] = self.frame["point"].map(positions)
        self.frame["seeds"] = self.frame["point"].map(seeds)
        whole = self.frame[self.frame["part"] == ""]
        self._distinct = whole.drop_duplicates(["position", "row", "metric", "cells"])
        summary = frame.seed_summary(self._distinct, ["position", "row", "metric"])
        lines = summary.to_dict("records")
        self._lines = {(line["position"], line["row"], line["metric"]): line for line in lines}

    def at(self, position: Position, column: Column) -> dict | None:
        """Return value, low, high and num_seeds of a column; None when it was not measured."""
        return self._lines.get((position, column.row, column.metric))

    def by_seed(self, position: Position, column: Column) -> "pd.Series":
        """Return the distinct measurements of a column by their seeds."""
        rows = self._distinct.query("row == @column.row and metric == @column.metric")
        return rows[rows["position"] == position].set_index("seeds")["value"]

    def reasons(self, position: Position, column: Column) -> list[str]:
        """Return why a column was not measured at some seeds, each reason once."""
        reasons = (
            entry.reason
            for entry in self._missing
            if entry.point in self.points[position]
            and entry.row == column.row
            and entry.metric in (None, column.metric)
        )
        return list(dict.fromkeys(reasons))

    def cell(
        self, position: Position, column: Column, notes: Notes, digits: int | None = None
    ) -> str:
        """Return the text of a cell, its reasons as notes."""
        line, reasons = self.at(position, column), self.reasons(position, column)
        if line is None:
            return f"not run{notes.mark(reasons)}" if reasons else BLANK
        text = format_value(column.metric, line["value"], line["low"], line["high"], digits)
        if not reasons:
            return text
        seeds = f"{line['num_seeds']} of {len(self.points[position])} seeds"
        return f"{text}, {seeds}{notes.mark(reasons)}"


def draw_sweep(results: Results) -> dict[str, bytes]:
    """Return `curves.png` or `tradeoff.png`, as the sweep's config specifies."""
    figure = results.config["figure"]
    if figure["name"] == "curves":
        columns = [Column(**entry) for entry in figure["columns"]]
        panels = {column: column_heading(column) for column in columns}
        return {"curves.png": draw_curves(results, results.title, panels)}
    return {"tradeoff.png": _draw_tradeoff(results, Column(**figure["x"]), Column(**figure["y"]))}


def draw_curves(results: Results, title: str, panels: Mapping[Column, str]) -> bytes:
    """Return a PNG with one panel per column over the first axis, one line per value of the others.

    With several seeds, dots are seeds; panels that fit into a row have a second one below them with
    the change from the first position, paired by seed.

    Args:
        panels: the title of each column.
    """
    summary, axes = Summaries(results), axes_of(results)
    lines = {
        position[1:]: ", ".join(
            f"{_math(axis)} = {value}" for axis, value in zip(axes[1:], position[1:], strict=True)
        )
        for position in summary.points
    }
    ticks = _distinct(position[:1] for position in summary.points)
    seeded = max(map(len, summary.points.values())) > 1
    alone = len(panels) <= 4
    shape = (1 + (alone and seeded), len(panels)) if alone else (-(-len(panels) // 3), 3)
    marks = "dots: seeds; bars, of a single one" if seeded else "bars"
    words = f"{_conditions(results)}; {marks}: 95 % interval"
    if alone and seeded:
        words += "; lower panels: change from the first point, paired by seed"
    with canvas(title, 0.7 + 2.1 * shape[0], f"{words}; {symbol_key(axes)}") as figure:
        grid = figure.subplots(*shape, squeeze=False)
        for number, ax in enumerate(grid.flat):
            paired = alone and number >= len(panels)
            if number >= len(panels) and not paired:
                ax.set_axis_off()
                continue
            column = list(panels)[number % len(panels)]
            cells = {tick + line: (tick, line) for tick in ticks for line in lines}
            _draw_lines(ax, summary, column, cells, lines, paired=paired)
            ax.set_xticks(range(len(ticks)), [str(*tick).replace("_", "\n") for tick in ticks])
            ax.set(xlabel=_math(axes[0]) if axes else "", title=panels[column])
            if paired:
                ax.set(title="", ylabel="change" if number == len(panels) else "")
        if any(lines.values()):
            add_legend(figure, grid[0][-1 if alone else 0], len(lines))
        return save(figure)


def _draw_lines(
    ax: "Axes",
    summary: Summaries,
    column: Column,
    cells: Mapping[Position, tuple[Any, Any]],
    lines: Mapping[Any, str],
    *,
    paired: bool = False,
) -> None:
    """Draw a column, one line per entry of `lines`; `cells` has tick and line of each position."""
    ticks = _distinct(tick for tick, _ in cells.values())
    # Names and switches have nothing in between; a bool is an int.
    ordered = all(type(value) in (int, float) for tick in ticks for value in tick)
    base = summary.by_seed(next(iter(summary.points)), column) if paired else 0
    for index, (line, label) in enumerate(lines.items()):
        hue, aside = shade(column.row, index, len(lines)), 0.12 * (index - (len(lines) - 1) / 2)
        means = {}
        for position, (tick, own) in cells.items():
            measured = summary.at(position, column) if own == line else None
            if measured is None:
                continue
            x = ticks.index(tick) + aside
            seeds = (summary.by_seed(position, column) - base).dropna()
            if len(seeds) > 1:
                ax.plot([x] * len(seeds), seeds, "o", color=hue, alpha=0.55, markersize=3)
            elif not paired:
                bars = errors(measured["value"], measured["low"], measured["high"])
                ax.errorbar(x, measured["value"], yerr=bars, color=hue, capsize=3, fmt="none")
            if len(seeds):
                means[x] = seeds.mean()
        style = MARKERS[index % 5] + (LINES[index % 5] if ordered else "")
        ax.plot(list(means), list(means.values()), style, color=hue, label=label)
    ax.set_xlim(-0.5, len(ticks) - 0.5)
    ax.margins(y=0.12)
    if paired:
        ax.axhline(0, color="#404040", linewidth=0.8)


def _draw_tradeoff(results: Results, x: Column, y: Column) -> bytes:
    summary, axes = Summaries(results), axes_of(results)
    words = (
        f"{_conditions(results)}; bars: 95 % interval; both maps have one colour scale; "
        f"{symbol_key(axes)}"
    )
    papers = [row for row in results.published if row.metrics]
    layout = "AAABBB;XXYYPP" if papers else "AAABBB;XXXYYY"
    with canvas(results.title, 6.2, words) as figure:
        panels = figure.subplot_mosaic(layout, height_ratios=(1.15, 1))
        for name, along, fixed in (("A", 0, 1), ("B", 1, 0)):
            ax = panels[name]
            lines = {p[fixed]: f"{_math(axes[fixed])} = {_text(p[fixed])}" for p in summary.points}
            cells = {p: ((p[along],), p[fixed]) for p in summary.points}
            _draw_lines(ax, summary, y, cells, lines)
            _label_ticks(ax, summary, axes, "x", along)
            ax.set_ylabel(column_heading(y))
            ax.set_title(f"over {_math(axes[along])} at fixed {_math(axes[fixed])}")
            ax.margins(y=0.3)
            ax.legend(ncols=len(lines), loc="upper center")
        maps = {"X": x, "Y": y}
        grids = {name: _grid(summary, column) for name, column in maps.items()}
        every = np.concatenate([grid.ravel() for grid in grids.values()])
        low, high = np.nanmin(every), np.nanmax(every)
        for name, grid in grids.items():
            ax = panels[name]
            ax.imshow(grid, origin="lower", aspect="auto", cmap="cividis", vmin=low, vmax=high)
            for (up, across), value in np.ndenumerate(grid):
                ink = "black" if value > (low + high) / 2 else "white"
                text = "not run" if np.isnan(value) else f"{value:.4g}"
                ax.annotate(text, (across, up), ha="center", va="center", color=ink)
            ax.grid(visible=False)
            ax.set_title(column_heading(maps[name]))
            _label_ticks(ax, summary, axes, "x", 0)
            _label_ticks(ax, summary, axes, "y", 1)
        if papers:
            _draw_papers(panels["P"], papers, published_heading(results).partition(",")[0])
        return save(figure)


def _label_ticks(
    ax: "Axes", summary: Summaries, axes: Sequence[str], name: str, index: int
) -> None:
    ticks = _distinct(position[index] for position in summary.points)
    getattr(ax, f"set_{name}ticks")(range(len(ticks)), [_text(tick) for tick in ticks])
    getattr(ax, f"set_{name}label")(_math(axes[index]))


def _grid(summary: Summaries, column: Column) -> np.ndarray:
    across, up = (_distinct(position[i] for position in summary.points) for i in (0, 1))
    cells = [[summary.at((a, b), column) for a in across] for b in up]
    return np.array([[cell["value"] if cell else np.nan for cell in line] for line in cells])


def _draw_papers(ax: "Axes", papers: Sequence[PublishedRow], title: str) -> None:
    metrics = list(dict.fromkeys(metric for row in papers for metric in row.metrics))
    for index, metric in enumerate(metrics):
        hue = color("reconstruction" if metric.startswith("reconstruction") else "lamd")
        for y, row in enumerate(papers):
            if metric in row.metrics:
                value = row.metrics[metric].value
                ax.plot(value, y, MARKERS[index % 5], color=hue,
                        label=heading(metric) if y == 0 else None)  # fmt: skip
                ax.annotate(f"{value:g}", (value, y), (0, 7), textcoords="offset points",
                            ha="center", color=hue)  # fmt: skip
    labels = [row.method.replace(", ", "\n").replace("beta", "β") for row in papers]
    ax.set_yticks(range(len(papers)), labels)
    ax.set_ylim(len(papers) + 0.1, -0.6)
    ax.margins(x=0.2)
    ax.set_title(title)
    ax.legend(loc="lower center", fontsize=8)


def _conditions(results: Results) -> str:
    words = capitalized(sources_words(results))
    counts = dict.fromkeys(str(v.n_fake) for v in results.values if v.n_fake)
    return f"{words}, n = {' or '.join(counts)}, profile {results.profile}"


def _hashable(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


def _text(value: Any) -> str:
    return f"{value:g}" if type(value) in (int, float) else str(value)


def _math(key: str) -> str:
    return f"${symbol(key)}$".replace("β", r"\beta") if key in SYMBOLS else symbol(key)


def _distinct(values: Iterable) -> list:
    return list(dict.fromkeys(values))
