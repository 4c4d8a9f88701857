"""Small files in BAIR's real layout, written by the `tfrecord` package."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from tfrecord.writer import TFRecordWriter

from lamd.data.bair import BAIR, CAMERAS, FOLDER, NUM_FRAMES
from lamd.data.packed import PackedVideos

Features = dict[str, tuple[list, str]]


def example_features(seed: int) -> Features:
    """Return one trajectory of noise as the writer's features."""
    rng = np.random.default_rng(seed)
    features: Features = {}
    for frame in range(NUM_FRAMES):
        for camera in CAMERAS:
            pixels = rng.integers(0, 256, (64, 64, 3), np.uint8)
            features[f"{frame}/{camera}/encoded"] = ([pixels.tobytes()], "byte")
        features[f"{frame}/action"] = (rng.normal(size=4).tolist(), "float")
        features[f"{frame}/endeffector_pos"] = (rng.normal(size=3).tolist(), "float")
    return features


def write_file(
    path: Path, count: int, seed: int = 0, change: Callable[[int, Features], None] | None = None
) -> Path:
    """Write `count` trajectories; `change(i, features)` may spoil one first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = TFRecordWriter(str(path))
    for i in range(count):
        features = example_features(seed + i)
        if change is not None:
            change(i, features)
        writer.write(features)
    writer.close()
    return path


def write_split(root: Path, split: str, counts: list[int], seed: int = 0) -> list[Path]:
    """Write one split in files of `counts` trajectories."""
    first, paths = 0, []
    for count in counts:
        name = f"traj_{first}_to_{first + count - 1}.tfrecords"
        paths.append(write_file(root / FOLDER / split / name, count, seed + first))
        first += count
    return paths


def pack_bair(root: Path, cache: Path, **options) -> PackedVideos:
    """Pack a split, by default the test split, as 64x64 frames of `image_aux1`."""
    defaults = {"split": "test", "size": 64, "camera": "image_aux1"}
    return BAIR.pack(root, cache, **(defaults | options))


def flip(path: Path, offset: int) -> None:
    """Flip one bit of the byte at `offset`."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


def frame_pixels(seed: int, camera: str) -> np.ndarray:
    """Return the video that `example_features(seed)` holds: uint8 (30, 64, 64, 3)."""
    features = example_features(seed)
    frames = [features[f"{frame}/{camera}/encoded"][0][0] for frame in range(NUM_FRAMES)]
    return np.frombuffer(b"".join(frames), np.uint8).reshape(NUM_FRAMES, 64, 64, 3)
