"""The code, package versions, device and memory behind a result, for its record.

torch is asked only when something else has imported it.
"""

import gc
import os
import platform
import re
import resource
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

_PACKAGES = ("lamd", "torch", "torchvision", "numpy", "lpips", "accelerate", "mujoco")
_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA, AMD, Windows' Linux
_ONEDNN = re.compile(r"MKL-DNN v([\d.]+)")
_CPU_NAME = re.compile(r"^model name\s*:\s*(.+)$", re.MULTILINE)

_path: dict[str, str] = {}


class Origin(BaseModel, frozen=True, extra="forbid"):
    """The code and device of a run: commit (None outside git), dirty flag, versions, device.

    `path` names the kernels of its networks: dtype, compiled or not, threads, version of oneDNN.
    """

    commit: str | None
    dirty: bool | None
    versions: dict[str, str]
    device: str
    path: dict[str, str] = Field(default={}, exclude_if=lambda path: not path)


class CellInfo(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
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
    return Origin(commit=commit, dirty=dirty, versions=versions, device=device, path=_kernels())


def device_name(device: str) -> str:
    """Return e.g. `cuda: NVIDIA A100` or `cpu: x86_64, 8 cores, AMD EPYC 9654`."""
    if cuda := _cuda(device):
        return f"cuda: {cuda.get_device_name(int(device.partition(':')[2] or 0))}"
    name = f"cpu: {platform.machine()}, {os.cpu_count()} cores"
    with suppress(OSError):
        if model := _CPU_NAME.search(Path("/proc/cpuinfo").read_text(encoding="utf-8")):
            name += f", {model[1]}"
    return name


def timing_place(device: str) -> dict[str, str]:
    """Return what a measured time depends on apart from the code: device and PyTorch's version.

    torch is imported where there is a GPU's driver, since only it knows which GPU is used.
    """
    if device != "cpu" and any(Path(driver).exists() for driver in _DRIVERS):
        import torch  # noqa: F401
    return {"device": device_name(device), "torch": metadata.version("torch")}


def note_path(**parts: str) -> None:
    """Keep a part of `Origin.path` that only its user knows, such as `dtype`, for this cell."""
    _path.update(parts)


def start_cell(device: str) -> None:
    """Start counting the peak of a device's memory again, and forget the path of the last cell."""
    _path.clear()
    if cuda := _cuda(device):
        release_memory(device)
        cuda.init()  # PyTorch does so by itself, but not for a GPU that has a number
        cuda.reset_peak_memory_stats(_gpu(device))


def is_usable(device: str) -> bool:
    """Return False once a GPU refuses all work of this process, as after an illegal access."""
    if (cuda := _cuda(device)) and cuda.is_initialized():
        try:
            cuda.synchronize(_gpu(device))
        except RuntimeError:
            return False
    return True


def release_memory(device: str) -> None:
    """Give back what finished cells have left on a GPU."""
    if cuda := _cuda(device):
        gc.collect()  # networks: a replaced `forward` refers to its own module
        cuda.empty_cache()


def peak_memory(device: str) -> dict[str, Any]:
    """Return the fields of `CellInfo` for the peak memory of the process and of a device, MB."""
    unit = 1024**2 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, KiB elsewhere
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    peak = cuda.max_memory_allocated(_gpu(device)) / 1024**2 if (cuda := _cuda(device)) else None
    return {
        "peak_memory_mb": round(memory, 1),
        "peak_device_memory_mb": None if peak is None else round(peak, 1),
    }


def _gpu(device: str) -> str | None:
    """Return a GPU that is named by its number; None is the process's own."""
    return device if ":" in device else None


def _kernels() -> dict[str, str]:
    if (torch := sys.modules.get("torch")) is None:
        return {}
    onednn = _ONEDNN.search(torch.__config__.show())
    version = {"oneDNN": onednn[1]} if onednn else {}
    return {"dtype": "fp32", "threads": str(torch.get_num_threads())} | version | _path


def _cuda(device: str) -> Any:
    torch = None if device == "cpu" else sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def _git_state(root: Path) -> tuple[str | None, bool | None]:
    if not (root / ".git").exists():  # an installed wheel, possibly inside someone else's checkout
        return None, None

    def git(*arguments: str) -> str | None:
        # a run that is killed here must not leave an index.lock behind
        command = ("git", "--no-optional-locks", "-C", str(root), *arguments)
        with suppress(OSError, subprocess.SubprocessError):
            return subprocess.check_output(
                command, stderr=subprocess.DEVNULL, text=True, timeout=20
            ).strip()
        return None

    commit = git("rev-parse", "HEAD")
    # Results are outputs: a table made by this very run does not make its code dirty.
    changed = git("status", "--porcelain", "--", ".", ":(exclude)results")
    return commit, None if changed is None else bool(changed)
