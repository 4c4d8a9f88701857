"""Packed clips: one uint8 `.npy` (N, 30, H, W, 3) with an index, memory-mapped when read."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from filelock import FileLock
from rich.console import Console
from rich.progress import track

from lamd.data.bair import CAMERAS, FRAME_SHAPE, NUM_FRAMES, BairSplit, open_bair
from lamd.errors import LamdError

VIDEOS_FILE = "videos.npy"
INDEX_FILE = "index.json"
FULL_SIZE = FRAME_SHAPE[0]
_FORMAT = 2


@dataclass(frozen=True)
class PackedIndex:
    """What `index.json` says: whose clips these are and what they hash to."""

    format: int
    dataset: str
    split: str
    camera: str
    size: int
    count: int
    keys: tuple[str, ...]
    content_hash: str
    source_fingerprint: str


class PackedVideos:
    """Clips behind a memory map; a copy sent to another process opens the file anew.

    `videos` is uint8 (N, 30, H, W, 3), `keys` such as `bair/train/7`, `content_hash` the SHA-256 of
    the raw pixel bytes.
    """

    def __init__(self, path: Path, index: PackedIndex) -> None:
        self.path, self.index = path, index

    @cached_property
    def videos(self) -> np.memmap:
        """All clips, read-only."""
        return np.load(self.path / VIDEOS_FILE, mmap_mode="r", allow_pickle=False)

    @property
    def keys(self) -> list[str]:
        """Trajectory keys in order."""
        return list(self.index.keys)

    @property
    def content_hash(self) -> str:
        """SHA-256 over the raw pixel bytes, hexadecimal."""
        return self.index.content_hash

    def __len__(self) -> int:
        return self.index.count

    def __getstate__(self) -> tuple[Path, PackedIndex]:
        return self.path, self.index

    def __setstate__(self, state: tuple[Path, PackedIndex]) -> None:
        self.path, self.index = state

    def clip(self, i: int, start: int, num_frames: int) -> np.ndarray:
        """Copy frames `start` to `start + num_frames` of clip `i`: uint8 (L, H, W, 3).

        Raises:
            IndexError: when clip or frames do not exist.
        """
        if not (0 <= i < len(self) and start >= 0 and start + num_frames <= NUM_FRAMES):
            raise IndexError(f"clip {i}, frames {start}..{start + num_frames} of {len(self)} clips")
        return np.array(self.videos[i, start : start + num_frames])


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

    A `size` below 64 averages square blocks of pixels (a box filter) and rounds half up.

    Reuse looks at names, sizes and modification times of the source files. Processes side by side
    wait for each other; an interrupted build leaves nothing that would be used.

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
    source = open_bair(root, split)
    what = _digest(str(root.resolve()), split, camera, str(limit), str(size))[:10]
    fingerprint = _fingerprint(source)
    stem = f"bair-{split}-{camera}-{what}"
    target = cache / f"{stem}-{fingerprint[:10]}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f".{stem}.lock"):
            if target.is_dir():
                try:
                    return open_packed(target)
                except LamdError:
                    shutil.rmtree(target)
            for stale in (*cache.glob(f"{stem}-*"), *cache.glob(f".{stem}-*.tmp")):
                shutil.rmtree(stale)
            building = cache / f".{target.name}.tmp"
            building.mkdir()
            try:
                _build(building, source, camera, limit, size, fingerprint)
                os.replace(building, target)
            finally:
                shutil.rmtree(building, ignore_errors=True)
    except OSError as error:
        raise LamdError(
            f"{target}: cannot be packed ({error.strerror}); check free space and permissions"
        ) from None
    return open_packed(target)


def _build(
    folder: Path,
    source: BairSplit,
    camera: str,
    limit: int | None,
    size: int,
    fingerprint: str,
) -> None:
    count = len(source) if limit is None else limit
    if count > len(source):
        raise LamdError(
            f"limit {count}: {source.split} has {len(source)} trajectories; lower the limit"
        )
    digest = hashlib.sha256()
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *_video_shape(size))}
    with (folder / VIDEOS_FILE).open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for video in _videos(source, camera, count):
            reduced = _reduce(video, size)
            stream.write(reduced)
            digest.update(reduced)
        stream.flush()
        os.fsync(stream.fileno())
    keys = tuple(entry.key for entry in source.entries[:count])
    index = PackedIndex(
        _FORMAT, "bair", source.split, camera, size, count, keys, digest.hexdigest(), fingerprint
    )
    with (folder / INDEX_FILE).open("w") as stream:
        json.dump(asdict(index), stream)
        stream.flush()
        os.fsync(stream.fileno())


def _videos(source: BairSplit, camera: str, count: int) -> Iterator[np.ndarray]:
    console = Console(stderr=True)
    for i in track(
        range(count),
        f"packing bair/{source.split}",
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ):
        yield source.video(i, camera)


def open_packed(path: Path) -> PackedVideos:
    """Open a packed folder; cheap: reads the index and looks at the file's header and size.

    Raises:
        LamdError: when index, shape and size do not agree.
    """
    mend = "delete the folder and run `lamd data prepare` again"
    try:
        fields = json.loads((path / INDEX_FILE).read_text())
        index = PackedIndex(**{**fields, "keys": tuple(fields["keys"])})
        videos = PackedVideos(path, index)
        shape, dtype = videos.videos.shape, videos.videos.dtype
    except OSError as error:
        raise LamdError(f"{path}: not a packed data set ({error}); {mend}") from None
    except (ValueError, TypeError, KeyError, EOFError) as error:
        raise LamdError(f"{path}: damaged packed data set ({error}); {mend}") from None
    if index.format != _FORMAT:
        raise LamdError(f"{path}: packed format {index.format}, expected {_FORMAT}; {mend}")
    expected = (index.count, *_video_shape(index.size))
    if shape != expected or dtype != np.uint8 or len(index.keys) != index.count:
        raise LamdError(f"{path}: holds {dtype} {shape}, index says {expected}; {mend}")
    return videos


def _video_shape(size: int) -> tuple[int, ...]:
    return (NUM_FRAMES, size, size, FRAME_SHAPE[2])


def _reduce(video: np.ndarray, size: int) -> np.ndarray:
    factor = FULL_SIZE // size
    if factor == 1:
        return video
    blocks = video.reshape(NUM_FRAMES, size, factor, size, factor, FRAME_SHAPE[2])
    total = blocks.sum(axis=(2, 4), dtype=np.uint32)
    return ((total + factor**2 // 2) // factor**2).astype(np.uint8)


def _fingerprint(source: BairSplit) -> str:
    stats = [(path.name, path.stat()) for path in source.files]
    return _digest(*(f"{name}:{stat.st_size}:{stat.st_mtime_ns}" for name, stat in stats))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
