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

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, Field, FiniteFloat

from lamd.base.arrays import load_array
from lamd.base.batched import FIX
from lamd.base.errors import LamdError
from lamd.base.files import below, load_json
from lamd.config.strict import Many
from lamd.metrics.protocols import PROTOCOLS
from lamd.metrics.values import MetricValue

CLIPS, KEYS, PROMPTS = "clips.npy", "keys.json", "prompts.json"
FRAMES, REPEATED = "frames.npy", "repeated.json"
CAPTIONS, TRACKS, FEATURES = "captions.json", "tracks.npy", "features.npy"
DATA, VALUES, LATENCY = "data.json", "values.json", "latency.json"
PICTURES, WORDS = "panels.npy", "panels.json"
T = TypeVar("T")
Number = Annotated[int, Field(ge=0, lt=2**31)]
Folders = Mapping[str, Path]  # of a cell's parents, by role


@dataclass(frozen=True)
class Panels:
    """Rows of clips of a figure: one label and uint8 (N, L, H, W, 3) each; numbers by name."""

    labels: tuple[str, ...]
    clips: np.ndarray
    numbers: dict[str, list[float]] = field(default_factory=dict)


Numbers = Annotated[list[FiniteFloat], Field(fail_fast=True)]
PerSplit = Annotated[dict[Literal["train", "test"], T], Field(min_length=2)]


class DataFacts(BaseModel, frozen=True):
    """Statement of a data cell on its splits."""

    content: PerSplit[str]  # hashes
    videos: PerSplit[Number]
    clips: PerSplit[Number]  # disjoint, of L frames
    left_out: PerSplit[Many[tuple[str, str]]]  # key and reason
    truncated: dict[str, Number] = {}  # not in older cells
    stand_in: str | None


class Counted(BaseModel, frozen=True):
    """Statement of a cell of clips."""

    clips: Number


class Diagnostics(Counted, frozen=True):
    """Statement of a cell of diagnostics; `channels` has a list over channels by name."""

    values: dict[str, FiniteFloat]
    channels: dict[str, Numbers]
    probe_strength: FiniteFloat


class Timing(BaseModel, frozen=True):
    """Statement of a cell of times: device and software."""

    device: str
    torch: str
    dtype: str
    threads: str
    date: str


class _Splits(BaseModel, frozen=True):
    train: str
    test: str


class _Repeated(BaseModel, frozen=True):
    num_frames: Annotated[Number, Field(ge=1)]


class _Words(BaseModel, frozen=True):
    labels: Many[str]
    numbers: dict[str, Annotated[list[float], Field(fail_fast=True)]]


def split_path(folder: Path, split: str) -> Path:
    """Return the packed folder of a split of a data cell."""
    path = Path(getattr(load_json(folder / DATA, _Splits, FIX), split))
    return path if path.is_absolute() else below(folder, *path.parts)


def read_keys(folder: Path) -> list[str]:
    """Return the key of each clip of a set."""
    return read_texts(folder, KEYS)


def read_texts(folder: Path, name: str) -> list[str]:
    """Return KEYS, PROMPTS or CAPTIONS of a cell."""
    return load_json(folder / name, list[str], FIX)


def read_values(folder: Path) -> list[MetricValue]:
    """Return the values of a `values` cell, without those per clip."""
    values = load_json(folder / VALUES, list[MetricValue], FIX)
    if unknown := [value.protocol for value in values if value.protocol not in PROTOCOLS]:
        raise LamdError(f"{folder / VALUES}: protocol {unknown[0][:80]!r} is not known; {FIX}")
    return values


def read_latency(folder: Path, names: Iterable[str], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each of `rounds` rounds by name, of `names` and others."""
    seconds = load_json(folder / LATENCY, dict[str, Numbers], FIX)
    wrong = [name for name in (*names, *seconds) if len(seconds.get(name, ())) != rounds]
    if wrong:
        raise LamdError(f"{folder / LATENCY}: not {rounds} times of {wrong[0][:80]!r}; {FIX}")
    return seconds


def read_clips(folder: Path) -> np.ndarray:
    """Memory-map the clips of a set, uint8 (N, L, H, W, 3), read-only."""
    if (folder / REPEATED).is_file():
        num_frames = load_json(folder / REPEATED, _Repeated, FIX).num_frames
        frames = load_array(folder / FRAMES, np.uint8, 5, FIX, mapped=True)
        return np.broadcast_to(frames, (len(frames), num_frames, *frames.shape[2:]))
    return load_array(folder / CLIPS, np.uint8, 5, FIX, mapped=True)


def read_videos(folder: Path) -> list[str]:
    """Return the source video of each clip of a set."""
    return [key.rpartition("@")[0] for key in read_keys(folder)]


def read_per_clip(folder: Path) -> dict[str, np.ndarray]:
    """Return the values per clip of a `values` cell by protocol, for those that have them."""
    paths = {v.protocol: below(folder, f"{v.protocol}.npy") for v in read_values(folder)}
    return {
        name: load_array(path, np.float64, 1, FIX) for name, path in paths.items() if path.exists()
    }


def read_panels(folder: Path) -> Panels:
    """Return the rows and numbers of a figure."""
    words = load_json(folder / WORDS, _Words, FIX)
    clips = load_array(folder / PICTURES, np.uint8, 6, FIX, mapped=True)
    return Panels(words.labels, clips, words.numbers)
