"""Files of a training, checked before they are trusted: checkpoints, and the parts of all others.

A checkpoint is a folder, `checkpoints/step_00001000/`, written under another name and renamed, so
one that has its name is complete:

    weights.safetensors   model.*, ema.*, adversary.*
    state.pt              optimizers, scaler, EMA count, best step and value, seconds (weights_only)
    meta.json             format, step, identity, config, validation, checksums of the other two

`advice` is how each error ends: the fix.
"""

import hashlib
import json
import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lamd.base.errors import LamdError
from lamd.base.files import load_json, replace_folder, sha256_of, write_atomically

FORMAT = 2  # of all files here; 1 had other config keys and parameter names
_ADVICE = "delete this checkpoint's folder to continue from an older one"
_FILES = ("weights.safetensors", "state.pt")


class DamagedFile(LamdError):
    """A file that is missing, cut short or altered; an older one may still be good."""


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint in memory, on the CPU."""

    step: int
    weights: dict[str, Tensor]
    state: dict[str, Any]
    validation: dict[str, float] | None

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
            "validation": checkpoint.validation,
            "sha256": {name: sha256_of(temporary / name) for name in _FILES},
        }
        write_json(temporary / "meta.json", meta)

    replace_folder(path, fill)
    return path


def read_checkpoint(path: Path, *, config: dict[str, Any], run_id: str) -> Checkpoint:
    """Read and verify one checkpoint.

    Raises:
        DamagedFile: when a file is missing, altered or not what it should be.
        LamdError: on another config (first differing key named), run or version of the format.
    """
    meta = read_json(path / "meta.json", _ADVICE)
    check_config(path, meta["config"], config)
    check_run_id(path, meta, run_id)
    (weights_sha256, state_sha256) = (meta["sha256"][name] for name in _FILES)
    check_sha256(path / "state.pt", state_sha256, _ADVICE)
    weights = load_weights(path / "weights.safetensors", weights_sha256, _ADVICE)
    return Checkpoint(meta["step"], weights, read_state(path / "state.pt"), meta["validation"])


def read_state(path: Path) -> dict[str, Any]:
    """Read a state file; nothing but tensors and plain containers is ever unpickled.

    Raises:
        DamagedFile: on anything else, for example a pickle that would run code.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, OSError, RuntimeError, EOFError, ValueError):
        raise DamagedFile(
            f"{path}: holds more than tensors and numbers, or is damaged; {_ADVICE}"
        ) from None


def newest_good(
    folder: Path, *, config: dict[str, Any], run_id: str
) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest checkpoint that verifies and one line for each damaged newer one.

    Damaged ones are renamed to `*.damaged`, so that they are neither counted nor overwritten.

    Raises:
        LamdError: when there are checkpoints but none is good, or they belong to another run.
    """
    damaged: list[tuple[Path, str]] = []
    for path in list_checkpoints(folder):
        try:
            checkpoint = read_checkpoint(path, config=config, run_id=run_id)
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


def clean_temporary(folder: Path) -> None:
    """Delete what a killed run left half written."""
    for path in (folder / "checkpoints").glob(".tmp_step_*"):
        shutil.rmtree(path)
    for path in folder.glob(".*.tmp"):
        path.unlink()


def prune(folder: Path, *, keep_last: int, best_step: int | None) -> None:
    """Delete all checkpoints but the newest `keep_last` and the best one."""
    for path in list_checkpoints(folder)[keep_last:]:
        if best_step is None or path != checkpoint_path(folder, best_step):
            shutil.rmtree(path)


def check_sha256(path: Path, expected: str, advice: str) -> None:
    """Raise `DamagedFile` unless `path` exists and has the expected SHA-256."""
    if not path.is_file() or sha256_of(path) != expected:
        raise DamagedFile(f"{path}: missing, or damaged (another SHA-256); {advice}")


def check_config(path: Path, saved: Any, wanted: Any) -> None:
    """Raise `LamdError`, the first differing key named, unless two JSON-like trees are equal."""
    if difference := _first_difference(saved, wanted):
        raise LamdError(f"{path}: made with another config: {difference}; use another folder")


def check_run_id(path: Path, info: dict[str, Any], run_id: str | None) -> None:
    """Raise `LamdError` when `info` belongs to another run than `run_id`; None is any."""
    if run_id not in (None, info["identity"]):
        raise LamdError(
            f"{path}: made from other data or another parent ({info['identity']} there, "
            f"{run_id} here); use another folder"
        )


def save_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write a safetensors file."""
    save_file({name: tensor.detach().contiguous() for name, tensor in weights.items()}, path)


def load_weights(path: Path, sha256: str, advice: str) -> dict[str, Tensor]:
    """Check and read a safetensors file onto the CPU."""
    check_sha256(path, sha256, advice)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise DamagedFile(f"{path}: not a safetensors file ({error}); {advice}") from None


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write `value` as indented JSON with a `format` and a `checksum` over the rest."""
    value = {"format": FORMAT} | value
    text = json.dumps(value | {"checksum": _checksum(value)}, indent=1, sort_keys=True)
    write_atomically(path, text + "\n")


def read_json(path: Path, advice: str) -> dict[str, Any]:
    """Read a file of `write_json`.

    Raises:
        DamagedFile: when it is missing, not JSON, or does not match its own checksum.
        LamdError: on another version of the format.
    """
    try:
        value = load_json(path)
        intact = value.pop("checksum") == _checksum(value)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        intact = False
    if not intact:
        raise DamagedFile(f"{path}: missing, or damaged (another checksum); {advice}")
    if (version := value.get("format", 1)) != FORMAT:
        raise LamdError(
            f"{path}: format {version}, this version reads {FORMAT}; use another folder"
        )
    return value


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
