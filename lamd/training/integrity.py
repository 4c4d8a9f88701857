"""Files that are complete or absent, and are checked before they are believed."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lamd.base.errors import LamdError


class DamagedFile(LamdError):
    """A file that is missing, cut short or altered; an older one may still be good."""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, fsync it, and move it into place."""
    temporary = path.with_name(f".{path.name}.tmp")
    write(temporary)
    sync(temporary)
    os.replace(temporary, path)
    sync(path.parent)


def replace_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write into a temporary folder, fsync it all, and rename it to `path`."""
    temporary = path.with_name(f".tmp_{path.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    fill(temporary)
    for file in sorted(temporary.iterdir()):
        sync(file)
    sync(temporary)
    shutil.rmtree(path, ignore_errors=True)
    os.rename(temporary, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_sha256(path: Path, expected: str, mend: str) -> None:
    """Raise `DamagedFile` unless `path` exists and has the expected SHA-256."""
    if not path.is_file():
        raise DamagedFile(f"{path}: missing; {mend}")
    if sha256_of(path) != expected:
        raise DamagedFile(
            f"{path}: its SHA-256 is not the recorded one, the file is damaged; {mend}"
        )


def save_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write a safetensors file."""
    save_file({name: tensor.detach().contiguous() for name, tensor in weights.items()}, path)


def load_weights(path: Path, mend: str) -> dict[str, Tensor]:
    """Read a safetensors file onto the CPU."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise DamagedFile(f"{path}: not a safetensors file ({error}); {mend}") from None


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write `value` as indented JSON with a `checksum` over the rest."""
    text = json.dumps(value | {"checksum": _checksum(value)}, indent=1, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path, mend: str) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Raises:
        DamagedFile: when it is missing, not JSON, or does not match its own checksum.
    """
    if not path.is_file():
        raise DamagedFile(f"{path}: missing; {mend}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        checksum = value.pop("checksum")
    except (ValueError, KeyError, AttributeError, TypeError):
        raise DamagedFile(f"{path}: not the JSON that was written, it is damaged; {mend}") from None
    if checksum != _checksum(value):
        raise DamagedFile(f"{path}: does not match its own checksum, it is damaged; {mend}")
    return value


def first_difference(saved: Any, wanted: Any, at: str = "") -> str | None:
    """Name the first key in which two JSON-like trees differ, with both values; None if equal."""
    if isinstance(saved, dict) and isinstance(wanted, dict):
        for key in sorted(saved.keys() | wanted.keys()):
            inner = f"{at}.{key}" if at else str(key)
            difference = first_difference(saved.get(key), wanted.get(key), inner)
            if difference:
                return difference
        return None
    return None if saved == wanted else f"{at} is {saved!r} there and {wanted!r} here"


def _checksum(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
