"""Processes: their rank in a launch, how many threads they use, that none outlives its parent."""

import multiprocessing
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

from lamd.base.errors import LamdError

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


def check_temporary_folder() -> None:
    """Raise LamdError when there is no folder for temporary files, which torch needs at import."""
    try:
        tempfile.gettempdir()
    except OSError as error:
        raise LamdError(f"{error.strerror}; set TMPDIR to a folder that can be written") from None


def start_pool(workers: int, initializer: Callable[[], None]) -> ProcessPoolExecutor:
    """Return a pool of spawned processes; LamdError when the system has no room for its locks."""
    try:
        return ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), initializer=initializer
        )
    except (OSError, NotImplementedError) as error:
        raise LamdError(
            f"/dev/shm: locks of worker processes cannot be made there ({error});"
            " make it writable, with room"
        ) from None


def leave_with_parent() -> None:
    """End this worker when its parent is killed; the pool's queue would keep it waiting."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only for worker processes"

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
