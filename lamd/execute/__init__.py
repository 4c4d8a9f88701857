"""The making of cells by an executor: worker processes, Ray or Slurm."""

from dataclasses import dataclass

from lamd.base.errors import LamdError
from lamd.execute.executors import Executor, Processes, Ray, Slurm
from lamd.pipeline.store import Store

_EXECUTORS = "process", "ray", "slurm"
_OWNERS = {"ray_address": "ray", "slurm": "slurm"}  # executors by option
_MANY = 10_000  # jobs handed at once to a cluster, which has its own queue


@dataclass(frozen=True)
class ExecutorOptions:
    """The executor of the command line; LamdError if unknown, or where an option has no effect."""

    executor: str = "process"
    jobs: int | None = None  # at once; None: one process, all that are ready on a cluster
    ray_address: str | None = None  # None: RAY_ADDRESS, else a local cluster
    slurm: tuple[str, ...] = ()  # key=value for submitit, e.g. slurm_partition=gpu
    retry_failed: bool = False

    def __post_init__(self) -> None:
        name = self.executor
        if name not in _EXECUTORS:
            raise LamdError(f"--executor {name}: unknown; use {', '.join(_EXECUTORS)}")
        for field, owner in _OWNERS.items():
            if getattr(self, field) and name != owner:
                option = f"--{field.replace('_', '-')}"
                raise LamdError(f"{option}: has no effect with --executor {name}; leave it out")


def open_executor(options: ExecutorOptions, *, threads: int, gpus: float, store: Store) -> Executor:
    """Return the executor asked for; `threads` and `gpus` are those of one job.

    LamdError when a package is missing or the cluster refuses an option.
    """
    if options.executor == "ray":
        return Ray(options.ray_address, options.jobs or _MANY, threads=threads, gpus=gpus)
    if options.executor == "slurm":
        jobs = options.jobs or _MANY
        return Slurm(store.runs, options.slurm, jobs, threads=threads, gpus=gpus)
    return Processes(options.jobs or 1)
