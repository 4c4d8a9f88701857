"""NATOPS and MUG as they lie on disk: a folder of frames a clip, whose name tells its class.

NATOPS (aircraft handling signals), `natops/gGGsSSpPP/gGGsSSpPP-NNNN-MMMM.png`: gesture G of 24,
subject S of 20, repetition P of 20; frame N of the clip was frame M of the video `gGGsSS.avi`.
320x240 pixels, 20 frames a second. The archive holds videos and `segmentation.txt`; cutting them
into these folders is LFDM's preprocessing.

MUG (facial expressions), `mug/<subject>/<expression>/<take>/img_NNNN.jpg`, 896x896 pixels; where a
subject has sessions, `mug/<subject>/session0/<expression>/...` is read and the others are not, as
in LFDM.

Splits are LFDM's lists (github.com/nihaomiao/CVPR23_LFDM, reported). They leave subject 1 of NATOPS
out of both. Clips are ordered so that the first so many are spread over classes and subjects
(ours).
"""

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from lamd.base.errors import LamdError
from lamd.data.folders import Flaw, FolderScan, FrameFolder, FrameSplit, printable

SPLITS = ("train", "test")
SESSION = "session0"


@dataclass(frozen=True)
class GestureSet:
    """What is fixed about a class-guided data set.

    `crop` is (left, top, right, bottom) as shares of the frame's width and height, `counts` the
    clips of a split where they are known.
    """

    name: str
    classes: tuple[str, ...]
    subjects: Mapping[str, tuple[int, ...]]
    unused: tuple[int, ...]  # subjects in neither split
    suffixes: tuple[str, ...]
    image_formats: tuple[str, ...]
    crop: tuple[float, float, float, float]
    counts: Mapping[str, int]
    layout: str

    def at(self, split: str, k: int) -> tuple[int, int, int]:
        """Return subject, class and take of the `k`-th clip of a split that has all of them.

        Classes and subjects take turns, so that the first so many clips have them in equal shares;
        all pairs come once before any comes again.
        """
        num_classes, subjects = len(self.classes), self.subjects[split]
        take, pair = divmod(k, num_classes * len(subjects))
        lap = pair // math.lcm(num_classes, len(subjects))
        return subjects[(pair + lap) % len(subjects)], pair % num_classes, take

    def order(self, split: str) -> dict[tuple[int, int], int]:
        """Return the place of each pair of subject and class in `at`."""
        pairs = range(len(self.classes) * len(self.subjects[split]))
        return {self.at(split, k)[:2]: k for k in pairs}


NATOPS = GestureSet(
    name="natops",
    classes=(
        "I Have Command", "All Clear", "Not Clear", "Spread Wings", "Fold Wings", "Lock Wings",
        "Up Hook", "Down Hook", "Remove Tiedowns", "Remove Chocks", "Insert Chocks", "Move Ahead",
        "Turn Left", "Turn Right", "Next Marshaller", "Slow Down", "Stop", "Nosegear Steering",
        "Hot Brakes", "Brakes On", "Brakes Off", "Install Tiedowns", "Fire", "Cut Engine",
    ),
    subjects={
        "train": (3, 4, 8, 9, 12, 13, 15, 17, 19, 20),
        "test": (2, 5, 6, 7, 10, 11, 14, 16, 18),
    },
    unused=(1,),
    suffixes=(".png",),
    image_formats=("PNG",),
    crop=(30 / 320, 10 / 240, 290 / 320, 239 / 240),  # LFDM's rows 10-239, columns 30-290
    counts={"train": 4800, "test": 4320},
    layout="natops/gGGsSSpPP/*.png",
)  # fmt: skip
MUG = GestureSet(
    name="mug",
    classes=("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
    subjects={
        "train": (8, 17, 21, 28, 30, 31, 34, 36, 37, 38, 39, 42, 43, 44, 45, 55, 60, 61, 62, 63,
                  71, 75, 76, 77, 83, 84),
        "test": (1, 2, 6, 7, 10, 13, 14, 20, 27, 32, 33, 40, 46, 48, 49, 52, 64, 65, 66, 70, 72,
                 73, 74, 78, 79, 82),
    },
    unused=(3,),
    suffixes=(".jpg", ".jpeg", ".png"),
    image_formats=("JPEG", "PNG"),
    crop=(0.0, 0.0, 1.0, 1.0),
    counts={},
    layout="mug/<subject>/<expression>/<take>/*.jpg",
)  # fmt: skip
GESTURE_SETS = {each.name: each for each in (NATOPS, MUG)}
_NATOPS_NAME = re.compile(r"g(\d\d)s(\d\d)p(\d\d)")
_MUG_SUBJECT = re.compile(r"\d{3}")


def gesture_folder(root: Path, name: str) -> Path:
    """Find the folder of `natops` or `mug` below `root`.

    Raises:
        LamdError: when there is none, or it is a link that leads out of `root`.
    """
    folder = root / name
    if not folder.is_dir():
        raise LamdError(
            f"{folder}: no such folder; put the frames at {GESTURE_SETS[name].layout} below"
            f" LAMD_DATA or run `lamd data simulate {name} ROOT`"
        )
    if not folder.resolve().is_relative_to(root.resolve()):
        raise LamdError(f"{folder}: link leads out of {root}; put the folder itself there")
    return folder


def open_gestures(name: str, root: Path, split: str) -> FrameSplit:
    """List the clips of a split of `natops` or `mug` below `root`.

    What is no clip at all, such as an unknown subject, belongs to both splits' `strays`.

    Raises:
        LamdError: on another split, or when the folder is missing or cannot be read.
    """
    if split not in SPLITS:
        raise LamdError(f"split {split!r}: unknown; {name} has {' and '.join(SPLITS)}")
    folder = gesture_folder(root, name)
    scan = _Clips(GESTURE_SETS[name], split, root.resolve())
    try:
        clips = dict(scan.natops(folder) if name == "natops" else scan.mug(folder))
    except OSError as error:
        raise LamdError(f"{folder}: {error.strerror}; make it readable") from None
    state = scan.state.hexdigest()
    videos = tuple(clips[place] for place in sorted(clips))
    return FrameSplit(name, split, folder, videos, tuple(scan.strays), state)


def gesture_class(key: str) -> str:
    """Return the class that the `key` of a clip of NATOPS or MUG tells, one of its `classes`.

    What may follow a clip's own name, such as `@0#1`, does not matter.
    """
    if key.startswith("natops/"):
        return NATOPS.classes[int(key.rpartition("/")[2][1:3]) - 1]
    return key.split("/")[-2]


class _Clips(FolderScan):
    """Lists the clips of one split with their place in it, and the `strays` on the way."""

    def __init__(self, of: GestureSet, split: str, root: Path) -> None:
        super().__init__(root)
        self.of, self.split = of, split
        self.order, self.strays = of.order(split), []

    def natops(self, folder: Path) -> Iterator[tuple[tuple[int, int], FrameFolder]]:
        """Yield the clips of NATOPS."""
        for entry in self.entries(folder):
            match = _NATOPS_NAME.fullmatch(entry.name)
            if match is None:
                self._stray(entry, "name is not gGGsSSpPP")
                continue
            gesture, subject, take = map(int, match.groups())
            if not 1 <= gesture <= len(self.of.classes):
                self._stray(entry, f"unknown gesture {gesture}")
            elif self._wanted(entry, subject):
                yield self._clip(entry, entry.name, subject, gesture - 1, take)

    def mug(self, folder: Path) -> Iterator[tuple[tuple[int, int], FrameFolder]]:
        """Yield the clips of MUG; takes are counted in natural order."""
        for entry in self.entries(folder):
            if _MUG_SUBJECT.fullmatch(entry.name) is None:
                self._stray(entry, "name is not a subject's number")
            elif self._wanted(entry, int(entry.name)):
                inside = self._inside(entry)
                sessions = [one for one in inside if one.name == SESSION]
                for expression in self._inside(sessions[0]) if sessions else inside:
                    if expression.name not in self.of.classes:
                        self._stray(expression, "unknown expression")
                        continue
                    label = self.of.classes.index(expression.name)
                    for take, clip in enumerate(self._inside(expression)):
                        place = Path(clip.path).relative_to(folder).as_posix()
                        yield self._clip(clip, place, int(entry.name), label, take)

    def _wanted(self, entry: os.DirEntry, subject: int) -> bool:
        known = (*self.of.unused, *chain(*self.of.subjects.values()))
        if subject not in known:
            self._stray(entry, f"unknown subject {subject}")
        return subject in self.of.subjects[self.split]

    def _clip(
        self, entry: os.DirEntry, place: str, subject: int, label: int, take: int
    ) -> tuple[tuple[int, int], FrameFolder]:
        key = printable(f"{self.of.name}/{self.split}/{place}")
        order = take, self.order[subject, label]
        return order, self.frames(key, entry, self.of.suffixes)

    def _inside(self, entry: os.DirEntry) -> list[os.DirEntry]:
        try:
            reason = self.flaw(entry, folder=True)
            entries = [] if reason else self.entries(Path(entry.path))
        except OSError as error:
            reason, entries = f"cannot be read ({error.strerror})", []
        if reason or not entries:
            self._stray(entry, reason or "empty folder")
        return entries

    def _stray(self, entry: os.DirEntry, reason: str) -> None:
        self.strays.append(Flaw(Path(entry.path), reason))
