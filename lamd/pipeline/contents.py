"""The contents of finished cells, and how they are read; imports no torch.

clips     clips.npy, uint8 (N, L, H, W, 3), and keys.json, N names such as `bair/test/7@0`; where a
          frame is repeated, frames.npy, (N, 1, H, W, 3), and L in repeated.json instead of
          clips.npy; real sets of data with captions or classes have prompts.json
captions  captions.json, one per clip
tracks    tracks.npy, float64 (N, L, P, 2), of each real clip
features  features.npy, float32 (N, 400)
values    values.json, of `MetricValue.as_dict`, and <protocol>.npy, float64 (N,), a value per clip
          or, of whole sets that are paired, a pseudo-value per real clip
figure    panels.npy, uint8 (rows, N, L, H, W, 3) for N first frames, and panels.json
latency   latency.json, for each name a list of seconds, one per round
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lamd.base.files import below, input_file, load_json

CLIPS, KEYS, PROMPTS = "clips.npy", "keys.json", "prompts.json"
FRAMES, REPEATED = "frames.npy", "repeated.json"
CAPTIONS, TRACKS, FEATURES = "captions.json", "tracks.npy", "features.npy"
VALUES, LATENCY = "values.json", "latency.json"
PICTURES, WORDS = "panels.npy", "panels.json"
Folders = Mapping[str, Path]  # of a cell's parents, by role


@dataclass(frozen=True)
class Panels:
    """Rows of clips of a figure: one label and uint8 (N, L, H, W, 3) each; numbers by name."""

    labels: tuple[str, ...]
    clips: np.ndarray
    numbers: dict[str, list[float]] = field(default_factory=dict)


def read_clips(folder: Path) -> np.ndarray:
    """Memory-map the clips of a set, uint8 (N, L, H, W, 3), read-only."""
    if (folder / REPEATED).is_file():
        num_frames = load_json(folder / REPEATED)["num_frames"]
        frames = np.load(input_file(folder / FRAMES), mmap_mode="r", allow_pickle=False)
        return np.broadcast_to(frames, (len(frames), num_frames, *frames.shape[2:]))
    return np.load(input_file(folder / CLIPS), mmap_mode="r", allow_pickle=False)


def read_videos(folder: Path) -> list[str]:
    """Return the source video of each clip of a set."""
    return [key.rpartition("@")[0] for key in load_json(folder / KEYS)]


def read_per_clip(folder: Path) -> dict[str, np.ndarray]:
    """Return the values per clip of a `values` cell by protocol, for those that have them."""
    names = [value["protocol"] for value in load_json(folder / VALUES)]
    paths = {name: below(folder, f"{name}.npy") for name in names}
    return {name: np.load(path) for name, path in paths.items() if path.is_file()}


def read_panels(folder: Path) -> Panels:
    """Return the rows and numbers of a figure."""
    words = load_json(folder / WORDS)
    clips = np.load(input_file(folder / PICTURES), mmap_mode="r", allow_pickle=False)
    return Panels(tuple(words["labels"]), clips, words["numbers"])
