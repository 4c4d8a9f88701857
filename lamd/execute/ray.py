"""Tasks on a Ray cluster."""

import os
import time
from collections.abc import Sequence
from typing import Any

from lamd.base.errors import LamdError
from lamd.execute.jobs import MANY, Job, JobResult, run_job


class Ray:
    """The cluster at `address`, or the one that `ray.init` finds or starts."""

    slots = MANY

    def __init__(self, address: str | None, *, threads: int, gpus: float) -> None:
        try:
            import ray
        except ImportError:
            raise LamdError("--executor ray: not installed; pip install 'lamd[ray]'") from None
        self._ray: Any = ray
        self._running: dict[Any, Job] = {}
        if not ray.is_initialized():
            try:
                ray.init(address=address, log_to_driver=True)
            except (ConnectionError, ValueError, RuntimeError) as error:
                reason = " ".join(str(error).split())
                raise LamdError(
                    f"--ray-address {address or os.environ.get('RAY_ADDRESS', '(local)')}: no "
                    f"cluster there ({reason}); start one with `ray start --head`"
                ) from None
        # Retried by the schedule, which counts, and not by Ray.
        self._task = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=0)(run_job)

    def submit(self, jobs: Sequence[Job]) -> None:
        self._running |= {self._task.remote(job): job for job in jobs}

    def wait(self, seconds: float) -> list[tuple[Job, JobResult]]:
        if not self._running:
            time.sleep(seconds)
            return []
        done, _ = self._ray.wait(list(self._running), timeout=seconds)
        return [(self._running.pop(task), self._result(task)) for task in done]

    def close(self) -> None:
        self._ray.shutdown()

    def _result(self, task: Any) -> JobResult:
        try:
            return self._ray.get(task)
        except self._ray.exceptions.RayTaskError as error:
            return JobResult("failed", " ".join(str(error.cause).split()))
        except self._ray.exceptions.RayError as error:
            return JobResult("lost", type(error).__name__)
