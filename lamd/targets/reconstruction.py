"""`reproduce` of a reconstruction table: the MCD-VAEs of several targets, one row each."""

from dataclasses import dataclass
from pathlib import Path

from lamd.base.origin import CellInfo
from lamd.config import ReconstructionTable
from lamd.pipeline.cells import Cell, CellFailed, Store, run_sources
from lamd.pipeline.graph import Plan, check_protocols, make_plan, missing_weights, values_cell
from lamd.report.folder import choose_folder, write_results
from lamd.report.published import load_published
from lamd.report.results import PublishedRow, Report, RowInfo
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
class JointPlan:
    """The values cell of each source, the plan its models come from, and what is left out."""

    cells: dict[str, Cell]
    plans: dict[str, Plan]
    left_out: dict[str, str]


def plan_joint(table: ReconstructionTable, device: str) -> JointPlan:
    """Plan a table over the very cells that its sources' tables use.

    Raises:
        LamdError: on an unknown protocol.
    """
    for source, names in table.protocols.items():
        check_protocols(names, f"protocols.{source}")
    left_out = missing_weights([name for names in table.protocols.values() for name in names])
    plans = {source: make_plan(target, device) for source, target in table.sources.items()}
    cells = {
        source: values_cell(
            "decoded",
            [name for name in table.protocols[source] if name not in left_out],
            plan.clips,
            device,
            num_frames=table.sources[source].data.num_frames,
        )
        for source, plan in plans.items()
    }
    return JointPlan(cells, plans, left_out)


def reproduce_joint(
    table: ReconstructionTable, request: Request
) -> tuple[Report, Path, list[Path], list[CellFailed]] | None:
    """Make what is missing of a table and write it.

    Returns:
        The report, its folder and files, and what failed; None in the other processes of a
        multi-process launch.

    Raises:
        CellFailed: when no row could be measured.
    """
    plan = plan_joint(table, request.device)
    failed = run_sources(plan.cells, request.runner)
    if failed is None:
        return None
    report = _report(table, request, plan, failed)
    folder = choose_folder(request.results, report)
    return report, folder, write_results(folder, report, None), list(failed.values())


def _report(
    table: ReconstructionTable,
    request: Request,
    plan: JointPlan,
    failed: dict[str, CellFailed],
) -> Report:
    store = request.store
    made = {source: cell for source, cell in plan.cells.items() if source not in failed}
    facts = {source: store.facts(plan.plans[source].stages["data"]) for source in made}
    published = {source: _published(target.published) for source, target in table.sources.items()}
    protocols = list(dict.fromkeys(name for names in table.protocols.values() for name in names))
    cells = {cell.key: cell for one in made.values() for cell in _infos(one, store)}
    return Report(
        **request.written(table),
        data="real" if all(data_kind(one) == "real" for one in facts.values()) else "stand-in",
        scale="full" if all(s.scale == "full" for s in table.sources.values()) else "reduced",
        dataset=" + ".join(source.data.name for source in table.sources.values()),
        metrics=columns(protocols),
        protocols=described(protocols),
        rows=tuple(_row_info(table, source) for source in plan.cells),
        records=tuple(
            record
            for source, cell in made.items()
            for record in row_records(
                table.sources[source], table.target, request.profile, source, cell,
                plan.plans[source], store, published[source],
            )
        ),
        holes=(
            *(failed_row(source, plan.cells[source], f) for source, f in failed.items()),
            *(hole for source in made
              for hole in not_run(source, table.protocols[source], plan.left_out)),
        ),
        published=tuple(row for row in published.values() if row is not None),
        notes=tuple(
            note for source, one in facts.items() for note in data_notes(one, table.sources[source])
        ),
        cells=tuple(cells.values()),
    )  # fmt: skip


def _infos(cell: Cell, store: Store) -> list[CellInfo]:
    return [store.info(one) for one in (*cell.ancestors(), cell)]


def _published(key: str | None) -> PublishedRow | None:
    row = load_published()["reconstruction"].get(key)
    if row is None:
        return None
    name = key.split("_")[0].upper()
    return row.model_copy(update={"method": f"{row.method}, {name}"})


def _row_info(table: ReconstructionTable, source: str) -> RowInfo:
    target = table.sources[source]
    vae, data = target.vae, target.data
    fvd = next((name for name in table.protocols[source] if name.startswith("fvd")), None)
    return RowInfo(
        name=source,
        label=f"{data.name.upper()}, MCD-VAE (d = {vae.motion_channels})",
        description=f"{data.num_frames} frames of {data.size}x{data.size}, every one decoded from "
        f"the posterior mean; kl_weight {target.loss.kl_weight:g} ({target.loss.kl_reduction})"
        + (f"; FVD is `{fvd}`" if fvd else ""),
    )
