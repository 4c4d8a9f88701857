"""Where cells are made: in worker processes here, on a Ray cluster, on Slurm.

All run the same `run_job` on plain data, see the same run folder, and tell a failure of the cell
from a worker that died. Sums over threads depend in their last bits on the number of threads, of
torch and of NumPy's linear algebra, so each worker has its own, fixed before it starts.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Protocol

from lamd.base.errors import LamdError
from lamd.base.processes import leave_with_parent, threads_each
from lamd.execute.jobs import Ending, Job, Workers, run_job

EXECUTORS = ("process", "ray", "slurm")
MANY = 10_000  # jobs handed at once to a cluster, which has its own queue


class Executor(Protocol):
    """A place for jobs: at most `slots` at once, their endings fetched by `wait`."""

    slots: int

    def submit(self, jobs: Sequence[Job]) -> None:
        """Begin jobs that depend on nothing unfinished."""

    def wait(self, seconds: float) -> list[tuple[Job, Ending]]:
        """Return what ended since, after at most about `seconds`."""

    def close(self) -> None:
        """Give the workers back."""


class Processes:
    """`jobs` worker processes; one that is killed takes its own job with it and no other."""

    def __init__(self, jobs: int) -> None:
        self.slots = jobs
        self._idle: list[ProcessPoolExecutor] = []
        self._running: dict[Future, tuple[Job, ProcessPoolExecutor]] = {}

    def submit(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            pool = self._idle.pop() if self._idle else _pool_of_one()
            with threads_each(job.threads):  # the first submission starts the process
                self._running[pool.submit(run_job, job)] = (job, pool)

    def wait(self, seconds: float) -> list[tuple[Job, Ending]]:
        if not self._running:
            time.sleep(seconds)
        ended = []
        for future in wait(self._running, seconds, FIRST_COMPLETED).done:
            job, pool = self._running.pop(future)
            try:
                ended.append((job, future.result()))
                self._idle.append(pool)
            except BrokenProcessPool:
                ended.append((job, Ending("lost", "its process was killed")))
        return ended

    def close(self) -> None:
        for pool in (*self._idle, *(pool for _, pool in self._running.values())):
            pool.shutdown(cancel_futures=True)


class Ray:
    """Tasks on a Ray cluster: the one at `address`, or as `ray.init` finds or starts one."""

    slots = MANY

    def __init__(self, address: str | None, *, threads: int, gpus: float) -> None:
        try:
            import ray
        except ImportError:
            raise LamdError("--executor ray: not installed; pip install 'lamd[ray]'") from None
        self._ray, self._running = ray, {}
        if not ray.is_initialized():
            try:
                ray.init(address=address, log_to_driver=True)
            except (ConnectionError, ValueError, RuntimeError) as error:
                reason = " ".join(str(error).split())
                raise LamdError(
                    f"--ray-address {address or os.environ.get('RAY_ADDRESS', '(local)')}: no "
                    f"cluster there ({reason}); start one with `ray start --head`"
                ) from None
        # Tried again by the schedule, which counts, and not by Ray.
        self._task = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=0)(run_job)

    def submit(self, jobs: Sequence[Job]) -> None:
        self._running |= {self._task.remote(job): job for job in jobs}

    def wait(self, seconds: float) -> list[tuple[Job, Ending]]:
        if not self._running:
            time.sleep(seconds)
            return []
        done, _ = self._ray.wait(list(self._running), timeout=seconds)
        return [(self._running.pop(task), self._ending(task)) for task in done]

    def close(self) -> None:
        self._ray.shutdown()

    def _ending(self, task: Any) -> Ending:
        try:
            return self._ray.get(task)
        except self._ray.exceptions.RayTaskError as error:
            return Ending("failed", " ".join(str(error.cause).split()))
        except self._ray.exceptions.RayError as error:
            return Ending("lost", type(error).__name__)


def open_executor(workers: Workers, *, threads: int, gpus: float, runs: Path) -> Executor:
    """Return the executor asked for.

    Args:
        threads: that one job uses; gpus: that it asks of a cluster.
        runs: the run folder, which all workers see.

    Raises:
        LamdError: on an unknown name, an option without effect, or what is not installed.
    """
    name = workers.executor
    if name not in EXECUTORS:
        raise LamdError(f"--executor {name}: unknown; use {', '.join(EXECUTORS)}")
    owners = {
        "--jobs": (workers.jobs, "process"),
        "--ray-address": (workers.ray_address, "ray"),
        "--slurm": (workers.slurm, "slurm"),
    }
    for option, (value, owner) in owners.items():
        if value and name != owner:
            raise LamdError(f"{option}: has no effect with --executor {name}; leave it out")
    if name == "ray":
        return Ray(workers.ray_address, threads=threads, gpus=gpus)
    if name == "slurm":
        try:
            from lamd.execute.slurm import Slurm
        except ImportError:
            raise LamdError("--executor slurm: not installed; pip install 'lamd[slurm]'") from None
        return Slurm(runs / "slurm", workers.slurm, threads=threads, gpus=gpus)
    return Processes(workers.jobs or 1)


def _pool_of_one() -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=context, initializer=_begin_worker)


def _begin_worker() -> None:
    leave_with_parent()
    # Ctrl-C reaches all processes of the terminal; a cell may be stopped at any moment.
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
