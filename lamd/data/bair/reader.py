"""BAIR robot pushing as it lies on disk: `softmotion30_44k/{train,test}/traj_A_to_B.tfrecords`.

One Example is one trajectory of 30 frames; frame i has `i/image_main/encoded` and
`i/image_aux1/encoded` (64x64x3 raw uint8), `i/action` (4 floats) and `i/endeffector_pos` (3
floats).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from lamd.base.errors import LamdError
from lamd.data.bair.tfrecord import (
    RecordError,
    RecordSpan,
    encode_example,
    index_records,
    parse_example,
    read_record,
)
from lamd.data.packed import PackedVideos, Source, digest, pack

FOLDER = "softmotion30_44k"
SPLITS = ("train", "test")
CAMERAS = ("image_main", "image_aux1")
NUM_FRAMES = 30
FRAME_SHAPE = (64, 64, 3)
FRAME_BYTES = 64 * 64 * 3
FULL_SIZE = FRAME_SHAPE[0]
RECORDS_PER_FILE = 256
_FILE_NAME = re.compile(r"traj_(\d+)_to_(\d+)\.tfrecords")
_FLOATS = {"action": 4, "endeffector_pos": 3}


@dataclass(frozen=True)
class Trajectory:
    """One trajectory: `videos` maps camera to uint8 (30, 64, 64, 3).

    `action` is float32 (30, 4), `endeffector_pos` float32 (30, 3).
    """

    videos: Mapping[str, np.ndarray]
    action: np.ndarray
    endeffector_pos: np.ndarray


@dataclass(frozen=True)
class BairEntry:
    """Where the trajectory named `key`, such as `bair/test/7`, lies."""

    key: str
    path: Path
    span: RecordSpan


@dataclass(frozen=True)
class BairSplit:
    """Random access to one split; no pixel is read before it is asked for."""

    split: str
    files: tuple[Path, ...]

    @cached_property
    def entries(self) -> tuple[BairEntry, ...]:
        """All trajectories, numbered through the files in natural order.

        Raises:
            LamdError: on the first broken file.
        """
        found = [(path, span) for path in self.files for span in index_records(path)]
        return tuple(
            BairEntry(f"bair/{self.split}/{i}", path, span) for i, (path, span) in enumerate(found)
        )

    def __len__(self) -> int:
        return len(self.entries)

    def video(self, i: int, camera: str) -> np.ndarray:
        """Read one camera of trajectory `i`: uint8 (30, 64, 64, 3).

        Raises:
            LamdError: when the record is broken or a frame is missing.
        """
        return self._read(i, (camera,), floats=False).videos[camera]

    def trajectory(self, i: int) -> Trajectory:
        """Read trajectory `i` with both cameras, actions and end-effector positions.

        Raises:
            LamdError: when the record is broken or a feature is missing.
        """
        return self._read(i, CAMERAS, floats=True)

    def _read(self, i: int, cameras: Sequence[str], *, floats: bool) -> Trajectory:
        entry = self.entries[i]
        try:
            return read_trajectory(entry.path, entry.span, cameras, floats=floats)
        except RecordError as error:
            raise error.for_user() from None


def open_bair(root: Path, split: str) -> BairSplit:
    """Find the files of `split` below `root` (the folder that holds `softmotion30_44k`).

    Raises:
        LamdError: when the folder or its TFRecord files are missing, or a link leads out of `root`.
    """
    if split not in SPLITS:
        raise LamdError(f"split {split!r}: unknown; BAIR has {' and '.join(SPLITS)}")
    folder = root / FOLDER / split
    if not folder.is_dir():
        raise LamdError(
            f"{folder}: no such folder; point LAMD_DATA at the folder that holds {FOLDER}"
            " or run `lamd data simulate bair ROOT`"
        )
    named = [(m, p) for p in folder.iterdir() if (m := _FILE_NAME.fullmatch(p.name))]
    if not named:
        raise LamdError(
            f"{folder}: no traj_A_to_B.tfrecords files; unpack BAIR there"
            " or run `lamd data simulate bair ROOT`"
        )
    named.sort(key=lambda pair: (int(pair[0][1]), int(pair[0][2])))
    files = tuple(path for _, path in named)
    for path in files:
        if not path.resolve().is_relative_to(root.resolve()):
            raise LamdError(f"{path}: link leads out of {root}; put the file itself there")
        if not path.is_file():
            raise LamdError(f"{path}: not a file; remove it or put the file there")
    return BairSplit(split, files)


def pack_bair(
    root: Path,
    cache: Path,
    *,
    split: str,
    camera: str = "image_aux1",
    limit: int | None = None,
    size: int = FULL_SIZE,
) -> PackedVideos:
    """Decode a split of BAIR under `root` once into `cache`, or reuse what lies there.

    A `size` below 64 averages square blocks of pixels (a box filter) and rounds half up. Reuse
    looks at names, sizes and modification times of the source files.

    Raises:
        LamdError: on missing or broken source files, an unknown camera, a limit beyond the split or
            a size that does not divide 64.
    """
    if camera not in CAMERAS:
        raise LamdError(f"camera {camera!r}: unknown; BAIR has {' and '.join(CAMERAS)}")
    if limit is not None and limit < 1:
        raise LamdError(f"limit {limit}: must be at least 1")
    if size < 1 or FULL_SIZE % size:
        raise LamdError(f"size {size}: must divide {FULL_SIZE}; take 64, 32 or 16")
    split_files = open_bair(root, split)
    stats = [(path.name, path.stat()) for path in split_files.files]
    source = Source(
        dataset="bair",
        split=split,
        variant=camera,
        size=size,
        identity=(str(root.resolve()), split, camera, str(limit), str(size)),
        fingerprint=digest(*(f"{name}:{s.st_size}:{s.st_mtime_ns}" for name, s in stats)),
        videos=partial(_videos, split_files, camera, limit, size),
    )
    return pack(source, cache)


def _videos(
    source: BairSplit, camera: str, limit: int | None, size: int
) -> Iterator[tuple[str, np.ndarray]]:
    count = len(source) if limit is None else limit
    if count > len(source):
        raise LamdError(
            f"limit {count}: {source.split} has {len(source)} trajectories; lower the limit"
        )
    console = Console(stderr=True)
    for i in track(
        range(count),
        f"packing bair/{source.split}",
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ):
        yield source.entries[i].key, _reduce(source.video(i, camera), size)


def _reduce(video: np.ndarray, size: int) -> np.ndarray:
    factor = FULL_SIZE // size
    if factor == 1:
        return video
    blocks = video.reshape(NUM_FRAMES, size, factor, size, factor, FRAME_SHAPE[2])
    total = blocks.sum(axis=(2, 4), dtype=np.uint32)
    return ((total + factor**2 // 2) // factor**2).astype(np.uint8)


def file_range(path: Path) -> tuple[int, int]:
    """Return (A, B) of a `traj_A_to_B.tfrecords` path."""
    match = _FILE_NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"not a trajectory file: {path.name}")
    return int(match[1]), int(match[2])


def read_trajectory(
    path: Path, span: RecordSpan, cameras: Sequence[str] = CAMERAS, *, floats: bool = True
) -> Trajectory:
    """Read and check one record: checksum, keys, sizes, number of frames.

    Raises:
        RecordError: naming what is wrong; without `floats` actions and positions stay empty.
    """
    data = read_record(path, span)
    try:
        features = parse_example(data)
        videos = {camera: _video(features, camera) for camera in cameras}
        series = {
            name: _series(features, name, width) if floats else np.empty((0, width), np.float32)
            for name, width in _FLOATS.items()
        }
        if f"{NUM_FRAMES}/{cameras[0]}/encoded" in features:
            raise ValueError(f"more than {NUM_FRAMES} frames")
    except ValueError as error:
        raise RecordError(path, span.offset, str(error)) from None
    return Trajectory(videos, **series)


def _video(features: Mapping[str, Sequence], camera: str) -> np.ndarray:
    video = np.empty((NUM_FRAMES, FRAME_BYTES), np.uint8)
    for frame in range(NUM_FRAMES):
        key = f"{frame}/{camera}/encoded"
        values = _values(features, key, 1)
        if not isinstance(values[0], bytes):
            raise ValueError(f"key '{key}' holds numbers, expected bytes")
        if len(values[0]) != FRAME_BYTES:
            raise ValueError(f"key '{key}' has {len(values[0])} bytes, expected {FRAME_BYTES}")
        video[frame] = np.frombuffer(values[0], np.uint8)
    return video.reshape(NUM_FRAMES, *FRAME_SHAPE)


def _series(features: Mapping[str, Sequence], name: str, width: int) -> np.ndarray:
    rows = []
    for frame in range(NUM_FRAMES):
        key = f"{frame}/{name}"
        values = _values(features, key, width)
        if not isinstance(values[0], float):
            raise ValueError(f"key '{key}' holds no floats")
        rows.append(list(values))
    return np.array(rows, np.float32)


def _values(features: Mapping[str, Sequence], key: str, count: int) -> Sequence:
    if key not in features:
        raise ValueError(f"missing key '{key}'")
    values = features[key]
    if len(values) != count:
        raise ValueError(f"key '{key}' has {len(values)} values, expected {count}")
    return values


def encode_trajectory(trajectory: Trajectory) -> bytes:
    """Serialize a trajectory as the Example that `read_trajectory` reads."""
    features: dict[str, bytes | list[float]] = {}
    for frame in range(NUM_FRAMES):
        for camera, video in trajectory.videos.items():
            features[f"{frame}/{camera}/encoded"] = video[frame].tobytes()
        features[f"{frame}/action"] = trajectory.action[frame].tolist()
        features[f"{frame}/endeffector_pos"] = trajectory.endeffector_pos[frame].tolist()
    return encode_example(features)
