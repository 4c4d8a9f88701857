"""An array filled batch by batch: a killed run continues, and processes of one launch share it.

    <name>.npy   the rows
    done.npy     bool (N,), the rows that are written

Both are in the cell's folder. Rank r of W processes takes the batches r, r + W, ...; memory is that
of one batch, whatever N.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lamd.base.files import replace_file
from lamd.base.processes import rank_and_world
from lamd.base.progress import track

DONE = "done.npy"
_POLL = 0.2  # seconds between looks at the other processes' rows
Rows = Callable[[slice], np.ndarray]  # the rows of a batch


def fill_batches(
    array: Path, shape: tuple[int, ...], dtype: Any, batch_size: int, make: Rows, label: str
) -> bool:
    """Write the batches of `array`, (N, ...), that are still missing, with a bar named `label`.

    Return whether this is the first process; it waits until all rows are written, so that it
    alone completes the cell.
    """
    done, (rank, _) = array.with_name(DONE), rank_and_world()
    if rank:
        while array.parent.is_dir() and not done.exists():
            time.sleep(_POLL)
    elif not done.exists():
        _create(array, shape, dtype)
        _create(done, shape[:1], bool)
    for at in track(pending(done, batch_size), label):
        for path, values in ((array, make(at)), (done, True)):
            stored = np.load(path, mmap_mode="r+", allow_pickle=False)
            stored[at] = values
            stored.flush()  # rows count as done only once they are on the disk
    while not rank and not np.load(done).all():
        time.sleep(_POLL)
    return not rank


def pending(done: Path, batch_size: int) -> list[slice]:
    """Return this process's unfinished batches; none once the others completed the cell."""
    try:
        written, (rank, world) = np.load(done), rank_and_world()
    except FileNotFoundError:
        return []
    starts = range(rank * batch_size, len(written), world * batch_size)
    batches = [slice(start, min(start + batch_size, len(written))) for start in starts]
    return [at for at in batches if not written[at].all()]


def _create(path: Path, shape: tuple[int, ...], dtype: Any) -> None:
    create = np.lib.format.open_memmap
    replace_file(path, lambda temporary: create(temporary, mode="w+", dtype=dtype, shape=shape))
