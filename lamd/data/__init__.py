"""Data sets: readers, simulated stand-ins and the packed cache."""

from pathlib import Path

from lamd.data.packed import PackedVideos, open_packed, pack_bair
from lamd.data.stand_in import StandIn, read_stand_in
from lamd.data.verify import VerifyReport, verify_bair
from lamd.errors import LamdError

__all__ = [
    "PackedVideos",
    "StandIn",
    "VerifyReport",
    "open_dataset",
    "open_packed",
    "pack_bair",
    "read_stand_in",
    "verify_bair",
]

_PACKERS = {"bair": pack_bair}


def open_dataset(
    name: str,
    *,
    root: Path,
    cache: Path,
    split: str,
    camera: str = "image_aux1",
    limit: int | None = None,
    size: int = 64,
) -> PackedVideos:
    """Open a split of the data set `name` below `root`, packed into `cache` on the first call.

    Real data and stand-in have the same layout; `read_stand_in(root)` tells which one it is.

    Raises:
        LamdError: on an unknown name and on whatever is wrong with the files.
    """
    if name not in _PACKERS:
        raise LamdError(f"data set {name!r}: unknown; choose one of {', '.join(_PACKERS)}")
    return _PACKERS[name](root, cache, split=split, camera=camera, limit=limit, size=size)
