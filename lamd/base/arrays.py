"""Arrays read from files, checked."""

from pathlib import Path

import numpy as np

from lamd.base.errors import LamdError
from lamd.base.files import input_file

_MAGIC = b"\x93NUMPY"
_MOST_HEADER = 10_000  # bytes, as numpy's own bound, which it compares after reading


def load_array(
    path: Path, dtype: type[np.generic], ndim: int | None, fix: str, *, mapped: bool = False
) -> np.ndarray:
    """Read or map an `.npy` of `dtype`, `ndim` axes (None: any); LamdError, ending in `fix`."""
    try:
        array = _map_array(path)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise LamdError(f"{path}: not a readable .npy ({reason}); {fix}") from None
    if array.dtype != dtype:
        raise LamdError(f"{path}: dtype is {array.dtype}, not {np.dtype(dtype)}; {fix}")
    if ndim not in (None, array.ndim):
        raise LamdError(f"{path}: shape is {array.shape}, not of {ndim} axes; {fix}")
    return array if mapped else np.array(array)  # mapped: read-only


def _map_array(path: Path) -> np.ndarray:
    """Memory-map an `.npy` of numbers; ValueError when its header and the file disagree."""
    with input_file(path).open("rb") as file:
        start = file.read(12)  # magic, version, length of the header
    if not start.startswith(_MAGIC):
        raise ValueError("an archive of arrays, not one" if start[:2] == b"PK" else "not an .npy")
    length = int.from_bytes(start[8 : 10 if start[6:7] == b"\1" else 12], "little")
    if length > _MOST_HEADER:
        raise ValueError(f"its header has {length:,} bytes, at most {_MOST_HEADER:,} are read")
    try:
        with np.errstate(all="ignore"):
            return np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # a damaged header can raise nearly anything
        raise ValueError(str(error) or type(error).__name__) from None
