"""BAIR robot pushing on disk: `softmotion30_44k/{train,test}/traj_A_to_B.tfrecords`.

One Example is one trajectory of 30 frames; frame i has `i/image_main/encoded` and
`i/image_aux1/encoded` (64x64x3 raw uint8), `i/action` (4 floats) and `i/endeffector_pos` (3).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageOps

from lamd.base.errors import LamdError
from lamd.base.files import natural_key
from lamd.base.progress import track
from lamd.config import DataOptions
from lamd.data.bair import tfrecord
from lamd.data.bair.tfrecord import RecordError, RecordSpan
from lamd.data.dataset import Dataset, SplitCheck, register
from lamd.data.frames import Decoder
from lamd.data.listing import Listing, Problem, Video, check_inside, hash_files
from lamd.data.stand_in import parse_mark

FOLDER = "softmotion30_44k"
CAMERAS = ("image_main", "image_aux1")
NUM_FRAMES = 30
FULL_SIZE = 64
FRAME_BYTES = FULL_SIZE * FULL_SIZE * 3
RECORDS_PER_FILE = 256
FLOATS = {"action": 4, "endeffector_pos": 3}  # numbers per frame
_STAND_IN = "stand_in"  # feature with the mark of a simulated trajectory
_FILE_NAME = re.compile(r"traj_\d+_to_\d+\.tfrecords")
Trajectory = dict[str, np.ndarray]  # camera: uint8 (30, 64, 64, 3); floats: float32 (30, n)


class BairOptions(DataOptions):
    """Own keys of BAIR."""

    augmentations = frozenset({"flip", "crop"})

    camera: Literal["image_main", "image_aux1"]


BAIR = register(
    Dataset(
        name="bair",
        label="BAIR",
        published_size=FULL_SIZE,
        published_options={"camera": "image_aux1"},  # of every published value
        download="download BAIR robot pushing (softmotion30_44k, about 30 GB) and put it at "
        "$LAMD_DATA/softmotion30_44k/{train,test}/traj_*.tfrecords",
        reader=__name__,
        options=BairOptions,
        expected_counts={"train": 43_264, "test": 256},
        unit="trajectories",
        packed_counts={"train": 43_264, "test": 256},
        video_frames={"real": NUM_FRAMES, "simulated": NUM_FRAMES},
        simulator="lamd.standins.robot.write:simulate",
        has_futures=True,
        tracks="lamd.standins.robot.track:true_tracks",
        generator="bair_sim.v1",
    )
)


@dataclass(frozen=True, kw_only=True)
class BairVideo(Video):
    """A trajectory, such as `bair/test/7`: a record of the file at `path`."""

    span: RecordSpan

    def mark(self) -> str | None:
        if self.span.offset:  # the first record answers for its file
            return None
        features = tfrecord.parse_example(tfrecord.read_record(self.path, self.span))
        return parse_mark(next(iter(features.get(_STAND_IN, ())), None))


@dataclass(frozen=True)
class Trajectories(Sequence[BairVideo]):
    """All trajectories of a split, numbered through its files; indexed at the first access."""

    prefix: str
    files: Sequence[Path]

    @cached_property
    def _all(self) -> list[BairVideo]:
        records = [(path, span) for path in self.files for span in tfrecord.index_records(path)]
        return [
            BairVideo(key=f"{self.prefix}/{i}", path=path, span=span)
            for i, (path, span) in enumerate(records)
        ]

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, i):
        return self._all[i]


def find_split(dataset: Dataset, root: Path, split: str) -> Path:
    """Find the folder of a split, with TFRecord files in it."""
    return list_files(dataset, root, split)[0].parent


def list_files(dataset: Dataset, root: Path, split: str) -> list[Path]:
    """List the TFRecord files of a split in natural order; a link may not lead out of `root`."""
    folder = dataset.find_folder(root, f"{FOLDER}/{split}")
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
class BairDecoder(Decoder):
    """Decodes one camera of a trajectory to uint8 (30, size, size, 3).

    A `size` below 64 averages square blocks of pixels (a box filter) and rounds half up.
    """

    camera: str

    def __call__(self, video: BairVideo) -> np.ndarray:
        """Return the frames; RecordError when the record is broken or a frame is missing."""
        return self._averaged(read_trajectory(video.path, video.span, [self.camera])[self.camera])

    def square(self, image: Image.Image) -> Image.Image:
        """Make an RGB image square: its centre at 64x64, averaged as the frames are."""
        whole = ImageOps.fit(image, (FULL_SIZE, FULL_SIZE), Image.Resampling.LANCZOS)
        return Image.fromarray(self._averaged(np.asarray(whole)[None])[0])

    def _averaged(self, frames: np.ndarray) -> np.ndarray:
        factor = FULL_SIZE // self.size
        if factor == 1:
            return frames
        blocks = frames.reshape(len(frames), self.size, factor, self.size, factor, 3)
        total = blocks.sum(axis=(2, 4), dtype=np.uint32)
        return ((total + factor**2 // 2) // factor**2).astype(np.uint8)


def decoder(
    dataset: Dataset, *, size: int, camera: str, num_frames: int = NUM_FRAMES
) -> BairDecoder:
    """Return the rule for a trajectory, all its frames; LamdError on a wrong size or length."""
    if FULL_SIZE % size:
        raise LamdError(f"size {size}: must divide {FULL_SIZE}; take 64, 32 or 16")
    if num_frames > NUM_FRAMES:
        raise LamdError(f"num_frames {num_frames}: a trajectory has {NUM_FRAMES}; lower it")
    return BairDecoder(size, camera)


def read_trajectory(
    path: Path, span: RecordSpan, names: Sequence[str] = (*CAMERAS, *FLOATS)
) -> Trajectory:
    """Read `names` of a record; RecordError on a wrong checksum, key, size or number of frames."""
    data = tfrecord.read_record(path, span)
    try:
        features = tfrecord.parse_example(data)
        trajectory = {name: _series(features, name) for name in names}
        if _key(NUM_FRAMES, names[0]) in features:
            raise ValueError(f"more than {NUM_FRAMES} frames")
    except ValueError as error:
        raise RecordError(path, span.offset, str(error)) from None
    return trajectory


def encode_trajectory(trajectory: Trajectory, mark: str = "") -> bytes:
    """Serialize a trajectory as the Example that `read_trajectory` reads; `mark` of a stand-in."""
    features = {
        _key(frame, name): values.tobytes() if name in CAMERAS else values.tolist()
        for name, series in trajectory.items()
        for frame, values in enumerate(series)
    }
    return tfrecord.encode_example(features | ({_STAND_IN: mark.encode()} if mark else {}))


def _key(frame: int, name: str) -> str:
    return f"{frame}/{name}/encoded" if name in CAMERAS else f"{frame}/{name}"


def _series(features: Mapping[str, Sequence[Any]], name: str) -> np.ndarray:
    is_video, rows = name in CAMERAS, []
    wanted, count = ("bytes", 1) if is_video else ("float", FLOATS[name])
    for frame in range(NUM_FRAMES):
        key = _key(frame, name)
        if key not in features:
            raise ValueError(f"missing key '{key}'")
        values = features[key]
        if len(values) != count:
            raise ValueError(f"key '{key}' has {len(values)} values, expected {count}")
        if (holds := type(values[0]).__name__) != wanted:
            raise ValueError(f"key '{key}' holds {holds}, not {wanted}")
        if is_video and len(values[0]) != FRAME_BYTES:
            raise ValueError(f"key '{key}' has {len(values[0])} bytes, expected {FRAME_BYTES}")
        rows.append(values)
    if not is_video:
        return np.array(rows, np.float32)
    pixels = np.frombuffer(b"".join(frame for (frame,) in rows), np.uint8)
    return pixels.reshape(NUM_FRAMES, FULL_SIZE, FULL_SIZE, 3)


def check_split(dataset: Dataset, root: Path, split: str) -> SplitCheck:
    """Read every record of a split, also those behind broken ones where they can be found."""
    lengths: dict[int, None] = {}
    sound, problems, stand_in = 0, [], None
    for path in track(list_files(dataset, root, split), f"verifying {dataset.name}/{split}"):
        records, broken = 0, []
        for record in tfrecord.scan_records(path, lengths):
            records += 1
            try:
                if isinstance(record, RecordError):
                    raise record
                read_trajectory(path, record)
                video = BairVideo(key=dataset.name, path=path, span=record)
                stand_in = stand_in or video.mark()
            except RecordError as error:
                lost = f"; {error.lost} bytes to the end of the file are lost" if error.lost else ""
                broken.append((error.offset, error.reason + lost))
        sound += records - len(broken)
        first, last = map(int, re.findall(r"\d+", path.stem))
        if records == 0:
            broken.append((0, "empty file, no records"))
        elif records != last - first + 1 and not broken:
            reason = f"file ends after {records} records, its name says {last - first + 1}"
            broken.append((path.stat().st_size, reason))
        problems += [Problem(path, f"byte {offset}: {reason}") for offset, reason in broken]
    return SplitCheck(sound, tuple(problems), stand_in=stand_in)
