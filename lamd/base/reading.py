"""Bounds of what is read, compared with what a file states before memory is taken for it."""

from pathlib import Path

import numpy as np

from lamd.base.errors import LamdError
from lamd.base.files import input_file

MOST_TEXT = 2**25  # bytes of a JSON or text file; a list of it takes up to 20 times as much memory
MOST_CLIP = 2**29  # bytes of a decoded clip, uint8 (L, H, W, 3): 2,730 frames of 256 x 256
_MAGIC = b"\x93NUMPY"
_MOST_HEADER = 10_000  # bytes, as numpy's own bound, which it compares after reading


def read_bounded(path: Path, most: int = MOST_TEXT) -> bytes:
    """Read a file of at most `most` bytes.

    Raises:
        OSError: when it cannot be read.
        LamdError: when it is larger.
    """
    with input_file(path).open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise LamdError(f"{path}: larger than {most:,} bytes; give the right file, or split it")
    return data


def map_array(path: Path) -> np.ndarray:
    """Memory-map an `.npy` of numbers, read-only.

    Raises:
        OSError: when it cannot be read.
        ValueError: when it is no `.npy`, or its header states another size than the file has.
    """
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
