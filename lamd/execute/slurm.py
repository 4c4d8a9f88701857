"""Slurm through submitit: ready cells go as one job array; a preempted job is queued again."""

import math
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from submitit import AutoExecutor
from submitit.core.utils import FailedJobError
from submitit.helpers import DelayedSubmission

from lamd.base.errors import LamdError
from lamd.base.processes import threads_each
from lamd.execute.jobs import MANY, Job, JobResult, run_job

# Minutes: submitit's own five would stop a training again and again.
_TIMEOUT = 24 * 60
_POLL = 1.0  # seconds between looks for results
_QUEUE_POLL = 10.0  # seconds between calls of squeue
_LATE = 120.0  # seconds that a shared folder may take to show the result of a job that has ended


class Slurm:
    """Jobs of the Slurm cluster that this machine submits to."""

    slots = MANY

    def __init__(self, logs: Path, options: Sequence[str], *, threads: int, gpus: float) -> None:
        try:
            self._executor = AutoExecutor(folder=logs.absolute(), cluster="slurm")
            own = {"cpus_per_task": threads, "gpus_per_node": math.ceil(gpus)}
            requested = {"timeout_min": _TIMEOUT} | own | _parse(options)
            self._executor.update_parameters(name="lamd", **requested)
        except (RuntimeError, NameError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise LamdError(f"--executor slurm: {reason}; fix it or use another") from None
        self._running: list[tuple[Job, Any]] = []
        self._queue_seen = -math.inf
        self._gone: dict[str, float] = {}  # since when an unfinished job is not in the queue

    def submit(self, jobs: Sequence[Job]) -> None:
        if jobs:
            with threads_each(jobs[0].threads):  # jobs inherit the environment
                handles = self._executor.map_array(_Call(), jobs)
            self._running += zip(jobs, handles, strict=True)

    def wait(self, seconds: float) -> list[tuple[Job, JobResult]]:
        until = time.monotonic() + seconds
        while not (ended := self._ended()):
            if time.monotonic() > until:
                break
            time.sleep(_POLL)
        self._running = [entry for entry in self._running if entry not in ended]
        return [(job, _result(handle)) for job, handle in ended]

    def _ended(self) -> list[tuple[Job, Any]]:
        # Not by submitit's `done`: it asks sacct, which many small clusters do not keep.
        now = time.monotonic()
        if now - self._queue_seen >= _QUEUE_POLL:
            self._queue_seen, queued = now, _queued()
            if queued is not None:
                missing = {handle.job_id for _, handle in self._running} - queued
                self._gone = {name: self._gone.get(name, now) for name in missing}
        return [
            (job, handle)
            for job, handle in self._running
            if handle.paths.result_pickle.exists()
            or now - self._gone.get(handle.job_id, math.inf) > _LATE
        ]

    def close(self) -> None:
        pass  # jobs outlive the driver; the next one finds what they are making


class _Call:
    """`run_job`, as submitit calls it; `checkpoint` is its word for what to queue again."""

    def __call__(self, job: Job) -> JobResult:
        return run_job(job)

    def checkpoint(self, job: Job) -> DelayedSubmission:
        return DelayedSubmission(self, job)


def _queued() -> set[str] | None:
    """Return the names of this user's jobs that wait or run, `12` or `12_0` in an array.

    None when the controller does not answer, as busy ones do at times: then nothing is known.
    """
    listed = subprocess.run(
        ["squeue", "--me", "--noheader", "--array", "--format=%i"], capture_output=True, text=True
    )
    return set(listed.stdout.split()) if listed.returncode == 0 else None


def _result(handle: Any) -> JobResult:
    if not handle.paths.result_pickle.exists():
        return JobResult("lost", f"job {handle.job_id} left the queue without a result")
    try:
        return handle.result()
    except FailedJobError as error:
        return JobResult("failed", str(error).strip().splitlines()[-1])


def _parse(options: Sequence[str]) -> dict:
    parsed = {}
    for option in options:
        key, equals, value = option.partition("=")
        try:
            parsed[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            equals = ""
        if not equals:
            raise LamdError(f"--slurm {option}: expected key=value, e.g. slurm_partition=gpu")
    return parsed
