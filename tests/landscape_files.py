"""Small files in Landscape's real layout, written by Pillow."""

from pathlib import Path

import numpy as np
from PIL import Image

from lamd.data.sky import LANDSCAPE


def frame_pixels(number: int, size: tuple[int, int] = (64, 36)) -> np.ndarray:
    """Return a smooth picture that shows its number, uint8 (H, W, 3)."""
    width, height = size
    ramp = np.linspace(0, 100, width)[None, :, None] + np.linspace(0, 50, height)[:, None, None]
    return (ramp + 7 * (number % 14) + np.array([0, 5, 10])).astype(np.uint8)


def write_video(
    root: Path, split: str, name: str, numbers: list[int], size: tuple[int, int] = (64, 36)
) -> Path:
    """Write the short video `name`, such as `a_1`, with frames of these numbers."""
    folder = root / f"sky_{split}" / name.rpartition("_")[0] / name
    folder.mkdir(parents=True)
    for number in numbers:
        picture = Image.fromarray(frame_pixels(number, size))
        picture.save(folder / f"{name}_frames_{number}.jpg", quality=95)
    return folder


def write_root(root: Path) -> Path:
    """Write videos of 9, 12 and 4 frames for training, of 9 and 5 for the test."""
    write_video(root, "train", "a_10", list(range(9)))
    write_video(root, "train", "a_2", [*range(1, 12), 40])  # a gap
    write_video(root, "train", "b_1", [3, 4, 5, 6])
    write_video(root, "test", "c_1", list(range(9)))
    write_video(root, "test", "c_2", list(range(5)))
    return root


def pack(root, split="train", *, on_corrupt="raise", size=16, num_frames=4, limit=None):
    return LANDSCAPE.pack(
        root, root.parent / "cache", split=split, size=size, num_frames=num_frames,
        limit=limit, on_corrupt=on_corrupt,
    )  # fmt: skip


def truncate(folder):
    """Cut a frame of a video short."""
    path = folder / "a_2_frames_7.jpg"
    path.write_bytes(path.read_bytes()[:-100])
