"""Executors of cells: worker processes, Ray, Slurm."""

from collections.abc import Callable, Mapping, Sequence

from lamd.base.errors import LamdError
from lamd.execute.jobs import Executor, ExecutorOptions
from lamd.execute.processes import Processes
from lamd.execute.schedule import Schedule
from lamd.pipeline.cell import Cell
from lamd.pipeline.store import CellFailed, Store

__all__ = ["ExecutorOptions", "check_options", "execute", "open_executor"]

EXECUTORS = ("process", "ray", "slurm")


def execute(
    sources: Mapping[str, Sequence[Cell]],
    store: Store,
    options: ExecutorOptions,
    *,
    device: str,
    threads: int,
    gpus: float,
    say: Callable[[str], None],
) -> dict[str, CellFailed]:
    """Make the cells of each source and their ancestors, equal ones once.

    Args:
        threads, gpus: of one job.

    Returns:
        The failures by plan hash, dependants among them.

    Raises:
        LamdError: when the executor cannot be had.
    """
    executor = open_executor(options, threads=threads, gpus=gpus, store=store)
    try:
        return Schedule(
            sources, store, executor, device=device, threads=threads,
            retry_failed=options.retry_failed, say=say,
        ).run()  # fmt: skip
    finally:
        executor.close()


def check_options(options: ExecutorOptions) -> None:
    """Raise LamdError on an unknown executor, or an option without effect on it."""
    name = options.executor
    if name not in EXECUTORS:
        raise LamdError(f"--executor {name}: unknown; use {', '.join(EXECUTORS)}")
    owners = {
        "--jobs": (options.jobs, "process"),
        "--ray-address": (options.ray_address, "ray"),
        "--slurm": (options.slurm, "slurm"),
    }
    for option, (value, owner) in owners.items():
        if value and name != owner:
            raise LamdError(f"{option}: has no effect with --executor {name}; leave it out")


def open_executor(options: ExecutorOptions, *, threads: int, gpus: float, store: Store) -> Executor:
    """Return the executor asked for; `threads` and `gpus` are those of one job.

    Raises:
        LamdError: when a package is missing or the cluster refuses an option.
    """
    if options.executor == "ray":
        from lamd.execute.ray import Ray

        return Ray(options.ray_address, threads=threads, gpus=gpus)
    if options.executor == "slurm":
        try:
            from lamd.execute.slurm import Slurm
        except ImportError:
            raise LamdError("--executor slurm: not installed; pip install 'lamd[slurm]'") from None
        return Slurm(store.runs / "slurm", options.slurm, threads=threads, gpus=gpus)
    return Processes(options.jobs or 1)
