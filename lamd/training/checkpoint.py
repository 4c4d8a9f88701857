"""Checkpoints of a running training: `checkpoints/step_00001000/`.

    weights.safetensors   model.*, ema.*, adversary.*
    state.pt              optimizers, scaler, EMA count, best value, seconds (weights_only)
    meta.json             format, step, identity, config, validation, checksums of the other two

A checkpoint is written to a temporary folder and renamed, so one that has a name is complete.
"""

import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lamd.base.errors import LamdError
from lamd.training.integrity import (
    DamagedFile,
    check_sha256,
    first_difference,
    load_weights,
    read_json,
    replace_folder,
    save_weights,
    sha256_of,
    write_json,
)

FORMAT = 1
_MEND = "delete this checkpoint's folder to go on from an older one"
_FILES = ("weights.safetensors", "state.pt")


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
    """Return where the checkpoint of `step` lies in a run's folder."""
    return folder / "checkpoints" / f"step_{step:08d}"


def list_checkpoints(folder: Path) -> list[Path]:
    """Return a run's complete checkpoints, newest first."""
    return sorted((folder / "checkpoints").glob("step_[0-9]*[0-9]"), reverse=True)


def write_checkpoint(
    folder: Path, checkpoint: Checkpoint, *, config: dict[str, Any], identity: str
) -> Path:
    """Write one checkpoint atomically and return its folder."""
    path = checkpoint_path(folder, checkpoint.step)

    def fill(temporary: Path) -> None:
        save_weights(temporary / "weights.safetensors", checkpoint.weights)
        torch.save(checkpoint.state, temporary / "state.pt")
        meta = {
            "format": FORMAT,
            "step": checkpoint.step,
            "identity": identity,
            "config": config,
            "validation": checkpoint.validation,
            "sha256": {name: sha256_of(temporary / name) for name in _FILES},
        }
        write_json(temporary / "meta.json", meta)

    replace_folder(path, fill)
    return path


def read_checkpoint(path: Path, *, config: dict[str, Any], identity: str) -> Checkpoint:
    """Read and verify one checkpoint.

    Raises:
        DamagedFile: when a file is missing, altered or not what it should be.
        LamdError: when it belongs to another config (the first differing key is named), other data
            or another version of the format.
    """
    meta = read_json(path / "meta.json", _MEND)
    if meta["format"] != FORMAT:
        raise LamdError(
            f"{path}: checkpoint format {meta['format']}, this version reads {FORMAT}; "
            "train in a new folder"
        )
    check_same_run(path, meta, config, identity)
    for name in _FILES:
        check_sha256(path / name, meta["sha256"][name], _MEND)
    weights = load_weights(path / "weights.safetensors", _MEND)
    state = read_state(path / "state.pt")
    return Checkpoint(meta["step"], weights, state, meta["validation"])


def read_state(path: Path) -> dict[str, Any]:
    """Read a state file; nothing but tensors and plain containers is ever unpickled.

    Raises:
        DamagedFile: on anything else, for example a pickle that would run code.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise DamagedFile(
            f"{path}: holds more than tensors and numbers and was not loaded; {_MEND}"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DamagedFile(f"{path}: not a state file ({reason}); {_MEND}") from None


def check_same_run(path: Path, meta: dict[str, Any], config: dict[str, Any], identity: str) -> None:
    """Raise `LamdError` when `meta` belongs to another config, other data or another parent."""
    difference = first_difference(meta["config"], config)
    if difference:
        raise LamdError(f"{path}: made with another config: {difference}; use another folder")
    if meta["identity"] != identity:
        raise LamdError(
            f"{path}: made from other data or another parent ({meta['identity']} there, "
            f"{identity} here); use another folder"
        )


def newest_good(
    folder: Path, *, config: dict[str, Any], identity: str
) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest checkpoint that verifies and one line for each damaged newer one.

    Damaged ones are renamed to `*.damaged`, so that they are neither counted nor overwritten.

    Raises:
        LamdError: when there are checkpoints but none is good, or they are another run's.
    """
    damaged: dict[Path, str] = {}
    for path in list_checkpoints(folder):
        try:
            checkpoint = read_checkpoint(path, config=config, identity=identity)
        except DamagedFile as error:
            damaged[path] = str(error).rpartition(";")[0]
            continue
        said = [f"{why}; going on from {path.name}" for why in damaged.values()]
        for other in damaged:
            aside = other.with_name(other.name + ".damaged")
            shutil.rmtree(aside, ignore_errors=True)
            other.rename(aside)
        return checkpoint, said
    if damaged:
        raise LamdError(
            f"{next(iter(damaged.values()))}; none of {len(damaged)} checkpoints is good, "
            f"delete {folder / 'checkpoints'} to start again"
        )
    return None, []


def clean_temporary(folder: Path) -> None:
    """Delete what a killed run left half written."""
    for path in (folder / "checkpoints").glob(".tmp_step_*"):
        shutil.rmtree(path)
    for path in folder.glob(".model.*.tmp"):
        path.unlink()


def prune(folder: Path, *, keep_last: int, best_step: int | None) -> None:
    """Delete all checkpoints but the newest `keep_last` and the best one."""
    best = checkpoint_path(folder, best_step) if best_step is not None else None
    for path in list_checkpoints(folder)[keep_last:]:
        if path != best:
            shutil.rmtree(path)
