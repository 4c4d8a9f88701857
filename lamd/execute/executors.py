"""Jobs, one cell each, and their executors: worker processes of this machine, Ray, Slurm.

A job's pickled cell travels to any process that sees the same run folder.
"""

import math
import os
import platform
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import yaml

from lamd.base import origin
from lamd.base.errors import LamdError
from lamd.base.extensions import load_extensions
from lamd.base.files import make_private
from lamd.base.processes import leave_with_parent, start_pool, threads_each
from lamd.base.terminal import say
from lamd.config.plain import compose, construct
from lamd.pipeline.cell import Cell
from lamd.pipeline.runner import Runner
from lamd.pipeline.store import CellFailed, Store

_ARRAY = 1000  # jobs of a Slurm array, one less than its usual MaxArraySize
# Minutes: submitit's own five would stop a training again and again.
_TIMEOUT = 24 * 60
_TIME_LIMITS = 100  # that a job may run into; it goes on from its checkpoint each time
_QUEUE_POLL = 10.0  # seconds between calls of squeue
_LATE = 120.0  # seconds that a shared folder may take to show the result of a job that has ended
_BUSY = "timed out", "unable to contact", "temporarily"  # what sbatch says of a busy controller
_PATIENCE = 30.0, 120.0, 480.0  # seconds until sbatch is tried again


@dataclass(frozen=True, eq=False)
class Job:
    """One cell to make; its parents are made."""

    cell: Cell
    source: str  # for messages: the point of a sweep
    runs: Path  # absolute
    device: str
    threads: int
    gpus: float = 0.0  # that a cluster gives it


@dataclass(frozen=True)
class JobResult:
    """The end of a job.

    `lost` means that its worker died, so that another may try; `elsewhere` that another job is
    making the cell, such as one that an earlier driver left in the queue.
    """

    kind: Literal["made", "failed", "lost", "elsewhere"]
    reason: str = ""
    user_error: bool = False
    key: str | None = None  # of the cell that was made


def run_job(job: Job) -> JobResult:
    """Make the job's cell in this process, from now on with `job.threads` threads."""

    def say_source(line: str) -> None:
        say(f"{job.source}: {line}" if job.source else line)

    try:
        import torch

        torch.set_num_threads(job.threads)
        if job.gpus and job.device == "auto" and not torch.cuda.is_available():
            return JobResult("lost", f"{platform.node()}: a GPU was requested, none is visible")
        load_extensions()
        store = Store(job.runs)
        if store.is_being_made(job.cell):
            return JobResult("elsewhere")
        Runner(store, job.device, say_source).run(job.cell)
        return JobResult("made", key=store.key(job.cell))
    except CellFailed as failure:
        if not origin.is_usable(job.device):
            os._exit(1)  # another process can go on
        return JobResult("failed", failure.reason, failure.user_error)
    except LamdError as error:
        return JobResult("failed", str(error), True)
    except Exception as error:  # the driver goes on with the other cells
        return JobResult("failed", f"{type(error).__name__}: {_one_line(error)}")
    finally:
        if origin.is_usable(job.device):
            origin.release_memory(job.device)


class Processes:
    """`jobs` worker processes; one that is killed takes its own job with it and no other.

    Sums over threads depend in their last bits on the number of threads, of torch and of NumPy's
    linear algebra, so each worker has its own, fixed before it starts.
    """

    heard = True  # the user sees what its workers say

    def __init__(self, jobs: int) -> None:
        self.slots = jobs
        self._idle: list[ProcessPoolExecutor] = []
        self._busy: dict[Future[JobResult], ProcessPoolExecutor] = {}

    def submit(self, jobs: Sequence[Job]) -> list[Future[JobResult]]:
        """Begin jobs that depend on nothing unfinished; return their handles."""
        return [self._submit(job) for job in jobs]

    def _submit(self, job: Job) -> Future[JobResult]:
        with threads_each(job.threads):  # the first submission starts the process
            while True:
                pool = self._idle.pop() if self._idle else start_pool(1, _begin_worker)
                with suppress(BrokenProcessPool):  # its process was killed while it was idle
                    future = pool.submit(run_job, job)
                    break
        self._busy[future] = pool
        return future

    def ended(self, futures: Sequence[Future], seconds: float) -> Iterable[Future]:
        """Return the handles of the jobs that have ended, after at most about `seconds`."""
        return wait(futures, seconds, FIRST_COMPLETED).done

    def result(self, future: Future[JobResult]) -> JobResult:
        """Return the end of a job that has ended; called once."""
        pool = self._busy.pop(future)
        try:
            result = future.result()
        except BrokenProcessPool:
            return JobResult("lost", "its process was killed, perhaps for lack of memory")
        self._idle.append(pool)
        return result

    def close(self) -> None:
        """Release the workers."""
        for pool in (*self._idle, *self._busy.values()):
            pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    leave_with_parent()
    # Ctrl-C reaches all processes of the terminal; a cell may be stopped at any moment.
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))


class Ray:
    """Tasks on the Ray cluster at `address`, or on the one that `ray.init` finds or starts."""

    heard = True

    def __init__(self, address: str | None, jobs: int, *, threads: int, gpus: float) -> None:
        self.slots = jobs
        self._ray = ray = _installed("ray", "ray")
        if not ray.is_initialized():
            try:
                ray.init(address=address)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise LamdError(
                    f"--ray-address {address or os.environ.get('RAY_ADDRESS', '(local)')}: no "
                    f"cluster there ({_one_line(error)}); start one with `ray start --head`"
                ) from None
        # Retried by the schedule, which counts, and not by Ray.
        self._task = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=0)(run_job)

    def submit(self, jobs: Sequence[Job]) -> list[Any]:
        return [self._task.remote(job) for job in jobs]

    def ended(self, tasks: Sequence[Any], seconds: float) -> Iterable[Any]:
        return self._ray.wait(tasks, timeout=seconds)[0]

    def result(self, task: Any) -> JobResult:
        try:
            return self._ray.get(task)
        except self._ray.exceptions.RayTaskError as error:
            return JobResult("failed", _one_line(error.cause))
        except self._ray.exceptions.RayError as error:
            return JobResult("lost", type(error).__name__)

    def close(self) -> None:
        self._ray.shutdown()


class Slurm:
    """Slurm through submitit: ready jobs go as one array; a preempted job is queued again.

    Jobs and results are pickles, in a folder of `runs` that this user alone can look into.
    """

    heard = False  # what its jobs say is in their logs

    def __init__(
        self, runs: Path, options: Sequence[str], jobs: int, *, threads: int, gpus: float
    ) -> None:
        submitit = _installed("submitit", "slurm")
        logs = make_private(runs.absolute() / f"slurm-{os.geteuid()}")
        own: dict[str, Any] = {"timeout_min": _TIMEOUT, "cpus_per_task": threads}
        own |= {"gpus_per_node": math.ceil(gpus)} | _parse(options)
        # Some clusters do not requeue by default; srun does not take over sbatch's CPUs.
        further = {"requeue": True} | own.pop("slurm_additional_parameters", {})
        further = {name: value for name, value in further.items() if value is not False}
        cpus = own.get("slurm_cpus_per_task", own["cpus_per_task"])
        srun = [f"--cpus-per-task={cpus}"] if cpus else []
        own["slurm_srun_args"] = srun + own.get("slurm_srun_args", [])
        self.slots = jobs
        try:
            self._executor = submitit.AutoExecutor(
                folder=logs, cluster="slurm", slurm_max_num_timeout=_TIME_LIMITS
            )
            self._executor.update_parameters(
                **{"name": "lamd"} | own, slurm_additional_parameters=further
            )
        except (AssertionError, RuntimeError, NameError, TypeError, ValueError) as error:
            raise LamdError(
                f"--executor slurm: {_one_line(error)}; fix it or use another"
            ) from None
        self._queue_seen = -math.inf
        self._gone: dict[str, float] = {}  # since when an unfinished job is not in the queue
        self._unfinished = set[str]()

    def submit(self, jobs: Sequence[Job]) -> list[Any]:
        handles = list[Any]()
        for start in range(0, len(jobs), _ARRAY):
            array = self._submit(jobs[start : start + _ARRAY])
            self._unfinished.update(handle.job_id for handle in array)
            handles += array
        return handles

    def _submit(self, jobs: Sequence[Job]) -> list[Any]:
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        waits = iter(_PATIENCE)
        while True:
            try:
                with threads_each(jobs[0].threads):  # jobs inherit the environment
                    return self._executor.map_array(_RunJob(), jobs)
            except (FailedJobError, FailedSubmissionError) as error:
                *_, reason = str(error).strip().splitlines() or ["no reason given"]
                seconds = next(waits, None)
                if seconds is None or not any(word in reason.lower() for word in _BUSY):
                    raise LamdError(
                        f"--executor slurm: sbatch failed ({reason}); fix --slurm, or run the "
                        "same command again"
                    ) from None
            say(f"sbatch: {reason}; trying again in {seconds:.0f} s")
            time.sleep(seconds)

    def ended(self, handles: Sequence[Any], seconds: float) -> Iterable[Any]:
        # Not by submitit's `done`: it asks sacct, which many small clusters do not keep.
        now = time.monotonic()
        if now - self._queue_seen >= _QUEUE_POLL:
            self._queue_seen, queued = now, _queued()
            if queued is not None:
                missing = {handle.job_id for handle in handles} - queued
                self._gone = {name: self._gone.get(name, now) for name in missing}
        late = {name for name, since in self._gone.items() if now - since > _LATE}
        ended = [h for h in handles if h.paths.result_pickle.exists() or h.job_id in late]
        if not ended:
            time.sleep(seconds)
        return ended

    def result(self, handle: Any) -> JobResult:
        self._unfinished.discard(handle.job_id)
        log = f"log: {handle.paths.stderr}"
        if not handle.paths.result_pickle.exists():
            return JobResult("lost", f"job {handle.job_id} left the queue without a result, {log}")
        from submitit.core.utils import FailedJobError

        try:
            return handle.result()
        except FailedJobError as error:
            trace = str(error).rpartition("-" * 22)[0] or str(error)  # submitit's end of it
            return JobResult("failed", f"{trace.strip().splitlines()[-1]} ({log})")

    def close(self) -> None:
        if self._unfinished:  # the next driver finds what they are making
            arrays = " ".join(sorted({job.partition("_")[0] for job in self._unfinished}))
            number = len(self._unfinished)
            say(f"jobs that stay in the queue: {number}; `scancel {arrays}` ends them")


Executor = Processes | Ray | Slurm  # at most `slots` jobs at once, each behind its own handle


class _RunJob:
    """`run_job`, as submitit calls it; `checkpoint` is its word for what to queue again."""

    def __call__(self, job: Job) -> JobResult:
        return run_job(job)

    def checkpoint(self, job: Job) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job)


def _queued() -> set[str] | None:
    """Return the names of this user's jobs that wait or run, `12` or `12_0` in an array.

    None when the controller does not answer, as busy ones do at times: then nothing is known.
    """
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=_LATE)
    except subprocess.TimeoutExpired:
        return None
    return set(listed.stdout.split()) if listed.returncode == 0 else None


def _parse(options: Sequence[str]) -> dict[str, Any]:
    parsed = {}
    for option in options:
        key, equals, value = option.partition("=")
        try:
            meant = construct(compose(value))
            if ":" in value and isinstance(meant, int | float):
                meant = value  # YAML 1.1 reads 12:00:00 as a number to the base of 60
            parsed[key.strip()] = meant
        except (yaml.YAMLError, ValueError):
            equals = ""
        if not (equals and key.strip()):
            raise LamdError(f"--slurm {option}: expected key=value, e.g. slurm_partition=gpu")
        if key.strip() in ("time", "slurm_time") and not isinstance(meant, int):
            raise LamdError(f"--slurm {option}: give minutes, such as timeout_min=720")
    for name, kind in (("slurm_additional_parameters", dict), ("slurm_srun_args", list)):
        if not isinstance(parsed.get(name, kind()), kind):
            raise LamdError(f"--slurm {name}: expected a {kind.__name__} in YAML")
    return parsed


def _installed(package: str, executor: str) -> Any:
    try:
        return import_module(package)
    except ImportError:
        hint = f"not installed; pip install -e '.[{executor}]'"
        raise LamdError(f"--executor {executor}: {hint}") from None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
