"""An array filled batch by batch: a killed run continues, and processes of one launch share it.

    <name>.npy   the rows
    done.npy     bool (N,), the rows that are written

Both are in the cell's folder. Of a collective cell, rank r of W processes takes the batches r,
r + W, ...; memory is that of one batch, whatever N.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lamd.base.arrays import load_array
from lamd.base.errors import LamdError
from lamd.base.files import NO_ROOM, replace_file
from lamd.base.processes import rank_and_world, wait_until
from lamd.base.progress import track

DONE = "done.npy"
FIX = "delete its folder and run the same command again"
Rows = Callable[[slice], np.ndarray]  # the rows of a batch


def fill_batches(
    array: Path,
    shape: tuple[int, ...],
    dtype: Any,
    batch_size: int,
    make: Rows,
    label: str,
    *,
    collective: bool = True,
) -> bool:
    """Write the batches of `array`, (N, ...), that are still missing, with a bar named `label`.

    Return whether this is the first process; it waits until all rows are written, so that it
    alone completes the cell. Unless `collective`, no other process of the launch takes part.
    LamdError when the other processes write no row for long, or the arrays of a killed run are
    damaged.
    """
    done, (rank, world) = array.with_name(DONE), rank_and_world() if collective else (0, 1)
    if rank:
        wait_until(lambda: done.exists() or not array.parent.is_dir(), f"the first of {label}")
    elif not done.exists():
        array.parent.mkdir(parents=True, exist_ok=True)
        _create(array, shape, dtype)
        _create(done, shape[:1], bool)
    else:
        for path, kind, wanted in ((array, dtype, shape), (done, np.bool_, shape[:1])):
            if load_array(path, kind, len(wanted), FIX, mapped=True).shape != wanted:
                raise LamdError(f"{path}: not of shape {wanted}; {FIX}")
    for at in track(_pending(done, batch_size, rank, world), label):
        _write(array, at, make(at))
        _write(done, at, np.ones(at.stop - at.start, bool))  # once the rows are on the disk
    if rank:
        return False
    wait_until(
        lambda: bool(_read(done).all()),
        f"the others' part of {label}",
        progress=lambda: int(_read(done).sum()),
    )
    return True


def _pending(done: Path, batch_size: int, rank: int, world: int) -> list[slice]:
    """Return this process's unfinished batches; none once the others completed the cell."""
    try:
        written = _read(done)
    except FileNotFoundError:
        return []
    starts = range(rank * batch_size, len(written), world * batch_size)
    batches = [slice(start, min(start + batch_size, len(written))) for start in starts]
    return [at for at in batches if not written[at].all()]


def _read(done: Path) -> np.ndarray:
    with done.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # NFS then asks the server
        return np.load(file)


def _write(path: Path, at: slice, rows: np.ndarray) -> None:
    """Write rows of an array by their bytes: NFS writes back whole pages of a memory map.

    Also of a file, where a page at a batch's edge is in its cache: the lock empties that.
    """
    stored = np.load(path, mmap_mode="r", allow_pickle=False)
    data = np.ascontiguousarray(rows, stored.dtype)
    if data.shape != stored[at].shape:
        raise ValueError(f"{path}: rows of shape {data.shape}, expected {stored[at].shape}")
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(stored.offset + at.start * stored.strides[0])
        file.write(data.data)
        file.flush()
        os.fsync(file.fileno())


def _create(path: Path, shape: tuple[int, ...], dtype: Any) -> None:
    def create(temporary: Path) -> None:
        np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
        size = temporary.stat().st_size
        if not hasattr(os, "posix_fallocate"):  # macOS
            return
        with temporary.open("r+b") as file:
            try:  # a page of a sparse file that finds no room on the disk would kill the process
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                if error.errno in NO_ROOM:  # others: a file system that cannot reserve
                    reason = f"{size:,} bytes, {error.strerror}"
                    raise OSError(error.errno, reason, str(path)) from None

    replace_file(path, create)
