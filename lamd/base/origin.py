"""Which code runs: the git commit of the checkout, the versions of what numbers depend on."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

from pydantic import BaseModel, ConfigDict

_PACKAGES = ("lamd", "torch", "torchvision", "numpy", "lpips", "accelerate", "mujoco")


class Origin(BaseModel):
    """Which code ran where: commit (None outside git), dirty flag, versions, device."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    commit: str | None
    dirty: bool | None
    versions: dict[str, str]
    device: str


class CellInfo(BaseModel):
    """One finished cell of the run: its key, what it cost, and the code that made it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return Origin(commit=commit, dirty=dirty, versions=versions, device=device)


def _git_state(root: Path) -> tuple[str | None, bool | None]:
    if not (root / ".git").exists():  # an installed wheel, possibly inside someone else's checkout
        return None, None

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ("git", "-C", str(root), *arguments), capture_output=True, text=True, timeout=20
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    # Results are outputs: a table made by this very run does not make its code dirty.
    changed = git("status", "--porcelain", "--", ".", ":(exclude)results")
    return commit, None if changed is None else bool(changed)
