"""Packed videos: all frames of a split in one uint8 `.npy` with an index, memory-mapped when read.

Videos may differ in length; they are stored one after another.
"""

import hashlib
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, NamedTuple

import numpy as np
from pydantic import Field

from lamd.base.arrays import load_array
from lamd.base.errors import LamdError
from lamd.base.files import below, load_json, refuse_link, replace_folder, write_atomically
from lamd.base.processes import locked
from lamd.base.terminal import say
from lamd.config.data import Windows
from lamd.config.strict import Many, Strict
from lamd.data.listing import Listing, digest

FRAMES_FILE = "frames.npy"
INDEX_FILE = "index.json"
_FIX = "delete the folder and run `lamd data prepare` again"
_Length = Annotated[int, Field(ge=0, lt=2**31)]


class Packable(NamedTuple):
    """A video to pack: uint8 (T, size, size, 3), or the reason why it is left out."""

    key: str
    video: np.ndarray | str
    condition: str | None = None  # caption or class
    truncated: int = 0  # frames whose files end early
    stand_in: str | None = None  # that its files name


class PackedIndex(Strict):
    """Content of `index.json`: whose videos these are, how long, and what they hash to."""

    format: Literal[3] = 3
    dataset: str
    split: str
    variant: str | None  # the camera or kind of captions, where a data set has several
    size: _Length  # height and width in pixels
    keys: Many[str]  # of the videos in order, such as `bair/train/7`
    lengths: Many[_Length]  # frames of each video
    # frames that are stored of each, where those of `lengths` are evenly drawn from them
    stored_lengths: Many[_Length] | None = None
    left_out: Many[tuple[str, str]]  # key of what was not packed, and why
    content_hash: str  # SHA-256 over the pixel bytes, each video's condition after it, hexadecimal
    source_fingerprint: str
    conditions: Many[str] | None = None  # caption or class y of each, where there is one
    truncated_frames: _Length = 0  # loaded from files that end early
    stand_in: str | None = None  # that the files or their root name


class PackedVideos:
    """Videos behind a memory map, `len()` of them; attributes have the names of the index.

    A copy sent to another process opens the file again.
    """

    def __init__(self, path: Path, index: PackedIndex) -> None:
        self.path, self.index = path, index
        self.lengths = np.array(index.lengths, np.int64)
        self.stored_lengths = np.array(index.stored_lengths or index.lengths, np.int64)
        self.keys, self.left_out = list(index.keys), list(index.left_out)
        self.size, self.conditions = index.size, index.conditions
        self.content_hash = index.content_hash

    @cached_property
    def frames(self) -> np.ndarray:
        """All frames of all videos, uint8 (F, H, W, 3), a read-only memory map."""
        return load_array(self.path / FRAMES_FILE, np.uint8, 4, _FIX, mapped=True)

    def __len__(self) -> int:
        return len(self.keys)

    def __reduce__(self) -> tuple:
        return PackedVideos, (self.path, self.index)

    def clip(self, i: int, start: int, num_frames: int) -> np.ndarray:
        """Copy `num_frames` frames of video `i` from `start`: uint8 (L, H, W, 3); or IndexError."""
        if not (0 <= i < len(self) and 0 <= start <= start + num_frames <= self.lengths[i]):
            raise IndexError(f"video {i}, frames {start}..{start + num_frames} of {len(self)}")
        numbers = np.arange(start, start + num_frames)
        if self.index.stored_lengths is not None:
            numbers = evenly_drawn(self.stored_lengths[i], self.lengths[i])[numbers]
        return self.stored_frames(i, numbers)

    def stored_frames(self, i: int, numbers: np.ndarray) -> np.ndarray:
        """Copy frames of all that are stored of video `i`: uint8 (len(numbers), H, W, 3)."""
        return self.frames[self._first[i] + numbers]

    def windows(self, num_frames: int, stride: int) -> np.ndarray:
        """List windows as (video, first frame), by the rule of `windows`."""
        return windows(self.lengths, num_frames, stride)

    @cached_property
    def _first(self) -> np.ndarray:
        return np.cumsum(self.stored_lengths) - self.stored_lengths


def evenly_drawn(length: int, num_frames: int) -> np.ndarray:
    """Return the numbers of `num_frames` frames of a clip of `length` (LFDM's rule, reported).

    They are even, rounded down, from the first to the last; of a shorter clip all, the last
    repeated.
    """
    if length < num_frames:
        return np.minimum(np.arange(num_frames), length - 1)
    return np.linspace(0, length - 1, num_frames, dtype=int)


def windows(lengths: Sequence[int] | np.ndarray, num_frames: int, stride: int) -> np.ndarray:
    """List windows (W, 2) int64, (video, first frame): starts 0, s, 2s, ... that fit, by video.

    With `stride` = `num_frames` they are disjoint.
    """
    starts = [np.arange(0, length - num_frames + 1, stride) for length in lengths]
    pairs = [np.stack([np.full_like(s, i), s], axis=1) for i, s in enumerate(starts)]
    return np.concatenate([np.empty((0, 2), np.int64), *pairs])


def windows_by_rule(
    lengths: Sequence[int] | np.ndarray, num_frames: int, rule: Windows
) -> np.ndarray:
    """List windows as `windows` does, by a rule of a config's `evaluate.windows`."""
    stride = {"disjoint": num_frames, "first": max(lengths, default=1), "all": 1}[rule]
    return windows(lengths, num_frames, int(stride))


def open_packed(path: Path) -> PackedVideos:
    """Open a packed folder; cheap: reads the index and looks at the file's header and size.

    LamdError when index, shape and size do not agree, or the format is an older one.
    """
    index = load_json(path / INDEX_FILE, PackedIndex, _FIX)
    videos = PackedVideos(path, index)
    shape = videos.frames.shape
    expected = (int(videos.stored_lengths.sum()), index.size, index.size, 3)
    conditions = index.keys if index.conditions is None else index.conditions
    counts = {len(part) for part in (index.keys, index.lengths, videos.stored_lengths, conditions)}
    if shape != expected or len(counts) > 1:
        raise LamdError(f"{path}: holds {shape}, index says {expected} of {counts} videos; {_FIX}")
    return videos


def pack(
    listing: Listing, videos: Iterable[Packable], cache: Path, *, size: int,
    identity: tuple[str, ...], num_drawn: int | None = None, stand_in: str | None = None,
) -> PackedVideos:  # fmt: skip
    """Store `videos` of `listing` in `cache`, or reuse what is stored there for the same files.

    With `num_drawn`, each video has that many frames, evenly drawn from those that are stored.
    Concurrent processes wait for each other; a damaged folder or one of an older format is made
    again. `identity` names all that decides which pixels come out of given files, `stand_in` what
    their root says that they are. LamdError when the cache cannot be written.
    """
    parts = (listing.dataset, listing.split, listing.variant, digest(*identity)[:10])
    stem = "-".join(part for part in parts if part is not None)
    target = below(cache, f"{stem}-{listing.fingerprint[:10]}")
    for note in listing.notes:
        say(f"{listing.dataset}/{listing.split}: {note}")
    with suppress(LamdError):  # without the lock, which another user of the cache may own
        return open_packed(target)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / f".{stem}.lock", f"the pack of {stem}"):
            with suppress(LamdError):
                return open_packed(target)
            for stale in (*cache.glob(f"{stem}-*"), *cache.glob(f".tmp_{stem}-*")):
                shutil.rmtree(refuse_link(stale))
            replace_folder(
                target, lambda folder: _build(folder, listing, videos, size, num_drawn, stand_in)
            )
    except OSError as error:
        raise LamdError(
            f"{target}: cannot be packed ({error.strerror}); check free space and permissions"
        ) from None
    return open_packed(target)


def _build(
    folder: Path, listing: Listing, videos: Iterable[Packable], size: int, num_drawn: int | None,
    stand_in: str | None,
) -> None:  # fmt: skip
    content = hashlib.sha256()
    lengths: dict[str, int] = {}
    conditions: list[str] = []
    left_out: list[tuple[str, str]] = []
    truncated_frames = 0
    with (folder / FRAMES_FILE).open("wb") as stream:
        data_start = _write_header(stream, 0, size)
        for key, video, condition, truncated, mark in videos:
            truncated_frames += truncated
            stand_in = stand_in or mark
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
    for key, reason in left_out:  # below the bar
        say(f"{key}: left out, {reason}")
    if left_out:
        say(f"{len(lengths)} videos packed, {len(left_out)} left out")
    index = PackedIndex(
        dataset=listing.dataset, split=listing.split, variant=listing.variant, size=size,
        keys=tuple(lengths), lengths=tuple(lengths.values()), left_out=tuple(left_out),
        content_hash=content.hexdigest(), source_fingerprint=listing.fingerprint,
        conditions=tuple(conditions) or None, truncated_frames=truncated_frames,
        stand_in=stand_in,
    )  # fmt: skip
    if num_drawn is not None:
        drawn = {"lengths": (num_drawn,) * len(lengths), "stored_lengths": index.lengths}
        index = index.model_copy(update=drawn)
    write_atomically(folder / INDEX_FILE, index.model_dump_json())


def _write_header(stream: BinaryIO, num_frames: int, size: int) -> int:
    # numpy leaves room for the first axis to grow, so the number of frames can be filled in later.
    shape = (num_frames, size, size, 3)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.tell()
