"""Frames of a video decoded, resized and packed; what is broken is left out, or stops.

Landscape, NATOPS and MUG share it; they differ in which frames are taken and how one becomes a
square.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import track

from lamd.base.errors import LamdError
from lamd.data.folders import Flaw, FrameFolder, FrameSplit, printable

if TYPE_CHECKING:
    from PIL.Image import Image

Result = TypeVar("Result")


def squeeze(image: "Image", size: int) -> "Image":
    """Resize the whole picture to a square by Lanczos; the aspect changes."""
    from PIL import Image

    return image.resize((size, size), Image.Resampling.LANCZOS)


@dataclass(frozen=True)
class FrameRule:
    """How a frame becomes uint8 (size, size, 3).

    Where that is a JPEG, its own scaling by 2, 4 or 8 comes first if the result stays above `size`
    (ours). Flipped bits that leave a readable picture go unnoticed.
    """

    size: int
    image_formats: tuple[str, ...] = ("JPEG",)
    square: Callable[["Image", int], "Image"] = squeeze


def read_frame(
    path: Path, rule: FrameRule, picture: tuple[int, int] | None = None
) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode a frame by `rule`: uint8 (size, size, 3), and its (width, height) on disk.

    Raises:
        ValueError: when it cannot be decoded or its size is not `picture`; says why.
    """
    from PIL import Image

    kind = " or ".join(rule.image_formats)
    try:
        with Image.open(path, formats=rule.image_formats) as image:
            found = image.size
            if picture not in (None, found):
                sizes = ("{}x{}".format(*pair) for pair in (found, picture))
                raise ValueError("{} pixels, the first frame has {}".format(*sizes))
            image.draft("RGB", (rule.size, rule.size))
            return np.asarray(rule.square(image.convert("RGB"), rule.size)), found
    except Image.UnidentifiedImageError:
        raise ValueError(f"not a {kind}") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"broken {kind} ({' '.join(str(reason).split())})") from None


def check_frames(found: FrameSplit, image_formats: tuple[str, ...] = ("JPEG",)) -> list[Flaw]:
    """Decode all frames of a split and list those that cannot be used."""
    check = partial(_broken_frames, rule=FrameRule(1, image_formats))
    return [flaw for _, of_video in _in_threads(check, found, "verifying") for flaw in of_video]


def _broken_frames(video: FrameFolder, rule: FrameRule) -> list[Flaw]:
    flaws, picture = [], None
    for name in video.frames:
        path = video.folder / name
        try:
            _, found = read_frame(path, rule, picture)
            picture = picture or found
        except ValueError as error:
            flaws.append(Flaw(path, str(error)))
    return flaws


def check_options(broken: str, **counts: int | None) -> None:
    """Refuse a count below 1 and a `broken` that is neither `skip` nor `stop`.

    Raises:
        LamdError: says which.
    """
    for name, value in counts.items():
        if value is not None and value < 1:
            raise LamdError(f"{name} {value}: must be at least 1")
    if broken not in ("skip", "stop"):
        raise LamdError(f"broken {broken!r}: unknown; use skip or stop")


@dataclass(frozen=True)
class VideoRule:
    """What is packed of a split: which frames of a video, and how many videos.

    `choose` maps a video's number of frames to the numbers of those taken, rising, or to the
    reason why it is left out. `limit` None takes all; `needed` says in words what makes a video
    usable.
    """

    frame: FrameRule
    choose: Callable[[int], Sequence[int] | str]
    limit: int | None
    broken: str
    needed: str


def packed_frames(found: FrameSplit, rule: VideoRule) -> Iterator[tuple[str, np.ndarray | str]]:
    """Yield key and uint8 (T, size, size, 3) of each usable video, or why it is left out.

    Raises:
        LamdError: on the first flaw where `rule.broken` is `stop`, and on too few usable videos.
    """
    if rule.broken == "stop":
        for flaw in found.flaws():
            raise _stopped(found, flaw)
    yield from _listed(found, found.strays)
    taken = 0
    with closing(_in_threads(partial(_read_video, rule=rule), found, "packing")) as decoded:
        for video, pixels in decoded:
            yield from _listed(found, video.strays)
            if isinstance(pixels, Flaw):
                if rule.broken == "stop":
                    raise _stopped(found, pixels)
                file = "" if pixels.path == video.folder else f"{printable(pixels.path.name)}: "
                yield video.key, f"{file}{pixels.reason}"
            else:
                yield video.key, pixels
                taken += not isinstance(pixels, str)
                if taken == rule.limit:
                    return
    if taken < (rule.limit or 1):
        raise LamdError(
            f"{found.folder}: {taken} usable videos{rule.needed}, {rule.limit or 1} needed;"
            f" lower data.num_{found.split} or data.num_frames, or run"
            f" `lamd data verify {found.dataset}`"
        )


def _read_video(video: FrameFolder, rule: VideoRule) -> np.ndarray | Flaw | str:
    """Return uint8 (T, size, size, 3), the first flaw, or why the video is left out."""
    if video.flaws:
        return video.flaws[0]
    numbers = rule.choose(len(video.frames))
    if isinstance(numbers, str):
        return numbers
    size = rule.frame.size
    frames, picture, last = np.empty((len(numbers), size, size, 3), np.uint8), None, None
    for k, number in enumerate(numbers):
        path = video.folder / video.frames[number]
        try:
            if number == last:
                frames[k] = frames[k - 1]
            else:
                frames[k], picture = read_frame(path, rule.frame, picture)
        except ValueError as error:
            return Flaw(path, str(error))
        last = number
    return frames


def _listed(found: FrameSplit, strays: Sequence[Flaw]) -> Iterator[tuple[str, str]]:
    for flaw in strays:
        yield found.key(flaw.path), flaw.reason


def _stopped(found: FrameSplit, flaw: Flaw) -> LamdError:
    return LamdError(
        f"{flaw}; mend or remove it, or set data.broken: skip;"
        f" `lamd data verify {found.dataset}` lists all such files"
    )


def _in_threads(
    work: Callable[[FrameFolder], Result], found: FrameSplit, verb: str
) -> Iterator[tuple[FrameFolder, Result]]:
    """Yield each video with its result, in order, worked ahead: Pillow releases the lock."""
    console = Console(stderr=True)
    shown = track(
        found.videos,
        f"{verb} {found.dataset}/{found.split}",
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
