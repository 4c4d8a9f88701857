"""Small files in Landscape's real layout, written by Pillow."""

from pathlib import Path

import numpy as np
from PIL import Image


def frame_pixels(number: int, size: tuple[int, int] = (64, 36)) -> np.ndarray:
    """Return a smooth picture that tells its number, uint8 (H, W, 3)."""
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
