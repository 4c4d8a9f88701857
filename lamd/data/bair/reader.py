"""BAIR robot pushing on disk: `softmotion30_44k/{train,test}/traj_A_to_B.tfrecords`.

One Example is one trajectory of 30 frames; frame i has `i/image_main/encoded` and
`i/image_aux1/encoded` (64x64x3 raw uint8), `i/action` (4 floats) and `i/endeffector_pos` (3).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lamd.base.errors import LamdError
from lamd.base.progress import track
from lamd.data.bair.tfrecord import (
    RecordError,
    RecordSpan,
    encode_example,
    index_records,
    parse_example,
    read_record,
    resume_after,
    scan_records,
)
from lamd.data.dataset import Dataset
from lamd.data.frames import centre_square
from lamd.data.listing import Listing, Problem, Video, check_inside, hash_files, natural_key
from lamd.data.verify import SplitCheck

FOLDER = "softmotion30_44k"
CAMERAS = ("image_main", "image_aux1")
NUM_FRAMES = 30
FULL_SIZE = 64
FRAME_BYTES = FULL_SIZE * FULL_SIZE * 3
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


@dataclass(frozen=True, kw_only=True)
class BairVideo(Video):
    """A trajectory, such as `bair/test/7`: a record of the file at `path`."""

    span: RecordSpan


@dataclass(frozen=True)
class Trajectories(Sequence[BairVideo]):
    """All trajectories of a split, numbered through its files; indexed at the first access."""

    prefix: str
    files: Sequence[Path]

    @cached_property
    def _all(self) -> tuple[BairVideo, ...]:
        spans = ((path, span) for path in self.files for span in index_records(path))
        return tuple(
            BairVideo(key=f"{self.prefix}/{i}", path=path, span=span)
            for i, (path, span) in enumerate(spans)
        )

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, i):
        return self._all[i]


def find_split(dataset: Dataset, root: Path, split: str) -> Path:
    """Find the folder of a split, with TFRecord files in it."""
    return list_files(dataset, root, split)[0].parent


def list_files(dataset: Dataset, root: Path, split: str) -> list[Path]:
    """List the TFRecord files of a split in natural order; a link may not lead out of `root`."""
    folder = root / FOLDER / split
    if not folder.is_dir():
        raise dataset.missing(folder, "no such folder")
    try:
        files = [path for path in folder.iterdir() if _FILE_NAME.fullmatch(path.name)]
    except OSError as error:
        raise LamdError(f"{folder}: {error.strerror}; make it readable") from None
    if not files:
        raise dataset.missing(folder, "no traj_A_to_B.tfrecords files")
    for path in files:
        check_inside(path, root)
        if not path.is_file():
            raise LamdError(f"{path}: not a file; remove it or put the file there")
    return sorted(files, key=lambda path: natural_key(path.name))


def list_split(
    dataset: Dataset, root: Path, split: str, *, camera: str | None = None
) -> Listing[BairVideo]:
    """List the trajectories of a split; no file is opened yet."""
    files = list_files(dataset, root, split)
    videos = Trajectories(f"{dataset.name}/{split}", files)
    return Listing(
        dataset=dataset.name, split=split, folder=files[0].parent, videos=videos,
        fingerprint=hash_files(files), variant=camera,
    )  # fmt: skip


@dataclass(frozen=True)
class BairDecoder:
    """Decodes one camera of a trajectory to uint8 (30, size, size, 3).

    A `size` below 64 averages square blocks of pixels (a box filter) and rounds half up.
    """

    size: int
    camera: str

    def __call__(self, video: BairVideo) -> np.ndarray:
        """Return the frames.

        Raises:
            RecordError: when the record is broken or a frame is missing.
        """
        read = read_trajectory(video.path, video.span, (self.camera,), floats=False)
        frames, factor = read.videos[self.camera], FULL_SIZE // self.size
        if factor == 1:
            return frames
        blocks = frames.reshape(NUM_FRAMES, self.size, factor, self.size, factor, 3)
        total = blocks.sum(axis=(2, 4), dtype=np.uint32)
        return ((total + factor**2 // 2) // factor**2).astype(np.uint8)

    def square(self, image: Image.Image) -> Image.Image:
        """Resize the centre square of an image."""
        return centre_square(image, self.size)


def decoder(
    dataset: Dataset, *, size: int, camera: str, num_frames: int = NUM_FRAMES
) -> BairDecoder:
    """Return the rule for a trajectory: all its frames.

    Raises:
        LamdError: on a size that does not divide 64, and more than 30 frames.
    """
    if FULL_SIZE % size:
        raise LamdError(f"size {size}: must divide {FULL_SIZE}; take 64, 32 or 16")
    if num_frames > NUM_FRAMES:
        raise LamdError(f"num_frames {num_frames}: a trajectory has {NUM_FRAMES}; lower it")
    return BairDecoder(size, camera)


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
        videos = {}
        for camera in cameras:
            frames = [values[0] for values in _series(features, f"{camera}/encoded", 1, bytes)]
            pixels = np.frombuffer(b"".join(frames), np.uint8)
            videos[camera] = pixels.reshape(NUM_FRAMES, FULL_SIZE, FULL_SIZE, 3)
        series = {
            name: np.array(_series(features, name, width, float) if floats else [], np.float32)
            for name, width in _FLOATS.items()
        }
        if f"{NUM_FRAMES}/{cameras[0]}/encoded" in features:
            raise ValueError(f"more than {NUM_FRAMES} frames")
    except ValueError as error:
        raise RecordError(path, span.offset, str(error)) from None
    return Trajectory(videos, **series)


def _series(features: Mapping[str, Sequence], name: str, count: int, kind: type) -> list[Sequence]:
    """Return `count` values of each frame, floats or one frame's bytes."""
    rows = []
    for frame in range(NUM_FRAMES):
        key = f"{frame}/{name}"
        if key not in features:
            raise ValueError(f"missing key '{key}'")
        values: Sequence[Any] = features[key]
        if len(values) != count:
            raise ValueError(f"key '{key}' has {len(values)} values, expected {count}")
        holds, wanted = type(values[0]).__name__, kind.__name__
        if holds != wanted:
            raise ValueError(f"key '{key}' holds {holds}, not {wanted}")
        if kind is bytes and len(values[0]) != FRAME_BYTES:
            raise ValueError(f"key '{key}' has {len(values[0])} bytes, expected {FRAME_BYTES}")
        rows.append(values)
    return rows


def encode_trajectory(trajectory: Trajectory) -> bytes:
    """Serialize a trajectory as the Example that `read_trajectory` reads."""
    features: dict[str, bytes | list[float]] = {}
    for frame in range(NUM_FRAMES):
        for camera, video in trajectory.videos.items():
            features[f"{frame}/{camera}/encoded"] = video[frame].tobytes()
        features[f"{frame}/action"] = trajectory.action[frame].tolist()
        features[f"{frame}/endeffector_pos"] = trajectory.endeffector_pos[frame].tolist()
    return encode_example(features)


def check_split(dataset: Dataset, root: Path, split: str) -> SplitCheck:
    """Read every record of a split, also those behind broken ones where they can be found."""
    lengths: dict[int, None] = {}
    records = [
        record
        for path in track(list_files(dataset, root, split), f"verifying {dataset.name}/{split}")
        for record in _check_file(path, lengths)
    ]
    problems = tuple(record for record in records if isinstance(record, Problem))
    return SplitCheck(len(records) - len(problems), problems)


def _check_file(path: Path, lengths: dict[int, None]) -> Iterator[RecordSpan | Problem]:
    """Yield sound spans and problems; `lengths` collects the data lengths seen so far."""
    records = 0
    broken = False
    for record in _scan_on(path, lengths):
        if isinstance(record, RecordSpan):
            lengths[record.length] = None
            try:
                read_trajectory(path, record)
            except RecordError as error:
                record = _problem(path, error.offset, error.reason)
        records += 1
        broken |= isinstance(record, Problem)
        yield record
    name = _FILE_NAME.fullmatch(path.name)
    assert name is not None, "list_files keeps no other file"
    stated = int(name[2]) - int(name[1]) + 1
    if records == 0:
        yield _problem(path, 0, "empty file, no records")
    elif records != stated and not broken:
        reason = f"file ends after {records} records, its name says {stated}"
        yield _problem(path, path.stat().st_size, reason)


def _scan_on(path: Path, lengths: dict[int, None]) -> Iterator[RecordSpan | Problem]:
    """Scan a file and go on behind broken headers where the next record can be found."""
    start: int | None = 0
    while start is not None:
        try:
            yield from scan_records(path, start)
            return
        except RecordError as error:
            start = resume_after(path, error.offset, lengths)
            lost = path.stat().st_size - error.offset
            rest = f"; {lost} bytes to the end of the file are lost" if start is None else ""
            yield _problem(path, error.offset, error.reason + rest)


def _problem(path: Path, offset: int, reason: str) -> Problem:
    return Problem(path, f"byte {offset}: {reason}")
