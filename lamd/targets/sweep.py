"""Sweeps: a grid over the config keys of one table, seeds averaged."""

from typing import Any, ClassVar

from lamd.base.errors import LamdError
from lamd.config import Sweep, closest
from lamd.pipeline.cell import Cell
from lamd.pipeline.graph import TablePlan
from lamd.pipeline.store import Store
from lamd.report.published import load_published
from lamd.report.results import Column, PublishedRow, Value
from lamd.targets.collect import Collector, columns, described, row_info
from lamd.targets.kind import Collected, Failed, Graph, Run, register

DIAGNOSTICS = "diagnostics"  # the row of what a sweep measures on z_m


class SweepKind:
    """A grid over the config keys of one table."""

    name: ClassVar[str] = "sweep"

    def plan(self, config: Sweep, device: str) -> Graph:
        targets, fingerprints = config.targets(), dict[str, Any]()
        plans = {name: TablePlan(target, device, fingerprints) for name, target in targets.items()}
        seen: dict[tuple[str, ...], str] = {}
        for point, plan in plans.items():
            rows = tuple(cell.plan_hash for cell in plan.values.values())
            same = seen.setdefault(rows, point)
            if same != point:
                raise LamdError(
                    f"{config.target}: sweep: points {same} and {point} measure the same: nothing "
                    f"in rows {', '.join(plan.values)} depends on where they differ; take one out"
                )
        published_group(config)
        known = [f"{c.row} {c.metric}" for c in columns_of(config, next(iter(plans.values())))]
        figure = config.figure
        for column in figure.columns if figure.name == "curves" else (figure.x, figure.y):
            if (name := f"{column.row} {column.metric}") not in known:
                raise LamdError(
                    f"{config.target}: figure: no column {name!r}{closest(name, known)}; "
                    f"it has: {', '.join(known)}"
                )
        extra = {p: [plan.diagnostics] for p, plan in plans.items() if config.diagnostics}
        wanted = {point: list(plan.values.values()) for point, plan in plans.items()}
        return Graph(targets=targets, wanted=wanted, extra=extra, plans=plans)

    def collect(self, config: Sweep, graph: Graph, run: Run, failed: Failed) -> Collected:
        collector = Collector(run, failed)
        for name, plan in graph.plans.items():
            collector.add_source(name, plan)
            for row, cell in plan.values.items():
                collector.add_row(name, row, cell, plan.row_protocols(row), point=name)
            if config.diagnostics and not collector.is_lost(
                name, DIAGNOSTICS, plan.diagnostics, name
            ):
                collector.values += _diagnostics(name, plan.diagnostics, run.store)
        results = collector.results(
            config,
            graph,
            points=dict(zip(graph.plans, config.points, strict=True)),
            rows=tuple(row_info(config.source, row) for row in config.source.rows),
            columns=columns_of(config, next(iter(graph.plans.values()))),
            protocols=described(config.source.evaluate.protocols),
            published=tuple(published_group(config)),
        )
        return Collected(results, None, collector.per_clip)

    def render(self, collected: Collected) -> dict[str, bytes]:
        from lamd.report.sweep import render_sweep

        return render_sweep(collected.results) | collected.per_clip_file()


def columns_of(config: Sweep, plan: TablePlan) -> tuple[Column, ...]:
    """Return the columns of a sweep."""
    return tuple(
        Column(row=row, metric=column.metric)
        for row in config.source.rows
        for column in columns(plan.row_protocols(row))
    )


def published_group(config: Sweep) -> list[PublishedRow]:
    """Return the published rows of a sweep's group.

    Raises:
        LamdError: on a group that published.yaml does not have.
    """
    groups = load_published()
    if config.published is None:
        return []
    if config.published not in groups:
        raise LamdError(
            f"{config.target}: published: no group {config.published!r}"
            f"{closest(config.published, groups)}; it has: {', '.join(groups)}"
        )
    return list(groups[config.published].values())


def state_table(config: Sweep, graph: Graph, store: Store) -> list[list[str]]:
    """Return, with a header, each point, its state and how much of it is made."""
    rows = [[*config.points[0], "state", "made", "failed"]]
    for point, cells in zip(config.points, graph.cells().values(), strict=True):
        states = [store.state(cell) for cell in cells]
        failures = [failure for cell in cells if (failure := store.failure(cell))]
        state = next((s for s in ("failed", "begun") if s in states), "missing")
        if set(states) == {"cached"}:
            state = "done"
        made = f"{states.count('cached')} of {len(cells)} cells"
        rows.append([*map(str, point.values()), state, made, "; ".join(map(str, failures))])
    return rows


def _diagnostics(point: str, cell: Cell, store: Store) -> list[Value]:
    outputs = store.outputs(cell)
    keys = tuple(info.key for info in store.infos(cell))
    where: dict[str, Any] = {"source": point, "row": DIAGNOSTICS, "point": point, "cells": keys}
    numbers = outputs["values"] | {"probe_strength": outputs["probe_strength"]}
    return [
        *(Value(**where, metric=m, value=v, n_real=outputs["clips"]) for m, v in numbers.items()),
        *(
            Value(**where, metric=metric, part=f"channel {number}", value=value)
            for metric, values in outputs["channels"].items()
            for number, value in enumerate(values)
        ),
    ]


register(SweepKind(), Sweep)
