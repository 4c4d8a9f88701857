"""Simulated Landscape: folders of JPEG frames in the real layout, planned before any pixel."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from pathlib import Path

import numpy as np
from PIL import Image

from lamd.base.rng import numpy_generator
from lamd.data.dataset import Dataset
from lamd.standins.sky.look import Look
from lamd.standins.sky.render import Renderer
from lamd.standins.writer import (
    Part,
    check_frame_size,
    fill_folder,
    partial_folder,
    whole_folder,
    write,
)

FRAME_SIZE = (640, 360)
SMALLEST = (64, 36)
QUALITY = 90
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


def simulate(
    dataset: Dataset, root: Path, *, counts: Mapping[str, int], seed: int,
    num_workers: int | None, frame_size: tuple[int, int] | None,
) -> None:  # fmt: skip
    """Write `root/sky_{train,test}`; a split's folder appears when it is complete.

    `counts` are of short videos of at least 32 frames; the manifest counts shorter ones as well.
    """
    size = frame_size or FRAME_SIZE
    check_frame_size(size, SMALLEST)
    plans = {s: plan_split(dataset.generator, seed, s, count) for s, count in counts.items()}

    def fill(split: str) -> Iterator[Part]:
        folder, streams = root / f"sky_{split}", (dataset.generator, seed, split)
        write_video = partial(_write_video, partial_folder(folder), streams, size)
        return fill_folder(folder, {v.folder: partial(write_video, v) for v in plans[split]})

    write(
        dataset, root, lambda: chain.from_iterable(map(fill, plans)),
        folders=[f"sky_{split}" for split in plans],
        counts={split: len(plan) for split, plan in plans.items()}, seed=seed,
        num_workers=num_workers, frame_size=size,
    )  # fmt: skip


def plan_split(generator: str, seed: int, split: str, wanted: int) -> list[ShortVideo]:
    """List the short videos of a split up to the `wanted`-th with `CLIP_FRAMES` frames or more."""
    planned, usable = [], 0
    for video in _endless(generator, seed, split):
        if usable >= wanted:
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


def _write_video(
    below: Path, streams: tuple[str, int, str], frame_size: tuple[int, int], video: ShortVideo
) -> None:
    """Write one short video's folder in one step."""
    with whole_folder(below / video.folder) as folder:
        pictures = _draw(streams, frame_size, video)
        for number, picture in zip(video.frames, pictures, strict=True):
            path = folder / f"{video.name}_frames_{number:08d}.jpg"
            picture.save(path, "JPEG", quality=QUALITY)


def _draw(
    streams: tuple[str, int, str], frame_size: tuple[int, int], video: ShortVideo
) -> Iterator[Image.Image]:
    """Draw a short video; its pixels depend on `streams`, its number and size only."""
    first = video.frames[0]
    long_video = (*streams, video.long_video)
    short_video = (*long_video, video.part)
    renderer = Renderer(
        Look(numpy_generator(*long_video, "look")),
        frame_size,
        light_start=first - video.begin,
        scenery=numpy_generator(*long_video, "scenery"),
        state=numpy_generator(*short_video, "state"),
        change=numpy_generator(*short_video, "change"),
    )
    return renderer.frames(number - first for number in video.frames)
