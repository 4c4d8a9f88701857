"""The writer of all stand-ins: a claim on the folder, worker processes, progress, resume.

A stand-in lists its parts and their jobs; complete files of an interrupted run are kept.
"""

import shutil
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lamd.base.errors import LamdError
from lamd.base.files import check_own, is_system_file
from lamd.base.processes import available_cores, leave_with_parent, locked, start_pool, threads_each
from lamd.base.progress import track
from lamd.data.dataset import Dataset
from lamd.data.stand_in import MANIFEST, Future, StandIn, read_stand_in, write_stand_in

AHEAD_PER_WORKER = 8
JPEG_QUALITY = 90
Job = Callable[[], Any]  # pickles
Pictures = Iterable[tuple[str, Image.Image]]  # with the file's name


@dataclass(frozen=True)
class Request:
    """A stand-in as it is asked for; `counts` by split, `frame_size` (width, height) if any."""

    dataset: Dataset
    root: Path
    counts: Mapping[str, int]
    seed: int
    num_workers: int | None
    frame_size: tuple[int, int] | None
    future: Future | None = None

    def sized(self, real: tuple[int, int], smallest: tuple[int, int]) -> Self:
        """Return the request with a frame size, by default the `real` one.

        LamdError unless it is even, has the aspect of `smallest` and is not below it.
        """
        (width, height), (least, low) = self.frame_size or real, smallest
        if width * low != height * least or width < least or width % 2 or height % 2:
            raise LamdError(
                f"frame_size: {width}x{height}; give {least}x{low} or larger, even, in this ratio"
            )
        return replace(self, frame_size=(width, height))

    @property
    def stand_in(self) -> StandIn:
        """The manifest."""
        size, future = self.frame_size, self.future
        return StandIn(
            dataset=self.dataset.name,
            generator=self.dataset.generator
            + (f".{size[0]}x{size[1]}" if size else "")
            + (f".future{future.number}" if future else ""),
            seed=self.seed,
            counts=dict(self.counts),
        )

    @property
    def size(self) -> tuple[int, int]:
        """The frame size, once it is known."""
        assert self.frame_size is not None, "use `sized`"
        return self.frame_size

    def random(self, *name: int | str) -> np.random.Generator:
        """Return the random stream `name` of this seed."""
        return self.dataset.random(self.seed, *name)

    def other_motion(self, *name: int | str) -> np.random.Generator | None:
        """Return the random stream of the motion of `name` in another future, if asked for."""
        return self.random(*name, "future", self.future.number) if self.future else None


@dataclass(frozen=True)
class Part:
    """A part of a stand-in that is not complete: the missing jobs, and what to do with results.

    `finish` is given one result per job, computed as it asks for them, and puts the part in place.
    """

    jobs: Sequence[Job]
    finish: Callable[[Iterator[Any]], object]


def write(request: Request, parts: Iterable[Part]) -> None:
    """Write the manifest, then all `parts`, which are listed once the folder is claimed.

    LamdError when the root contains something else or cannot be written.
    """
    dataset, root, num_workers = request.dataset, request.root, request.num_workers
    for split, count in request.counts.items():
        if count < 1:
            raise LamdError(f"num_{split}: {count} {dataset.unit} asked for; ask for at least 1")
    if num_workers is None:
        num_workers = available_cores()
    elif num_workers < 1:
        raise LamdError(f"num_workers: {num_workers} asked for; ask for at least 1")
    if root.exists() and not root.is_dir():
        raise LamdError(f"{root}: not a folder; choose another one")
    try:
        root.mkdir(parents=True, exist_ok=True)
        _check_free(root)  # before the lock, whose file stays
        with locked(root / ".simulate.lock", f"the stand-in {root}"):
            _claim(request)
            check_own(root.resolve())
            parts = list(parts)
            jobs = [job for part in parts for job in part.jobs]
            with closing(_in_order(jobs, min(num_workers, len(jobs)))) as results:
                tracked = track(results, f"simulating {dataset.name}", len(jobs))
                for part in parts:
                    part.finish(islice(tracked, len(part.jobs)))
    except OSError as error:
        raise LamdError(
            f"{error.filename or root}: {error.strerror or error}; make room, make it writable or "
            "choose another folder"
        ) from None


def fill_folder(
    folder: Path, videos: Mapping[str, Callable[[], Pictures]], mark: str
) -> Iterator[Part]:
    """Yield the part that fills `folder`; `videos` by the folder below for each one's pictures.

    `mark` is written into each picture.
    """
    partly = folder.with_name(f".{folder.name}.partial")

    def finish(results: Iterator[None]) -> None:
        deque(results, maxlen=0)
        partly.rename(folder)

    if not folder.exists():
        missing = {name: draw for name, draw in videos.items() if not (partly / name).exists()}
        jobs = [
            partial(_write_pictures, partly / name, draw, mark) for name, draw in missing.items()
        ]
        yield Part(jobs, finish)


def _write_pictures(folder: Path, draw: Callable[[], Pictures], mark: str) -> None:
    """Write the pictures of a video; their folder appears when all are there."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    text = PngInfo()
    text.add_text("comment", mark)
    for name, picture in draw():
        picture.save(temporary / name, quality=JPEG_QUALITY, comment=mark, pnginfo=text)
    temporary.rename(folder)


def _check_free(root: Path) -> None:
    """Check that the root is a stand-in or contains nothing."""
    paths = list(root.iterdir())  # first: another process may claim the root meanwhile
    if read_stand_in(root) is None:
        for path in paths:
            if path.suffix == ".partial" or not is_system_file(path.name):
                raise LamdError(f"{path}: exists and is no stand-in; choose another folder")


def _claim(request: Request) -> None:
    """Write the manifest into a fresh root, or check that the one there asks for the same."""
    root, wanted = request.root, request.stand_in
    present = read_stand_in(root)
    if present is None:
        write_stand_in(root, wanted)
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
    pool = start_pool(workers, leave_with_parent)
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
            "simulation: a worker process has ended, perhaps killed for want of memory: run the"
            " same again with fewer workers; a script needs `if __name__ == '__main__':`"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
