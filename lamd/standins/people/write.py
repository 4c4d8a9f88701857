"""Simulated NATOPS and MUG on disk: worker processes fill folders of frames in the real layouts."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image

from lamd.base.errors import LamdError
from lamd.base.rng import numpy_generator
from lamd.data.gestures.reader import MUG, NATOPS, SESSION, GestureSet
from lamd.data.stand_in import GENERATORS, StandIn
from lamd.standins.people.body import body_frames, draw_body
from lamd.standins.people.face import draw_face, face_frames
from lamd.standins.writer import (
    claim,
    count_workers,
    in_order,
    run_through,
    whole_folder,
)

NATOPS_SIZE, MUG_SIZE = (320, 240), (896, 896)
SMALLEST = 48  # pixels of height
TAKES = 20  # as many as NATOPS has
JPEG_QUALITY = 90
_WITH_SESSIONS = (2, 49)  # of MUG's subjects in the splits


@dataclass(frozen=True)
class Clip:
    """Who does what: a subject, the number of its class, and which time, from 0."""

    subject: int
    label: int
    take: int


@dataclass(frozen=True)
class _Job:
    """One clip of the set `name` to be written below `folder`."""

    name: str
    folder: Path
    seed: int
    clip: Clip
    frame_size: tuple[int, int]


def simulate_natops(
    root: Path,
    *,
    num_train: int,
    num_test: int,
    seed: int,
    num_workers: int | None = None,
    frame_size: tuple[int, int] = NATOPS_SIZE,
) -> None:
    """Write the stand-in for NATOPS and its manifest: `root/natops`, 24 signals by drawn bodies.

    Counts are of clips, spread evenly over the classes and the split's own subjects; a larger set
    holds the smaller one. The folder appears when it is complete; the complete clips of an
    interrupted run are kept, and `num_workers` (default: one a core) never changes a byte.
    `frame_size` is (width, height) in pixels, 4:3.

    Raises:
        LamdError: when `root` holds real data or a stand-in of another seed, size or generator
            version, or cannot be written.
    """
    width, height = frame_size
    if width * 3 != height * 4 or height < SMALLEST:
        raise LamdError(f"frame_size: {width}x{height}; give 4:3, 64x48 or larger")
    counts = {"train": num_train, "test": num_test}
    _simulate(NATOPS, root, counts, seed, num_workers, frame_size)


def simulate_mug(
    root: Path,
    *,
    num_train: int,
    num_test: int,
    seed: int,
    num_workers: int | None = None,
    frame_size: tuple[int, int] = MUG_SIZE,
) -> None:
    """Write the stand-in for MUG and its manifest: `root/mug`, seven expressions by drawn faces.

    As `simulate_natops`, with square frames.

    Raises:
        LamdError: likewise.
    """
    width, height = frame_size
    if width != height or height < SMALLEST:
        raise LamdError(f"frame_size: {width}x{height}; give a square, 48x48 or larger")
    counts = {"train": num_train, "test": num_test}
    _simulate(MUG, root, counts, seed, num_workers, frame_size)


def plan_split(of: GestureSet, split: str, count: int) -> list[Clip]:
    """List the first `count` clips of a split in the order of `GestureSet.at`.

    Raises:
        LamdError: when there are fewer, or less than one is asked for.
    """
    most = TAKES * len(of.classes) * len(of.subjects[split])
    if not 1 <= count <= most:
        raise LamdError(f"num_{split}: {count} clips asked for; ask for 1 to {most}")
    return [Clip(*of.at(split, k)) for k in range(count)]


def _simulate(
    of: GestureSet, root: Path, counts: dict[str, int], seed: int, num_workers: int | None,
    frame_size: tuple[int, int],
) -> None:  # fmt: skip
    plan = [clip for split, count in counts.items() for clip in plan_split(of, split, count)]
    workers = count_workers(num_workers)
    generator = f"{GENERATORS[of.name]}.{frame_size[0]}x{frame_size[1]}"
    claim(root, StandIn(of.name, generator, seed, counts), [of.name])
    with FileLock(root / ".simulate.lock"):
        if (root / of.name).exists():
            return
        partial = root / f".{of.name}.partial"
        jobs = [
            _Job(of.name, partial, seed, clip, frame_size)
            for clip in plan
            if not (partial / clip_folder(of.name, clip)).exists()
        ]
        if jobs:
            finished = in_order(_write_clip, jobs, min(workers, len(jobs)))
            run_through(finished, len(jobs), of.name)
        partial.rename(root / of.name)


def clip_folder(name: str, clip: Clip) -> str:
    """Return the folder of a clip below the data set's, in the real layout."""
    if name == "natops":
        return f"g{clip.label + 1:02d}s{clip.subject:02d}p{clip.take + 1:02d}"
    session = f"{SESSION}/" if clip.subject in _WITH_SESSIONS else ""
    return f"{clip.subject:03d}/{session}{MUG.classes[clip.label]}/take{clip.take:03d}"


def _write_clip(job: _Job) -> None:
    """Write one clip's folder in one step."""
    place = clip_folder(job.name, job.clip)
    with whole_folder(job.folder / place) as folder:
        for number, pixels in enumerate(_draw(job)):
            picture = Image.fromarray(pixels)
            if job.name == "natops":
                in_video = 100 * job.clip.take + number
                picture.save(folder / f"{place}-{number:04d}-{in_video:04d}.png")
            else:
                picture.save(folder / f"img_{number:04d}.jpg", quality=JPEG_QUALITY)


def _draw(job: _Job) -> Iterator[np.ndarray]:
    """Draw a clip; its pixels depend on seed, subject, class, take and size only."""
    clip, name = job.clip, (GENERATORS[job.name], job.seed)
    looks = numpy_generator(*name, clip.subject, "look")
    acts = numpy_generator(*name, clip.subject, clip.label, clip.take, "act")
    if job.name == "natops":
        return body_frames(draw_body(looks), clip.label, acts, job.frame_size)
    return face_frames(draw_face(looks), clip.label, acts, job.frame_size)
