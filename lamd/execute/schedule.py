"""The order in which cells run on an executor: those whose parents are ready, in parallel.

Equal cells of several sources are one step. Nothing is kept in the driver: a new one finds the
finished cells in the store, and those at work by the lock that their process holds. That relies
on file locks (flock) which work across the machines that share the run folder.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from lamd.execute.jobs import Executor, Job, JobResult
from lamd.pipeline.cell import Cell, with_ancestors
from lamd.pipeline.store import CellFailed, Store

WORKERS_PER_CELL = 3  # that may die before the cell counts as failed
_POLL = 2.0  # seconds between two looks at cells that other runs are making
_LATE = 90.0  # seconds: a network folder may show a new file after a minute


class Schedule:
    """All cells of a target, made once each."""

    def __init__(
        self,
        sources: Mapping[str, Sequence[Cell]],
        store: Store,
        executor: Executor,
        *,
        device: str = "cpu",
        threads: int = 1,
        retry_failed: bool = False,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Plan the wanted cells of each source and their ancestors.

        Args:
            retry_failed: try what failed in an earlier run again.
        """
        self.store, self.executor = store, executor
        self.retry_failed, self.say = retry_failed, say
        self._jobs: dict[str, Job] = {}  # by plan hash, parents first
        self._lost: Counter[str] = Counter()  # workers, by plan hash
        self._made: set[str] = set()
        self._failed: dict[str, CellFailed] = {}
        self._running: dict[str, None] = {}
        for source, cells in sources.items():
            for cell in with_ancestors(cells):
                if cell.plan_hash not in self._jobs:
                    self._jobs[cell.plan_hash] = Job(cell, source, store.runs, device, threads)

    def run(self) -> dict[str, CellFailed]:
        """Make what is missing; return the failures by plan hash, dependants among them."""
        while True:
            begun = self._ready()[: self.executor.slots - len(self._running)]
            self._running |= dict.fromkeys(begun)
            self.executor.submit([self._jobs[name] for name in begun])
            if len(self._made) + len(self._failed) == len(self._jobs):
                return self._failed
            for job, result in self.executor.wait(_POLL):
                del self._running[job.cell.plan_hash]
                self._end(job.cell, result)

    def _ready(self) -> list[str]:
        ready = []
        for name, job in self._jobs.items():
            if name in self._made or name in self._failed or name in self._running:
                continue
            cell, parents = job.cell, [parent.plan_hash for parent in job.cell.parents.values()]
            cause = next((self._failed[p] for p in parents if p in self._failed), None)
            if cause is not None:
                self._failed[name] = cause
            elif all(parent in self._made for parent in parents):
                if self.store.is_complete(cell):
                    self._made.add(name)
                elif not self.store.is_being_made(cell) and not self._failed_before(cell):
                    ready.append(name)
        return ready

    def _failed_before(self, cell: Cell) -> bool:
        retry = self.retry_failed or self._lost[cell.plan_hash]
        failure = None if retry else self.store.failure(cell)
        if failure is not None:
            self.say(f"{failure} (an earlier run; --retry-failed tries again)")
            self._failed[cell.plan_hash] = failure
        return failure is not None

    def _end(self, cell: Cell, result: JobResult) -> None:
        name, reason, user_error = cell.plan_hash, result.reason, True
        if result.kind == "lost":
            self._lost[name] += 1
            self.say(f"{cell.name}: a worker was lost ({reason})")
            if self._lost[name] < WORKERS_PER_CELL:
                return
            reason = f"its worker died {WORKERS_PER_CELL} times ({reason}); perhaps out of memory"
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

    def _appears(self, cell: Cell) -> bool:
        until = time.monotonic() + _LATE
        while not (complete := self.store.is_complete(cell)) and time.monotonic() < until:
            time.sleep(_POLL)
        return complete
