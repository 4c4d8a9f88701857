"""The order in which cells run on an executor: those whose parents are ready, in parallel.

Equal cells of several sources are one step. Nothing is kept in the driver: a new one finds the
finished cells in the store, and those at work by the lock that their process holds. That relies
on file locks (flock) which work across the machines that share the run folder.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lamd.base.processes import modified, wait_until
from lamd.execute.executors import Executor, Job, JobResult
from lamd.pipeline.cell import Cell, with_ancestors
from lamd.pipeline.store import CellFailed, Store

WORKERS_PER_CELL = 3  # that may die without progress before the cell counts as failed
_POLL = 2.0  # seconds between two looks at jobs, or at a cell that is to appear
_LATE = 90.0  # seconds: a network folder may show a new file after a minute


@dataclass
class Schedule:
    """All cells of a target and their ancestors, made once each."""

    sources: Mapping[str, Sequence[Cell]]  # the wanted cells of each
    store: Store
    executor: Executor
    device: str = "cpu"
    threads: int = 1  # of one job
    gpus: float = 0.0  # that a cluster gives to a job
    retry_failed: bool = False  # in an earlier run
    say: Callable[[str], None] = lambda line: None

    def __post_init__(self) -> None:
        self._jobs: dict[str, Job] = {}  # by plan hash, parents first
        self._running: dict[Any, Job] = {}  # by the executor's handle
        self._lost: Counter[str] = Counter()  # workers since the last progress, by plan hash
        self._reached: dict[str, object] = {}  # progress at the last loss, by plan hash
        self._made: set[str] = set()
        self._elsewhere: dict[str, Cell] = {}  # made by other runs, by plan hash
        self._failed: dict[str, CellFailed] = {}
        for source, cells in self.sources.items():
            for cell in with_ancestors(cells):
                job = Job(cell, source, self.store.runs, self.device, self.threads, self.gpus)
                self._jobs.setdefault(cell.plan_hash, job)

    def run(self) -> dict[str, CellFailed]:
        """Make what is missing; return the failures by plan hash, dependants among them."""
        while True:
            begun = self._ready()[: self.executor.slots - len(self._running)]
            self._running |= zip(self.executor.submit(begun), begun, strict=True)
            if len(self._made) + len(self._failed) == len(self._jobs):
                return self._failed
            if not self._running:
                self._wait_for_others()
                continue
            for handle in self.executor.ended(list(self._running), _POLL):
                self._end(self._running.pop(handle).cell, self.executor.result(handle))

    def _ready(self) -> list[Job]:
        ready, running = [], set(self._running.values())
        before, self._elsewhere = self._elsewhere, {}
        for name, job in self._jobs.items():
            if name in self._made or name in self._failed or job in running:
                continue
            cell, parents = job.cell, [parent.plan_hash for parent in job.cell.parents.values()]
            cause = next((self._failed[p] for p in parents if p in self._failed), None)
            if cause is not None:
                self._failed[name] = cause
            elif self._made.issuperset(parents):
                if self.store.is_complete(cell):
                    self._made.add(name)
                elif self.store.is_being_made(cell):
                    self._elsewhere[name] = cell
                    if name not in before:
                        self.say(f"{cell.name}: another run is making it, waiting")
                elif not self._failed_before(cell):
                    ready.append(job)
        return ready

    def _wait_for_others(self) -> None:
        cells = self._elsewhere.values()
        wait_until(
            lambda: not cells or not all(map(self.store.is_being_made, cells)),
            f"cells of another run ({', '.join(cell.name for cell in cells)})",
            progress=lambda: [modified(self.store.lock_file(cell)) for cell in cells],
        )

    def _failed_before(self, cell: Cell) -> bool:
        retry = self.retry_failed or self._lost[cell.plan_hash]
        failure = None if retry else self.store.failure(cell)
        if failure is not None:
            self.say(f"{failure} (an earlier run; --retry-failed tries again)")
            self._failed[cell.plan_hash] = failure
        return failure is not None

    def _end(self, cell: Cell, result: JobResult) -> None:
        name, reason, user_error = cell.plan_hash, result.reason, True
        if result.kind == "elsewhere":
            time.sleep(_POLL)
            return
        if result.kind == "lost":
            reached = self.store.progress(cell)
            if self._reached.get(name) != reached:  # a preempted training loses many
                self._reached[name], self._lost[name] = reached, 0
            self._lost[name] += 1
            self.say(f"{cell.name}: a worker was lost ({reason})")
            if self._lost[name] < WORKERS_PER_CELL:
                return
            reason = f"{WORKERS_PER_CELL} workers were lost without progress ({reason})"
            self.store.record_failure(cell, CellFailed(cell.name, reason, False))
            user_error = False
        elif result.kind == "failed":
            user_error = result.user_error
        elif result.key != self.store.key(cell):
            reason = "its worker made another cell: it sees other data, weights or another lamd"
        elif not self._appears(cell):
            reason = "its worker made it, but it is not here; workers must share the run folder"
        else:
            self._made.add(name)
            self.say(f"{len(self._made)} of {len(self._jobs)} cells ready")
            return
        self._failed[name] = CellFailed(cell.name, reason, user_error)
        if result.kind != "failed" or not self.executor.heard:
            self.say(f"{cell.name}: FAILED, {reason}")

    def _appears(self, cell: Cell) -> bool:
        until = time.monotonic() + _LATE
        while not (complete := self.store.is_complete(cell)) and time.monotonic() < until:
            time.sleep(_POLL)
        return complete
