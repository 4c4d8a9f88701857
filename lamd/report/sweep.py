"""Sweeps: the table, one row per position; the diagnostics of z_m; curves or a trade-off."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lamd.config.sweep import VARIANT
from lamd.metrics.registry import METRICS
from lamd.report import plots, wording
from lamd.report.frame import Position, Summaries
from lamd.report.results import Column, PublishedRow, Results
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

ROW = "diagnostics"


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
        files["curves.png"] = _draw_curves(results, results.title, panels, line)
    else:
        columns = [Column(**figure["x"]), Column(**figure["y"])]
        files["tradeoff.png"] = _draw_tradeoff(results, *columns)
    return files


def sweep_table(results: Results) -> TextTable:
    """Return one line per position, seeds averaged, and one column per metric of a row."""
    notes, lines, summary = Notes(), [], Summaries(results)
    for position, names in summary.points.items():
        line = _coordinates(summary, position)
        for column in results.columns:
            line[wording.column_heading(column)] = measured_cell(summary, position, column, notes)
        lines.append(line | {"seeds": str(len(names))})
    table = pd.DataFrame(lines, dtype=str)
    counts = dict.fromkeys(str(v.n_fake) for v in results.values if v.metric in METRICS)
    common = [f"n = {' or '.join(counts)} clips"]
    if is_constant(table, "seeds"):
        common.append(seed_words(results, int(table.pop("seeds").iloc[0])))
    explained = [*notes.lines(), *_symbols(summary), *_variants(results), *reading(results)]
    return table, common, explained


def _differences(results: Results) -> tuple[str, list[dict[str, str]]]:
    """Return the first position in words, and the differences of the others to it."""
    summary = Summaries(results)
    at = {names[0]: _coordinates(summary, position) for position, names in summary.points.items()}
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
    first, *others = summary.points
    for position in others:
        line = {}
        for column in results.columns:
            here, there = (summary.by_seed(p, column) for p in (position, first))
            seeds = (here - there).dropna()
            if len(seeds) > 1:
                digits = METRICS[column.metric].digits
                texts = (f"{change:+.{digits}f}" for change in seeds)
                line[wording.column_heading(column)] = ", ".join(texts)
        lines += [_coordinates(summary, position) | line] if line else []
    return lines


def _coordinates(summary: Summaries, position: Position) -> dict[str, str]:
    settings = map(wording.setting, position)
    return dict(zip(wording.symbols(summary.axes), settings, strict=True))


def _render_diagnostics(results: Results) -> dict[str, bytes]:
    """Return `diagnostics.md` and `diagnostics.png`; nothing when nothing was diagnosed."""
    if ROW not in {v.row for v in results.values} | {m.row for m in results.missing}:
        return {}
    summary, notes, lines, by_channel = Summaries(results), Notes(), [], []
    columns = {name: Column(row=ROW, metric=name) for name in DIAGNOSTICS}
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
        lines.append(_coordinates(summary, position) | cells)
        by_channel.append(_coordinates(summary, position) | channels)
    blocks = {
        wording.measured_heading(results): pd.DataFrame(lines, dtype=str),
        "By channel, in falling order of the KL": pd.DataFrame(by_channel, dtype=str),
    }
    clips = dict.fromkeys(str(v.n_real) for v in results.values if v.row == ROW and not v.part)
    caption = wording.caption(results, [f"{' or '.join(clips) or 'no'} test clips"])
    explained = [
        *notes.lines(),
        *_symbols(summary),
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
        "diagnostics.png": _draw_curves(results, title, drawn),
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


class Drawn(NamedTuple):
    """A mean or a change as it is drawn, with its seeds; `bars` are an interval over `over`."""

    value: float
    bars: list[list[float]] | None
    over: str
    seeds: pd.Series


def _measured(summary: Summaries, column: Column) -> dict[Position, Drawn]:
    """Return a column at each position where it was measured."""
    drawn = {}
    for position in summary.points:
        line, seeds = summary.at(position, column), summary.by_seed(position, column)
        if line is not None:
            bars = plots.errors(line["value"], line["low"], line["high"])
            over = "seeds" if len(seeds) > 1 else "clips"
            drawn[position] = Drawn(line["value"], bars, over, seeds)
    return drawn


def _changed(results: Results, summary: Summaries, column: Column) -> dict[Position, Drawn]:
    """Return the change of a column from the first position, paired by clip, else by seed."""
    first, *others = summary.points
    stated = {(entry.point, entry.row, entry.metric): entry for entry in results.differences}
    drawn = {}
    for position in others:
        here, there = (summary.by_seed(at, column) for at in (position, first))
        seeds = (here - there).dropna()
        entry = stated.get((summary.points[position][0], column.row, column.metric))
        if entry is not None:
            bars = plots.errors(entry.value, entry.low, entry.high)
            drawn[position] = Drawn(entry.value, bars, "clips", seeds)
        elif len(seeds) > 1:
            drawn[position] = Drawn(float(seeds.mean()), None, "clips", seeds)
    return drawn


def _draw_curves(
    results: Results, title: str, panels: Mapping[Column, str], reference: Column | None = None
) -> bytes:
    """Return a PNG with one panel per column over the first axis, one line per value of the others.

    Names are listed downwards. A reference is drawn across the panels of its metric at its mean
    over all positions. With several seeds, dots are seeds. Panels that fit into a row have a second
    one below them with the changes from the first position, where there are any.
    """
    summary = Summaries(results)
    one_row, named = len(panels) <= 4, len(summary.axes) == 1 and not _is_ordered(summary, 0)
    measured = {column: _measured(summary, column) for column in panels}
    changed = {column: _changed(results, summary, column) for column in panels if one_row}
    lower = any(changed.values())
    shape = (1 + lower, len(panels)) if one_row else (-(-len(panels) // 3), 3)
    several = max(map(len, summary.points.values())) > 1
    words = f"{_conditions(results)}{'; small dots: seeds' * several}; {_bars(measured)}"
    if lower:
        names = _coordinates(summary, next(iter(summary.points))).items()
        start = ", ".join(
            value if name == VARIANT else f"{name} = {value}" for name, value in names
        )
        words += f"; lower panels: change from {start} on the same clips"
        words += f"; {_bars(changed)}" * (_bars(changed) != _bars(measured))
    words = "; ".join([words, *_symbols(summary)])
    height = max(2.1, 0.5 + 0.24 * len(summary.points)) if named else 2.1
    # Panels of one metric are read as one; a line far above would flatten the others.
    alike = one_row and not named and len({column.metric for column in panels}) == 1
    heading = wording.figure_title(results, title)
    with plots.canvas(heading, 0.7 + height * shape[0], words) as figure:
        grid = figure.subplots(*shape, squeeze=False, sharey="row" if alike else False)
        for ax in grid.flat[len(panels) : shape[1] if one_row else None]:
            ax.set_axis_off()
        for number, (column, name) in enumerate(panels.items()):
            axes = [grid[0][number], *grid[1:, number]] if one_row else [grid.flat[number]]
            axes[0].set_title(plots.wrap(name, 72 // shape[1]))
            for ax, points in zip(axes, (measured[column], changed.get(column, {})), strict=False):
                if named:
                    _draw_names(ax, summary, points, column.row, labelled=ax in grid[:, 0])
                else:
                    _draw_lines(ax, summary, points, column.row, 0)
            if reference is not None and reference.metric == column.metric:
                _draw_reference(axes[0], summary, reference)
            for ax in axes[1:]:
                (ax.axvline if named else ax.axhline)(0, color="#404040", linewidth=0.8)
                if named or number == 0:
                    (ax.set_xlabel if named else ax.set_ylabel)("change")
                if not changed[column]:
                    ax.set_axis_off()
            values = [own.value for own in measured[column].values()]
            if alike and values and max(values) > 2 * min(values) > 0:
                plots.label_logarithmic(axes[0], "y")
        if len(summary.axes) > 1:
            plots.add_legend(figure, grid[0][-1 if one_row else 0], len(_lines(summary, 0)))
        return plots.save(figure)


def _bars(panels: Mapping[Column, Mapping[Position, Drawn]]) -> str:
    drawn = [own for column in panels.values() for own in column.values()]
    over = dict.fromkeys(own.over for own in drawn if own.bars is not None)
    return f"bars: 95 % interval over {' or '.join(over)}" if over else "no intervals"


def _is_ordered(summary: Summaries, axis: int) -> bool:
    """Return whether an axis has numbers alone; names, switches and `null` have nothing between."""
    values = [value for tick in _ticks(summary, axis) for value in tick]
    return all(type(value) in (int, float) for value in values)  # a bool is an int


def _abscissas(summary: Summaries, axis: int) -> list[float]:
    """Return where the ticks of an axis are drawn: the first at 0, the last at their number - 1.

    Numbers are at their distances, logarithmic where the largest is 4 times the smallest or more.
    """
    ticks = _ticks(summary, axis)
    values = np.array([value for tick in ticks for value in tick], dtype=object)
    if not _is_ordered(summary, axis) or len(values) < 3:
        return [float(number) for number in range(len(ticks))]
    values = values.astype(float)
    if values.min() > 0 and values.max() >= 4 * values.min():
        values = np.log(values)
    return list((values - values[0]) / (values[-1] - values[0]) * (len(ticks) - 1))


def _draw_lines(
    ax: Axes, summary: Summaries, points: Mapping[Position, Drawn], row: str, axis: int
) -> None:
    """Draw what a row has at each position over one axis, one line per value of the others."""
    ticks, lines, xs = _ticks(summary, axis), _lines(summary, axis), _abscissas(summary, axis)
    others = summary.axes[:axis] + summary.axes[axis + 1 :]
    for index, line in enumerate(lines):
        hue, aside = plots.shade(row, index, len(lines)), 0.08 * (index - (len(lines) - 1) / 2)
        at = {line[:axis] + tick + line[axis:]: x for tick, x in zip(ticks, xs, strict=True)}
        means = {}
        for position in filter(points.__contains__, at):
            x, (value, bars, _, seeds) = at[position] + aside, points[position]
            means[x] = value
            if bars is not None:
                ax.errorbar(x, value, yerr=bars, color=hue, capsize=3, fmt="none")
            if len(seeds) > 1:
                ax.plot([x] * len(seeds), seeds, "o", color=hue, markersize=3, zorder=3)
        joined = plots.LINES[index % 5] * (_is_ordered(summary, axis) and len(means) > 1)
        label = ", ".join(
            f"{_math(key, summary.axes)} = {plots.plain(wording.setting(value))}"
            for key, value in zip(others, line, strict=True)
        )
        means = dict(sorted(means.items()))
        style = plots.MARKERS[index % 5] + joined
        ax.plot(list(means), list(means.values()), style, color=hue, mfc="white", label=label)
    _label_ticks(ax, summary, "x", axis, xs)
    ax.set_xlim(-0.5, len(ticks) - 0.5)
    ax.margins(y=0.12)


def _draw_names(
    ax: Axes, summary: Summaries, points: Mapping[Position, Drawn], row: str, *, labelled: bool
) -> None:
    """Draw what a row has at each position, one line per name."""
    hue, names = plots.color(row), []
    for y, position in enumerate(summary.points):
        names.append(wording.setting(position[0]) if labelled else "")
        if position in points:
            value, bars, _, seeds = points[position]
            ax.errorbar(value, y, xerr=bars, fmt="o", color=hue, capsize=3, mfc="white")
            if len(seeds) > 1:
                ax.plot(seeds, [y] * len(seeds), "o", color=hue, markersize=3, zorder=3)
    plots.label_ticks(ax, "y", names)
    if labelled and summary.axes != [VARIANT]:
        ax.set_ylabel(_math(summary.axes[0], summary.axes))
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.margins(x=0.12)


def _draw_reference(ax: Axes, summary: Summaries, column: Column) -> None:
    """Draw the mean of a column over all positions, each measurement once; of one its interval."""
    table = summary.frame
    chosen = table[(table["row"] == column.row) & (table["metric"] == column.metric)]
    chosen = chosen.drop_duplicates("cells")
    if len(chosen):
        mean, hue = chosen["value"].mean(), plots.color(column.row)
        ax.axhline(mean, color=hue, linestyle="--", linewidth=1.2)
        if len(chosen) == 1 and chosen["low"].notna().all():
            ax.axhspan(chosen["low"].item(), chosen["high"].item(), color=hue, alpha=0.12, lw=0)
        plots.note(ax, -0.45, mean, wording.column_heading(column), (0, 3), hue)


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


def _draw_tradeoff(results: Results, x: Column, y: Column) -> bytes:
    summary = Summaries(results)
    measured = {y: _measured(summary, y)}
    words = (
        f"{_conditions(results)}; {_bars(measured)}; both maps have one colour scale; "
        f"{'; '.join(_symbols(summary))}"
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


def _conditions(results: Results) -> str:
    words = wording.capitalized(wording.sources_words(results))
    counts = dict.fromkeys(str(v.n_fake) for v in results.values if v.n_fake)
    return f"{words}, n = {' or '.join(counts)} clips, profile {results.profile}"


def _symbols(summary: Summaries) -> list[str]:
    """Return e.g. `d: vae.motion_channels, β: loss.kl_weight`, if there are any."""
    keys = [axis for axis in summary.axes if axis != VARIANT]
    pairs = zip(wording.symbols(keys), keys, strict=True)
    return [", ".join(f"{own}: `{key}`" for own, key in pairs)] if keys else []


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


def _math(key: str, axes: Sequence[str]) -> str:
    symbol = dict(zip(axes, wording.symbols(axes), strict=True))[key]
    return (
        f"${symbol}$".replace("β", r"\beta")
        if symbol in wording.SYMBOLS.values()
        else plots.plain(symbol)
    )
