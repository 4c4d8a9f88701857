"""Worker processes of this machine.

Sums over threads depend in their last bits on the number of threads, of torch and of NumPy's
linear algebra, so each worker has its own, fixed before it starts.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from lamd.base.processes import leave_with_parent, threads_each
from lamd.execute.jobs import Job, JobResult, run_job


class Processes:
    """`jobs` worker processes; one that is killed takes its own job with it and no other."""

    def __init__(self, jobs: int) -> None:
        self.slots = jobs
        self._idle: list[ProcessPoolExecutor] = []
        self._running: dict[Future[JobResult], tuple[Job, ProcessPoolExecutor]] = {}

    def submit(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            pool = self._idle.pop() if self._idle else _pool_of_one()
            with threads_each(job.threads):  # the first submission starts the process
                self._running[pool.submit(run_job, job)] = (job, pool)

    def wait(self, seconds: float) -> list[tuple[Job, JobResult]]:
        if not self._running:
            time.sleep(seconds)
        ended = []
        for future in wait(self._running, seconds, FIRST_COMPLETED).done:
            job, pool = self._running.pop(future)
            try:
                ended.append((job, future.result()))
                self._idle.append(pool)
            except BrokenProcessPool:
                ended.append((job, JobResult("lost", "its process was killed")))
        return ended

    def close(self) -> None:
        for pool in (*self._idle, *(pool for _, pool in self._running.values())):
            pool.shutdown(cancel_futures=True)


def _pool_of_one() -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=context, initializer=_begin_worker)


def _begin_worker() -> None:
    leave_with_parent()
    # Ctrl-C reaches all processes of the terminal; a cell may be stopped at any moment.
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
