"""Landscape's frames: decoding, resizing, packing; what is broken is left out or stops."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.progress import track

from lamd.data.landscape import Flaw, LandscapeSplit, ShortVideo, open_landscape, printable
from lamd.data.packed import PackedVideos, Source, pack
from lamd.errors import LamdError

Result = TypeVar("Result")


def read_frame(
    path: Path, size: int, picture: tuple[int, int] | None = None
) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode a frame, resized whole to a square: uint8 (size, size, 3), and its (width, height).

    The aspect changes (paper). JPEG's own scaling by 2, 4 or 8 comes first where the result stays
    above `size`, then Lanczos (ours). Flipped bits that leave a readable JPEG go unnoticed.

    Raises:
        ValueError: when it cannot be decoded or its size is not `picture`; says why.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=("JPEG",)) as image:
            found = image.size
            if picture not in (None, found):
                sizes = ("{}x{}".format(*pair) for pair in (found, picture))
                raise ValueError("{} pixels, the first frame has {}".format(*sizes))
            image.draft("RGB", (size, size))
            square = image.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
            return np.asarray(square), found
    except Image.UnidentifiedImageError:
        raise ValueError("not a JPEG") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"broken JPEG ({' '.join(str(reason).split())})") from None


def check_frames(found: LandscapeSplit) -> list[Flaw]:
    """Decode all frames of a split and list those that cannot be used."""
    flaws = _in_threads(_broken_frames, found, "verifying")
    return [flaw for _, of_video in flaws for flaw in of_video]


def _broken_frames(video: ShortVideo) -> list[Flaw]:
    flaws, picture = [], None
    for name in video.frames:
        path = video.folder / name
        try:
            _, found = read_frame(path, 1, picture)
            picture = picture or found
        except ValueError as error:
            flaws.append(Flaw(path, str(error)))
    return flaws


def _read_video(video: ShortVideo, size: int, min_frames: int) -> np.ndarray | Flaw | None:
    """Return uint8 (T, size, size, 3), the first flaw, or None for a short video."""
    if video.flaws:
        return video.flaws[0]
    if len(video.frames) < min_frames:
        return None
    frames, picture = np.empty((len(video.frames), size, size, 3), np.uint8), None
    for frame, name in zip(frames, video.frames, strict=True):
        try:
            frame[:], picture = read_frame(video.folder / name, size, picture)
        except ValueError as error:
            return Flaw(video.folder / name, str(error))
    return frames


def pack_landscape(
    root: Path,
    cache: Path,
    *,
    split: str,
    size: int,
    min_frames: int,
    limit: int | None = None,
    broken: str = "stop",
) -> PackedVideos:
    """Decode a split of Landscape once into `cache`, or reuse what lies there.

    Args:
        root: holds `sky_train` and `sky_test`.
        cache: where packed data sets lie.
        split: `train` or `test`.
        size: height and width of the result, pixels.
        min_frames: shorter videos are left out and listed.
        limit: take the first so many usable videos; None takes all.
        broken: `skip` leaves out and lists videos that cannot be read, and ignores and lists stray
            files; `stop` raises on the first of either.

    Raises:
        LamdError: on missing folders, too few usable videos, and on broken files with `stop`.
    """
    for name, value in {"size": size, "min_frames": min_frames, "limit": limit}.items():
        if value is not None and value < 1:
            raise LamdError(f"{name} {value}: must be at least 1")
    if broken not in ("skip", "stop"):
        raise LamdError(f"broken {broken!r}: unknown; use skip or stop")
    found = open_landscape(root, split)
    options = (split, str(limit), str(size), str(min_frames), broken)
    source = Source(
        dataset="landscape",
        split=split,
        variant=None,
        size=size,
        identity=(str(root.resolve()), *options),
        fingerprint=found.fingerprint,
        videos=partial(_videos, found, size, min_frames, limit, broken),
    )
    return pack(source, cache)


def _videos(
    found: LandscapeSplit, size: int, min_frames: int, limit: int | None, broken: str
) -> Iterator[tuple[str, np.ndarray | str]]:
    if broken == "stop":
        for flaw in found.flaws():
            raise _stopped(flaw)
    yield from _listed(found, found.strays)
    taken = 0
    read = partial(_read_video, size=size, min_frames=min_frames)
    with closing(_in_threads(read, found, "packing")) as decoded:
        for video, pixels in decoded:
            yield from _listed(found, video.strays)
            if pixels is None:
                yield video.key, f"{len(video.frames)} frames, fewer than {min_frames}"
            elif isinstance(pixels, Flaw):
                if broken == "stop":
                    raise _stopped(pixels)
                file = "" if pixels.path == video.folder else f"{printable(pixels.path.name)}: "
                yield video.key, f"{file}{pixels.reason}"
            else:
                yield video.key, pixels
                taken += 1
                if taken == limit:
                    return
    if taken < (limit or 1):
        raise LamdError(
            f"{found.folder}: {taken} usable videos of at least {min_frames} frames,"
            f" {limit or 1} needed; lower data.num_{found.split} or data.num_frames, or run"
            " `lamd data verify landscape`"
        )


def _listed(found: LandscapeSplit, strays: Sequence[Flaw]) -> Iterator[tuple[str, str]]:
    for flaw in strays:
        yield found.key(flaw.path), flaw.reason


def _stopped(flaw: Flaw) -> LamdError:
    return LamdError(
        f"{flaw}; mend or remove it, or set data.broken: skip;"
        " `lamd data verify landscape` lists all such files"
    )


def _in_threads(
    work: Callable[[ShortVideo], Result], found: LandscapeSplit, verb: str
) -> Iterator[tuple[ShortVideo, Result]]:
    """Yield each video with its result, in order, worked ahead: Pillow releases the lock."""
    console = Console(stderr=True)
    shown = track(
        found.videos,
        f"{verb} landscape/{found.split}",
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    workers, todo = os.cpu_count() or 1, iter(found.videos)
    with ThreadPoolExecutor(workers) as pool:
        try:
            waiting = deque(pool.submit(work, video) for video in islice(todo, workers + 2))
            for video in shown:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(work, later) for later in islice(todo, 1))
                yield video, result
        finally:
            pool.shutdown(cancel_futures=True)
