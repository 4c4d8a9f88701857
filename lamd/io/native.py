"""Calls into native libraries: their stderr hidden, their memory bounded; one thread at a time."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

ONE_THREAD = Lock()  # what is changed here is the whole process's


@contextmanager
def stderr_hidden() -> Iterator[None]:
    """Hide what C and C++ write to stderr about a bad file, whatever their log level."""
    with ONE_THREAD, open(os.devnull, "wb") as sink:
        saved = os.dup(2)
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


@contextmanager
def memory_bounded(size: int) -> Iterator[None]:
    """Let the process allocate at most `size` bytes more, where the system can (Linux)."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        yield
        return
    with ONE_THREAD:
        before = soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        bound = int(statm.read_text().split()[5]) * resource.getpagesize() + size
        limits = [limit for limit in (bound, soft, hard) if limit != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, before)
