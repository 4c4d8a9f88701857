"""The folder of cells that all targets share.

    runs/cells/<kind>-<key>.partial/   while it is made; training resumes inside it
    runs/cells/<kind>-<key>/           complete, with cell.json; never changed afterwards
    runs/cells/<kind>-<key>.failed     why the last attempt failed; gone when the next one begins

The key hashes the kind, its code version, the part of the config that the cell depends on, and its
parents' keys; a parent that states its content (data) counts by its content hash instead.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import Timeout

from lamd.base.errors import LamdError
from lamd.base.files import below, dump_json, load_json
from lamd.base.origin import CellInfo
from lamd.base.processes import file_lock, locked
from lamd.pipeline.cell import Cell, with_ancestors

PARTIAL, FAILED = ".partial", ".failed"
CELL = "cell.json"


@dataclass(eq=False)
class CellFailed(Exception):
    """A cell could not be made: `reason` in one line, `user_error` when it was a LamdError."""

    name: str
    reason: str
    user_error: bool

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class Store:
    """Finished, begun and failed cells by their key."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs.expanduser().absolute()
        self.root = below(self.runs, "cells")
        self._keys: dict[str, str] = {}  # plan hash -> key, once it is known

    def key(self, cell: Cell) -> str | None:
        """Return the cell's key; None while a parent that states its content is not made yet."""
        if cell.plan_hash not in self._keys:
            parents = {role: self._input_hash(parent) for role, parent in cell.parents.items()}
            if None in parents.values():
                return None
            self._keys[cell.plan_hash] = cell.hash_with(parents)  # type: ignore[arg-type]
        return self._keys[cell.plan_hash]

    def folder(self, cell: Cell, suffix: str = "") -> Path:
        """Return the path of the finished cell, or with PARTIAL or FAILED; it need not exist.

        Raises:
            LookupError: while the key is unknown.
            LamdError: where a link is in its place.
        """
        key = self.key(cell)
        if key is None:
            raise LookupError(f"{cell.name}: its key is known once the data is made")
        return below(self.root, f"{cell.kind}-{key}{suffix}")

    def is_complete(self, cell: Cell) -> bool:
        """Return whether the cell is made."""
        return self.key(cell) is not None and (self.folder(cell) / CELL).is_file()

    def state(self, cell: Cell) -> str:
        """Return `cached`, `failed`, `begun` or `missing`."""
        if self.key(cell) is None:
            return "missing"
        if self.is_complete(cell):
            return "cached"
        if self.folder(cell, FAILED).is_file():
            return "failed"
        return "begun" if self.folder(cell, PARTIAL).is_dir() else "missing"

    def outputs(self, cell: Cell) -> dict[str, Any]:
        """Return what the finished cell's step returned."""
        return self._read(cell)["outputs"]

    def info(self, cell: Cell) -> CellInfo:
        """Return the finished cell's entry for the record."""
        return CellInfo.model_validate(self._read(cell)["info"] | {"name": cell.name})

    def infos(self, cell: Cell) -> list[CellInfo]:
        """Return the entries of a finished cell and all its ancestors, parents first."""
        return [self.info(ancestor) for ancestor in with_ancestors([cell])]

    def failure(self, cell: Cell) -> CellFailed | None:
        """Return how the last attempt at a cell failed, in any run; None when it did not."""
        if self.key(cell) is None or self.is_complete(cell):
            return None
        try:
            content = load_json(self.folder(cell, FAILED))
            return CellFailed(cell.name, content["reason"], content["user_error"])
        except (OSError, ValueError, TypeError, KeyError):  # none, or damaged: try again
            return None

    def record_failure(self, cell: Cell, failure: CellFailed) -> None:
        """Keep why a cell failed, until the next attempt."""
        content = {"reason": failure.reason, "user_error": failure.user_error}
        dump_json(self.folder(cell, FAILED), content, indent=None)

    def lock(self, cell: Cell) -> AbstractContextManager[None]:
        """Return the lock that the process which makes the cell holds."""
        self.root.mkdir(parents=True, exist_ok=True)
        return locked(self.lock_file(cell), cell.name)

    def lock_file(self, cell: Cell) -> Path:
        """Return the path of the lock; the process that holds it touches it while at work."""
        return self.root / f".{self.folder(cell).name}.lock"

    def is_being_made(self, cell: Cell) -> bool:
        """Return whether another process is at work on the cell; its key must be known."""
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            with file_lock(self.lock_file(cell)).acquire(timeout=0):
                return False
        except Timeout:
            return True

    def _input_hash(self, cell: Cell) -> str | None:
        if not cell.states_content:
            return self.key(cell)
        return self.outputs(cell)["content_hash"] if self.is_complete(cell) else None

    def _read(self, cell: Cell) -> dict[str, Any]:
        path = self.folder(cell) / CELL
        try:
            return load_json(path)
        except (OSError, ValueError) as error:
            raise LamdError(
                f"{path}: not readable ({error}); delete its folder and run the same command again"
            ) from None
