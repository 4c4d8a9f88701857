"""Packed videos: all frames of a split in one uint8 `.npy` with an index, memory-mapped when read.

Videos may differ in length; they lie one behind the other.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock

from lamd.base.errors import LamdError

FRAMES_FILE = "frames.npy"
INDEX_FILE = "index.json"
_FORMAT = 3


@dataclass(frozen=True)
class PackedIndex:
    """What `index.json` says: whose videos these are, how long, and what they hash to."""

    format: int
    dataset: str
    split: str
    variant: str | None  # the camera or kind of captions, where a data set has several
    size: int
    keys: tuple[str, ...]
    lengths: tuple[int, ...]  # frames of each video
    left_out: tuple[tuple[str, str], ...]  # key of what was not packed, and why
    content_hash: str
    source_fingerprint: str
    conditions: tuple[str, ...] | None = None  # y of each video, where the data set has one


@dataclass(frozen=True)
class Source:
    """What is to be packed.

    `identity` names all that decides which pixels come out of given files, `fingerprint` changes
    with the files. `videos()` yields, in order, a key with uint8 (T, size, size, 3), or with the
    reason why it is left out. `conditions` maps each key to its caption or class.
    """

    dataset: str
    split: str
    variant: str | None
    size: int
    identity: tuple[str, ...]
    fingerprint: str
    videos: Callable[[], Iterator[tuple[str, np.ndarray | str]]]
    conditions: Mapping[str, str] | None = None


class PackedVideos:
    """Videos behind a memory map; a copy sent to another process opens the file anew.

    `len()` counts videos, `keys` are such as `bair/train/7`.
    """

    def __init__(self, path: Path, index: PackedIndex) -> None:
        self.path, self.index = path, index

    @cached_property
    def frames(self) -> np.memmap:
        """All frames of all videos, uint8 (F, H, W, 3), read-only."""
        return np.load(self.path / FRAMES_FILE, mmap_mode="r", allow_pickle=False)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Frames of each video, int64 (N,)."""
        return np.array(self.index.lengths, np.int64)

    @property
    def keys(self) -> list[str]:
        """Names of the videos in order."""
        return list(self.index.keys)

    @property
    def size(self) -> int:
        """Height and width in pixels."""
        return self.index.size

    @property
    def left_out(self) -> list[tuple[str, str]]:
        """What was not packed: key and reason."""
        return list(self.index.left_out)

    @property
    def conditions(self) -> tuple[str, ...] | None:
        """The caption or class y of each video; None where the data set has none."""
        return self.index.conditions

    @property
    def content_hash(self) -> str:
        """SHA-256 over the raw pixel bytes, each video's condition after it; hexadecimal."""
        return self.index.content_hash

    def __len__(self) -> int:
        return len(self.index.keys)

    def __getstate__(self) -> tuple[Path, PackedIndex]:
        return self.path, self.index

    def __setstate__(self, state: tuple[Path, PackedIndex]) -> None:
        self.path, self.index = state

    def clip(self, i: int, start: int, num_frames: int) -> np.ndarray:
        """Copy frames `start` to `start + num_frames` of video `i`: uint8 (L, H, W, 3).

        Raises:
            IndexError: when video or frames do not exist.
        """
        if not (0 <= i < len(self) and 0 <= start <= start + num_frames <= self.lengths[i]):
            raise IndexError(f"video {i}, frames {start}..{start + num_frames} of {len(self)}")
        first = self._first[i] + start
        return np.array(self.frames[first : first + num_frames])

    def windows(self, num_frames: int, stride: int) -> np.ndarray:
        """List windows as (video, first frame), by the rule of `windows`."""
        return windows(self.lengths, num_frames, stride)

    @cached_property
    def _first(self) -> np.ndarray:
        return np.cumsum(self.lengths) - self.lengths


def windows(lengths: Sequence[int] | np.ndarray, num_frames: int, stride: int) -> np.ndarray:
    """List windows (W, 2) int64, (video, first frame): starts 0, s, 2s, ... that fit, by video.

    With `stride` = `num_frames` they are disjoint (ours).
    """
    starts = [np.arange(0, length - num_frames + 1, stride) for length in lengths]
    pairs = [np.stack([np.full_like(s, i), s], axis=1) for i, s in enumerate(starts)]
    return np.concatenate([np.empty((0, 2), np.int64), *pairs])


def pack(source: Source, cache: Path) -> PackedVideos:
    """Decode a source once into `cache`, or reuse what lies there for the same files.

    Processes side by side wait for each other; an interrupted build leaves nothing that would be
    used, a damaged folder or one of an older format is made again.

    Raises:
        LamdError: when the source cannot be read or the cache cannot be written.
    """
    parts = (source.dataset, source.split, source.variant, digest(*source.identity)[:10])
    stem = "-".join(part for part in parts if part is not None)
    target = cache / f"{stem}-{source.fingerprint[:10]}"
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
                _build(building, source)
                os.replace(building, target)
            finally:
                shutil.rmtree(building, ignore_errors=True)
    except OSError as error:
        raise LamdError(
            f"{target}: cannot be packed ({error.strerror}); check free space and permissions"
        ) from None
    return open_packed(target)


def _build(folder: Path, source: Source) -> None:
    content = hashlib.sha256()
    lengths: dict[str, int] = {}
    left_out: list[tuple[str, str]] = []
    with (folder / FRAMES_FILE).open("wb") as stream:
        data_start = _write_header(stream, 0, source.size)
        for key, video in source.videos():
            if isinstance(video, str):
                left_out.append((key, video))
                continue
            stream.write(video)
            content.update(video)
            if source.conditions is not None:
                content.update(source.conditions[key].encode())
            lengths[key] = len(video)
        stream.seek(0)
        if _write_header(stream, sum(lengths.values()), source.size) != data_start:
            raise RuntimeError("the header of frames.npy has grown over the pixels")
        stream.flush()
        os.fsync(stream.fileno())
    conditions = source.conditions and tuple(source.conditions[key] for key in lengths)
    index = PackedIndex(
        _FORMAT, source.dataset, source.split, source.variant, source.size, tuple(lengths),
        tuple(lengths.values()), tuple(left_out), content.hexdigest(), source.fingerprint,
        conditions,
    )  # fmt: skip
    for key, reason in left_out:
        print(f"lamd: {key}: left out, {reason}", file=sys.stderr)
    if left_out:
        print(f"lamd: {len(lengths)} videos packed, {len(left_out)} left out", file=sys.stderr)
    with (folder / INDEX_FILE).open("w") as stream:
        json.dump(asdict(index), stream)
        stream.flush()
        os.fsync(stream.fileno())


def _write_header(stream: BinaryIO, num_frames: int, size: int) -> int:
    # numpy leaves room for the first axis to grow, so the number of frames can be filled in later.
    shape = (num_frames, size, size, 3)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.tell()


def open_packed(path: Path) -> PackedVideos:
    """Open a packed folder; cheap: reads the index and looks at the file's header and size.

    Raises:
        LamdError: when index, shape and size do not agree, or the format is an older one.
    """
    mend = "delete the folder and run `lamd data prepare` again"
    try:
        fields = json.loads((path / INDEX_FILE).read_text())
        if fields["format"] != _FORMAT:
            raise LamdError(f"{path}: packed format {fields['format']}, not {_FORMAT}; {mend}")
        left_out = tuple((key, reason) for key, reason in fields["left_out"])
        lists = {"keys": tuple(fields["keys"]), "lengths": tuple(fields["lengths"])}
        if fields.get("conditions") is not None:
            lists["conditions"] = tuple(fields["conditions"])
        index = PackedIndex(**{**fields, **lists, "left_out": left_out})
        videos = PackedVideos(path, index)
        shape, dtype = videos.frames.shape, videos.frames.dtype
        expected = (sum(index.lengths), index.size, index.size, 3)
    except OSError as error:
        raise LamdError(f"{path}: not a packed data set ({error}); {mend}") from None
    except (ValueError, TypeError, KeyError, EOFError) as error:
        raise LamdError(f"{path}: damaged packed data set ({error}); {mend}") from None
    if shape != expected or dtype != np.uint8 or len(index.keys) != len(index.lengths):
        raise LamdError(f"{path}: holds {dtype} {shape}, index says {expected}; {mend}")
    return videos


def digest(*parts: str) -> str:
    """Return the SHA-256 of some lines of text, hexadecimal."""
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()
