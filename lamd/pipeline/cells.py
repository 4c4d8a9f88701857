"""Cells: the steps of a target, each made once, named by a hash of what it depends on.

    runs/cells/<kind>-<key>.partial/   while it is made; training resumes inside it
    runs/cells/<kind>-<key>/           complete, with cell.json; never changed afterwards
    runs/cells/<kind>-<key>.failed     why the last attempt failed; gone when the next one begins

`attempts.jsonl` in a cell's folder has one line a process that worked on it.

The key hashes the kind, its code version, the part of the config the cell depends on, and its
parents' identities. An identity is the content hash where a cell states one (data), else its key.
"""

import contextlib
import json
import os
import socket
import time
import traceback
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from lamd.base.errors import LamdError
from lamd.base.files import write_atomically
from lamd.base.machine import device_name, peak_memory_mb, reset_device_peak
from lamd.base.origin import CellInfo, current_origin
from lamd.config import config_hash

PARTIAL, FAILED = ".partial", ".failed"
ATTEMPTS = "attempts.jsonl"
_PROCESSES = {"RANK": "0", "WORLD_SIZE": "1"}

Facts = dict[str, Any]
Build = Callable[[Path, dict[str, Path]], Facts | None]
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, eq=False)
class Cell:
    """One step: `build(folder, inputs)` fills `folder` from the parents' folders, by name."""

    name: str  # unique within a target
    kind: str
    version: int  # raised by hand when the code of this kind changes what it makes
    config: dict[str, Any]
    parents: tuple["Cell", ...]
    build: Build = field(repr=False)
    states_content: bool = False  # build returns {"content_hash": ...}
    collective: bool = False  # every process of a multi-process launch takes part

    def ancestors(self) -> list["Cell"]:
        """Return the parents, theirs and so on, parents first, each once."""
        found: dict[str, Cell] = {}
        for parent in self.parents:
            for cell in (*parent.ancestors(), parent):
                found[cell.name] = cell
        return list(found.values())


class CellFailed(Exception):
    """A cell could not be made: `reason` in one line, `user_error` when it was a LamdError."""

    def __init__(self, name: str, reason: str, user_error: bool) -> None:
        super().__init__(f"{name}: {reason}")
        self.name, self.reason, self.user_error = name, reason, user_error


class Store:
    """The folder that holds the cells of all targets."""

    def __init__(self, runs: Path) -> None:
        self.root = runs.expanduser().absolute() / "cells"

    def key(self, cell: Cell) -> str | None:
        """Return the cell's key; None while a parent that states its content is not made yet."""
        identities = [self._identity(parent) for parent in cell.parents]
        if None in identities:
            return None
        return config_hash(
            {
                "kind": cell.kind,
                "version": cell.version,
                "config": cell.config,
                "parents": identities,
            }
        )

    def folder(self, cell: Cell) -> Path | None:
        """Return where the finished cell lies or will lie; None while the key is unknown."""
        key = self.key(cell)
        return None if key is None else self.root / f"{cell.kind}-{key}"

    def is_complete(self, cell: Cell) -> bool:
        """Say whether the cell is made."""
        folder = self.folder(cell)
        return folder is not None and (folder / "cell.json").is_file()

    def state(self, cell: Cell) -> str:
        """Return `cached`, `failed`, `begun` or `missing`."""
        folder = self.folder(cell)
        if folder is None:
            return "missing"
        if self.is_complete(cell):
            return "cached"
        if _failed(folder).is_file():
            return "failed"
        return "begun" if _partial(folder).is_dir() else "missing"

    def facts(self, cell: Cell) -> Facts:
        """Return what the finished cell's build stated."""
        return self._read(cell)["facts"]

    def info(self, cell: Cell) -> CellInfo:
        """Return the finished cell's entry for the record."""
        return CellInfo.model_validate(self._read(cell)["info"] | {"name": cell.name})

    def failure(self, cell: Cell) -> CellFailed | None:
        """Return how the last attempt at a cell failed, by any run; None when it did not."""
        folder = self.folder(cell)
        if folder is None or self.is_complete(cell):
            return None
        try:
            return CellFailed(cell.name, **json.loads(_failed(folder).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):  # none, or damaged: tried again
            return None

    def remember(self, cell: Cell, failure: CellFailed) -> None:
        """Keep why a cell failed, until the next attempt."""
        content = {"reason": failure.reason, "user_error": failure.user_error}
        write_atomically(_failed(self.folder(cell)), json.dumps(content) + "\n")

    def lock(self, cell: Cell) -> FileLock:
        """Return the lock that the process which makes the cell holds."""
        return FileLock(self.root / f".{self.folder(cell).name}.lock")

    def is_being_made(self, cell: Cell) -> bool:
        """Say whether another process is at work on the cell; its key must be known."""
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            with self.lock(cell).acquire(timeout=0):
                return False
        except Timeout:
            return True

    def _identity(self, cell: Cell) -> str | None:
        if not cell.states_content:
            return self.key(cell)
        return self.facts(cell)["content_hash"] if self.is_complete(cell) else None

    def _read(self, cell: Cell) -> dict[str, Any]:
        path = self.folder(cell) / "cell.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise LamdError(
                f"{path}: not readable ({error}); delete its folder and run the same command again"
            ) from None


class Runner:
    """Makes cells in this process; a failure is remembered and passed on to the dependants."""

    def __init__(
        self, store: Store, device: str, say: Callable[[str], None] = lambda line: None
    ) -> None:
        self.store, self.device, self.say = store, device, say
        # of an `accelerate launch`
        self.rank, self.world = (int(os.environ.get(k, d)) for k, d in _PROCESSES.items())
        self._failures: dict[str, CellFailed] = {}

    def run(self, cell: Cell) -> Path:
        """Return the cell's folder, making it and its ancestors where missing.

        Raises:
            CellFailed: when it or an ancestor could not be made.
        """
        if cell.name in self._failures:
            raise self._failures[cell.name]
        if self.store.is_complete(cell):
            return self.store.folder(cell)
        inputs = {}
        for parent in cell.parents:
            try:
                inputs[parent.name] = self.run(parent)
            except CellFailed as failure:
                self._failures.setdefault(cell.name, failure)
                raise
        try:
            return self._make(cell, inputs)
        except Exception as error:
            raise self._remember(cell, error) from error

    def run_each(self, cells: Iterable[Cell]) -> dict[str, CellFailed]:
        """Make all of `cells`; return the failures by the name of the cell asked for."""
        failed = {}
        for cell in cells:
            try:
                self.run(cell)
            except CellFailed as failure:
                if self.world > 1:  # the others wait for this cell: end, and they are ended too
                    raise
                failed[cell.name] = failure
        return failed

    def _make(self, cell: Cell, inputs: dict[str, Path]) -> Path:
        folder = self.store.folder(cell)
        if self.rank:
            return self._assist(cell, inputs, folder)
        self.store.root.mkdir(parents=True, exist_ok=True)
        with self._locked(cell):
            if not self.store.is_complete(cell):
                partial = _partial(folder)
                resumed = partial.is_dir()
                partial.mkdir(exist_ok=True)
                _failed(folder).unlink(missing_ok=True)
                _log_attempt(partial)
                self.say(f"{cell.name}: {'going on in' if resumed else 'making'} {folder.name}")
                content = self._execute(cell, partial, inputs, resumed)
                write_atomically(partial / "cell.json", content)
                os.replace(partial, folder)
        return folder

    def _execute(self, cell: Cell, partial: Path, inputs: dict[str, Path], resumed: bool) -> str:
        started = time.monotonic()
        reset_device_peak()
        facts = cell.build(partial, inputs) or {}
        memory, device_memory = peak_memory_mb()
        info = CellInfo(
            name=cell.name,
            kind=cell.kind,
            key=self.store.key(cell),
            seconds=round(time.monotonic() - started, 2),
            resumed=resumed,
            peak_memory_mb=memory,
            peak_device_memory_mb=device_memory,
            origin=current_origin(device_name(self.device)),
        )
        content = {
            "info": info.model_dump(mode="json"),
            "version": cell.version,
            "config": cell.config,
            "parents": {parent.name: self.store.key(parent) for parent in cell.parents},
            "facts": facts,
        }
        return json.dumps(content, indent=1) + "\n"

    def _assist(self, cell: Cell, inputs: dict[str, Path], folder: Path) -> Path:
        """Run as one of the other processes: train along, or wait for the first process."""
        built = False
        while not self.store.is_complete(cell):
            if cell.collective and not built and _partial(folder).is_dir():
                cell.build(_partial(folder), inputs)
                built = True
            time.sleep(0.2)
        return folder

    @contextlib.contextmanager
    def _locked(self, cell: Cell):
        lock = self.store.lock(cell)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            self.say(f"{cell.name}: another run is making it, waiting")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _remember(self, cell: Cell, error: Exception) -> CellFailed:
        user_error = isinstance(error, LamdError)
        text = " ".join(str(error).split())
        reason = text if user_error else f"{type(error).__name__}: {text}"
        if not user_error:
            log = _partial(self.store.folder(cell)) / "error.log"
            with contextlib.suppress(OSError):
                log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
                reason += f" (traceback in {log})"
        failure = CellFailed(cell.name, reason, user_error)
        self._failures[cell.name] = failure
        with contextlib.suppress(OSError):  # a full disk: the failure itself is still told
            self.store.remember(cell, failure)
        self.say(f"{cell.name}: FAILED, {reason}")
        return failure


def run_sources(
    cells: dict[Name, Cell], make_runner: Callable[[], Runner]
) -> dict[Name, CellFailed] | None:
    """Make one cell for each source of a target; return the failures by source.

    Each source has a runner of its own, since two sources have cells of one name.

    Returns:
        None in the other processes of a multi-process launch.

    Raises:
        CellFailed: when no cell could be made.
    """
    failed = {}
    for source, cell in cells.items():
        runner = make_runner()
        failures = runner.run_each([cell])
        if failures:
            failed[source] = failures[cell.name]
    if len(failed) == len(cells):
        raise next(iter(failed.values()))
    return None if runner.rank else failed


def _partial(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}{PARTIAL}")


def _failed(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}{FAILED}")


def _log_attempt(partial: Path) -> None:
    attempt = {"host": socket.gethostname(), "pid": os.getpid(), "time": round(time.time(), 3)}
    with (partial / ATTEMPTS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(attempt) + "\n")
