"""Files and folders that are complete or absent: written next to their place, synced, renamed."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lamd.base.errors import LamdError

_SYSTEM_FILES = {
    "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin",
    "system volume information", "lost+found",
}  # fmt: skip


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sort `f2` before `f10`; equal numbers, such as `f01` and `f1`, by text."""
    parts: list[Any] = re.split(r"(\d{1,18})", name)
    parts[1::2] = map(int, parts[1::2])
    return parts, name


def is_system_file(name: str) -> bool:
    """Say whether a file or folder is hidden, or one that an operating system leaves in folders."""
    return name.startswith(".") or name.lower() in _SYSTEM_FILES


def check_output(path: Path) -> None:
    """Raise LamdError unless a file can be written at `path`, whose folder is made."""
    if path.is_dir():
        raise LamdError(f"{path}: is a folder; name a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise LamdError(f"{path}: cannot be written ({error.strerror}); choose another") from None


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write `content` to `path`, whose folder is made where it is missing.

    A link is followed, and what is no regular file, such as `/dev/null`, is written to.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8") if isinstance(content, str) else content
    if path.exists() and not path.is_file():
        path.write_bytes(data)
    else:
        replace_file(path, lambda temporary: temporary.write_bytes(data))


def dump_json(path: Path, value: object, indent: int | None = 1) -> None:
    """Write `value` as JSON, atomically."""
    write_atomically(path, json.dumps(value, indent=indent) + "\n")


def load_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def replace_file(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write a temporary file, `.<name>.*.tmp`, and rename it to `path`."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        fill(temporary)
        temporary.chmod(0o644)
        _sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def replace_folder(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write files into a temporary folder, `.tmp_<name>`, and rename it to `path`."""
    temporary = path.with_name(f".tmp_{path.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    fill(temporary)
    for file in sorted(temporary.iterdir()):
        _sync(file)
    _sync(temporary)
    shutil.rmtree(path, ignore_errors=True)
    os.rename(temporary, path)
    _sync(path.parent)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
