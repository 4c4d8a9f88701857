"""Small clips in the real layouts of NATOPS and MUG, written by Pillow."""

from pathlib import Path

import numpy as np
from PIL import Image


def level(number: int) -> int:
    """Return the grey of frame `number`."""
    return 20 + 6 * number


def write_frame(path: Path, number: int, size: tuple[int, int] = (64, 48)) -> None:
    """Write a grey picture that shows its number."""
    Image.fromarray(np.full((size[1], size[0], 3), level(number), np.uint8)).save(path)


def write_natops(root: Path, name: str, num_frames: int, size: tuple[int, int] = (64, 48)) -> Path:
    """Write the clip `name`, such as `g01s03p01`."""
    folder = root / "natops" / name
    folder.mkdir(parents=True)
    for n in range(num_frames):
        write_frame(folder / f"{name}-{n:04d}-{n + 55:04d}.png", n, size)
    return folder


def write_mug(root: Path, place: str, num_frames: int, size: tuple[int, int] = (48, 48)) -> Path:
    """Write the clip at `place`, such as `001/anger/take000`."""
    folder = root / "mug" / place
    folder.mkdir(parents=True)
    for n in range(num_frames):
        write_frame(folder / f"img_{n:04d}.jpg", n, size)
    return folder
