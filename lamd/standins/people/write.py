"""Simulated NATOPS and MUG: folders of frames in the real layouts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from lamd.base.errors import LamdError
from lamd.base.rng import numpy_generator
from lamd.data.gestures import MUG, SESSION, GestureSet
from lamd.standins.people.body import BodyLook, body_frames
from lamd.standins.people.face import FaceLook, face_frames
from lamd.standins.writer import check_frame_size, fill_folder, partial_folder, whole_folder, write

FRAME_SIZES = {"natops": (320, 240), "mug": (896, 896)}
SMALLEST = {"natops": (64, 48), "mug": (48, 48)}
TAKES = 20  # as many as NATOPS has
JPEG_QUALITY = 90
_WITH_SESSIONS = (2, 49)  # of MUG's subjects in the splits


@dataclass(frozen=True)
class Clip:
    """A subject, the number of its class, and the number of its take, from 0."""

    subject: int
    label: int
    take: int


def simulate(
    dataset: GestureSet, root: Path, *, counts: Mapping[str, int], seed: int,
    num_workers: int | None, frame_size: tuple[int, int] | None,
) -> None:  # fmt: skip
    """Write `root/natops`, 24 signals by drawn bodies, or `root/mug`, seven expressions by faces.

    Clips are spread evenly over the classes and the split's own subjects; the folder appears when
    it is complete.
    """
    name, size = dataset.name, frame_size or FRAME_SIZES[dataset.name]
    check_frame_size(size, SMALLEST[name])
    clips = [c for s, count in counts.items() for c in plan_split(dataset, s, count)]
    folder = root / name
    write_clip = partial(_write_clip, dataset, partial_folder(folder), seed, size)
    jobs = {clip_folder(name, clip): partial(write_clip, clip) for clip in clips}
    write(
        dataset, root, lambda: fill_folder(folder, jobs), folders=[name], counts=counts, seed=seed,
        num_workers=num_workers, frame_size=size,
    )  # fmt: skip


def plan_split(gestures: GestureSet, split: str, count: int) -> list[Clip]:
    """List the first `count` clips of a split in the order of `GestureSet.at`.

    Raises:
        LamdError: when there are fewer, or less than one is asked for.
    """
    most = TAKES * len(gestures.classes) * len(gestures.subjects[split])
    if not 1 <= count <= most:
        raise LamdError(f"num_{split}: {count} clips asked for; ask for 1 to {most}")
    return [Clip(*gestures.at(split, k)) for k in range(count)]


def clip_folder(name: str, clip: Clip) -> str:
    """Return the folder of a clip below the data set's, in the real layout."""
    if name == "natops":
        return f"g{clip.label + 1:02d}s{clip.subject:02d}p{clip.take + 1:02d}"
    session = f"{SESSION}/" if clip.subject in _WITH_SESSIONS else ""
    return f"{clip.subject:03d}/{session}{MUG.classes[clip.label]}/take{clip.take:03d}"


def _write_clip(
    dataset: GestureSet, below: Path, seed: int, frame_size: tuple[int, int], clip: Clip
) -> None:
    """Write one clip's folder in one step."""
    name = clip_folder(dataset.name, clip)
    with whole_folder(below / name) as folder:
        for number, pixels in enumerate(_draw(dataset, seed, frame_size, clip)):
            picture = Image.fromarray(pixels)
            if dataset.name == "natops":
                in_video = 100 * clip.take + number
                picture.save(folder / f"{name}-{number:04d}-{in_video:04d}.png")
            else:
                picture.save(folder / f"img_{number:04d}.jpg", quality=JPEG_QUALITY)


def _draw(
    dataset: GestureSet, seed: int, frame_size: tuple[int, int], clip: Clip
) -> Iterator[np.ndarray]:
    """Draw a clip; its pixels depend on seed, subject, class, take and size only."""
    looks = numpy_generator(dataset.generator, seed, clip.subject, "look")
    acts = numpy_generator(dataset.generator, seed, clip.subject, clip.label, clip.take, "act")
    if dataset.name == "natops":
        return body_frames(BodyLook(looks), clip.label, acts, frame_size)
    return face_frames(FaceLook(looks), clip.label, acts, frame_size)
