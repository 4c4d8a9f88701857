"""NATOPS and MUG on disk: one folder of frames per clip, whose name states its class.

NATOPS (aircraft handling signals), `natops/gGGsSSpPP/gGGsSSpPP-NNNN-MMMM.png`: gesture G of 24,
subject S of 20, repetition P of 20; frame N of the clip was frame M of the video `gGGsSS.avi`.
320x240 pixels, 20 frames per second. LFDM's preprocessing cuts the archive's videos so.

MUG (facial expressions), `mug/<subject>/<expression>/<take>/img_NNNN.jpg`, 896x896 pixels. Where a
subject has sessions, only `mug/<subject>/session0/<expression>/...` is read, as in LFDM.
"""

import os
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from lamd.data.frames import FrameDecoder, check_frames
from lamd.data.gestures import NATOPS, GestureSet
from lamd.data.listing import FolderScan, FrameFolder, Listing, check_inside
from lamd.data.verify import SplitCheck

SESSION = "session0"
_NATOPS_NAME = re.compile(r"g(\d\d)s(\d\d)p(\d\d)")
_MUG_SUBJECT = re.compile(r"\d{3}")


def find_split(dataset: GestureSet, root: Path, split: str) -> Path:
    """Find the folder of a data set, which both splits share."""
    folder = root / dataset.name
    if not folder.is_dir():
        raise dataset.missing(folder, "no such folder")
    check_inside(folder, root)
    return folder


def list_split(dataset: GestureSet, root: Path, split: str, **_: object) -> Listing[FrameFolder]:
    """List the clips of a split; subjects of one are not in the other.

    A folder that is no clip, such as an unknown subject, is among the `unexpected_files` of both.
    """
    scan = _Clips(dataset, root, split)
    clips = dict(scan.natops() if dataset.name == "natops" else scan.mug())
    return scan.listing(clips[position] for position in sorted(clips))


def decoder(dataset: GestureSet, *, size: int, num_frames: int) -> FrameDecoder:
    """Return LFDM's rules for a clip (reported): `evenly_drawn` frames, framed by `letterbox`."""
    return FrameDecoder(size, num_frames, dataset.image_formats, dataset.crop)


def check_split(dataset: GestureSet, root: Path, split: str) -> SplitCheck:
    """Decode every frame of a split; note classes, and those without a clip."""
    listing = list_split(dataset, root, split)
    sound, problems = check_frames(listing, dataset.image_formats)
    classes = {video.condition for video in sound}
    missing = [label for label in dataset.classes if label not in classes]
    num_frames = sum(len(video.frames) for video in listing.videos)
    note = f"classes: {len(classes)} of {len(dataset.classes)}, {num_frames:,} frames"
    note += f"; without a clip: {', '.join(missing)}" if missing else ""
    return SplitCheck(len(sound), problems, (note,))


def class_of(key: str) -> str:
    """Return the class that the key of a clip names; what may follow, as `@0#1`, is ignored."""
    if key.startswith("natops/"):
        return NATOPS.classes[int(key.rpartition("/")[2][1:3]) - 1]
    return key.split("/")[-2]


class _Clips(FolderScan):
    """Lists the clips of one split with their position in it."""

    def __init__(self, gestures: GestureSet, root: Path, split: str) -> None:
        super().__init__(gestures.name, root, split, find_split(gestures, root, split))
        self.gestures, self.order = gestures, gestures.order(split)

    def natops(self) -> Iterator[tuple[tuple[int, int], FrameFolder]]:
        """Yield the clips of NATOPS."""
        for entry in self.entries():
            match = _NATOPS_NAME.fullmatch(entry.name)
            if match is None:
                self.skip(entry, "name is not gGGsSSpPP")
                continue
            gesture, subject, take = map(int, match.groups())
            if not 1 <= gesture <= len(self.gestures.classes):
                self.skip(entry, f"unknown gesture {gesture}")
            elif self._wanted(entry, subject):
                yield self._clip(entry, subject, gesture - 1, take)

    def mug(self) -> Iterator[tuple[tuple[int, int], FrameFolder]]:
        """Yield the clips of MUG; takes are counted in natural order."""
        classes = self.gestures.classes
        for entry in self.entries():
            if _MUG_SUBJECT.fullmatch(entry.name) is None:
                self.skip(entry, "name is not a subject's number")
            elif self._wanted(entry, int(entry.name)):
                inside = self.children(entry)
                sessions = [inner for inner in inside if inner.name == SESSION]
                for expression in self.children(sessions[0]) if sessions else inside:
                    if expression.name not in classes:
                        self.skip(expression, "unknown expression")
                        continue
                    label = classes.index(expression.name)
                    for take, clip in enumerate(self.children(expression)):
                        yield self._clip(clip, int(entry.name), label, take)

    def _wanted(self, entry: os.DirEntry, subject: int) -> bool:
        subjects = self.gestures.subjects
        if subject not in (*self.gestures.unused, *chain(*subjects.values())):
            self.skip(entry, f"unknown subject {subject}")
        return subject in subjects[self.split]

    def _clip(
        self, entry: os.DirEntry, subject: int, label: int, take: int
    ) -> tuple[tuple[int, int], FrameFolder]:
        clip = self.frames(entry, self.gestures.suffixes, self.gestures.classes[label])
        return (take, self.order[subject, label]), clip
