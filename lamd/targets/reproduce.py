"""`reproduce` and `train`: plan a target, make its cells, write its results."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lamd.base.errors import LamdError
from lamd.base.processes import rank_and_world
from lamd.config import AnyTarget, Sweep, Target, load_experiment, load_target
from lamd.data.dataset import DATASETS
from lamd.execute import ExecutorOptions, execute
from lamd.pipeline.cell import Cell, with_ancestors
from lamd.pipeline.graph import TablePlan
from lamd.pipeline.runner import Runner
from lamd.pipeline.store import CellFailed, Store
from lamd.report.folder import choose_folder, write_folder
from lamd.report.results import Results
from lamd.targets.kind import KINDS, Graph, Run

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """The end of a run: results, folder and files, and the failures.

    `notice` says why the folder is not the target's own; "" where it is.
    """

    results: Results
    folder: Path
    files: tuple[Path, ...]
    failed: tuple[CellFailed, ...]
    notice: str


def reproduce(
    name: str,
    profile: str,
    overrides: Sequence[str] = (),
    *,
    runs: Path,
    results: Path,
    device: str = "auto",
    options: ExecutorOptions | None = None,
    say: Say = print,
) -> Outcome | None:
    """Make what is missing of a target's cells and write its results.

    Args:
        options: executor of the cells; None makes them in this process, those of a sweep in one
            worker process.

    Returns:
        None in the other processes of a multi-process launch.

    Raises:
        LamdError: when the config, the data or the executor are wrong.
        CellFailed: when nothing at all could be made.
    """
    config = load_target(name, profile, overrides)
    check_data(config)
    kind = KINDS[config.kind]
    graph: Graph = kind.plan(config, device)
    if options is not None or isinstance(config, Sweep):
        options = options or ExecutorOptions()
        if rank_and_world()[1] > 1:
            raise LamdError(
                f"{config.target}: sweeps and executors cannot run in a multi-process launch; "
                "train one target with `accelerate launch -m lamd train TARGET --set KEY=VALUE`"
            )
    run = Run(Store(runs), profile, tuple(overrides), device)
    fetch_weights([cell for cells in graph.cells().values() for cell in cells], run.store)
    failed = _make(config, graph, run, options, say)
    if failed is None:
        return None
    wanted = [cell for cells in graph.wanted.values() for cell in cells]
    if all(cell.plan_hash in failed for cell in wanted):
        raise failed[wanted[0].plan_hash]
    collected = kind.collect(config, graph, run, failed)
    files = kind.render(collected)
    folder, notice = choose_folder(results, collected.results)
    paths = write_folder(folder, collected.results, files)
    distinct = {str(failure): failure for failure in failed.values()}
    return Outcome(collected.results, folder, tuple(paths), tuple(distinct.values()), notice or "")


def check_data(config: AnyTarget) -> None:
    """Raise LamdError where a target's real data are not in place."""
    sources = [config] if isinstance(config, Target) else getattr(config, "sources", {}).values()
    for source in sources:
        if isinstance(source, Target) and source.data.source == "real":
            DATASETS[source.data.name].locate()


def fetch_weights(cells: Iterable[Cell], store: Store) -> None:
    """Fetch the network weights that unfinished cells load, before the first of them runs.

    Raises:
        LamdError: when they cannot be had; days of training would be lost on that.
    """
    from lamd import weights

    needed = {name: None for cell in cells if not store.is_complete(cell) for name in cell.weights}
    for name in needed:
        weights.fetch(name)


def _make(
    config: AnyTarget, graph: Graph, run: Run, options: ExecutorOptions | None, say: Say
) -> dict[str, CellFailed] | None:
    cells = {s: [*c, *graph.extra.get(s, ())] for s, c in graph.wanted.items()}
    runner = Runner(run.store, run.device, say)
    if options is None:
        failed = runner.run_all([cell for own in cells.values() for cell in own])
        return None if runner.rank else failed
    timed: list[Cell] = []  # made here, as their keys say, and with nothing next to them
    others: dict[str, list[Cell]] = {source: [] for source in cells}
    for source, own in cells.items():
        for cell in own:
            is_timed = cell.kind == "latency"
            others[source] += cell.parents.values() if is_timed else [cell]
            timed += [cell] * is_timed
    runtimes = [target.runtime for target in graph.targets.values() if isinstance(target, Target)]
    runtime = config.runtime if isinstance(config, Sweep) else next(iter(runtimes), None)
    failed = {}
    if runtime is not None:
        shared = max(1, (os.cpu_count() or 1) // (options.jobs or 1))
        failed = execute(
            others, run.store, options, device=run.device, threads=runtime.threads or shared,
            gpus=runtime.gpus, say=say,
        )  # fmt: skip
    for cell in timed:
        lost = [failed[p.plan_hash] for p in cell.parents.values() if p.plan_hash in failed]
        failed |= {cell.plan_hash: lost[0]} if lost else runner.run_all([cell])
    return failed


def open_target(
    name: str, profile: str, overrides: Sequence[str], runs: Path, device: str
) -> tuple[Target, TablePlan, Store]:
    """Load a target that trains models, plan it and open its store."""
    target = load_experiment(name, profile, overrides)
    return target, TablePlan(target, device), Store(runs)


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
    from lamd.config import ROW_RULES

    row = "latent_video_clips" if stage == "video_vae" else stage
    if row in ROW_RULES and ROW_RULES[row].baseline:
        overrides = [*overrides, f"rows=[{row}]"]
    target, plan, store = open_target(name, profile, overrides, runs, device)
    stages = {key: cell for key, cell in plan.stages.items() if cell.collective}
    if stage not in stages:
        raise LamdError(
            f"--stage {stage}: unknown; use {', '.join(stages)}, video_vae or a row of another "
            "paradigm, such as pixel_clips"
        )
    check_data(target)
    fetch_weights(with_ancestors([stages[stage]]), store)
    return Runner(store, device, say).run(stages[stage])
