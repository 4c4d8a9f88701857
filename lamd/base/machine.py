"""The device that this process runs on and the memory it has used, for the record of a cell.

torch is asked only when something else has imported it.
"""

import os
import platform
import re
import resource
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA, AMD, Windows' Linux
_CPU_NAME = re.compile(r"^model name\s*:\s*(.+)$", re.MULTILINE)


def device_name(device: str) -> str:
    """Return e.g. `cuda: NVIDIA A100` or `cpu: x86_64, 8 cores`."""
    if device != "cpu" and (cuda := _cuda()):
        return f"cuda: {cuda.get_device_name(int(device.partition(':')[2] or 0))}"
    return f"cpu: {platform.machine()}, {os.cpu_count()} cores"


def timing_place(device: str) -> dict[str, str]:
    """Return what a measured time depends on apart from the code: device and PyTorch's version.

    torch is imported where there is a GPU's driver, since only it knows which GPU is used.
    """
    if device != "cpu" and any(Path(driver).exists() for driver in _DRIVERS):
        import torch  # noqa: F401
    name = device_name(device)
    if name.startswith("cpu"):
        with suppress(OSError):
            if model := _CPU_NAME.search(Path("/proc/cpuinfo").read_text(encoding="utf-8")):
                name += f", {model[1]}"
    return {"device": name, "torch": metadata.version("torch")}


def reset_device_peak() -> None:
    """Start counting the peak of the device memory again."""
    if cuda := _cuda():
        cuda.reset_peak_memory_stats()


def peak_memory_mb() -> tuple[float, float | None]:
    """Return the peak memory of the process and of the device, MB; None without a device."""
    unit = 1024**2 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, KiB elsewhere
    memory = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)
    cuda = _cuda()
    return memory, round(cuda.max_memory_allocated() / 1024**2, 1) if cuda else None


def _cuda() -> Any:
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None
