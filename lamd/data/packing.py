"""A listed split decoded into the packed cache; unreadable videos are left out, or raise."""

import hashlib
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from filelock import FileLock

from lamd.base.errors import LamdError
from lamd.base.files import write_atomically
from lamd.base.progress import track
from lamd.data.listing import Listing, Problem, Video, digest, printable
from lamd.data.packed import FRAMES_FILE, INDEX_FILE, PackedIndex, PackedVideos, open_packed

# key; uint8 (T, size, size, 3) or the reason why the video is left out; caption or class
Packable = tuple[str, np.ndarray | str, str | None]
V = TypeVar("V", bound=Video)
Result = TypeVar("Result")


Decoder = Callable[[Any], np.ndarray | Problem | str]


def pack(
    listing: Listing, videos: Iterable[Packable], cache: Path, *, size: int,
    identity: tuple[str, ...],
) -> PackedVideos:  # fmt: skip
    """Store `videos` of `listing` in `cache`, or reuse what is stored there for the same files.

    Concurrent processes wait for each other; a damaged folder or one of an older format is made
    again. `identity` names all that decides which pixels come out of given files.

    Raises:
        LamdError: when the cache cannot be written.
    """
    parts = (listing.dataset, listing.split, listing.variant, digest(*identity)[:10])
    stem = "-".join(part for part in parts if part is not None)
    target = cache / f"{stem}-{listing.fingerprint[:10]}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f".{stem}.lock"):
            if target.is_dir():
                try:
                    return open_packed(target)
                except LamdError:
                    shutil.rmtree(target)
            for stale in (*cache.glob(f"{stem}-*"), *cache.glob(f".{stem}-*.tmp")):
                shutil.rmtree(stale)
            building = cache / f".{target.name}.tmp"
            building.mkdir()
            try:
                _build(building, listing, videos, size)
                os.replace(building, target)
            finally:
                shutil.rmtree(building, ignore_errors=True)
    except OSError as error:
        raise LamdError(
            f"{target}: cannot be packed ({error.strerror}); check free space and permissions"
        ) from None
    return open_packed(target)


def _build(folder: Path, listing: Listing, videos: Iterable[Packable], size: int) -> None:
    content = hashlib.sha256()
    lengths: dict[str, int] = {}
    conditions: list[str] = []
    left_out: list[tuple[str, str]] = []
    with (folder / FRAMES_FILE).open("wb") as stream:
        data_start = _write_header(stream, 0, size)
        for key, video, condition in videos:
            if isinstance(video, str):
                left_out.append((key, video))
                continue
            stream.write(video.data)
            content.update(video.data)
            lengths[key] = len(video)
            if condition is not None:
                content.update(condition.encode())
                conditions.append(condition)
        stream.seek(0)
        if _write_header(stream, sum(lengths.values()), size) != data_start:
            raise RuntimeError("the header of frames.npy has grown over the pixels")
        stream.flush()
        os.fsync(stream.fileno())
    for key, reason in left_out:  # not while threads decode, which silence stderr
        print(f"lamd: {key}: left out, {reason}", file=sys.stderr)
    if left_out:
        print(f"lamd: {len(lengths)} videos packed, {len(left_out)} left out", file=sys.stderr)
    index = PackedIndex(
        dataset=listing.dataset, split=listing.split, variant=listing.variant, size=size,
        keys=tuple(lengths), lengths=tuple(lengths.values()), left_out=tuple(left_out),
        content_hash=content.hexdigest(), source_fingerprint=listing.fingerprint,
        conditions=tuple(conditions) or None,
    )  # fmt: skip
    write_atomically(folder / INDEX_FILE, index.model_dump_json())


def _write_header(stream: BinaryIO, num_frames: int, size: int) -> int:
    # numpy leaves room for the first axis to grow, so the number of frames can be filled in later.
    shape = (num_frames, size, size, 3)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.tell()


def usable_videos(
    listing: Listing, decoder: Decoder, limit: int | None, on_corrupt: str
) -> Iterator[Packable]:
    """Decode the first `limit` usable videos of a listing; what is left out comes with a reason.

    Raises:
        LamdError: on too few usable videos, and on unreadable ones with `on_corrupt: raise`.
    """
    if on_corrupt == "raise":
        for problem in listing.problems():
            raise _corrupt(listing, problem)
    for problem in listing.unexpected_files:
        yield listing.key(problem.path), problem.reason, None

    def decode(video: Video) -> np.ndarray | Problem | str:
        return video.problems[0] if video.problems else decoder(video)

    usable, needed = 0, limit or 1
    if len(listing.videos) < needed:
        usable = len(listing.videos)
    else:
        label = f"packing {listing.dataset}/{listing.split}"
        with closing(decode_ahead(decode, listing.videos, label)) as decoded:
            for video, pixels in decoded:
                for problem in video.unexpected_files:
                    yield listing.key(problem.path), problem.reason, None
                if isinstance(pixels, Problem):
                    if on_corrupt == "raise":
                        raise _corrupt(listing, pixels)
                    file = "" if pixels.path == video.path else f"{pixels.path.name}: "
                    pixels = printable(f"{file}{pixels.reason}")
                yield video.key, pixels, video.condition
                usable += not isinstance(pixels, str)
                if usable == limit:
                    return
    if usable < needed:
        raise LamdError(
            f"{listing.folder}: {usable} usable videos, {needed} needed; lower"
            f" data.num_{listing.split} or data.num_frames, or run"
            f" `lamd data verify {listing.dataset}`"
        )


def _corrupt(listing: Listing, problem: Problem) -> LamdError:
    return LamdError(
        f"{problem}; fix or remove it, or set data.on_corrupt: skip;"
        f" `lamd data verify {listing.dataset}` lists all such files"
    )


def decode_ahead(
    work: Callable[[V], Result], videos: Sequence[V], label: str
) -> Generator[tuple[V, Result], None, None]:
    """Yield each video with its result, in order, worked ahead by threads, behind a bar."""
    workers, todo = os.cpu_count() or 1, iter(videos)
    with ThreadPoolExecutor(workers) as pool:
        try:
            waiting = deque(pool.submit(work, video) for video in islice(todo, workers + 2))
            for video in track(videos, label):
                result = waiting.popleft().result()
                waiting.extend(pool.submit(work, later) for later in islice(todo, 1))
                yield video, result
        finally:
            pool.shutdown(cancel_futures=True)
