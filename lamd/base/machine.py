"""What this process runs on and what it has used, for the record of a cell.

torch is asked only when something else has imported it.
"""

import os
import platform
import re
import resource
import sys
from importlib import metadata
from pathlib import Path

_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA, AMD, Windows' Linux
_CPU_NAME = re.compile(r"^model name\s*:\s*(.+)$", re.MULTILINE)


def device_name(device: str) -> str:
    """Return e.g. `cuda: NVIDIA A100` or `cpu: x86_64, 8 cores`."""
    torch = sys.modules.get("torch")
    if device != "cpu" and torch is not None and torch.cuda.is_available():
        return f"cuda: {torch.cuda.get_device_name(int(device.partition(':')[2] or 0))}"
    return f"cpu: {platform.machine()}, {os.cpu_count()} cores"


def timing_place(device: str) -> dict[str, str]:
    """Return what a measured time depends on beside the code: the device and PyTorch's version.

    torch is imported where there is a GPU's driver, since only it knows which GPU is used.
    """
    if device != "cpu" and any(Path(driver).exists() for driver in _DRIVERS):
        import torch  # noqa: F401
    name = device_name(device)
    if name.startswith("cpu"):
        try:
            found = _CPU_NAME.search(Path("/proc/cpuinfo").read_text(encoding="utf-8"))
        except OSError:
            found = None
        name += f", {found[1]}" if found else ""
    return {"device": name, "torch": metadata.version("torch")}


def reset_device_peak() -> None:
    """Start counting the peak of the device memory anew."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory_mb() -> tuple[float, float | None]:
    """Return the peak memory of the process and of the device, MB; None without a device."""
    unit = 1024**2 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, KiB elsewhere
    memory = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return memory, None
    return memory, round(torch.cuda.max_memory_allocated() / 1024**2, 1)
