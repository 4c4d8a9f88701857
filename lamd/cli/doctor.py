"""`lamd doctor`: what works on this machine and what is missing, without downloading anything."""

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Literal

from lamd.base.errors import LamdError
from lamd.io.clips import import_decord

# Imported as their users import them: a wheel that does not fit the system fails here, not after
# an hour of training.
_MODULES = {
    "torch": "models",
    "torchvision": "LPIPS",
    "lpips": "LPIPS",
    "accelerate": "training",
    "mujoco": "simulated stand-ins",
    "decord": "reading video files",
    "av": "writing MP4",
    "skimage": "SSIM",
    "torch_fidelity": "FID",
    "matplotlib": "figures",
    "tensorboard": "training logs",
}
_DISTRIBUTIONS = {
    "decord": "decord2",
    "skimage": "scikit-image",
    "torch_fidelity": "torch-fidelity",
}
_FREE_GB = 5.0  # ours: cells of a standard run with its caches


@dataclass(frozen=True)
class Finding:
    """One line: `ok`, `missing` (something optional) or `broken` (nothing runs without it)."""

    state: Literal["ok", "missing", "broken"]
    what: str
    found: str


def examine(runs: Path) -> list[Finding]:
    """Look at Python, packages, device, data, weights and disk."""
    version = sys.version_info
    python = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return [
        Finding("ok" if version >= (3, 11) else "broken", "Python", python),
        *(_module(name, use) for name, use in _MODULES.items()),
        *_guard("device", _devices),
        *_guard("data", _data),
        *_guard("weights", _weights),
        *_guard("disk", lambda: _disk(runs)),
    ]


def _module(name: str, use: str) -> Finding:
    try:
        import_decord() if name == "decord" else import_module(name)
    except Exception as error:  # a broken binary wheel can raise anything
        reason = " ".join(str(error).split())[:120]
        return Finding("broken", f"{name} ({use})", f"{type(error).__name__}: {reason}")
    return Finding("ok", f"{name} ({use})", metadata.version(_DISTRIBUTIONS.get(name, name)))


def _guard(what: str, look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    try:
        return list(look())
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        return [Finding("broken", what, f"{type(error).__name__}: {reason}")]


def _devices() -> Iterator[Finding]:
    import torch

    cores = os.cpu_count()
    yield Finding("ok", "CPU", f"{cores} cores, {torch.get_num_threads()} threads in torch")
    if not torch.cuda.is_available():
        yield Finding("missing", "CUDA", "no device; quick and standard profiles run on the CPU")
    for n in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(n)
        memory = f"{properties.total_memory / 1024**3:.0f} GiB"
        yield Finding("ok", f"cuda:{n}", f"{properties.name}, {memory}")


def _data() -> Iterator[Finding]:
    from lamd.data import DATASETS
    from lamd.data.real import real_root

    for name in DATASETS:
        try:
            yield Finding("ok", name, str(real_root(name)))
        except LamdError as error:
            yield Finding("missing", f"{name} (paper profile)", str(error))


def _weights() -> Iterator[Finding]:
    from lamd import weights

    for row in weights.status():
        what = f"weights {row.name}"
        if row.state == "missing":
            yield Finding("missing", what, f"{row.how} ({row.size / 1e6:.0f} MB)")
        else:
            yield Finding("ok", what, str(row.path))


def _disk(runs: Path) -> Iterator[Finding]:
    from lamd.weights import cache_root

    for what, folder in (("runs", runs), ("cache", cache_root())):
        place = folder.expanduser().absolute()
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free / 1e9
        enough = "ok" if free > _FREE_GB else "missing"
        state = enough if os.access(place, os.W_OK) else "broken"
        yield Finding(state, f"disk for {what}", f"{free:.0f} GB free at {place}")
