"""`reproduce` and `train`: plan a target, make its cells, write its results."""

import os
from collections.abc import Iterable, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

from lamd import weights
from lamd.base.errors import LamdError
from lamd.base.files import below, check_folder
from lamd.base.processes import available_cores, check_locks, locked, rank_and_world
from lamd.config import ROW_RULES, AnyTarget, Sweep, load_experiment, load_target
from lamd.data.dataset import DATASETS
from lamd.data.listing import SPLITS
from lamd.execute import ExecutorOptions, open_executor
from lamd.execute.schedule import Schedule
from lamd.pipeline.cell import Cell, with_ancestors
from lamd.pipeline.graph import TablePlan, missing_weights
from lamd.pipeline.runner import Runner, Say
from lamd.pipeline.steps.data import open_split
from lamd.pipeline.store import CellFailed, Store
from lamd.report.folder import choose_folder, write_folder
from lamd.report.results import Results
from lamd.targets.kind import KINDS, Collector, Graph

_LOCK = ".results.lock"  # in the run folder: one run at a time chooses its folder and fills it


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

    Without `options` this process makes the cells, those of a sweep one worker process. The other
    processes of a launch return None. LamdError where config, data or executor are wrong,
    CellFailed where nothing at all could be made.
    """
    config = load_target(name, profile, overrides)
    results = Path(os.path.expanduser(results))  # printed relative, as it was given
    check_folder(below(results, config.target, profile))
    kind = KINDS[config.kind]
    graph = kind.plan(config, device)
    if options is None and isinstance(config, Sweep):
        options = ExecutorOptions()
    if options is not None and rank_and_world()[1] > 1:
        raise LamdError(
            f"{config.target}: sweeps and executors cannot run in a multi-process launch; "
            "train one target with `accelerate launch -m lamd train TARGET --set KEY=VALUE`"
        )
    store = Store(runs)
    here = options is None or options.executor == "process"
    prepare(graph.plans.values(), graph.distinct(), store, device if here else None, say)
    runner = Runner(store, device, say)
    failed = _make(config, graph, runner, options)
    if runner.rank:
        return None
    wanted = [cell.plan_hash for cells in graph.wanted.values() for cell in cells]
    if failed.keys() >= set(wanted):
        raise failed[wanted[0]]
    collector = Collector(config, graph, store, profile, tuple(overrides), failed)
    collected = kind.collect(config, graph, collector)
    files = kind.render(collected, collector.drawn)
    if collector.per_clip:
        from lamd.report.frame import write_per_clip

        files["per_clip.parquet"] = write_per_clip(collector.per_clip)
    # Runs that share cells end together; a folder of finished cells may be read-only.
    writable = os.access(store.runs, os.W_OK)
    lock = locked(store.runs / _LOCK, "results") if writable else nullcontext()
    with lock:
        folder, notice = choose_folder(results, collected)
        paths = write_folder(folder, collected, files)
    distinct = {str(failure): failure for failure in failed.values()}
    return Outcome(collected, folder, tuple(paths), tuple(distinct.values()), notice or "")


def prepare(
    plans: Iterable[TablePlan], cells: Iterable[Cell], store: Store, device: str | None, say: Say
) -> None:
    """Check all that unfinished cells need, and fetch their weights, before any is made.

    `device` is that of cells that this machine makes, None where others do. LamdError when finished
    cells, real data, its packs, weights or a GPU are not there: days of training would be lost.
    """
    targets, todo, packs = [plan.target for plan in plans], list[Cell](), list[Path]()
    for name in dict.fromkeys(own.data.name for own in targets if own.data.source == "real"):
        DATASETS[name].locate()
    for cell in cells:
        if not store.is_complete(cell):
            todo.append(cell)
        elif cell.kind == "data":
            packs.append(store.finished(cell))
        else:
            store.finished(cell)
    if any(cell.collective for cell in todo):  # not where tables are drawn again
        for folder in packs:
            for split in SPLITS:
                open_split(folder, split)
        if device == "auto" and any(own.scale == "full" for own in targets):
            _check_gpu()
    for name in dict.fromkeys(name for cell in todo for name in cell.weights):
        weights.load(name)
    if any(cell.kind == "values" for cell in todo):
        protocols = dict.fromkeys(name for own in targets for name in own.evaluate.protocols)
        for name, reason in missing_weights([*protocols]).items():
            say(f"{name} will not be measured: {reason}")
    if todo:  # last, since it makes the folder
        check_folder(store.runs)
        store.runs.mkdir(parents=True, exist_ok=True)
        check_locks(store.runs)


def _check_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        raise LamdError(
            "profile paper: no GPU is visible, and a CPU would take months; check driver and "
            "container, or add --device cpu"
        )


def _make(
    config: AnyTarget, graph: Graph, runner: Runner, options: ExecutorOptions | None
) -> dict[str, CellFailed]:
    """Make the cells; return the failures by plan hash, dependants among them."""
    requested = graph.requested()
    if options is None:
        return runner.run_all(cell for cells in requested.values() for cell in cells)
    timed: list[Cell] = []  # made here, as their keys say, and with nothing next to them
    others: dict[str, list[Cell]] = {}
    for source, cells in requested.items():
        clocks = [cell for cell in cells if cell.kind == "latency"]
        parents = [parent for cell in clocks for parent in cell.parents.values()]
        others[source] = [cell for cell in cells if cell.kind != "latency"] + parents
        timed += clocks
    runtimes = [plan.target.runtime for plan in graph.plans.values()]
    runtime = config.runtime if isinstance(config, Sweep) else next(iter(runtimes), None)
    failed = {}
    if runtime is not None:
        # A cluster's machines have other cores than this one.
        cores = available_cores() if options.executor == "process" else 1
        shared = max(1, cores // (options.jobs or 1))
        threads, store = runtime.threads or shared, runner.store
        gpus = 0.0 if options.executor == "process" else runtime.gpus
        executor = open_executor(options, threads=threads, gpus=gpus, store=store)
        with closing(executor):
            failed = Schedule(
                others, store, executor, runner.device, threads, gpus,
                options.retry_failed, runner.say,
            ).run()  # fmt: skip
    for cell in timed:
        lost = [failed[p.plan_hash] for p in cell.parents.values() if p.plan_hash in failed]
        failed |= {cell.plan_hash: lost[0]} if lost else runner.run_all([cell])
    return failed


def open_target(
    name: str, profile: str, overrides: Sequence[str], runs: Path, device: str
) -> tuple[TablePlan, Store]:
    """Load and plan a target that trains models, and open the store of its cells."""
    return TablePlan(load_experiment(name, profile, overrides), device), Store(runs)


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
    LamdError on an unknown stage, wrong config or data; CellFailed when it or one before it fails.
    """
    row = "latent_video_clips" if stage == "video_vae" else stage
    if row in ROW_RULES and ROW_RULES[row].baseline:
        overrides = [*overrides, f"rows=[{row}]"]
    plan, store = open_target(name, profile, overrides, runs, device)
    stages = {key: cell for key, cell in plan.stages.items() if "train" in cell.config}
    if stage not in stages:
        raise LamdError(
            f"--stage {stage}: unknown; use {', '.join(stages)}, video_vae or a row of another "
            "paradigm, such as pixel_clips"
        )
    prepare([plan], with_ancestors([stages[stage]]), store, device, say)
    return Runner(store, device, say).run(stages[stage])
