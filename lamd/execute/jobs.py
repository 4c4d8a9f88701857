"""A job: one cell for any process that sees the same run folder. The pickled cell travels."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from lamd.base.errors import LamdError
from lamd.base.extensions import load_extensions
from lamd.pipeline.cell import Cell
from lamd.pipeline.runner import Runner
from lamd.pipeline.store import CellFailed, Store

MANY = 10_000  # jobs handed at once to a cluster, which has its own queue


@dataclass(frozen=True)
class ExecutorOptions:
    """The executor of the cells, as given on the command line."""

    executor: str = "process"
    jobs: int | None = None  # processes; None: one
    ray_address: str | None = None  # None: RAY_ADDRESS, else a local cluster
    slurm: tuple[str, ...] = ()  # key=value for submitit, e.g. slurm_partition=gpu
    retry_failed: bool = False


@dataclass(frozen=True, eq=False)
class Job:
    """One cell to make; its parents are made."""

    cell: Cell
    source: str  # for messages: the point of a sweep
    runs: Path  # absolute
    device: str
    threads: int


@dataclass(frozen=True)
class JobResult:
    """The end of a job; `lost` means that its worker died, so that another may try."""

    kind: Literal["made", "failed", "lost"]
    reason: str = ""
    user_error: bool = False
    key: str | None = None  # of the cell that was made


class Executor(Protocol):
    """Runs at most `slots` jobs at once; `wait` fetches their results."""

    slots: int

    def submit(self, jobs: Sequence[Job]) -> None:
        """Begin jobs that depend on nothing unfinished."""

    def wait(self, seconds: float) -> list[tuple[Job, JobResult]]:
        """Return the jobs that ended since, after at most about `seconds`."""

    def close(self) -> None:
        """Release the workers."""


def run_job(job: Job) -> JobResult:
    """Make the job's cell in this process, from now on with `job.threads` threads."""
    import torch

    def say(line: str) -> None:
        print(f"lamd: {job.source + ': ' if job.source else ''}{line}", file=sys.stderr, flush=True)

    torch.set_num_threads(job.threads)
    try:
        load_extensions()
        store = Store(job.runs)
        Runner(store, job.device, say).run(job.cell)
        return JobResult("made", key=store.key(job.cell))
    except CellFailed as failure:
        return JobResult("failed", failure.reason, failure.user_error)
    except LamdError as error:
        return JobResult("failed", str(error), True)
    except Exception as error:  # the driver goes on with the other cells
        return JobResult("failed", f"{type(error).__name__}: {' '.join(str(error).split())}")
