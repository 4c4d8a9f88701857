"""The figures of a sweep: curves with the changes from the first point, or a trade-off."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lamd.config.sweep import VARIANT
from lamd.metrics.registry import METRICS
from lamd.report import plots, wording
from lamd.report.frame import Position, Summaries
from lamd.report.results import Column, PublishedRow, Results


class Drawn(NamedTuple):
    """A mean or a change as it is drawn, with its error bar and its seeds."""

    value: float
    bars: list[list[float]] | None
    seeds: pd.Series
    over: str = "clips"  # what the bar is an interval over


Panels = dict[Column, dict[Position, Drawn]]


def _measured(summary: Summaries, columns: Iterable[Column]) -> Panels:
    """Return each column at each position where it was measured."""
    panels: Panels = {}
    for column, position in product(columns, summary.points):
        drawn, line = panels.setdefault(column, {}), summary.at(position, column)
        if line is not None:
            bars, seeds = _bar(line), summary.by_seed(position, column)
            over = "seeds" if len(seeds) > 1 else "clips"
            drawn[position] = Drawn(line["value"], bars, seeds, over)
    return panels


def _changed(results: Results, summary: Summaries, columns: Iterable[Column]) -> Panels:
    """Return the changes from the first position, paired by clip, else by seed, where known."""
    if not summary.axes:  # differences are between rows
        return {}
    stated = {
        (summary.position[e.point], e.row, e.metric): e.model_dump() for e in results.differences
    }
    panels: Panels = {}
    for column, position in product(columns, summary.points):
        line = stated.get((position, column.row, column.metric))
        seeds = summary.changes(position, column)
        if line is not None:
            panels.setdefault(column, {})[position] = Drawn(line["value"], _bar(line), seeds)
        elif len(seeds) > 1:
            drawn = Drawn(float(seeds.mean()), None, seeds, "seeds")
            panels.setdefault(column, {})[position] = drawn
    return panels


def _bar(line: Mapping[str, Any]) -> list[list[float]] | None:
    return plots.errors(line["value"], line["low"], line["high"])


def draw_curves(
    results: Results, title: str, panels: Mapping[Column, str], reference: Column | None = None
) -> bytes:
    """Return a PNG with one panel per column over the first axis, one line per value of the others.

    Names are listed downwards. A reference is drawn across the panels of its metric at its mean
    over all positions. With several seeds, dots are seeds. Panels that fit into a row have a second
    one below them with the changes from the first position, where there are any.
    """
    summary, one_row = Summaries(results), len(panels) <= 4
    named = len(summary.axes) == 1 and not _is_ordered(summary, 0)
    measured = _measured(summary, panels)
    changed = _changed(results, summary, panels) if one_row else {}
    shape = (1 + bool(changed), len(panels)) if one_row else (-(-len(panels) // 3), 3)
    height = max(2.1, 0.5 + 0.24 * len(summary.points)) if named else 2.1
    words = _curve_words(results, summary, measured, changed, reference)
    heading = wording.figure_title(results, title)
    with plots.canvas(heading, 0.7 + height * shape[0], words) as figure:
        grid = figure.subplots(*shape, squeeze=False)
        for ax in () if one_row else grid.flat[len(panels) :]:
            ax.set_axis_off()
        # Panels of one metric share an axis, logarithmic where a high value would flatten the rest.
        values = [drawn.value for points in measured.values() for drawn in points.values()]
        if one_row and not named and len({column.metric for column in panels}) == 1:
            for ax in grid[0, 1:]:  # not below: changes of different sizes
                ax.sharey(grid[0, 0])
                ax.tick_params(labelleft=False)
            if values and 0 < 2 * min(values) < max(values):
                plots.label_logarithmic(grid[0, 0], "y")
        for number, (column, name) in enumerate(panels.items()):
            ax = grid.flat[number]
            ax.set_title(plots.wrap(name, 72 // shape[1]))
            _draw(ax, summary, measured[column], column, named, number % shape[1] == 0)
            if reference is not None and reference.metric == column.metric:
                _draw_reference(ax, summary, reference, named)
            if column in changed:
                ax, is_first = grid[1, number], column == next(iter(changed))
                _draw(ax, summary, changed[column], column, named, is_first)
                (ax.axvline if named else ax.axhline)(0, color="#404040", linewidth=0.8)
                if named or is_first:
                    (ax.set_xlabel if named else ax.set_ylabel)("change")
            elif changed:
                grid[1, number].set_axis_off()
        if len(summary.axes) > 1:
            plots.add_legend(figure, grid[0, -1 if one_row else 0], len(_lines(summary, 0)))
        return plots.save(figure)


def _curve_words(
    results: Results, summary: Summaries, measured: Panels, changed: Panels,
    reference: Column | None,
) -> str:  # fmt: skip
    words = [_conditions(results, measured)]
    if any(
        len(own.seeds) > 1 for p in (measured, changed) for c in p.values() for own in c.values()
    ):
        words.append("small dots: seeds")
    words.append(bars := _bars(measured))
    if changed:
        names = wording.coordinates(summary.axes, next(iter(summary.points))).items()
        start = ", ".join(v if name == VARIANT else f"{name} = {v}" for name, v in names)
        over = {drawn.over for points in changed.values() for drawn in points.values()}
        kinds = {"clips": "on the same clips", "seeds": "seed by seed"}
        paired = " or ".join(text for kind, text in kinds.items() if kind in over)
        words.append(f"lower panels: change from {start}, {paired}")
        words += [own for own in [_bars(changed)] if own != bars]
    if reference is not None and reference.metric in {column.metric for column in measured}:
        mean, low, _ = _reference(summary, reference)
        shaded = "; shaded: its 95 % interval over clips" * (low is not None)
        words += [f"dashed: {wording.column_heading(reference)}{shaded}"] * (mean is not None)
    return "; ".join([*words, *wording.axis_keys(summary.axes)])


def _bars(panels: Panels) -> str:
    drawn = [own for column in panels.values() for own in column.values()]
    over = dict.fromkeys(own.over for own in drawn if own.bars is not None)
    return f"bars: 95 % interval over {' or '.join(over)}" if over else "no intervals"


def _is_ordered(summary: Summaries, axis: int) -> bool:
    """Return whether an axis has numbers alone; names, switches and `null` have nothing between."""
    values = [value for tick in _ticks(summary, axis) for value in tick]
    return all(type(value) in (int, float) for value in values)  # a bool is an int


def _abscissas(summary: Summaries, axis: int) -> list[float]:
    """Return where the ticks of an axis are drawn: from 0 to their number less one.

    Numbers are at their distances, logarithmic from a factor of 4 on, unless labels would meet.
    """
    ticks = _ticks(summary, axis)
    even = [float(number) for number in range(len(ticks))]
    if len(ticks) < 3 or not _is_ordered(summary, axis):
        return even
    values = np.array([value for (value,) in ticks], dtype=float)
    if values.min() > 0 and values.max() >= 4 * values.min():
        values = np.log(values)
    xs = (values - values.min()) / np.ptp(values) * even[-1]
    return even if np.diff(np.sort(xs)).min() < 0.3 else list(xs)


def _draw(
    ax: Axes, summary: Summaries, points: Mapping[Position, Drawn], column: Column, named: bool,
    labelled: bool,
) -> None:  # fmt: skip
    """Draw a panel: names downwards, which the labelled one shows, or lines over the first axis."""
    if not named:
        _draw_lines(ax, summary, points, column.row, 0)
        return
    hue = plots.color(column.row)
    for y, position in enumerate(summary.points):
        if position in points:
            value, bars, seeds, _ = points[position]
            ax.errorbar(value, y, xerr=bars, fmt="o", color=hue, capsize=3, mfc="white")
            if len(seeds) > 1:
                ax.plot(seeds, [y] * len(seeds), "o", color=hue, markersize=3, zorder=3)
    names = [wording.setting(name) * labelled for (name,) in summary.points]
    plots.label_ticks(ax, "y", names)
    if labelled and summary.axes != [VARIANT]:
        ax.set_ylabel(_math(summary.axes[0], summary.axes))
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.margins(x=0.12)


def _draw_lines(
    ax: Axes, summary: Summaries, points: Mapping[Position, Drawn], row: str, axis: int
) -> None:
    """Draw what a row has at each position over one axis, one line per value of the others."""
    ticks, lines, xs = _ticks(summary, axis), _lines(summary, axis), _abscissas(summary, axis)
    others, ordered = summary.axes[:axis] + summary.axes[axis + 1 :], _is_ordered(summary, axis)
    for index, line in enumerate(lines):
        hue, aside = plots.shade(row, index, len(lines)), 0.08 * (index - (len(lines) - 1) / 2)
        means = {}
        for tick, x in zip(ticks, xs, strict=True):
            position = line[:axis] + tick + line[axis:]
            if position not in points:
                continue
            value, bars, seeds, _ = points[position]
            means[x + aside] = value
            if bars is not None:
                ax.errorbar(x + aside, value, yerr=bars, color=hue, capsize=3, fmt="none")
            if len(seeds) > 1:
                ax.plot([x + aside] * len(seeds), seeds, "o", color=hue, markersize=3, zorder=3)
        label = ", ".join(
            f"{_math(key, summary.axes)} = {plots.plain(wording.setting(value))}"
            for key, value in zip(others, line, strict=True)
        )
        means = dict(sorted(means.items()))
        style = plots.MARKERS[index % 5] + plots.LINES[index % 5] * (ordered and len(means) > 1)
        ax.plot(list(means), list(means.values()), style, color=hue, mfc="white", label=label)
    _label_ticks(ax, summary, "x", axis, xs)
    ax.set_xlim(-0.5, len(ticks) - 0.5)
    ax.margins(y=0.12)


def _draw_reference(ax: Axes, summary: Summaries, column: Column, named: bool) -> None:
    (mean, low, high), hue = _reference(summary, column), plots.color(column.row)
    if mean is not None:
        (ax.axvline if named else ax.axhline)(mean, color=hue, linestyle="--", linewidth=1.2)
        if low is not None and high is not None:
            (ax.axvspan if named else ax.axhspan)(low, high, color=hue, alpha=0.12, lw=0)
        if not named:
            plots.note(ax, -0.45, mean, wording.column_heading(column), (0, 3), hue)


def _reference(summary: Summaries, column: Column) -> list[float | None]:
    """Return mean and interval of a column over all positions; of several measurements the mean."""
    table = summary.frame
    chosen = table[(table["row"] == column.row) & (table["metric"] == column.metric)]
    chosen = chosen.drop_duplicates("cells")
    if chosen.empty:
        return [None] * 3
    if len(chosen) == 1 and chosen["low"].notna().all():
        return [float(chosen[name].item()) for name in ("value", "low", "high")]
    return [float(chosen["value"].mean()), None, None]


def _ticks(summary: Summaries, axis: int) -> list[Position]:
    """Return the coordinates on one axis; an empty one where there is no axis."""
    return list(dict.fromkeys(position[axis : axis + 1] for position in summary.points))


def _lines(summary: Summaries, axis: int) -> list[Position]:
    """Return the coordinates on all other axes."""
    return list(dict.fromkeys(p[:axis] + p[axis + 1 :] for p in summary.points))


def _label_ticks(
    ax: Axes, summary: Summaries, name: str, axis: int, at: Sequence[float] | None = None
) -> None:
    labels = [
        "".join(map(wording.setting, tick)).replace("_", "\n") for tick in _ticks(summary, axis)
    ]
    plots.label_ticks(ax, name, labels, at)
    keys = summary.axes[axis : axis + 1]
    ax.set(**{f"{name}label": "".join(_math(key, summary.axes) for key in keys)})


def draw_tradeoff(results: Results, x: Column, y: Column) -> bytes:
    """Return a PNG of `y` over either axis, of both columns as maps, and of published values."""
    summary = Summaries(results)
    measured = _measured(summary, [y])
    words = (
        f"{_conditions(results, [x, y])}; {_bars(measured)}; both maps have one colour scale; "
        f"{'; '.join(wording.axis_keys(summary.axes))}"
    )
    papers = [row for row in results.published if row.metrics]
    layout = "AAABBB;XXYYPP" if papers else "AAABBB;XXXYYY"
    names = [_math(axis, summary.axes) for axis in summary.axes]
    with plots.canvas(wording.figure_title(results, results.title), 6.2, words) as figure:
        panels = figure.subplot_mosaic(layout, height_ratios=(1.15, 1))
        for axis, ax in enumerate((panels["A"], panels["B"])):
            _draw_lines(ax, summary, measured[y], y.row, axis)
            ax.set_ylabel(wording.column_heading(y))
            ax.set_title(f"over {names[axis]} at fixed {names[1 - axis]}")
            ax.margins(y=0.3)
            ax.legend(ncols=len(_lines(summary, axis)), loc="upper center")
        grids = [_grid(summary, column) for column in (x, y)]
        low, high = np.nanmin(grids), np.nanmax(grids)
        for ax, column, grid in zip((panels["X"], panels["Y"]), (x, y), grids, strict=True):
            ax.imshow(grid, origin="lower", aspect="auto", cmap="cividis", vmin=low, vmax=high)
            for (up, across), value in np.ndenumerate(grid):
                ink = "black" if value > (low + high) / 2 else "white"
                text = f"{value:.{METRICS[column.metric].digits}f}"
                text = "not run" if np.isnan(value) else text
                ax.annotate(text, (across, up), ha="center", va="center", color=ink)
            ax.grid(visible=False)
            ax.set_title(wording.column_heading(column))
            _label_ticks(ax, summary, "x", 0)
            _label_ticks(ax, summary, "y", 1)
        if papers:
            _draw_papers(panels["P"], papers)
            panels["P"].set_title(wording.published_heading(results).partition(",")[0])
        return plots.save(figure)


def _grid(summary: Summaries, column: Column) -> np.ndarray:
    """Return the mean at each position; the first axis is across, the second up."""
    means = [
        [summary.at(across + up, column) for across in _ticks(summary, 0)]
        for up in _ticks(summary, 1)
    ]
    return np.array([[cell["value"] if cell else np.nan for cell in line] for line in means])


def _draw_papers(ax: Axes, papers: Sequence[PublishedRow]) -> None:
    metrics = dict.fromkeys(metric for row in papers for metric in row.metrics)
    for index, metric in enumerate(metrics):
        hue = plots.color("reconstruction" if metric.startswith("reconstruction") else "lamd")
        rows = {y: row.metrics[metric] for y, row in enumerate(papers) if metric in row.metrics}
        values, style = [cell.value for cell in rows.values()], plots.MARKERS[index % 5]
        ax.plot(values, list(rows), style, color=hue, label=wording.heading(metric))
        for value, y in zip(values, rows, strict=True):
            plots.note(ax, value, y, f"{value:g}", (0, 7), hue, ha="center")
    labels = [row.method.replace(", ", "\n").replace("beta", "β") for row in papers]
    plots.label_ticks(ax, "y", labels)
    ax.set_ylim(len(papers) + 0.1, -0.6)
    ax.margins(x=0.2)
    ax.legend(loc="lower center", fontsize=8)


def _conditions(results: Results, columns: Iterable[Column]) -> str:
    words, rows = wording.capitalized(wording.sources_words(results)), {c.row for c in columns}
    values = [value for value in results.values if value.row in rows]
    counts = dict.fromkeys(str(n) for value in values if (n := value.n_fake or value.n_real))
    return f"{words}, n = {' or '.join(counts) or 'no'} clips, profile {results.profile}"


def _math(key: str, axes: Sequence[str]) -> str:
    symbol = dict(zip(axes, wording.symbols(axes), strict=True))[key]
    return (
        f"${symbol}$".replace("β", r"\beta")
        if symbol in wording.SYMBOLS.values()
        else plots.plain(symbol)
    )
