"""Simulated Landscape on disk: worker processes fill folders of JPEG frames in the real layout."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from PIL import Image

from lamd.base.errors import LamdError
from lamd.base.rng import numpy_generator
from lamd.data.stand_in import GENERATORS, StandIn
from lamd.standins.sky.look import draw_look
from lamd.standins.sky.plan import ShortVideo, plan_split
from lamd.standins.sky.render import Renderer
from lamd.standins.writer import (
    claim,
    count_workers,
    in_order,
    run_through,
    whole_folder,
)

# goes up with every change that alters a byte
GENERATOR = GENERATORS["landscape"]
FRAME_SIZE = (640, 360)
SMALLEST = (64, 36)
QUALITY = 90


@dataclass(frozen=True)
class _Job:
    """One short video to be written below `folder`."""

    folder: Path
    seed: int
    split: str
    video: ShortVideo
    frame_size: tuple[int, int]


def simulate_landscape(
    root: Path,
    *,
    num_train: int,
    num_test: int,
    seed: int,
    num_workers: int | None = None,
    frame_size: tuple[int, int] = FRAME_SIZE,
) -> None:
    """Write the stand-in for Landscape and its manifest: `root/sky_{train,test}`.

    `num_train` and `num_test` count short videos of at least 32 frames; the few shorter ones among
    them come on top, and the manifest counts all. A split's folder appears when it is complete; the
    complete videos of an interrupted run are kept. A larger split begins with the smaller one, and
    `num_workers` (default: one a core) never changes a byte. `frame_size` is (width, height) in
    pixels, 16:9, and shows the same skies at any size.

    Raises:
        LamdError: when `root` holds real data or a stand-in of another seed, size or generator
            version, or cannot be written.
    """
    counts = {"train": num_train, "test": num_test}
    for split, count in counts.items():
        if count < 1:
            raise LamdError(f"num_{split}: {count} videos asked for; ask for at least 1")
    width, height = frame_size
    if width * 9 != height * 16 or frame_size < SMALLEST or height % 2:
        raise LamdError(f"frame_size: {width}x{height}; give even 16:9, 64x36 or larger")
    workers = count_workers(num_workers)
    plans = {split: plan_split(GENERATOR, seed, split, count) for split, count in counts.items()}
    written = {split: len(plan) for split, plan in plans.items()}
    wanted = StandIn("landscape", f"{GENERATOR}.{width}x{height}", seed, written)
    claim(root, wanted, [f"sky_{split}" for split in plans])
    with FileLock(root / ".simulate.lock"):
        for split, plan in plans.items():
            if not (root / f"sky_{split}").exists():
                _write_split(root, seed, split, plan, frame_size, workers)


def _write_split(
    root: Path, seed: int, split: str, plan: list[ShortVideo], size: tuple[int, int], workers: int
) -> None:
    partial = root / f".sky_{split}.partial"
    jobs = [
        _Job(partial, seed, split, video, size)
        for video in plan
        if not (partial / video.folder).exists()
    ]
    if jobs:
        finished = in_order(_write_video, jobs, min(workers, len(jobs)))
        run_through(finished, len(jobs), f"sky_{split}")
    partial.rename(root / f"sky_{split}")


def _write_video(job: _Job) -> None:
    """Write one short video's folder in one step."""
    with whole_folder(job.folder / job.video.folder) as folder:
        for number, picture in zip(job.video.frames, _draw(job), strict=True):
            picture.save(folder / job.video.file(number), "JPEG", quality=QUALITY)


def _draw(job: _Job) -> Iterator[Image.Image]:
    """Draw a short video; its pixels depend on seed, split, number and size only."""
    first = job.video.frames[0]
    long_video = (GENERATOR, job.seed, job.split, job.video.long_video)
    short_video = (*long_video, job.video.part)
    renderer = Renderer(
        draw_look(numpy_generator(*long_video, "look")),
        job.frame_size,
        light_start=first - job.video.begin,
        scenery=numpy_generator(*long_video, "scenery"),
        state=numpy_generator(*short_video, "state"),
        change=numpy_generator(*short_video, "change"),
    )
    return renderer.frames(number - first for number in job.video.frames)
