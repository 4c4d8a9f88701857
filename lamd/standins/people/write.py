"""Simulated NATOPS and MUG: folders of frames in the real layouts."""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from lamd.base.errors import LamdError
from lamd.data.gestures import MUG, SESSION, GestureSet
from lamd.standins.people.body import BodyLook, body_frames
from lamd.standins.people.face import FaceLook, face_frames
from lamd.standins.writer import Pictures, Request, fill_folder, write

FRAME_SIZES = {"natops": (320, 240), "mug": (896, 896)}
SMALLEST = {"natops": (64, 48), "mug": (48, 48)}
TAKES = 20  # as many as NATOPS has
_WITH_SESSIONS = (2, 49)  # of MUG's subjects in the splits


class Clip(NamedTuple):
    """A subject, the number of its class, and the number of its take, from 0."""

    subject: int
    label: int
    take: int


def simulate(dataset: GestureSet, root: Path, **options: Any) -> None:
    """Write `root/natops`, 24 signals by drawn bodies, or `root/mug`, seven expressions by faces.

    Clips are spread evenly over the classes and the split's own subjects; the folder appears when
    it is complete.
    """
    name = dataset.name
    request = Request(dataset, root, **options).sized(FRAME_SIZES[name], SMALLEST[name])
    clips = [c for s, count in request.counts.items() for c in plan_split(dataset, s, count)]
    videos = {clip_folder(name, clip): partial(_draw, request, clip) for clip in clips}
    write(request, fill_folder(root / name, videos, request.stand_in.mark))


def plan_split(gestures: GestureSet, split: str, count: int) -> list[Clip]:
    """List the first `count` clips of a split, in `GestureSet.at`'s order; LamdError if too few."""
    most = TAKES * len(gestures.classes) * len(gestures.subjects[split])
    if not 1 <= count <= most:
        raise LamdError(f"num_{split}: {count} clips asked for; ask for 1 to {most}")
    return [Clip(*gestures.at(split, k)) for k in range(count)]


def clip_folder(name: str, clip: Clip) -> str:
    """Return the folder of a clip below the data set's, in the real layout."""
    subject, label, take = clip
    if name == "natops":
        return f"g{label + 1:02d}s{subject:02d}p{take + 1:02d}"
    session = f"{SESSION}/" if subject in _WITH_SESSIONS else ""
    return f"{subject:03d}/{session}{MUG.classes[label]}/take{take:03d}"


def _draw(request: Request, clip: Clip) -> Pictures:
    """Draw a clip; its pixels depend on seed, subject, class, take and size only."""
    subject, label, take = clip
    looks, acts = request.random(subject, "look"), request.random(subject, label, take, "act")
    other = request.other_motion(subject, label, take)
    if request.dataset.name == "natops":
        frames = body_frames(BodyLook(looks), label, acts, request.size, other)
    else:
        frames = face_frames(FaceLook(looks), label, acts, request.size, other)
    for number, pixels in enumerate(frames):
        file = f"img_{number:04d}.jpg"
        if request.dataset.name == "natops":
            in_video = 100 * take + number
            file = f"{clip_folder('natops', clip)}-{number:04d}-{in_video:04d}.png"
        yield file, Image.fromarray(pixels)
