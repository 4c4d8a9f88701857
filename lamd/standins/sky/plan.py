"""Which videos a simulated split has: names, lengths and frame numbers, known before any pixel."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np

from lamd.base.rng import numpy_generator

CLIP_FRAMES = 32
LONGEST = 96
SHORT_SHARE = 0.05
GAP_SHARE = 0.35


@dataclass(frozen=True)
class ShortVideo:
    """A short video: `frames` are its picture numbers, rising, with gaps, in the long video.

    `long_video` numbers the long videos of a split, `part` the short ones in one of them, from 1;
    `begin` is the number of the long video's first picture.
    """

    long_video: int
    part: int
    begin: int
    frames: tuple[int, ...]

    @property
    def name(self) -> str:
        """The long video's name; zeros keep the natural order the order of drawing."""
        return f"sim{self.long_video:05d}"

    @property
    def folder(self) -> str:
        """The short video's folder below the split's."""
        return f"{self.name}/{self.name}_{self.part}"

    def file(self, frame: int) -> str:
        """Return the name of the picture with number `frame`."""
        return f"{self.name}_frames_{frame:08d}.jpg"


def plan_split(generator: str, seed: int, split: str, wanted: int) -> list[ShortVideo]:
    """List the short videos of a split up to the `wanted`-th with `CLIP_FRAMES` frames or more.

    A larger `wanted` only adds to the end of the list.
    """
    planned, usable = [], 0
    for video in _endless(generator, seed, split):
        if usable == wanted:
            break
        planned.append(video)
        usable += len(video.frames) >= CLIP_FRAMES
    return planned


def _endless(generator: str, seed: int, split: str) -> Iterator[ShortVideo]:
    for long_video in count():
        rng = numpy_generator(generator, seed, split, long_video, "plan")
        begin = first = int(rng.integers(1, 1200))
        for part in range(1, int(rng.integers(1, 5)) + 1):
            frames = first + _draw_frames(rng)
            yield ShortVideo(long_video, part, begin, tuple(int(n) for n in frames))
            first = int(frames[-1] + rng.integers(20, 150))


def _draw_frames(rng: np.random.Generator) -> np.ndarray:
    """Draw a length and gaps of one to four pictures; numbers from zero."""
    if rng.uniform() < SHORT_SHARE:
        length = int(rng.integers(2, CLIP_FRAMES))
    else:
        length = CLIP_FRAMES + int((LONGEST + 1 - CLIP_FRAMES) * rng.uniform() ** 2)
    steps = np.ones(length, int)
    steps[0] = 0
    if rng.uniform() < GAP_SHARE:
        steps[rng.integers(1, length, size=rng.integers(1, 4))] += rng.integers(1, 5)
    return steps.cumsum()
