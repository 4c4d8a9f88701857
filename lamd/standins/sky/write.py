"""Simulated Landscape: folders of JPEG frames in the real layout, planned before any pixel."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np

from lamd.base.rng import numpy_generator
from lamd.data.dataset import Dataset
from lamd.standins.sky.look import Look
from lamd.standins.sky.render import Renderer
from lamd.standins.writer import Part, Pictures, Request, fill_folder, write

FRAME_SIZE = (640, 360)
SMALLEST = (64, 36)
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


def simulate(dataset: Dataset, root: Path, **options: Any) -> None:
    """Write `root/sky_{train,test}`; a split's folder appears when it is complete.

    Counts are of short videos of at least 32 frames; the manifest counts shorter ones as well.
    """
    request = Request(dataset, root, **options).sized(FRAME_SIZE, SMALLEST)
    plans = {
        split: plan_split(dataset.generator, request.seed, split, wanted)
        for split, wanted in request.counts.items()
    }
    request = replace(request, counts={split: len(plan) for split, plan in plans.items()})

    def fill(split: str) -> Iterator[Part]:
        videos = {video.folder: partial(_draw, request, split, video) for video in plans[split]}
        return fill_folder(root / f"sky_{split}", videos, request.stand_in.mark)

    write(request, chain.from_iterable(map(fill, plans)))


def plan_split(generator: str, seed: int, split: str, wanted: int) -> list[ShortVideo]:
    """List the short videos of a split up to the `wanted`-th with `CLIP_FRAMES` frames or more."""
    planned: list[ShortVideo] = []
    for long_video in count():
        rng = numpy_generator(generator, seed, split, long_video, "plan")
        begin = first = int(rng.integers(1, 1200))
        for part in range(1, int(rng.integers(1, 5)) + 1):
            if wanted < 1:
                return planned
            numbers = first + _draw_numbers(rng)
            planned.append(ShortVideo(long_video, part, begin, tuple(numbers.tolist())))
            wanted -= len(numbers) >= CLIP_FRAMES
            first = int(numbers[-1] + rng.integers(20, 150))
    raise AssertionError("long videos have no end")


def _draw_numbers(rng: np.random.Generator) -> np.ndarray:
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


def _draw(request: Request, split: str, video: ShortVideo) -> Pictures:
    """Draw a short video; its pixels depend on these, the seed and the future only."""
    first, long_video = video.frames[0], (split, video.long_video)
    future, times = request.future, [number - first for number in video.frames]
    for start, end in future.segments(len(times)) if future else [(0, len(times))]:
        renderer = Renderer(
            Look(request.random(*long_video, "look")),
            request.size,
            light_start=first - video.begin,
            scenery=request.random(*long_video, "scenery"),
            state=request.random(*long_video, video.part, "state"),
            change=request.random(*long_video, video.part, "change"),
        )
        for k, picture in enumerate(renderer.frames(times[:end])):
            if k >= start:
                yield f"{video.name}_frames_{video.frames[k]:08d}.jpg", picture
            if k == start and (other := request.other_motion(*long_video, video.part, start)):
                renderer.branch(times[k], other)
