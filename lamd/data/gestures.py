"""NATOPS and MUG on disk: one folder of frames per clip, whose name states its class.

NATOPS (aircraft handling signals), `natops/gGGsSSpPP/gGGsSSpPP-NNNN-MMMM.png`: gesture G of 24,
subject S of 20, repetition P of 20; frame N of the clip was frame M of the video `gGGsSS.avi`.
320x240 pixels, 20 frames per second. LFDM's preprocessing cuts the archive's videos so.

MUG (facial expressions), `mug/<subject>/<expression>/<take>/img_NNNN.jpg`, 896x896 pixels. Where a
subject has sessions, only `mug/<subject>/session0/<expression>/...` is read, as in LFDM.

Splits are LFDM's lists (github.com/nihaomiao/CVPR23_LFDM, reported), which leave subject 1 of
NATOPS out of both.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from lamd.config import DataOptions
from lamd.data.dataset import CorruptOptions, Dataset, FrameOptions, SplitCheck, register
from lamd.data.frames import FrameDecoder, Resize, check_frames
from lamd.data.listing import FolderScan, FrameFolder, Listing, mark_of

SESSION = "session0"
_NATOPS_NAME = re.compile(r"g(\d\d)s(\d\d)p(\d\d)")
_MUG_SUBJECT = re.compile(r"\d{3}")


class NatopsOptions(CorruptOptions):
    """Own keys of NATOPS."""

    augmentations = frozenset({"crop", "time_jitter"})  # `Turn Left` mirrored is `Turn Right`


class MugOptions(FrameOptions):
    """Own keys of MUG."""

    augmentations = frozenset({"flip", "crop", "time_jitter"})


@dataclass(frozen=True, kw_only=True)
class GestureSet(Dataset):
    """A class-guided data set: subjects of each split and the rules for its frames."""

    subjects: Mapping[str, tuple[int, ...]]
    unused: tuple[int, ...]  # subjects in neither split
    suffixes: tuple[str, ...]
    crop: tuple[float, float, float, float]  # left, top, right, bottom; shares of width and height
    reader: str = __name__
    options: type[DataOptions] = NatopsOptions
    published_options: Mapping[str, Any] = field(
        default_factory=lambda: {"resize": "area"}  # LFDM's
    )
    unit: str = "clips"
    simulator: str | None = "lamd.standins.people.write:simulate"
    has_futures: bool = True

    def at(self, split: str, k: int) -> tuple[int, int, int]:
        """Return subject, class and take of the `k`-th clip of a split that has all of them.

        Classes and subjects take turns, so that the first clips have them in equal shares; all
        pairs come once before any comes again.
        """
        num_classes, subjects = len(self.classes), self.subjects[split]
        take, pair = divmod(k, num_classes * len(subjects))
        lap = pair // math.lcm(num_classes, len(subjects))
        return subjects[(pair + lap) % len(subjects)], pair % num_classes, take

    def order(self, split: str) -> dict[tuple[int, int], int]:
        """Return the position of each pair of subject and class in `at`."""
        pairs = range(len(self.classes) * len(self.subjects[split]))
        return {self.at(split, k)[:2]: k for k in pairs}


NATOPS = GestureSet(
    name="natops",
    label="NATOPS",
    published_size=128,
    download="get NATOPS, cut its videos by segmentation.txt as docs/data.md says, and put the "
    "frames at $LAMD_DATA/natops/gGGsSSpPP/*.png",
    expected_counts={"train": 4800, "test": 4320},  # clips that LFDM's preprocessing makes
    generator="natops_sim.v1",
    frame_sizes={64: (160, 120)},
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
    crop=(30 / 320, 10 / 240, 290 / 320, 239 / 240),  # LFDM's rows 10-239, columns 30-290
)  # fmt: skip
MUG = GestureSet(
    name="mug",
    label="MUG",
    published_size=256,
    download="ask for MUG and put it at $LAMD_DATA/mug/<subject>/<expression>/<take>/*.jpg",
    options=MugOptions,
    generator="mug_sim.v1",
    frame_sizes={64: (128, 128), 128: (256, 256)},
    classes=("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
    subjects={
        "train": (8, 17, 21, 28, 30, 31, 34, 36, 37, 38, 39, 42, 43, 44, 45, 55, 60, 61, 62, 63,
                  71, 75, 76, 77, 83, 84),
        "test": (1, 2, 6, 7, 10, 13, 14, 20, 27, 32, 33, 40, 46, 48, 49, 52, 64, 65, 66, 70, 72,
                 73, 74, 78, 79, 82),
    },
    unused=(3,),
    suffixes=(".jpg", ".jpeg", ".png"),
    crop=(0.0, 0.0, 1.0, 1.0),
)  # fmt: skip
register(NATOPS)
register(MUG)


def find_split(dataset: GestureSet, root: Path, split: str) -> Path:
    """Find the folder of a data set, which both splits share."""
    return dataset.find_folder(root, dataset.name)


def list_split(dataset: GestureSet, root: Path, split: str, **_: object) -> Listing[FrameFolder]:
    """List the clips of a split, those of the `take`-th round of `GestureSet.at` after all before.

    Subjects of one split are not in the other. A folder that is no clip, such as an unknown
    subject, is among the `unexpected_files` of both.
    """
    scan = FolderScan(dataset.name, root, split, find_split(dataset, root, split))
    entries = _natops(dataset, scan) if dataset.name == "natops" else _mug(dataset, scan)
    order = dataset.order(split)
    clips = {
        (take, order[subject, label]): scan.frames(entry, dataset.suffixes, dataset.classes[label])
        for entry, subject, label, take in entries
    }
    return scan.listing(clips[position] for position in sorted(clips))


def _natops(dataset: GestureSet, scan: FolderScan) -> Iterator[tuple[os.DirEntry, int, int, int]]:
    """Yield the folder, subject, class and take of the clips of NATOPS."""
    for entry in scan.entries():
        match = _NATOPS_NAME.fullmatch(entry.name)
        if match is None:
            scan.skip(entry, "name is not gGGsSSpPP")
            continue
        gesture, subject, take = map(int, match.groups())
        if not 1 <= gesture <= len(dataset.classes):
            scan.skip(entry, f"unknown gesture {gesture}")
        elif _is_wanted(dataset, scan, entry, subject):
            yield entry, subject, gesture - 1, take


def _mug(dataset: GestureSet, scan: FolderScan) -> Iterator[tuple[os.DirEntry, int, int, int]]:
    """Yield the folder, subject, class and take of the clips of MUG; takes in natural order."""
    for entry in scan.entries():
        if _MUG_SUBJECT.fullmatch(entry.name) is None:
            scan.skip(entry, "name is not a subject's number")
        elif _is_wanted(dataset, scan, entry, subject := int(entry.name)):
            inside = scan.children(entry)
            sessions = [inner for inner in inside if inner.name == SESSION]
            for expression in scan.children(sessions[0]) if sessions else inside:
                if expression.name not in dataset.classes:
                    scan.skip(expression, "unknown expression")
                    continue
                label = dataset.classes.index(expression.name)
                for take, clip in enumerate(scan.children(expression)):
                    yield clip, subject, label, take


def _is_wanted(dataset: GestureSet, scan: FolderScan, entry: os.DirEntry, subject: int) -> bool:
    if subject not in (*dataset.unused, *chain(*dataset.subjects.values())):
        scan.skip(entry, f"unknown subject {subject}")
    return subject in dataset.subjects[scan.split]


def decoder(
    dataset: GestureSet, *, size: int, num_frames: int | None, resize: Resize | None = None
) -> FrameDecoder:
    """Return LFDM's rules for a clip (reported): `evenly_drawn` frames, cropped; None: all."""
    rule = resize or "lanczos"
    return FrameDecoder(size, num_frames, dataset.crop, rule)


def check_split(dataset: GestureSet, root: Path, split: str) -> SplitCheck:
    """Decode every frame of a split; note classes, and those without a clip."""
    listing = list_split(dataset, root, split)
    sound, problems, notes = check_frames(listing)
    classes = {video.condition for video in sound}
    missing = [label for label in dataset.classes if label not in classes]
    num_frames = sum(len(video.frames) for video in listing.videos)
    note = f"classes: {len(classes)} of {len(dataset.classes)}, {num_frames:,} frames"
    note += f"; without a clip: {', '.join(missing)}" if missing else ""
    return SplitCheck(len(sound), problems, (note, *notes), stand_in=mark_of(sound))


def class_of(key: str) -> str:
    """Return the class that the key of a clip names; what may follow, as `@0#1`, is ignored."""
    if key.startswith("natops/"):
        return NATOPS.classes[int(key.rpartition("/")[2][1:3]) - 1]
    return key.split("/")[-2]
