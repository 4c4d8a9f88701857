"""`reproduce` and `train`: plan a target, make its cells, write its results."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lamd.base.errors import LamdError
from lamd.config import (
    AnyTarget,
    CostFigure,
    Figure,
    QualityFigure,
    ReconstructionTable,
    SamplingCost,
    Sweep,
    Target,
    is_baseline,
    load_experiment,
    load_target,
    target_path,
)
from lamd.data.real import real_root
from lamd.execute.jobs import Workers
from lamd.pipeline.cells import Cell, CellFailed, Runner, Store
from lamd.pipeline.graph import Plan, make_plan
from lamd.report.results import AnyReport, Report
from lamd.targets.request import Request

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What a run of a target left: its report, folder and files, and the failures."""

    report: AnyReport
    folder: Path
    files: tuple[Path, ...]
    failed: tuple[CellFailed, ...]


def open_target(
    name: str, profile: str, overrides: Sequence[str], runs: Path, device: str
) -> tuple[Target, Plan, Store]:
    """Load a target with models of its own, expand it into cells and open their store."""
    target = load_experiment(name, profile, overrides)
    return target, make_plan(target, device), Store(runs)


def planned_cells(target: AnyTarget, device: str) -> dict[str, list[Cell]]:
    """Return the cells of any target, parents first, by source; by "" when it has none.

    The sources of a sweep are its points.
    """
    if isinstance(target, Target):
        return {"": make_plan(target, device).cells()}
    if isinstance(target, Sweep):
        from lamd.targets.sweep import plan_sweep

        return plan_sweep(target, device).cells()
    if isinstance(target, SamplingCost | CostFigure):
        from lamd.targets.cost import plan_cost

        return {"": [plan_cost(target, device)]}
    if isinstance(target, QualityFigure):
        from lamd.targets.quality import plan_quality

        return plan_quality(target, device).cells()
    if isinstance(target, Figure):
        from lamd.targets.clip_figure import plan_figure as plan
    else:
        from lamd.targets.reconstruction import plan_joint as plan
    cells = plan(target, device).cells
    return {source: [*cell.ancestors(), cell] for source, cell in cells.items()}


def reproduce(
    name: str,
    profile: str,
    overrides: Sequence[str] = (),
    *,
    runs: Path,
    results: Path,
    device: str = "auto",
    workers: Workers | None = None,
    say: Say = print,
) -> Outcome | None:
    """Make what is missing of a target's cells and write its results.

    Args:
        workers: who makes the cells of a sweep; None is one process beside this one.

    Returns:
        None in the other processes of a multi-process launch.

    Raises:
        LamdError: when the config or the data are wrong.
        CellFailed: when nothing at all could be made.
    """
    target = load_target(name, profile, overrides)
    if not isinstance(target, SamplingCost | CostFigure):  # they have no data
        for source in [target] if isinstance(target, Target) else target.sources.values():
            if source.data.source == "real":
                real_root(source.data.name)
    if isinstance(target, Sweep):
        from lamd.targets.sweep import reproduce_sweep

        make = partial(
            reproduce_sweep, path=str(target_path(name).resolve()), workers=workers or Workers()
        )
    elif workers is not None:
        raise LamdError(f"{name}: --executor, --jobs and --retry-failed are for sweeps; leave out")
    elif isinstance(target, SamplingCost | CostFigure):
        from lamd.targets.cost import reproduce_cost as make
    elif isinstance(target, QualityFigure):
        from lamd.targets.quality import reproduce_quality as make
    elif isinstance(target, Figure):
        from lamd.targets.clip_figure import reproduce_figure as make
    elif isinstance(target, ReconstructionTable):
        from lamd.targets.reconstruction import reproduce_joint as make
    else:
        make = _reproduce_table
    made = make(target, Request(profile, tuple(overrides), Store(runs), results, device, say))
    if made is None:
        return None
    report, folder, files, failed = made
    return Outcome(report, folder, tuple(files), tuple(failed))


def _reproduce_table(
    target: Target, request: Request
) -> tuple[Report, Path, list[Path], list[CellFailed]] | None:
    from lamd.targets.reporting import assemble, published_rows

    plan = make_plan(target, request.device)
    published_rows(target)  # a wrong name is told before hours of training, not after
    runner = request.runner()
    failed = runner.run_each((*plan.rows.values(), *plan.grid))
    if runner.rank:
        return None
    if all(cell.name in failed for cell in plan.rows.values()):
        raise next(iter(failed.values()))
    report = assemble(target, request, plan, failed)

    from lamd.report.folder import choose_folder, make_grid, write_results

    folder = choose_folder(request.results, report)
    files = write_results(folder, report, make_grid(report, plan, request.store))
    return (
        report,
        folder,
        files,
        list({failure.name: failure for failure in failed.values()}.values()),
    )


def train(
    name: str,
    profile: str,
    overrides: Sequence[str],
    stage: str,
    *,
    runs: Path,
    device: str = "auto",
    say: Say = print,
) -> Path:
    """Train one stage, and what it needs first; return the cell's folder.

    A stage is vae, dmg, captioner, video_vae or a row of another paradigm, such as pixel_clips.

    Raises:
        LamdError: on an unknown stage, wrong config or data.
        CellFailed: when the stage or one before it fails.
    """
    row = "latent_video_clips" if stage == "video_vae" else stage
    if is_baseline(row):
        overrides = [*overrides, f"rows=[{row}]"]
    target, plan, store = open_target(name, profile, overrides, runs, device)
    stages = {key.replace(" ", "_"): cell for key, cell in plan.stages.items() if cell.collective}
    if stage not in stages:
        raise LamdError(
            f"--stage {stage}: unknown; use {', '.join(stages)}, video_vae or a row of another "
            "paradigm, such as pixel_clips"
        )
    if target.data.source == "real":
        real_root(target.data.name)
    return Runner(store, device, say).run(stages[stage])
