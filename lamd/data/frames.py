"""Frames of a video decoded and made square; Landscape, NATOPS and MUG share it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from lamd.data.listing import FrameFolder, Listing, Problem
from lamd.data.packing import decode_ahead

Crop = tuple[float, float, float, float]  # left, top, right, bottom as shares of width and height


def centre_square(image: Image.Image, size: int) -> Image.Image:
    """Resize the centre square by Lanczos."""
    return ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)


def letterbox(image: Image.Image, size: int, crop: Crop) -> Image.Image:
    """Crop, fit into a square by Lanczos, the aspect kept (reported), and fill up with black."""
    left, top, right, bottom = np.multiply(crop, image.size * 2).round().astype(int).tolist()
    inside = image.crop((left, top, right, bottom))
    return ImageOps.pad(inside, (size, size), Image.Resampling.LANCZOS, color="black")


def evenly_drawn(length: int, num_frames: int) -> list[int]:
    """Return the numbers of `num_frames` frames of a clip of `length` (LFDM's rule, reported).

    They are even, rounded down, from the first to the last; of a shorter clip all, the last
    repeated.
    """
    if length < num_frames:
        return [*range(length), *[length - 1] * (num_frames - length)]
    return np.linspace(0, length - 1, num_frames, dtype=int).tolist()


@dataclass(frozen=True)
class FrameDecoder:
    """Decodes a folder of frames to uint8 (T, size, size, 3).

    With a `crop`, `num_frames` frames are `evenly_drawn` and framed by `letterbox`; without one all
    frames are taken, of `num_frames` or more, and resized whole. A JPEG's own scaling by 2, 4 or 8
    comes first where the result stays above `size`. Flipped bits that leave a readable picture go
    unnoticed.
    """

    size: int
    num_frames: int
    image_formats: tuple[str, ...] = ("JPEG",)
    crop: Crop | None = None

    def __call__(self, video: FrameFolder) -> np.ndarray | Problem | str:
        """Return the video, its first problem, or that it is too short."""
        length = len(video.frames)
        if self.crop is None and length < self.num_frames:
            return f"{length} frames, fewer than {self.num_frames}"
        numbers = evenly_drawn(length, self.num_frames) if self.crop else range(length)
        frames, disk_size = {}, None
        for number in dict.fromkeys(numbers):
            path = video.path / video.frames[number]
            try:
                frames[number], disk_size = self.read(path, disk_size)
            except ValueError as error:
                return Problem(path, str(error))
        return np.stack([frames[number] for number in numbers])

    def read(
        self, path: Path, expected: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, tuple[int, int]]:
        """Decode a frame: uint8 (size, size, 3), and its (width, height) on disk.

        Raises:
            ValueError: when it cannot be decoded or its size is not `expected`; says why.
        """
        kind = " or ".join(self.image_formats)
        try:
            with Image.open(path, formats=self.image_formats) as image:
                if expected not in (None, image.size):
                    sizes = ("{}x{}".format(*pair) for pair in (image.size, expected))
                    raise ValueError("{} pixels, the first frame has {}".format(*sizes))
                disk_size = image.size
                image.draft("RGB", (self.size, self.size))
                return np.asarray(self.square(image.convert("RGB"))), disk_size
        except Image.UnidentifiedImageError:
            raise ValueError(f"not a {kind}") from None
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ValueError(f"broken {kind} ({' '.join(str(reason).split())})") from None

    def square(self, image: Image.Image) -> Image.Image:
        """Resize an image whole; with a `crop`, letterbox it."""
        if self.crop is not None:
            return letterbox(image, self.size, self.crop)
        return image.resize((self.size, self.size), Image.Resampling.LANCZOS)


def check_frames(
    listing: Listing[FrameFolder], image_formats: tuple[str, ...] = ("JPEG",)
) -> tuple[list[FrameFolder], tuple[Problem, ...]]:
    """Decode all frames of a split; return the sound videos and all problems."""

    decoder = FrameDecoder(1, 1, image_formats)

    def unreadable(video: FrameFolder) -> list[Problem]:
        problems, disk_size = [], None
        for name in video.frames:
            try:
                _, actual = decoder.read(video.path / name, disk_size)
                disk_size = disk_size or actual
            except ValueError as error:
                problems.append(Problem(video.path / name, str(error)))
        return problems

    label = f"verifying {listing.dataset}/{listing.split}"
    sound, problems = [], listing.problems()
    for video, broken in decode_ahead(unreadable, listing.videos, label):
        problems += broken
        if not (broken or video.problems):
            sound.append(video)
    return sound, tuple(problems)
