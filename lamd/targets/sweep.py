"""`reproduce` of a sweep: the cells of every point, one row a point, seeds averaged."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lamd.base.errors import LamdError
from lamd.config import Sweep, Target, closest
from lamd.execute.jobs import Job, Workers
from lamd.execute.schedule import Schedule, identity
from lamd.pipeline.cells import Cell, CellFailed, Store
from lamd.pipeline.graph import Plan, make_plan, row_protocols
from lamd.report.folder import choose_folder, write_files
from lamd.report.published import load_published
from lamd.report.results import Diagnostics, PublishedRow, SweepPoint, SweepReport
from lamd.targets.reporting import (
    columns,
    data_kind,
    data_notes,
    described,
    failed_row,
    not_run,
    row_records,
)
from lamd.targets.request import Request


@dataclass(frozen=True)
class SweepPlan:
    """Target and plan of each point, by its name."""

    targets: dict[str, Target]
    plans: dict[str, Plan]
    diagnostics: bool

    def cells(self) -> dict[str, list[Cell]]:
        """Return the cells behind what each point shows, parents first, each once a point."""
        return {
            point: _behind([*plan.rows.values(), *[plan.diagnostics] * self.diagnostics])
            for point, plan in self.plans.items()
        }


def plan_sweep(sweep: Sweep, device: str) -> SweepPlan:
    """Plan every point.

    Raises:
        LamdError: when two points measure the same cells, or a name in the config is unknown.
    """
    targets = sweep.targets()
    plans = {point: make_plan(one, device) for point, one in targets.items()}
    plan = SweepPlan(targets, plans, sweep.diagnostics)
    seen: dict[tuple[str, ...], str] = {}
    for point, one in plan.plans.items():
        same = seen.setdefault(tuple(identity(cell) for cell in one.rows.values()), point)
        if same != point:
            raise LamdError(
                f"{sweep.target}: sweep: points {same} and {point} measure the same: nothing in "
                f"rows {', '.join(one.rows)} depends on where they differ; take one out"
            )
    _published(sweep)
    shown = sweep.figure
    for name in shown.columns if shown.name == "curves" else (shown.x, shown.y):
        if name not in (known := columns_of(sweep)):
            raise LamdError(
                f"{sweep.target}: figure: no column {name!r}{closest(name, known)}; "
                f"it has: {', '.join(known)}"
            )
    return plan


def columns_of(sweep: Sweep) -> list[str]:
    """Return the columns, `<row> <metric>`, of a sweep."""
    return [
        f"{row} {metric}"
        for row in sweep.source.rows
        for metric in columns(row_protocols(sweep.source, row))
    ]


def reproduce_sweep(
    sweep: Sweep, request: Request, *, path: str, workers: Workers
) -> tuple[SweepReport, Path, list[Path], list[CellFailed]]:
    """Make what is missing of a sweep and write its results; `path` is its YAML.

    Raises:
        LamdError: in a multi-process launch, or when the executor cannot be had.
        CellFailed: when no row of any point could be measured.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise LamdError(
            f"{sweep.target}: a sweep starts no multi-process training; train a point with "
            f"`accelerate launch -m lamd train {next(iter(sweep.sources))} --set KEY=VALUE`"
        )
    from lamd.execute.local import open_executor
    from lamd.report.diagnostics import PAGES
    from lamd.report.sweep_plots import render_diagnostics_figure, render_sweep_figure
    from lamd.report.sweep_tables import TABLES

    plan, runs = plan_sweep(sweep, request.device), request.store.root.parent

    def make_job(point: str, cell: str) -> Job:
        return Job(
            path, request.profile, request.overrides, point, cell, str(runs), request.device,
            sweep.runtime.threads,
        )  # fmt: skip

    executor = open_executor(
        workers, threads=sweep.runtime.threads, gpus=sweep.runtime.gpus, runs=runs
    )
    try:
        failed = Schedule(
            plan.cells(), request.store, executor, make_job,
            retry_failed=workers.retry_failed, say=request.say,
        ).run()  # fmt: skip
    finally:
        executor.close()
    rows = [identity(cell) for one in plan.plans.values() for cell in one.rows.values()]
    if all(row in failed for row in rows):
        raise failed[rows[0]]
    report = _report(sweep, request, plan, failed)
    folder = choose_folder(request.results, report)
    contents = {name: make(report).encode() for name, make in TABLES.items()}
    contents |= render_sweep_figure(report)
    if sweep.diagnostics:
        contents |= {name: make(report).encode() for name, make in PAGES.items()}
        contents |= render_diagnostics_figure(report)
    files = write_files(folder, report, contents)
    return report, folder, files, list({str(f): f for f in failed.values()}.values())


def grid_table(sweep: Sweep, device: str, store: Store) -> list[list[str]]:
    """Return, with a header, each point, its state and how much of it is made."""
    plan = plan_sweep(sweep, device)
    rows = [[*sweep.points[0], "state", "made", "failed"]]
    for point, cells in zip(sweep.points, plan.cells().values(), strict=True):
        states = [store.state(cell) for cell in cells]
        failures = [failure for cell in cells if (failure := store.failure(cell))]
        state = next((s for s in ("failed", "begun") if s in states), "missing")
        if set(states) == {"cached"}:
            state = "done"
        made = f"{states.count('cached')} of {len(cells)} cells"
        rows.append([*map(str, point.values()), state, made, "; ".join(map(str, failures))])
    return rows


def _behind(shown: Sequence[Cell]) -> list[Cell]:
    found: dict[str, Cell] = {}
    for last in shown:
        for cell in (*last.ancestors(), last):
            found[cell.name] = cell
    return list(found.values())


def _report(
    sweep: Sweep, request: Request, plan: SweepPlan, failed: dict[str, CellFailed]
) -> SweepReport:
    store = request.store
    protocols = sweep.source.evaluate.protocols
    cells = [cell for cells in plan.cells().values() for cell in cells if store.is_complete(cell)]
    facts = {
        str(store.folder(data)): (store.facts(data), plan.targets[point])
        for point, one in plan.plans.items()
        if store.is_complete(data := one.stages["data"])
    }
    kinds = {data_kind(one) for one, _ in facts.values()}
    scales = {target.scale for target in plan.targets.values()}
    return SweepReport(
        **request.written(sweep),
        data="real" if kinds == {"real"} else "stand-in",
        scale="full" if scales == {"full"} else "reduced",
        dataset=sweep.source.data.name,
        axes=sweep.axes,
        columns=tuple(columns_of(sweep)),
        protocols=described(protocols),
        points=tuple(
            _point(sweep, values, name, request, plan, failed)
            for values, name in zip(sweep.points, plan.targets, strict=True)
        ),
        published=tuple(_published(sweep)),
        notes=tuple(dict.fromkeys(note for one in facts.values() for note in data_notes(*one))),
        cells=tuple({info.key: info for info in map(store.info, cells)}.values()),
    )


def _point(
    sweep: Sweep,
    values: dict,
    name: str,
    request: Request,
    plan: SweepPlan,
    failed: dict[str, CellFailed],
) -> SweepPoint:
    target, one, store = plan.targets[name], plan.plans[name], request.store
    records, holes = [], []
    for row, cell in one.rows.items():
        failure = failed.get(identity(cell))
        if failure is not None:
            holes.append(failed_row(row, cell, failure))
            continue
        records += row_records(target, sweep.target, request.profile, row, cell, one, store, None)
        holes += not_run(row, row_protocols(target, row), one.not_run)
    found = None
    if sweep.diagnostics:
        failure = failed.get(identity(one.diagnostics))
        if failure is None:
            found = _diagnostics(one.diagnostics, store)
        else:
            holes.append(failed_row("diagnostics", one.diagnostics, failure))
    return SweepPoint(
        name=name, values=values, records=tuple(records), holes=tuple(holes), diagnostics=found
    )


def _diagnostics(cell: Cell, store: Store) -> Diagnostics:
    behind = [store.info(one).key for one in (*cell.ancestors(), cell)]
    return Diagnostics(**store.facts(cell), cells=tuple(behind))


def _published(sweep: Sweep) -> list[PublishedRow]:
    groups = load_published()
    if sweep.published is None:
        return []
    if sweep.published not in groups:
        raise LamdError(
            f"{sweep.target}: published: no group {sweep.published!r}"
            f"{closest(sweep.published, groups)}; it has: {', '.join(groups)}"
        )
    return list(groups[sweep.published].values())
