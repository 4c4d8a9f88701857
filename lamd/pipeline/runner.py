"""Makes cells in this process, alone or as one of the processes of an `accelerate launch`."""

import contextlib
import errno
import json
import os
import socket
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

from lamd.base import origin
from lamd.base.errors import LamdError, is_out_of_memory
from lamd.base.files import (
    check_own,
    is_full,
    open_unlinked,
    parse_json,
    read_file,
    replace_file,
    sync,
)
from lamd.base.processes import launch_id, modified, rank_and_world, wait_until
from lamd.base.terminal import printable
from lamd.pipeline.cell import Cell
from lamd.pipeline.store import FAILED, PARTIAL, CellFailed, Store, describe

ATTEMPTS = "attempts.jsonl"  # in a cell's folder: one line per process that worked on it
Say = Callable[[str], None]
_LESS_MEMORY = (
    "to need less, set runtime.gradient_checkpointing=true, or lower runtime.sampling_batch_size "
    "and runtime.decoding_batch_size"
)


class Runner:
    """Makes cells; a failure is recorded and passed on to the dependants."""

    def __init__(self, store: Store, device: str, say: Say = lambda line: None) -> None:
        self.store, self.device, self.say = store, device, say
        self.rank, self.world = rank_and_world()
        self._failures: dict[str, CellFailed] = {}  # by plan hash

    def run(self, cell: Cell) -> Path:
        """Return the cell's folder, making what is missing; CellFailed where that fails."""
        if cell.plan_hash in self._failures:
            raise self._failures[cell.plan_hash].with_traceback(None)
        try:
            if self.store.is_complete(cell):
                return self.store.finished(cell)
        except LamdError as error:  # not recorded: the cell was made
            self._failures[cell.plan_hash] = CellFailed(cell.name, str(error), True)
            raise self._failures[cell.plan_hash] from None
        try:
            inputs = {role: self.run(parent) for role, parent in cell.parents.items()}
            return self._make(cell, inputs)
        except CellFailed as failure:
            self._failures[cell.plan_hash] = failure
            raise
        except Exception as error:
            failed = self._record_failure(cell, error)
        raise failed  # not above: the error holds all that a network kept on the GPU

    def run_all(self, cells: Iterable[Cell]) -> dict[str, CellFailed]:
        """Make all of `cells`; return the failures by plan hash, dependants among them."""
        for cell in cells:
            try:
                self.run(cell)
            except CellFailed:
                if self.world > 1:  # the others wait for it: exit, and the launcher stops them
                    raise
        return self._failures

    def _make(self, cell: Cell, inputs: dict[str, Path]) -> Path:
        if self.rank:
            return self._join_collective(cell, inputs)
        folder, partial = self.store.folder(cell), self.store.folder(cell, PARTIAL)
        with self.store.lock(cell):
            if not self.store.is_complete(cell):
                if folder.exists():
                    raise LamdError(
                        f"{folder}: only part of the cell is left here; delete the folder"
                    )
                resumed = partial.is_dir()
                with contextlib.suppress(FileExistsError):
                    partial.mkdir()
                check_own(partial)
                for stale in partial.rglob(".*.tmp"):  # of a killed run
                    if stale.is_file():  # a simulator deletes its own folders
                        stale.unlink()
                self.store.folder(cell, FAILED).unlink(missing_ok=True)
                process = {"host": socket.gethostname(), "pid": os.getpid(), "launch": launch_id()}
                process |= {"time": round(time.time(), 3)} | self._origin().model_dump(
                    exclude={"path"}
                )
                with open(partial / ATTEMPTS, "a", opener=open_unlinked) as file:
                    file.write(json.dumps(process) + "\n")
                self.say(f"{cell.name}: {'resuming' if resumed else 'making'} {folder.name}")
                describe(partial, self._execute(cell, partial, inputs, resumed))
                os.replace(partial, folder)
                sync(folder.parent)
        return folder

    def _execute(self, cell: Cell, partial: Path, inputs: dict[str, Path], resumed: bool) -> dict:
        started = time.monotonic()
        origin.start_cell(self.device)
        outputs = cell.step(partial, inputs) or {}
        info = origin.CellInfo(
            name=cell.name,
            kind=cell.kind,
            key=self.store.key(cell) or "",
            seconds=round(time.monotonic() - started, 2),
            resumed=resumed,
            **origin.peak_memory(self.device),
            origin=self._origin(),
        )
        return {
            "info": info.model_dump(mode="json"),
            "version": cell.version,
            "config": cell.config,
            "parents": {role: self.store.key(parent) for role, parent in cell.parents.items()},
            "outputs": outputs,
        }

    def _origin(self) -> origin.Origin:
        return origin.current_origin(origin.timing_place(self.device)["device"])

    def _join_collective(self, cell: Cell, inputs: dict[str, Path]) -> Path:
        """Run as one of the other processes: take part, or wait for the first process."""
        partial, failed = self.store.folder(cell, PARTIAL), self.store.folder(cell, FAILED)
        lock, before = self.store.lock_file(cell), modified(failed)

        def is_complete() -> bool:
            if modified(failed) not in (None, before) and (reason := self.store.failure(cell)):
                raise reason
            return self.store.is_complete(cell)

        def can_join() -> bool:
            return is_complete() or (cell.collective and _is_of_this_launch(partial))

        for ready in (can_join, is_complete):
            wait_until(ready, cell.name, progress=lambda: modified(lock))
            if not self.store.is_complete(cell):
                check_own(partial)
                origin.start_cell(self.device)
                cell.step(partial, inputs)
        return self.store.folder(cell)

    def _record_failure(self, cell: Cell, error: Exception) -> CellFailed:
        text, user_error = " ".join(str(error).split()), isinstance(error, LamdError)
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            user_error = error.filename is not None  # a file that others made unreadable
            text = f"{error.filename}: {error.strerror}" if user_error else text
        reason = text if user_error else f"{type(error).__name__}: {text}"
        memory = is_out_of_memory(error)
        if memory:
            said = ". ".join(text.split(". ")[:2]) or "not enough memory"
            reason, user_error = f"{said}; {_LESS_MEMORY}", True
        full = is_full(error)
        if full and not isinstance(error, LamdError):
            said = text if getattr(error, "errno", None) else os.strerror(errno.ENOSPC)
            reason, user_error = f"{said}; make room and run it again", True
        if not user_error:
            log = self.store.folder(cell, PARTIAL) / "error.log"
            trace = printable("".join(traceback.format_exception(error)), keep="\n")
            with contextlib.suppress(OSError):
                replace_file(log, lambda path: path.write_text(trace, encoding="utf-8"))
                reason += f" (traceback in {log})"
        failure = CellFailed(cell.name, reason, user_error)
        self._failures[cell.plan_hash] = failure
        with contextlib.suppress(OSError):  # a full disk: the failure itself is still reported
            # Another machine may have more memory or a sound GPU, and room can be made; the
            # processes of a launch wait for the reason.
            passing = memory or full or not origin.is_usable(self.device)
            if not passing or self.world > 1:
                self.store.record_failure(cell, failure)
        self.say(f"{cell.name}: FAILED, {reason}")
        return failure


def _is_of_this_launch(partial: Path) -> bool:
    """Return whether a process of this launch is at work there, and not another driver."""
    path, fix = partial / ATTEMPTS, f"delete {partial}"
    try:
        *_, last = read_file(path, fix).splitlines() or [b""]
        return parse_json(last, dict, path, fix).get("launch") == launch_id()
    except LamdError:  # not yet begun, or half a line
        return False
