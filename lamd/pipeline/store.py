"""The folder of cells that all targets share.

    runs/cells/<kind>-<key>.partial/   while it is made; training resumes inside it
    runs/cells/<kind>-<key>/           complete, with cell.json; never changed afterwards
    runs/cells/<kind>-<key>.failed     why the last attempt failed; gone when the next one begins

The key hashes the kind, its code version, the part of the config that the cell depends on, and its
parents' keys; a parent that states its content (data) counts by its content hash instead, of the
split that the step reads where it reads one alone.

cell.json describes the cell, with a fingerprint of each of its files. A `Store` compares both with
the plan and the folder when it first reads the cell.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from filelock import Timeout
from pydantic import BaseModel, TypeAdapter, ValidationError

from lamd.base.batched import DONE
from lamd.base.errors import LamdError
from lamd.base.files import (
    below,
    dump_json,
    fingerprint,
    first_problem,
    is_system_file,
    load_json,
    sync,
    user_path,
)
from lamd.base.origin import CellInfo
from lamd.base.processes import file_lock, locked, modified
from lamd.pipeline.cell import Cell
from lamd.pipeline.contents import FIX

PARTIAL, FAILED = ".partial", ".failed"
CELL = "cell.json"
CHECKPOINTS = "checkpoints"  # of a training, which a finished cell does not need
T = TypeVar("T")


class _Content(BaseModel, frozen=True):
    content_hash: str
    content: dict[str, str] = {}  # of each split


class _Failure(BaseModel, frozen=True):
    reason: str
    user_error: bool


@dataclass(eq=False)
class CellFailed(Exception):
    """A cell could not be made: `reason` in one line, `user_error` when it was a LamdError."""

    name: str
    reason: str
    user_error: bool

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class Description(BaseModel, frozen=True, extra="forbid"):
    """Content of `cell.json`; cells older than fingerprints have neither `files` nor `digest`."""

    info: CellInfo
    version: int
    config: dict[str, Any]
    parents: dict[str, str]  # keys by role
    outputs: dict[str, Any]  # of the step
    files: dict[str, str] = {}  # fingerprints by path
    digest: str | None = None  # of all other fields


def describe(folder: Path, fields: Mapping[str, Any]) -> None:
    """Write `cell.json` into the folder of a cell whose step is done."""
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        others = {CELL, CHECKPOINTS} & {*name.parts} or any(map(is_system_file, name.parts))
        if path.is_file() and not others:
            sync(path)  # a log that a power cut had shortened would not be the one stated here
            files[name.as_posix()] = fingerprint(path)
    content = {**fields, "files": files}
    dump_json(folder / CELL, content | {"digest": _digest(content)})


def _digest(content: Mapping[str, Any]) -> str:
    fields = {key: value for key, value in content.items() if key != "digest"}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


class Store:
    """Finished, begun and failed cells by their key."""

    def __init__(self, runs: Path) -> None:
        self.runs = user_path(runs)
        self.root = below(self.runs, "cells")
        self._keys: dict[str, str] = {}  # plan hash -> key, once it is known
        self._read: dict[Path, tuple[int, Description]] = {}  # with the time of the file

    def key(self, cell: Cell) -> str | None:
        """Return the cell's key; None while a parent that states its content is not made yet."""
        if cell.plan_hash not in self._keys:
            parents = {
                role: self._input_hash(parent, cell.split) for role, parent in cell.parents.items()
            }
            if None in parents.values():
                return None
            self._keys[cell.plan_hash] = cell.hash_with(parents)  # type: ignore[arg-type]
        return self._keys[cell.plan_hash]

    def folder(self, cell: Cell, suffix: str = "") -> Path:
        """Return the path of the finished cell, or with PARTIAL or FAILED; it need not exist.

        LookupError while the key is unknown, LamdError where a link is in its place.
        """
        key = self.key(cell)
        if key is None:
            raise LookupError(f"{cell.name}: its key is known once the data is made")
        return below(self.root, f"{cell.kind}-{key}{suffix}")

    def finished(self, cell: Cell) -> Path:
        """Return a finished cell's folder; LamdError if not the planned one, or changed since."""
        self._description(cell)
        return self.folder(cell)

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

    def outputs(self, cell: Cell, kind: type[T]) -> T:
        """Return what the finished cell's step returned, as `kind`.

        LamdError when `cell.json` is damaged or states something else.
        """
        try:
            return TypeAdapter(kind).validate_python(self._description(cell).outputs)
        except ValidationError as error:
            path = self.folder(cell) / CELL
            raise LamdError(f"{path}: outputs.{first_problem(error)}; {FIX}") from None

    def info(self, cell: Cell) -> CellInfo:
        """Return the finished cell's entry for the record."""
        return self._description(cell).info.model_copy(update={"name": cell.name})

    def failure(self, cell: Cell) -> CellFailed | None:
        """Return how the last attempt at a cell failed, in any run; None when it did not."""
        if self.key(cell) is None or self.is_complete(cell):
            return None
        try:
            failure = load_json(self.folder(cell, FAILED), _Failure, "run again")
        except LamdError:  # none, or damaged: try again
            return None
        return CellFailed(cell.name, failure.reason, failure.user_error)

    def progress(self, cell: Cell) -> tuple[str, int | None]:
        """Return what changes as an unfinished cell progresses: its last checkpoint, its rows."""
        partial = self.folder(cell, PARTIAL)
        steps = (path.name for path in (partial / CHECKPOINTS).glob("step_*"))
        return max(steps, default=""), modified(partial / DONE)

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

    def _input_hash(self, cell: Cell, split: str | None) -> str | None:
        if not cell.states_content:
            return self.key(cell)
        if not self.is_complete(cell):
            return None
        stated = self.outputs(cell, _Content)
        return stated.content.get(split or "", stated.content_hash)

    def _description(self, cell: Cell) -> Description:
        folder = self.folder(cell)
        path = folder / CELL

        def refused(path: Path, reason: str) -> LamdError:
            return LamdError(f"{path}: {reason}; {FIX}")

        try:
            modified = path.stat().st_mtime_ns
            if path in self._read and self._read[path][0] == modified:
                return self._read[path][1]
            content: dict[str, Any] = load_json(path, dict[str, Any], FIX)
            description = Description.model_validate(content)
            if not self._describes(description, cell):
                other = f"{description.info.kind}-{description.info.key}"
                raise refused(path, f"describes another cell or config, {other}")
            if description.digest not in (None, _digest(content)):
                raise refused(path, "changed since the cell was made")
            for name, made in description.files.items():
                if name.startswith(f"{CHECKPOINTS}/"):  # in older descriptions
                    continue
                if not (folder / name).is_file():
                    raise refused(folder / name, "missing")
                if fingerprint(folder / name) != made:
                    raise refused(folder / name, "changed since the cell was made")
        except ValidationError as error:
            raise refused(path, first_problem(error)) from None
        except OSError as error:
            raise refused(path, str(error.strerror)) from None
        self._read[path] = modified, description
        return description

    def _describes(self, description: Description, cell: Cell) -> bool:
        key, inputs = self.key(cell), {}
        for role, parent in cell.parents.items():
            inputs[role] = self._input_hash(parent, cell.split) or ""
            # equal data may have been made under another key
            if not parent.states_content and description.parents.get(role) != self.key(parent):
                return False
        described = replace(cell, config=description.config).hash_with(inputs)
        return (
            key == description.info.key == described
            and description.version == cell.version
            and description.parents.keys() == cell.parents.keys()
        )
