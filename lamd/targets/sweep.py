"""Sweeps: a grid over the config keys of one table, seeds averaged."""

from collections.abc import Mapping
from typing import Any

from lamd.base.errors import LamdError
from lamd.config import Sweep
from lamd.config.sweep import coordinates, is_seed
from lamd.pipeline.cell import Cell
from lamd.pipeline.contents import Diagnostics
from lamd.pipeline.graph import TablePlan
from lamd.pipeline.rows import ROWS
from lamd.pipeline.store import Store
from lamd.report.published import load_published
from lamd.report.results import DIAGNOSED, Column, PublishedRow, Results, Value
from lamd.targets.kind import Collector, Graph, choose, columns, plan_tables, register, row_info
from lamd.targets.table import REFERENCE, published_rows


class SweepKind:
    """A grid over the config keys of one table."""

    def plan(self, config: Sweep, device: str) -> Graph:
        plans = plan_tables(config.targets(), device)
        seen: dict[tuple[str, ...], str] = {}
        for point, plan in plans.items():
            rows = tuple(cell.plan_hash for cell in plan.values.values())
            same = seen.setdefault(rows, point)
            if same != point:
                raise LamdError(
                    f"{config.target}: sweep: points {same} and {point} measure the same: nothing "
                    f"in rows {', '.join(plan.values)} depends on where they differ; take one out"
                )
        published_of_sweep(config)
        known = {f"{column.row} {column.metric}": column for column in _columns(config, plans)}
        figure = config.figure
        if figure.name == "tradeoff":
            drawn = [figure.x, figure.y]
        else:
            drawn = [*figure.columns, *filter(None, [figure.reference])]
        for column in drawn:
            name = f"{column.row} {column.metric}"
            choose(known, name, f"{config.target}: figure: no column")
        extra = {p: [plan.diagnostics] for p, plan in plans.items() if config.diagnostics}
        wanted = {point: [*plan.values.values()] for point, plan in plans.items()}
        return Graph(wanted=wanted, extra=extra, plans=plans)

    def collect(self, config: Sweep, graph: Graph, collector: Collector) -> Results:
        published = published_of_sweep(config)
        for point, plan in graph.plans.items():
            for row, cell in plan.values.items():
                judged = None if config.axes else published.get(row)
                collector.add_row(point, row, cell, plan.row_protocols(row), judged, point)
            for cell in graph.extra.get(point, ()):
                if not collector.is_lost(point, DIAGNOSED, cell, point):
                    collector.values += _diagnostics(point, cell, collector)
        _compare(config, graph, collector)
        return collector.results(
            config.source.evaluate.protocols,
            points=dict(zip(graph.plans, config.points, strict=True)),
            rows=[row_info(config.source, row) for row in config.source.rows],
            columns=_columns(config, graph.plans),
            published=[*published.values()],
        )

    def render(self, results: Results, drawn: Mapping[str, Any]) -> dict[str, bytes]:
        from lamd.report.sweep import render_sweep

        return render_sweep(results)


def _compare(config: Sweep, graph: Graph, collector: Collector) -> None:
    """Compare each position with the first one, the mean over its seeds on the same clips.

    Over seeds alone, compare the rows as a table does. Where the test clips differ, as those of
    several simulation seeds do, nothing is compared.
    """
    if not config.axes:
        plan = next(iter(graph.plans.values()))
        if len({own.test.plan_hash for own in graph.plans.values()}) > 1:
            return
        for row in plan.values:
            here, there = ([(p, name, p) for p in graph.plans] for name in (row, REFERENCE))
            if row != REFERENCE and ROWS[row].paired:
                collector.compare(plan, here, there, REFERENCE)
        return
    positions: dict[str, dict[str, str]] = {}
    for name, point in zip(graph.plans, config.points, strict=True):
        entries = sorted(point.items())
        position, seeds = (
            str([entry for entry in entries if is_seed(entry[0]) == seed]) for seed in (False, True)
        )
        positions.setdefault(position, {})[seeds] = name
    first, *others = positions.values()
    start = next(iter(first.values()))
    for names in others:
        pairs = [(names[seeds], first[seeds]) for seeds in names if seeds in first]
        tests = [{graph.plans[name].test.plan_hash for name in pair} for pair in pairs]
        shared = [pair for pair, own in zip(pairs, tests, strict=True) if own == tests[0]]
        if not shared or len(tests[0]) > 1:  # other test clips
            continue
        plan = graph.plans[shared[0][0]]
        for row in plan.values:
            sides = zip(*shared, strict=True)
            here, there = ([(name, row, name) for name in side] for side in sides)
            collector.compare(plan, here, there, start)


def state_table(config: Sweep, graph: Graph, store: Store) -> list[list[str]]:
    """Return, with a header, each point, its state and how much of it is made."""
    points = [coordinates(point, config.variants) for point in config.points]
    rows = [[*points[0], "state", "made", "failed"]]
    for point, cells in zip(points, graph.cells().values(), strict=True):
        states = [store.state(cell) for cell in cells]
        failures = [str(failure) for cell in cells if (failure := store.failure(cell))]
        state = next((s for s in ("failed", "begun") if s in states), "missing")
        if set(states) == {"cached"}:
            state = "done"
        made = f"{states.count('cached')} of {len(cells)} cells"
        rows.append([*map(str, point.values()), state, made, "; ".join(failures)])
    return rows


def _columns(config: Sweep, plans: Mapping[str, TablePlan]) -> list[Column]:
    plan = next(iter(plans.values()))  # all points have the same rows and protocols
    rows = config.source.rows
    return [column for row in rows for column in columns(plan.row_protocols(row), row)]


def published_of_sweep(config: Sweep) -> dict[str, PublishedRow]:
    """Return the rows of the group that a sweep names; over seeds alone, those of its table too."""
    rows = {} if config.axes else published_rows(config.source)
    if config.published is None:
        return rows
    lacking = f"{config.target}: published: no group"
    return choose(load_published(), config.published, lacking) | rows


def _diagnostics(point: str, cell: Cell, collector: Collector) -> list[Value]:
    outputs = collector.store.outputs(cell, Diagnostics)
    where: dict[str, Any] = {"source": point, "row": DIAGNOSED, "point": point}
    where["cells"] = collector.keys(cell)
    numbers = outputs.values | {"probe_strength": outputs.probe_strength}
    return [
        *(Value(**where, metric=m, value=v, n_real=outputs.clips) for m, v in numbers.items()),
        *(
            Value(**where, metric=metric, part=f"channel {number}", value=value)
            for metric, values in outputs.channels.items()
            for number, value in enumerate(values)
        ),
    ]


register("sweep", SweepKind(), Sweep)
