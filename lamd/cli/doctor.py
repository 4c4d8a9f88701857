"""`lamd doctor`: what works on this machine and what is missing, without downloading anything."""

import os
import platform
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import Literal, NamedTuple

import typer

from lamd.base.errors import LamdError
from lamd.base.files import free_disk
from lamd.cli.options import RUNS, Runs
from lamd.cli.output import print_table

# Imported as their users import them: a wheel that does not fit the system fails here, not after
# an hour of training.
_MODULES = {
    "torch": "models",
    "torchvision": "LPIPS",
    "lpips": "LPIPS",
    "accelerate": "training",
    "mujoco": "simulated stand-ins",
    "decord": "CATER's video files",
    "av": "video files",
    "cv2": "optical flow",
    "einops": "models",
    "pandas": "results",
    "pyarrow": "values per clip",
    "skimage": "SSIM",
    "torch_fidelity": "FID",
    "matplotlib": "figures",
    "tensorboard": "training logs",
}
_DISTRIBUTIONS = {  # where the names differ
    "decord": "decord2",
    "skimage": "scikit-image",
    "cv2": "opencv-python-headless",
}
_FREE_GB = 5.0  # cells of a standard run with its caches
State = Literal["ok", "missing", "broken"]


class Finding(NamedTuple):
    """One line: `ok`, `missing` (something optional) or `broken` (nothing runs without it)."""

    state: State
    what: str
    text: str


def doctor(runs: Runs = RUNS) -> None:
    """Report what works here and what is missing: device, versions, data, weights, disk."""
    findings = examine(runs)
    print_table(["", "what", "result"], findings)
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)


def examine(runs: Path) -> list[Finding]:
    """Look at Python, packages, device and its speed, data, weights and disk."""
    looks: dict[str, Callable[[], Iterator[Finding]]] = {
        "Python": _python,
        **{f"{name} ({use})": partial(_module, name, use) for name, use in _MODULES.items()},
        "device": _devices,
        "CPU": _rates,
        "data": _data,
        "weights": _weights,
        "disk": partial(_disk, runs),
    }
    findings: list[Finding] = []
    for what, look in looks.items():
        try:
            findings += list(look())
        except Exception as error:  # a broken binary wheel can raise anything
            reason = " ".join(str(error).split())[:120]
            findings.append(Finding("broken", what, f"{type(error).__name__}: {reason}"))
    return findings


def _python() -> Iterator[Finding]:
    python = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("ok" if sys.version_info >= (3, 11) else "broken", "Python", python)


def _module(name: str, use: str) -> Iterator[Finding]:
    from lamd.io.clips import import_decord

    import_decord() if name == "decord" else import_module(name)
    yield Finding("ok", f"{name} ({use})", metadata.version(_DISTRIBUTIONS.get(name, name)))


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


def _rates() -> Iterator[Finding]:
    import torch

    from lamd import machine

    for exact, half in zip(machine.rates()[::2], machine.rates()[1::2], strict=True):
        text = f"fp32 {exact.tflops:.2f} TFLOP/s, bf16 {half.tflops:.2f}"
        wrong = half.error > machine.MAX_ERROR
        if wrong or half.tflops < exact.tflops:
            text += " and wrong" * wrong + f"; PyTorch {torch.__version__} here: fp32 is used"
        yield Finding("ok", f"CPU, {exact.operator}", text)


def _data() -> Iterator[Finding]:
    from lamd.data.dataset import DATASETS

    for dataset in DATASETS.values():
        try:
            yield Finding("ok", dataset.label, str(dataset.locate()))
        except LamdError as error:
            yield Finding("missing", f"{dataset.label} (paper profile)", str(error))


def _weights() -> Iterator[Finding]:
    from lamd import weights

    for row in weights.status(hashed=True):
        what, broken = f"weights {row.name}", f"{row.path}: wrong hash; delete it, then {row.how}"
        yield {
            "ok": Finding("ok", what, str(row.path)),
            "missing": Finding("missing", what, row.how),
            "broken": Finding("broken", what, broken),
        }[row.state]


def _disk(runs: Path) -> Iterator[Finding]:
    from lamd.weights import cache_root

    for what, folder in (("runs", runs), ("cache", cache_root())):
        free, path = free_disk(folder)
        enough: State = "ok" if free > _FREE_GB * 1e9 else "missing"
        state = enough if os.access(path, os.W_OK) else "broken"
        note = ", which cannot be written" if state == "broken" else ""
        yield Finding(state, f"disk for {what}", f"{free / 1e9:.0f} GB free at {path}{note}")
