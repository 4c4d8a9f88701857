"""Worker processes: how many threads they use, and that none outlives its parent."""

import multiprocessing
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def threads_each(count: int) -> Iterator[None]:
    """Let processes started here use `count` threads for linear algebra; read at import."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def leave_with_parent() -> None:
    """End this worker when its parent is killed; the pool's queue would keep it waiting."""

    parent = multiprocessing.parent_process()
    assert parent is not None, "only for worker processes"

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
