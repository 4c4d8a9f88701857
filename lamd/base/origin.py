"""The running code: git commit of the checkout, versions of the packages numbers depend on."""

import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from pydantic import BaseModel

_PACKAGES = ("lamd", "torch", "torchvision", "numpy", "lpips", "accelerate", "mujoco")


class Origin(BaseModel, frozen=True, extra="forbid"):
    """The code and device of a run: commit (None outside git), dirty flag, versions, device."""

    commit: str | None
    dirty: bool | None
    versions: dict[str, str]
    device: str


class CellInfo(BaseModel, frozen=True, extra="forbid"):
    """One finished cell of the run: its key, what it cost, and the code that made it."""

    name: str
    kind: str
    key: str
    seconds: float
    resumed: bool  # seconds count the last attempt only
    peak_memory_mb: float  # of the process
    peak_device_memory_mb: float | None
    origin: Origin


def current_origin(device: str) -> Origin:
    """Describe the running code: git commit of the package's checkout, versions, device."""
    commit, dirty = _git_state(Path(__file__).resolve().parents[2])
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return Origin(commit=commit, dirty=dirty, versions=versions, device=device)


def _git_state(root: Path) -> tuple[str | None, bool | None]:
    if not (root / ".git").exists():  # an installed wheel, possibly inside someone else's checkout
        return None, None

    def git(*arguments: str) -> str | None:
        command, silent = ("git", "-C", str(root), *arguments), subprocess.DEVNULL
        with suppress(OSError, subprocess.SubprocessError):
            return subprocess.check_output(command, stderr=silent, text=True, timeout=20).strip()
        return None

    commit = git("rev-parse", "HEAD")
    # Results are outputs: a table made by this very run does not make its code dirty.
    changed = git("status", "--porcelain", "--", ".", ":(exclude)results")
    return commit, None if changed is None else bool(changed)
