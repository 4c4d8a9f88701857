"""Packed videos: all frames of a split in one uint8 `.npy` with an index, memory-mapped when read.

Videos may differ in length; they are stored one after another.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ValidationError

from lamd.base.errors import LamdError
from lamd.config.strict import Strict

FRAMES_FILE = "frames.npy"
INDEX_FILE = "index.json"


class PackedIndex(Strict):
    """Content of `index.json`: whose videos these are, how long, and what they hash to."""

    format: Literal[3] = 3
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


class PackedVideos:
    """Videos behind a memory map; a copy sent to another process opens the file again.

    Attributes:
        lengths: frames of each video, int64 (N,); `len()` counts videos.
        keys: names of the videos in order, such as `bair/train/7`.
        size: height and width in pixels.
        left_out: key and reason of each video that was not packed.
        conditions: the caption or class y of each video; None where the data set has none.
        content_hash: SHA-256 over the pixel bytes, each video's condition after it, hexadecimal.
    """

    def __init__(self, path: Path, index: PackedIndex) -> None:
        self.path, self.index = path, index
        self.lengths = np.array(index.lengths, np.int64)
        self.keys, self.left_out = list(index.keys), list(index.left_out)
        self.size, self.conditions = index.size, index.conditions
        self.content_hash = index.content_hash

    @cached_property
    def frames(self) -> np.memmap:
        """All frames of all videos, uint8 (F, H, W, 3), read-only."""
        return np.load(self.path / FRAMES_FILE, mmap_mode="r", allow_pickle=False)

    def __len__(self) -> int:
        return len(self.keys)

    def __reduce__(self) -> tuple:
        return PackedVideos, (self.path, self.index)

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

    With `stride` = `num_frames` they are disjoint.
    """
    starts = [np.arange(0, length - num_frames + 1, stride) for length in lengths]
    pairs = [np.stack([np.full_like(s, i), s], axis=1) for i, s in enumerate(starts)]
    return np.concatenate([np.empty((0, 2), np.int64), *pairs])


def open_packed(path: Path) -> PackedVideos:
    """Open a packed folder; cheap: reads the index and looks at the file's header and size.

    Raises:
        LamdError: when index, shape and size do not agree, or the format is an older one.
    """
    fix = "delete the folder and run `lamd data prepare` again"
    try:
        index = PackedIndex.model_validate_json((path / INDEX_FILE).read_bytes())
        videos = PackedVideos(path, index)
        shape, dtype = videos.frames.shape, videos.frames.dtype
    except ValidationError as error:
        wrong = error.errors()[0]
        reason = ": ".join((*map(str, wrong["loc"]), wrong["msg"]))
        raise LamdError(f"{path}: damaged packed data set ({reason}); {fix}") from None
    except (OSError, ValueError, EOFError) as error:
        raise LamdError(f"{path}: not a packed data set ({error}); {fix}") from None
    expected = (sum(index.lengths), index.size, index.size, 3)
    if shape != expected or dtype != np.uint8 or len(index.keys) != len(index.lengths):
        raise LamdError(f"{path}: holds {dtype} {shape}, index says {expected}; {fix}")
    return videos
