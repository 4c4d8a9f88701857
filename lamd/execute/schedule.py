"""The order in which cells run on an executor: those whose parents are ready, side by side.

Equal cells of several sources are one step. Nothing is kept in the driver: a new one finds the
finished cells in the store, and those at work by the lock that their process holds. That relies
on file locks (flock) which work across the machines that share the run folder.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lamd.config import config_hash
from lamd.execute.jobs import Ending, Job
from lamd.execute.local import Executor
from lamd.pipeline.cells import Cell, CellFailed, Store

WORKERS_A_CELL = 3  # that may die before the cell counts as failed
_POLL = 2.0  # seconds between two looks at cells that other runs are making
_LATE = 90.0  # seconds: a network folder may show a new file after a minute


@dataclass
class _Step:
    job: Job
    cell: Cell
    parents: list[str]
    lost: int = 0


def identity(cell: Cell) -> str:
    """Return what makes two planned cells one; unlike the key it is known before the data is."""
    return config_hash(
        {
            "kind": cell.kind,
            "version": cell.version,
            "config": cell.config,
            "parents": [identity(parent) for parent in cell.parents],
        }
    )


class Schedule:
    """All cells of a target, made once each."""

    def __init__(
        self,
        sources: Mapping[str, Sequence[Cell]],
        store: Store,
        executor: Executor,
        make_job: Callable[[str, str], Job],
        *,
        retry_failed: bool = False,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Plan the cells of each source, given parents first.

        Args:
            make_job: returns the job of a source and a cell's name.
            retry_failed: try what failed in an earlier run again.
        """
        self.store, self.executor = store, executor
        self.retry_failed, self.say = retry_failed, say
        self._steps: dict[str, _Step] = {}
        self._made: set[str] = set()
        self._failed: dict[str, CellFailed] = {}
        self._running: dict[Job, str] = {}
        for source, cells in sources.items():
            for cell in cells:
                parents = [identity(parent) for parent in cell.parents]
                step = _Step(make_job(source, cell.name), cell, parents)
                self._steps.setdefault(identity(cell), step)

    def run(self) -> dict[str, CellFailed]:
        """Make what is missing; return the failures by `identity`, dependants among them."""
        while True:
            free = self.executor.slots - len(self._running)
            begun = self._ready()[:free]
            self._running |= {self._steps[name].job: name for name in begun}
            self.executor.submit([self._steps[name].job for name in begun])
            if len(self._made) + len(self._failed) == len(self._steps):
                return self._failed
            for job, ending in self.executor.wait(_POLL):
                self._end(self._running.pop(job), ending)

    def _ready(self) -> list[str]:
        ready, running = [], set(self._running.values())
        for name, step in self._steps.items():  # parents come first
            if name in self._made or name in self._failed or name in running:
                continue
            cause = next((self._failed[p] for p in step.parents if p in self._failed), None)
            if cause is not None:
                self._failed[name] = cause
            elif all(parent in self._made for parent in step.parents):
                if self.store.is_complete(step.cell):
                    self._made.add(name)
                elif not self.store.is_being_made(step.cell) and not self._failed_before(name):
                    ready.append(name)
        return ready

    def _failed_before(self, name: str) -> bool:
        step = self._steps[name]
        failure = None if self.retry_failed or step.lost else self.store.failure(step.cell)
        if failure is not None:
            self.say(f"{failure} (an earlier run; --retry-failed tries again)")
            self._failed[name] = failure
        return failure is not None

    def _end(self, name: str, ending: Ending) -> None:
        step = self._steps[name]
        cell = step.cell
        if ending.kind == "lost":
            step.lost += 1
            self.say(f"{cell.name}: a worker was lost ({ending.reason})")
            if step.lost < WORKERS_A_CELL:
                return
            reason = f"its worker died {step.lost} times ({ending.reason}); perhaps out of memory"
            self._failed[name] = CellFailed(cell.name, reason, False)
            self.store.remember(cell, self._failed[name])
        elif ending.kind == "failed":
            self._failed[name] = CellFailed(cell.name, ending.reason, ending.user_error)
        elif ending.key != self.store.key(cell):
            reason = "its worker made another cell: it sees other data, weights or another lamd"
            self._failed[name] = CellFailed(cell.name, reason, True)
        elif not self._appears(cell):
            reason = "its worker made it, but it is not here; workers must share the run folder"
            self._failed[name] = CellFailed(cell.name, reason, True)
        else:
            self._made.add(name)
            self.say(f"{len(self._made)} of {len(self._steps)} cells ready")

    def _appears(self, cell: Cell) -> bool:
        until = time.monotonic() + _LATE
        while not (found := self.store.is_complete(cell)) and time.monotonic() < until:
            time.sleep(_POLL)
        return found
