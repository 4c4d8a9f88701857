"""Data sets: readers, simulated stand-ins and the packed cache."""

from functools import partial
from pathlib import Path
from typing import Any

from lamd.base.errors import LamdError
from lamd.data.bair.reader import pack_bair
from lamd.data.cater.reader import pack_cater
from lamd.data.cater.verify import verify_cater
from lamd.data.gestures.pack import pack_gestures
from lamd.data.packed import PackedVideos, open_packed
from lamd.data.sky.pack import pack_landscape
from lamd.data.stand_in import StandIn, read_stand_in
from lamd.data.verify import VerifyReport, verify_bair
from lamd.data.verify_frames import verify_gestures, verify_landscape

__all__ = [
    "DATASETS",
    "PackedVideos",
    "StandIn",
    "VerifyReport",
    "check_dataset",
    "open_dataset",
    "open_packed",
    "pack_bair",
    "pack_cater",
    "pack_gestures",
    "pack_landscape",
    "read_stand_in",
    "simulate_dataset",
    "verify_bair",
    "verify_cater",
    "verify_dataset",
    "verify_gestures",
    "verify_landscape",
]

_PACKERS = {
    "bair": pack_bair,
    "landscape": pack_landscape,
    "cater_v1": partial(pack_cater, version="v1"),
    "cater_v2": partial(pack_cater, version="v2"),
    "natops": partial(pack_gestures, "natops"),
    "mug": partial(pack_gestures, "mug"),
}
_VERIFIERS = {
    "bair": verify_bair,
    "landscape": verify_landscape,
    "cater_v1": partial(verify_cater, version="v1"),
    "cater_v2": partial(verify_cater, version="v2"),
    "natops": partial(verify_gestures, "natops"),
    "mug": partial(verify_gestures, "mug"),
}
DATASETS = tuple(_PACKERS)


def check_dataset(name: str) -> None:
    """Raise LamdError on an unknown data set."""
    if name not in DATASETS:
        raise LamdError(f"data set {name!r}: unknown; choose one of {', '.join(DATASETS)}")


def simulate_dataset(
    name: str,
    root: Path,
    *,
    num_train: int,
    num_test: int,
    seed: int,
    **options: Any,
) -> None:
    """Write the stand-in of the data set `name` below `root`, in the real layout.

    Counts are of videos; `options` are further ones of `simulate_bair` and the others.

    Raises:
        LamdError: on an unknown name, or when `root` holds something else.
    """
    check_dataset(name)
    from lamd import standins  # MuJoCo is needed for nothing else

    simulators = {
        "bair": standins.simulate_bair,
        "landscape": standins.simulate_landscape,
        "cater_v1": partial(standins.simulate_cater, version="v1"),
        "cater_v2": partial(standins.simulate_cater, version="v2"),
        "natops": standins.simulate_natops,
        "mug": standins.simulate_mug,
    }
    simulators[name](root, num_train=num_train, num_test=num_test, seed=seed, **options)


def open_dataset(name: str, *, root: Path, cache: Path, split: str, **options: Any) -> PackedVideos:
    """Open a split of the data set `name` below `root`, packed into `cache` on the first call.

    Real data and stand-in have the same layout; `read_stand_in(root)` tells which one it is.
    `options` are those of `pack_bair` and the others.

    Raises:
        LamdError: on an unknown name and on whatever is wrong with the files.
    """
    check_dataset(name)
    return _PACKERS[name](root, cache, split=split, **options)


def verify_dataset(name: str, root: Path) -> VerifyReport:
    """Read the whole data set `name` below `root` and name all that is broken or missing.

    Raises:
        LamdError: on an unknown name, or when a split is missing.
    """
    check_dataset(name)
    return _VERIFIERS[name](root)
