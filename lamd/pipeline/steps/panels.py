"""The rows of clips of a figure, and the numbers behind them.

A finished `figure` cell holds `panels.npy`, uint8 (rows, N, L, H, W, 3) for N first frames, and
`panels.json` with the rows' labels and the numbers of the caption.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lamd.base.files import write_atomically

PICTURES, WORDS = "panels.npy", "panels.json"


@dataclass(frozen=True)
class Panels:
    """Rows of clips: one label and uint8 (N, L, H, W, 3) each; numbers by name."""

    labels: tuple[str, ...]
    clips: np.ndarray
    numbers: dict[str, list[float]] = field(default_factory=dict)


def write_panels(folder: Path, panels: Panels) -> None:
    """Write a figure's data into its cell."""
    np.save(folder / PICTURES, panels.clips, allow_pickle=False)
    words = {"labels": panels.labels, "numbers": panels.numbers}
    write_atomically(folder / WORDS, json.dumps(words, indent=1) + "\n")


def read_panels(folder: Path) -> Panels:
    """Read the data of a finished cell."""
    words = json.loads((folder / WORDS).read_text(encoding="utf-8"))
    clips = np.load(folder / PICTURES, mmap_mode="r", allow_pickle=False)
    return Panels(tuple(words["labels"]), clips, words["numbers"])


def frame_change(clips: np.ndarray) -> np.ndarray:
    """Return the mean absolute difference of successive frames: (N, L - 1), grey levels."""
    return np.abs(np.diff(clips.astype(np.int16), axis=1)).mean(axis=(2, 3, 4))
