"""Checkpoints of a running training: `checkpoints/step_00001000/`.

    weights.safetensors   model.*, ema.*, adversary.*
    state.pt              optimizers, scaler, EMA count, best step and value, seconds (weights_only)
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
from lamd.base.files import replace_folder, sha256_of
from lamd.training.integrity import (
    DamagedFile,
    check_config,
    check_run_id,
    check_sha256,
    load_weights,
    read_json,
    save_weights,
    write_json,
)

_ADVICE = "delete this checkpoint's folder to continue from an older one"
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
    check_sha256(path / "state.pt", meta["sha256"]["state.pt"], _ADVICE)
    weights = load_weights(
        path / "weights.safetensors", meta["sha256"]["weights.safetensors"], _ADVICE
    )
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
