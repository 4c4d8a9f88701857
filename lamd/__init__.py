"""Latent Motion Diffusion (arXiv 2304.11603): image-conditional video generation.

The names below are the public API. They are imported on first use, so `import lamd` is quick.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_API = {
    "DMG": "lamd.models.dmg",
    "LamdError": "lamd.base.errors",
    "MCDVAE": "lamd.models.mcd_vae",
    "Results": "lamd.report.results",
    "build_dmg": "lamd.models.dmg",
    "build_vae": "lamd.models.mcd_vae",
    "evaluate_paths": "lamd.evaluate",
    "generate_clips": "lamd.generate",
    "load_model": "lamd.training",
    "load_paradigm": "lamd.training",
    "load_results": "lamd.report.frame",
    "load_target": "lamd.targets",
    "read_results": "lamd.report.results",
    "train": "lamd.training",
}

__all__ = sorted(_API)

try:
    __version__ = version("lamd")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    if name not in _API:
        raise AttributeError(f"module 'lamd' has no attribute {name!r}")
    return getattr(import_module(_API[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
