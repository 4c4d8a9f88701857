"""Processes: their rank in a launch, how many threads they use, that none outlives its parent."""

import multiprocessing
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def rank_and_world() -> tuple[int, int]:
    """Return this process's rank and their number in an `accelerate launch`; (0, 1) outside."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def threads_each(count: int) -> Iterator[None]:
    """Let processes started here use `count` threads for linear algebra; read at import."""
    before = {name: os.environ[name] for name in _THREADS if name in os.environ}
    os.environ.update(dict.fromkeys(_THREADS, str(count)))
    try:
        yield
    finally:
        for name in _THREADS:
            del os.environ[name]
        os.environ.update(before)


def leave_with_parent() -> None:
    """End this worker when its parent is killed; the pool's queue would keep it waiting."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only for worker processes"

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
