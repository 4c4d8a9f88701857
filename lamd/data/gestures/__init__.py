"""NATOPS and MUG: classes and subjects.

Splits are LFDM's lists (github.com/nihaomiao/CVPR23_LFDM, reported), which leave subject 1 of
NATOPS out of both.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lamd.config.strict import Strict
from lamd.data.dataset import CorruptOptions, Dataset, register


@dataclass(frozen=True, kw_only=True)
class GestureSet(Dataset):
    """A class-guided data set: subjects of each split and the rules for its frames."""

    subjects: Mapping[str, tuple[int, ...]]
    unused: tuple[int, ...]  # subjects in neither split
    suffixes: tuple[str, ...]
    image_formats: tuple[str, ...]
    crop: tuple[float, float, float, float]  # left, top, right, bottom; shares of width and height
    reader: str = "lamd.data.gestures.reader"
    options: type[Strict] = CorruptOptions
    prepared: Mapping[str, Any] = field(
        default_factory={"size": 128, "num_frames": 16, "on_corrupt": "raise"}.copy
    )
    unit: str = "clips"
    simulator: str | None = "lamd.standins.people.write:simulate"

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
    download="get NATOPS, cut its videos by segmentation.txt, and put the frames at "
    "$LAMD_DATA/natops/gGGsSSpPP/*.png",
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
    image_formats=("PNG",),
    crop=(30 / 320, 10 / 240, 290 / 320, 239 / 240),  # LFDM's rows 10-239, columns 30-290
)  # fmt: skip
MUG = GestureSet(
    name="mug",
    label="MUG",
    published_size=256,
    download="ask for MUG and put it at $LAMD_DATA/mug/<subject>/<expression>/<take>/*.jpg",
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
    image_formats=("JPEG", "PNG"),
    crop=(0.0, 0.0, 1.0, 1.0),
)  # fmt: skip
for _gestures in (NATOPS, MUG):
    register(_gestures)
