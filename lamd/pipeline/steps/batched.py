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


class Batches:
    """The rows of one array, shape (N, ...), in batches of `batch_size`."""

    def __init__(
        self, folder: Path, name: str, shape: tuple[int, ...], dtype: Any, batch_size: int
    ) -> None:
        self.array, self.done = folder / name, folder / DONE
        self.count, self.batch_size = shape[0], batch_size
        self.rank, self.world = rank_and_world()
        if self.rank:
            while folder.is_dir() and not self.done.exists():
                time.sleep(_POLL)
        elif not self.done.exists():
            _create(self.array, shape, dtype)
            _create(self.done, (self.count,), bool)

    def fill(self, make: Callable[[slice], np.ndarray], label: str) -> bool:
        """Write the batches that are still missing, with a bar named `label`.

        Return whether this is the first process; it waits until all rows are written, so that it
        alone completes the cell.
        """
        for at in track(self.pending(), label):
            for path, values in ((self.array, make(at)), (self.done, True)):
                stored = np.load(path, mmap_mode="r+", allow_pickle=False)
                stored[at] = values
                stored.flush()  # rows count as done only once they are on the disk
        while not self.rank and not np.load(self.done).all():
            time.sleep(_POLL)
        return not self.rank

    def pending(self) -> list[slice]:
        """Return this process's unfinished batches; none once the others completed the cell."""
        try:
            done, size = np.load(self.done), self.batch_size
        except FileNotFoundError:
            return []
        starts = range(self.rank * size, self.count, self.world * size)
        batches = [slice(start, min(start + size, self.count)) for start in starts]
        return [at for at in batches if not done[at].all()]


def _create(path: Path, shape: tuple[int, ...], dtype: Any) -> None:
    def fill(temporary: Path) -> None:
        np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)

    replace_file(path, fill)
