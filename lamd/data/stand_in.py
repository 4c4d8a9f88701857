"""The marks of a simulated stand-in of a data set: a manifest, and a text inside its files."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from lamd.base.errors import LamdError
from lamd.base.files import load_json, write_atomically
from lamd.config.strict import CountOrZero, Strict

MANIFEST = "stand_in.json"
_MARK = "simulated by lamd: "  # begins the text inside a file


class StandIn(Strict):
    """The stand-in in a folder: `counts` maps split to number of videos."""

    dataset: str
    generator: str
    seed: int
    counts: dict[str, CountOrZero]

    def __str__(self) -> str:
        sizes = " + ".join(f"{count} {split}" for split, count in self.counts.items())
        return f"{self.generator}, seed {self.seed}, {sizes}"

    @property
    def mark(self) -> str:
        """The text inside each file; equal in a smaller and a larger set."""
        return f"{_MARK}{self.generator}, seed {self.seed}"


def parse_mark(text: object) -> str | None:
    """Return e.g. `bair_sim.v1, seed 0` of a text, or its bytes, that is a mark; else None."""
    text = text.decode("ascii", "replace") if isinstance(text, bytes) else text
    if not isinstance(text, str) or not text.startswith(_MARK):
        return None
    return ascii(text.removeprefix(_MARK)[:80])[1:-1]


@dataclass(frozen=True)
class Future:
    """Other motion than the data's from the same states; `number` counts from 0.

    The states at frames 0, `num_frames`, ... of a video are the data's; `own` are the keys of the
    data set that choose its conditions, which stay true.
    """

    number: int
    num_frames: int
    own: Mapping[str, Any]

    def segments(self, length: int) -> Iterator[tuple[int, int]]:
        """Yield the first frame of each clip of a video, and the end of what follows it."""
        starts = [*range(0, max(1, length - self.num_frames + 1), self.num_frames), length]
        yield from pairwise(starts)


def read_stand_in(root: Path, dataset: str | None = None) -> StandIn | None:
    """Read the manifest of the data set below `root`; None where there is none.

    LamdError on a manifest that cannot be understood, or is of another data set than `dataset`.
    """
    path = root / MANIFEST
    if not os.path.lexists(path):  # a dangling link is a damaged manifest
        return None
    stand_in = load_json(path, StandIn, "delete the folder and simulate it again")
    if dataset not in (None, stand_in.dataset):
        raise LamdError(f"{path}: of {stand_in.dataset}, not {dataset}; give each its own root")
    return stand_in


def write_stand_in(root: Path, stand_in: StandIn) -> None:
    """Write the manifest into `root` in one step."""
    write_atomically(root / MANIFEST, stand_in.model_dump_json(indent=2) + "\n")
