"""Files that are checked before they are trusted: safetensors, and JSON with its own checksum.

`advice` is how each error ends: the fix.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lamd.base.errors import LamdError
from lamd.base.files import sha256_of, write_atomically

FORMAT = 2  # of all files here; 1 had other config keys and parameter names


class DamagedFile(LamdError):
    """A file that is missing, cut short or altered; an older one may still be good."""


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
        value = json.loads(path.read_text(encoding="utf-8"))
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
