"""The writer of all stand-ins: a claim on the folder, worker processes, progress, resume.

A stand-in gives a plan and its jobs; complete files of an interrupted run are kept.
"""

import multiprocessing
import os
import shutil
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from filelock import FileLock

from lamd.base.errors import LamdError
from lamd.base.processes import leave_with_parent, threads_each
from lamd.base.progress import track
from lamd.data.dataset import Dataset
from lamd.data.stand_in import MANIFEST, StandIn, read_stand_in, write_stand_in

AHEAD_PER_WORKER = 8
Job = Callable[[], Any]  # pickles


@dataclass(frozen=True)
class Part:
    """A part of a stand-in that is not complete: the missing jobs, and what to do with results.

    `finish` is given one result per job, computed as it asks for them, and puts the part in place.
    """

    jobs: Sequence[Job]
    finish: Callable[[Iterator[Any]], object]


def write(
    dataset: Dataset, root: Path, plan: Callable[[], Iterable[Part]], *, folders: Iterable[str],
    counts: Mapping[str, int], seed: int, num_workers: int | None,
    frame_size: tuple[int, int] | None = None,
) -> None:  # fmt: skip
    """Write the manifest, then all parts of `plan`, with jobs done by `num_workers` processes.

    `folders` of `root` are the stand-in's; `counts` and `frame_size` are stated in the manifest.

    Raises:
        LamdError: when `root` contains something else or cannot be written.
    """
    for split, count in counts.items():
        if count < 1:
            raise LamdError(f"num_{split}: {count} {dataset.unit} asked for; ask for at least 1")
    if num_workers is None:
        cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
        num_workers = len(cores) if cores else os.cpu_count() or 1
    elif num_workers < 1:
        raise LamdError(f"num_workers: {num_workers} asked for; ask for at least 1")
    size = "" if frame_size is None else ".{}x{}".format(*frame_size)
    wanted = StandIn(
        dataset=dataset.name, generator=f"{dataset.generator}{size}", seed=seed, counts=dict(counts)
    )
    _claim(root, wanted, folders)
    try:
        with FileLock(root / ".simulate.lock"):
            parts = list(plan())
            jobs = [job for part in parts for job in part.jobs]
            with closing(_in_order(jobs, min(num_workers, len(jobs)))) as results:
                tracked = track(results, f"simulating {dataset.name}", len(jobs))
                for part in parts:
                    part.finish(islice(tracked, len(part.jobs)))
    except OSError as error:
        raise LamdError(
            f"{error.filename or root}: {error.strerror or error}; make room or make it writable"
        ) from None


def check_frame_size(frame_size: tuple[int, int], smallest: tuple[int, int]) -> None:
    """Raise LamdError unless a size is even, has the aspect of `smallest` and is not below it."""
    (width, height), (least, low) = frame_size, smallest
    if width * low != height * least or width < least or width % 2 or height % 2:
        raise LamdError(
            f"frame_size: {width}x{height}; give {least}x{low} or larger, even, in this ratio"
        )


def fill_folder(folder: Path, jobs: Mapping[str, Job]) -> Iterator[Part]:
    """Yield the part that fills `folder`; `jobs` by the folder below that each one writes."""
    partial = partial_folder(folder)

    def finish(results: Iterator[object]) -> None:
        deque(results, maxlen=0)
        partial.rename(folder)

    if not folder.exists():
        missing = [job for name, job in jobs.items() if not (partial / name).exists()]
        yield Part(missing, finish)


def partial_folder(folder: Path) -> Path:
    """Return the folder that is `folder` when it is complete."""
    return folder.with_name(f".{folder.name}.partial")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Provide a fresh folder to fill, which becomes `folder` when nothing was raised."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    yield temporary
    temporary.rename(folder)


def _claim(root: Path, wanted: StandIn, folders: Iterable[str]) -> None:
    """Write the manifest into a fresh `root`, or check that the one there asks for the same."""
    if root.exists() and not root.is_dir():
        raise LamdError(f"{root}: not a folder; choose another one")
    present = read_stand_in(root)
    if present is None:
        for folder in folders:
            if os.path.lexists(root / folder):
                raise LamdError(
                    f"{root / folder}: exists and is no stand-in; choose another folder"
                )
        try:
            write_stand_in(root, wanted)
        except OSError as error:
            raise LamdError(f"{root}: {error.strerror}; choose a folder to write in") from None
    elif present != wanted:
        raise LamdError(
            f"{root / MANIFEST}: holds {present}, asked for {wanted};"
            " choose another folder or delete this one"
        )


def _in_order(jobs: list[Job], workers: int) -> Generator[Any, None, None]:
    """Yield the result of each job in order, computed here or by `workers` processes."""
    if workers <= 1:
        yield from (job() for job in jobs)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=leave_with_parent)
    todo = iter(jobs)
    try:
        with threads_each(1):  # the first submission starts all processes
            waiting = deque(map(pool.submit, islice(todo, workers * AHEAD_PER_WORKER)))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(map(pool.submit, islice(todo, 1)))
            yield result
    except BrokenProcessPool:
        raise LamdError(
            "simulation: a worker process was killed, perhaps for want of memory;"
            " run the same command again with fewer workers"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
