"""Worker processes that fill a stand-in, and the claim on the folder that they fill."""

import multiprocessing
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

from lamd.base.errors import LamdError
from lamd.base.processes import leave_with_parent, threads_each
from lamd.data.stand_in import MANIFEST, StandIn, read_stand_in, write_stand_in

AHEAD_PER_WORKER = 8
Job = TypeVar("Job")
Result = TypeVar("Result")


def claim(root: Path, wanted: StandIn, folders: Iterable[str]) -> None:
    """Write the manifest into a fresh `root`, or check that the one there asks for the same.

    Raises:
        LamdError: when `root` is no folder, holds one of the data set's `folders` without a
            manifest, or holds another stand-in.
    """
    found = _read(root)
    if found is None:
        for folder in folders:
            if os.path.lexists(root / folder):
                raise LamdError(
                    f"{root / folder}: exists and is no stand-in; choose another folder"
                )
        try:
            write_stand_in(root, wanted)
        except OSError as error:
            raise LamdError(f"{root}: {error.strerror}; choose a folder to write in") from None
    elif found != wanted:
        raise LamdError(
            f"{root / MANIFEST}: holds {found}, asked for {wanted};"
            " choose another folder or delete this one"
        )


def _read(root: Path) -> StandIn | None:
    if root.exists() and not root.is_dir():
        raise LamdError(f"{root}: not a folder; choose another place")
    return read_stand_in(root)


def count_workers(num_workers: int | None) -> int:
    """Return `num_workers`, by default one a core.

    Raises:
        LamdError: when it is less than 1.
    """
    if num_workers is None:
        cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
        return len(cores) if cores else os.cpu_count() or 1
    if num_workers < 1:
        raise LamdError(f"num_workers: {num_workers} asked for; ask for at least 1")
    return num_workers


def in_order(work: Callable[[Job], Result], jobs: list[Job], workers: int) -> Iterator[Result]:
    """Yield `work(job)` for each job in order, computed here or by `workers` processes."""
    if workers == 1:
        yield from map(work, jobs)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=leave_with_parent)
    todo = iter(jobs)
    try:
        with threads_each(1):  # the first submission starts all processes
            waiting = deque(pool.submit(work, j) for j in islice(todo, workers * AHEAD_PER_WORKER))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(work, job) for job in islice(todo, 1))
            yield result
    except BrokenProcessPool:
        raise LamdError(
            "simulation: a worker process was killed, perhaps for want of memory;"
            " run the same command again with fewer workers"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def run_through(finished: Iterator[None], total: int, what: str) -> None:
    """Wait for all jobs of `in_order`, with a bar on a terminal."""
    console = Console(stderr=True)
    with (
        closing(finished),
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        for _ in progress.track(finished, total=total, description=f"simulating {what}"):
            pass


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a fresh folder to fill, which takes the place of `folder` when nothing was raised.

    Raises:
        LamdError: when it cannot be written.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        temporary.rename(folder)
    except OSError as error:
        raise LamdError(
            f"{folder}: {error.strerror or error}; make room or make it writable"
        ) from None
