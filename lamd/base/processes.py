"""Processes: rank and waiting in a launch, how many threads they use, none outlives its parent."""

import fcntl
import multiprocessing
import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from lamd.base.errors import LamdError
from lamd.base.files import refuse_link
from lamd.base.terminal import say

WAIT_LIMIT = 1800.0  # seconds without progress after which a process of a launch ends
_SAID, _POLL, _BEAT = 60.0, 0.2, 30.0  # seconds
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def rank_and_world() -> tuple[int, int]:
    """Return this process's rank and their number in an `accelerate launch`; (0, 1) outside."""
    rank, world = launch_number("RANK", 0), launch_number("WORLD_SIZE", 1)
    if rank >= world:
        raise LamdError(f"RANK {rank}: WORLD_SIZE is {world}; unset both, or start with accelerate")
    return rank, world


def launch_id() -> str | None:
    """Return what the processes of one launch share and no other launch has; None outside."""
    address, port = (os.environ.get(name) for name in ("MASTER_ADDR", "MASTER_PORT"))
    if not address or not port:
        return None
    host = socket.gethostname() if address in _LOOPBACK else address
    return f"{host}:{port}"


def available_memory() -> int:
    """Return the bytes that may still be taken, of the machine and of this job or container."""
    free = psutil.virtual_memory().available
    with suppress(OSError):
        group = re.search(r"^0::/(.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE)
        own = Path("/sys/fs/cgroup", group[1] if group else "")
        for folder in (own, *own.parents):
            with suppress(OSError, ValueError):  # no limit: there is no file, or "max" in it
                limit = int((folder / "memory.max").read_text())
                used = re.search(r"^anon (\d+)", (folder / "memory.stat").read_text(), re.MULTILINE)
                free = min(free, limit - (int(used[1]) if used else 0))
    return max(0, free)


def available_cores() -> int:
    """Return how many cores this process may use, such as those of its Slurm job."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    return len(cores) if cores else os.cpu_count() or 1


def launch_number(name: str, default: int) -> int:
    """Return a number that a launcher sets in the environment; LamdError on anything else."""
    value = os.environ.get(name, str(default))
    if not re.fullmatch("[0-9]{1,6}", value):
        raise LamdError(f"{name}: {value[:40]!r} is no number of a process; unset it")
    return int(value)


def wait_until(
    ready: Callable[[], bool], what: str, progress: Callable[[], object] = lambda: None
) -> None:
    """Wait for other processes of a launch; after a minute a line on stderr says for `what`.

    LamdError when `progress` has not changed for `WAIT_LIMIT` seconds.
    """
    rank, minutes, said = rank_and_world()[0], f"{WAIT_LIMIT / 60:.3g} minutes", False
    seen, since = progress(), time.monotonic()
    while not ready():
        if (now := progress()) != seen:
            seen, since = now, time.monotonic()
        waited = time.monotonic() - since
        if waited > WAIT_LIMIT:
            raise LamdError(
                f"process {rank}: {what}: no progress for {minutes}; see what the other processes "
                "say, and start all of them again"
            )
        if waited > _SAID and not said:
            said = True
            say(f"process {rank} waits for {what}, {minutes} without progress at most")
        time.sleep(_POLL)


def file_lock(path: Path) -> FileLock:
    """Return the lock of a file; LamdError where a link is in its place."""
    return FileLock(refuse_link(path))


def check_locks(folder: Path) -> None:
    """Raise LamdError unless files in `folder` can be locked, as not on every network mount."""
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise LamdError(
                f"{folder}: files there cannot be locked ({error.strerror}); mount it with locks, "
                "or choose another folder"
            ) from None


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock of a file; when another process is at work on `what`, say so and wait for it.

    LamdError where a link is in its place, or when that process is stopped for long.
    """
    lock = file_lock(path)

    def acquired() -> bool:
        with suppress(Timeout):
            lock.acquire(timeout=0)
        return lock.is_locked

    if not acquired():
        say(f"waiting for {what}: another process is at work on it and holds {path}")
        wait_until(acquired, what, progress=lambda: modified(path))
    try:
        with heartbeat(path):
            yield
    finally:
        lock.release()


@contextmanager
def heartbeat(path: Path) -> Iterator[None]:
    """Touch `path` again and again, so that other processes see this one at work."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(_BEAT):
            with suppress(OSError):  # a network folder that is away for a moment
                path.touch()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def modified(path: Path) -> int | None:
    """Return when a file was last changed or touched, in ns; None where there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


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
