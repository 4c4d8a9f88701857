"""Files of a training, checked before they are trusted: checkpoints, and the parts of all others.

A checkpoint is a folder, `checkpoints/step_00001000/`, written under another name and renamed, so
one that has its name is complete:

    weights.safetensors   model.*, ema.*, adversary.*
    state.pt              optimizers, scaler, EMA count, best step and value, seconds (weights_only)
    meta.json             format, step, identity, config, precision, validation, checksums of both

`advice` is how each error ends: the fix.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, FiniteFloat, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lamd.base.errors import LamdError
from lamd.base.files import first_problem, load_json, replace_folder, sha256_of, write_atomically
from lamd.config.strict import CountOrZero, NonNegative

FORMAT = 2  # of all files here; 1 had other config keys and parameter names
_ADVICE = "delete this checkpoint's folder to continue from an older one"
_WEIGHTS, _STATE = _FILES = ("weights.safetensors", "state.pt")
T = TypeVar("T", bound="Saved")


class DamagedFile(LamdError):
    """A file that is missing, cut short or altered; an older one may still be good."""


class Saved(BaseModel, frozen=True):
    """Common fields of a JSON file of `write_json`."""

    identity: str  # of the run


class _Meta(Saved, frozen=True):
    step: CountOrZero
    config: dict[str, Any]
    precision: str | None = None  # of the last steps; None: written before it was stored
    validation: dict[str, float] | None
    sha256: dict[str, str]


class _Optimizer(BaseModel, frozen=True):
    state: dict[int, dict[str, Any]]  # by number of the parameter; the groups are the config's


class _State(BaseModel, frozen=True):
    optimizers: list[_Optimizer]
    scaler: dict[str, FiniteFloat] | None
    ema_count: CountOrZero
    best_step: CountOrZero | None
    best_value: float
    seconds: NonNegative


@dataclass(frozen=True)
class Expected:
    """Shape of a checkpoint: weights, each optimizer's state by parameter, fields of a scaler."""

    weights: Mapping[str, Tensor]
    optimizers: Sequence[Sequence[Mapping[str, Tensor]]]
    scaler: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint in memory, on the CPU."""

    step: int
    weights: dict[str, Tensor]
    state: dict[str, Any]
    validation: dict[str, float] | None
    precision: str | None = None

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the weights under `prefix.`, the prefix removed."""
        start = prefix + "."
        return {k.removeprefix(start): v for k, v in self.weights.items() if k.startswith(start)}


def checkpoint_path(folder: Path, step: int) -> Path:
    """Return the folder of the checkpoint of `step`."""
    return folder / "checkpoints" / f"step_{step:08d}"


def list_checkpoints(folder: Path) -> list[Path]:
    """Return a run's complete checkpoints, newest first."""
    return sorted((folder / "checkpoints").glob("step_[0-9]*[0-9]"), reverse=True)


def write_checkpoint(
    folder: Path, checkpoint: Checkpoint, *, config: dict[str, Any], run_id: str
) -> Path:
    """Write one checkpoint atomically and return its folder."""
    path = checkpoint_path(folder, checkpoint.step)

    def fill(temporary: Path) -> None:
        save_weights(temporary / "weights.safetensors", checkpoint.weights)
        torch.save(checkpoint.state, temporary / "state.pt")
        meta = {
            "step": checkpoint.step,
            "identity": run_id,
            "config": config,
            "precision": checkpoint.precision,
            "validation": checkpoint.validation,
            "sha256": {name: sha256_of(temporary / name) for name in _FILES},
        }
        write_json(temporary / "meta.json", meta)

    replace_folder(path, fill)
    return path


def read_checkpoint(
    path: Path, *, config: dict[str, Any], run_id: str, expected: Expected
) -> Checkpoint:
    """Read and verify one checkpoint.

    DamagedFile when a file is missing, altered, not finite or not what is expected; LamdError on
    another config (first differing key named), run or version of the format.
    """
    meta = read_json(path / "meta.json", _Meta, _ADVICE)
    check_config(path, meta.config, config)
    check_run_id(path, meta, run_id)
    if path.name != checkpoint_path(path, meta.step).name:
        raise DamagedFile(f"{path}: holds step {meta.step}; {_ADVICE}")
    hashes = [meta.sha256.get(name, "") for name in _FILES]
    weights = load_weights(path / _WEIGHTS, hashes[0], expected.weights, _ADVICE)
    check_sha256(path / _STATE, hashes[1], _ADVICE)
    state = _read_state(path / _STATE, expected)
    return Checkpoint(meta.step, weights, state, meta.validation)


def _read_state(path: Path, expected: Expected) -> dict[str, Any]:
    """Read a state file; nothing but tensors and plain containers is ever unpickled.

    DamagedFile on all else, such as a pickle that would run code, and on a state that does not fit.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # a damaged pickle can raise nearly anything
        raise DamagedFile(
            f"{path}: holds more than tensors and numbers, or is damaged; {_ADVICE}"
        ) from None
    try:
        saved = _State.model_validate(state, strict=True)
    except ValidationError as error:
        raise DamagedFile(f"{path}: {first_problem(error)}; {_ADVICE}") from None
    numbers = [len(saved.optimizers), (saved.scaler or {}).keys()]
    if numbers != [len(expected.optimizers), (expected.scaler or {}).keys()]:
        raise DamagedFile(f"{path}: the state of other optimizers; {_ADVICE}")
    tensors, wanted = dict[str, Any](), dict[str, Tensor]()
    for number, (own, states) in enumerate(zip(saved.optimizers, expected.optimizers, strict=True)):
        for i, moments in own.state.items():
            tensors |= {f"optimizer {number}, {i}.{name}": t for name, t in moments.items()}
            if 0 <= i < len(states):
                wanted |= {f"optimizer {number}, {i}.{name}": t for name, t in states[i].items()}
    _check_tensors(path, tensors, wanted, _ADVICE)
    return state


def newest_good(
    folder: Path, *, config: dict[str, Any], run_id: str, expected: Expected
) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest checkpoint that verifies and one line for each damaged newer one.

    Damaged ones are renamed to `*.damaged`, so that they are neither counted nor overwritten.
    LamdError when there are checkpoints but none is good, or they belong to another run.
    """
    damaged: list[tuple[Path, str]] = []
    for path in list_checkpoints(folder):
        try:
            checkpoint = read_checkpoint(path, config=config, run_id=run_id, expected=expected)
        except DamagedFile as error:
            damaged.append((path, str(error).rpartition(";")[0]))
            continue
        for other, _ in damaged:
            aside = other.with_name(other.name + ".damaged")
            shutil.rmtree(aside, ignore_errors=True)
            other.rename(aside)
        return checkpoint, [f"{reason}; continuing from {path.name}" for _, reason in damaged]
    if damaged:
        raise LamdError(
            f"{damaged[0][1]}; none of {len(damaged)} checkpoints is good, "
            f"delete {folder / 'checkpoints'} to start again"
        )
    return None, []


def last_precision(folder: Path) -> str | None:
    """Return the precision that the newest readable checkpoint states, if there is one."""
    for path in list_checkpoints(folder):
        with suppress(DamagedFile):
            return read_json(path / "meta.json", _Meta, _ADVICE).precision
    return None


def clean_temporary(folder: Path) -> None:
    """Delete what a killed run left half written."""
    for path in (folder / "checkpoints").glob(".tmp_step_*"):
        shutil.rmtree(path, ignore_errors=True)  # NFS keeps the names of files that are open
    for path in folder.glob(".*.tmp"):
        path.unlink()


def prune(folder: Path, *, keep_last: int, best_step: int | None) -> None:
    """Delete all checkpoints but the newest `keep_last` and the best one."""
    for path in list_checkpoints(folder)[keep_last:]:
        if best_step is None or path != checkpoint_path(folder, best_step):
            shutil.rmtree(path, ignore_errors=True)


def check_sha256(path: Path, expected: str, advice: str) -> None:
    """Raise `DamagedFile` unless `path` exists and has the expected SHA-256."""
    if not path.is_file() or sha256_of(path) != expected:
        raise DamagedFile(f"{path}: missing, or damaged (another SHA-256); {advice}")


def check_config(path: Path, saved: Any, wanted: Any) -> None:
    """Raise `LamdError`, the first differing key named, unless two JSON-like trees are equal."""
    if difference := _first_difference(saved, wanted):
        raise LamdError(f"{path}: made with another config: {difference}; use another folder")


def check_run_id(path: Path, info: Saved, run_id: str | None) -> None:
    """Raise `LamdError` when `info` belongs to another run than `run_id`; None is any."""
    if run_id not in (None, info.identity):
        raise LamdError(
            f"{path}: made from other data or another parent ({info.identity} there, "
            f"{run_id} here); use another folder"
        )


def save_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write a safetensors file."""
    save_file({name: tensor.detach().contiguous() for name, tensor in weights.items()}, path)


def load_weights(
    path: Path, sha256: str, expected: Mapping[str, Tensor], advice: str
) -> dict[str, Tensor]:
    """Check and read a safetensors file onto the CPU.

    DamagedFile when it is missing or altered, a value is not finite, or names, shapes or dtypes are
    not those of `expected`.
    """
    check_sha256(path, sha256, advice)
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DamagedFile(f"{path}: not a safetensors file ({error}); {advice}") from None
    _check_tensors(path, weights, expected, advice)
    return weights


def _check_tensors(
    path: Path, tensors: Mapping[str, Any], expected: Mapping[str, Tensor], advice: str
) -> None:
    for name in sorted(tensors.keys() | expected.keys()):
        got, wanted = (
            (t.shape, t.dtype, t.layout, t.is_meta) if isinstance(t, Tensor) else None
            for t in (tensors.get(name), expected.get(name))
        )
        if got != wanted or got is None:
            raise DamagedFile(f"{path}: other tensors than the model has ({name[:80]}); {advice}")
        if not tensors[name].isfinite().all():
            raise DamagedFile(f"{path}: {name[:80]} is not finite; {advice}")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write `value` as indented JSON with a `format` and a `checksum` over the rest."""
    value = {"format": FORMAT} | value
    text = json.dumps(value | {"checksum": _checksum(value)}, indent=1, sort_keys=True)
    write_atomically(path, text + "\n")


def read_json(path: Path, kind: type[T], advice: str) -> T:
    """Read a file of `write_json` as `kind`.

    DamagedFile when it is missing, not JSON, does not match its own checksum, or is no `kind`;
    LamdError on another version of the format.
    """
    try:
        value = load_json(path, dict[str, Any], advice)
    except LamdError as error:
        raise DamagedFile(str(error)) from None
    if value.pop("checksum", None) != _checksum(value):
        raise DamagedFile(f"{path}: damaged (another checksum); {advice}")
    if (version := value.get("format", 1)) != FORMAT:
        raise LamdError(
            f"{path}: format {version!r:.20}, this version reads {FORMAT}; use another folder"
        )
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise DamagedFile(f"{path}: {first_problem(error)}; {advice}") from None


def _first_difference(saved: Any, wanted: Any, at: str = "") -> str | None:
    if isinstance(saved, dict) and isinstance(wanted, dict):
        for key in sorted(saved.keys() | wanted.keys()):
            inner = f"{at}.{key}" if at else str(key)
            if difference := _first_difference(saved.get(key), wanted.get(key), inner):
                return difference
        return None
    return None if saved == wanted else f"{at} is {saved!r} there and {wanted!r} here"


def _checksum(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
