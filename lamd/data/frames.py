"""Decoders: images made square, and folders of frames, as of Landscape, NATOPS and MUG."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import cv2
import numpy as np
from PIL import Image, ImageOps

from lamd.base.errors import LamdError
from lamd.base.processes import available_cores
from lamd.base.progress import track
from lamd.base.terminal import printable
from lamd.data.listing import FrameFolder, Listing, Problem, V, Video
from lamd.data.packed import Packable, evenly_drawn
from lamd.io.pictures import FORMATS, open_picture, upright_rgb

Result = TypeVar("Result")
_MOST_AHEAD = 16  # videos decoded at once
MOST_VIDEO = 2**32  # bytes of a folder's frames, resized: 87,000 of 128 pixels
_END_OF_JPEG = b"\xff\xd9"
# `lanczos`: Pillow's, a JPEG first decoded smaller by 2, 4 or 8 where that stays above the size;
# `pillow_bilinear`: Pillow's, which averages (MDGAN, DTVNet, MAGE);
# `bilinear`: PyTorch's `interpolate`, no antialiasing (cINN); `area`: OpenCV's (LFDM)
Resize = Literal["lanczos", "pillow_bilinear", "bilinear", "area"]


def resize(image: Image.Image, size: tuple[int, int], rule: Resize) -> Image.Image:
    """Resize an RGB image to `size`, (width, height) in pixels, by a rule of `Resize`."""
    if rule == "lanczos":
        return image.resize(size, Image.Resampling.LANCZOS)
    if rule == "pillow_bilinear":
        return image.resize(size, Image.Resampling.BILINEAR)
    pixels = np.array(image)
    if rule == "area":
        return Image.fromarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
    import torch
    from torch.nn.functional import interpolate

    values = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    values = interpolate(values, size=size[::-1], mode="bilinear").round()[0].permute(1, 2, 0)
    return Image.fromarray(values.to(torch.uint8).numpy())


class Truncated(NamedTuple):
    """A frame, or a video, and what was not read of its files."""

    pixels: np.ndarray  # uint8 (size, size, 3), or (T, size, size, 3)
    problems: tuple[Problem, ...]  # of each truncated frame


@dataclass(frozen=True)
class Decoder:
    """Base of decoders: a square of `size` pixels, by default the centre, by Lanczos."""

    size: int

    def square(self, image: Image.Image) -> Image.Image:
        """Make an RGB image square as frames are."""
        return ImageOps.fit(image, (self.size, self.size), Image.Resampling.LANCZOS)


@dataclass(frozen=True)
class FrameDecoder(Decoder):
    """Decodes a folder of frames to uint8 (T, size, size, 3).

    With a `crop`, `num_frames` frames are `evenly_drawn`, or all taken where that is None, and
    fitted into a square, the aspect kept (reported), filled up with black; without one all frames
    are taken, of `num_frames` or more, and resized whole; both by the rule `resize`. Flipped bits
    that leave a readable picture go unnoticed.
    """

    num_frames: int | None
    crop: tuple[float, float, float, float] | None = None  # left, top, right, bottom, as shares
    resize: Resize = "lanczos"
    load_truncated: bool = False  # a truncated JPEG; what is missing is grey, as Pillow fills it

    def __call__(self, video: FrameFolder) -> np.ndarray | Truncated | Problem | str:
        """Return the video, its first problem, or that it is too short."""
        length, wanted = len(video.frames), self.num_frames
        if self.crop is None and wanted is not None and length < wanted:
            return f"{length} frames, fewer than {wanted}"
        numbers = np.arange(length)
        if self.crop is not None and wanted is not None:
            numbers = evenly_drawn(length, wanted)
        if len(numbers) * self.size**2 * 3 > MOST_VIDEO:
            return f"{len(numbers):,} frames of {self.size} pixels are above {MOST_VIDEO:,} bytes"
        frames, problems = {}, tuple[Problem, ...]()
        for number, frame in self.read(video, np.unique(numbers).tolist()):
            if isinstance(frame, Problem):
                return frame
            if isinstance(frame, Truncated):
                problems += frame.problems
                frame = frame.pixels
            frames[number] = frame
        pixels = np.stack([frames[number] for number in numbers.tolist()])
        return Truncated(pixels, problems) if problems else pixels

    def read(
        self, video: FrameFolder, numbers: Iterable[int]
    ) -> Iterator[tuple[int, np.ndarray | Truncated | Problem]]:
        """Yield these frames with their number: uint8 (size, size, 3), or why there is none."""
        first_size = None
        for number in numbers:
            frame: np.ndarray | Truncated | str
            path = video.path / video.frames[number]
            try:
                try:
                    frame, first_size = self._decode(path, None, first_size)
                except OSError as error:
                    if not self.load_truncated:
                        raise
                    # Pillow's LOAD_TRUNCATED_IMAGES does the same, but for the whole process.
                    completed = BytesIO(path.read_bytes() + _END_OF_JPEG)
                    pixels, first_size = self._decode(path, completed, first_size)
                    frame = Truncated(pixels, (Problem(path, f"broken JPEG ({error})"),))
            except OSError as error:
                reason = getattr(error, "strerror", None) or error
                frame = f"broken {FORMATS[path.suffix.lower()]} ({' '.join(str(reason).split())})"
            except ValueError as error:
                frame = str(error)
            yield number, Problem(path, frame) if isinstance(frame, str) else frame

    def _decode(
        self, path: Path, file: BytesIO | None, first_size: tuple[int, int] | None
    ) -> tuple[np.ndarray, tuple[int, int]]:
        with open_picture(path, file) as image:
            size = image.size
            if first_size not in (None, size):
                sizes = ("{}x{}".format(*pair) for pair in (size, first_size))
                raise ValueError("{} pixels, the first frame has {}".format(*sizes))
            if self.resize == "lanczos":
                image.draft("RGB", (self.size, self.size))
            return np.asarray(self.square(upright_rgb(image))), size

    def square(self, image: Image.Image) -> Image.Image:
        """Resize an image whole; with a `crop`, letterbox it."""
        size = self.size, self.size
        if self.crop is None:
            return resize(image, size, self.resize)
        box = np.multiply(self.crop, image.size * 2).round().astype(int).tolist()
        image = image.crop(box)
        width, height = (int(side * (self.size / max(image.size))) for side in image.size)
        if not width * height:
            raise ValueError("{} x {} pixels are too narrow; crop it".format(*image.size))
        if self.resize == "lanczos":
            return ImageOps.pad(image, size, Image.Resampling.LANCZOS, color="black")
        squared = Image.new("RGB", size)
        corner = (self.size - width) // 2, (self.size - height) // 2
        squared.paste(resize(image, (width, height), self.resize), corner)
        return squared


def check_frames(
    listing: Listing[FrameFolder],
) -> tuple[list[FrameFolder], tuple[Problem, ...], tuple[str, ...]]:
    """Decode all frames of a split; return the sound videos, all problems, and notes."""
    decoder = FrameDecoder(1, 1, load_truncated=True)

    def unsound(video: FrameFolder) -> list[Problem | Truncated]:
        frames = decoder.read(video, range(len(video.frames)))
        return [frame for _, frame in frames if not isinstance(frame, np.ndarray)]

    label = f"verifying {listing.dataset}/{listing.split}"
    sound, problems, truncated = [], listing.problems(), 0
    for video, broken in decode_ahead(unsound, listing.videos, label):
        for frame in broken:
            truncated += isinstance(frame, Truncated)
            problems += frame.problems if isinstance(frame, Truncated) else [frame]
        if not (broken or video.problems):
            sound.append(video)
    note = f"truncated frames, which data.on_corrupt: load_truncated loads: {truncated:,}"
    return sound, tuple(problems), (*listing.notes, *[note] * bool(truncated))


def usable_videos(
    listing: Listing, decoder: Callable[[Any], np.ndarray | Truncated | Problem | str],
    limit: int | None, on_corrupt: str, verify: str,
) -> Iterator[Packable]:  # fmt: skip
    """Decode the first `limit` usable videos of a listing; what is left out comes with a reason.

    LamdError on too few usable videos, and on unreadable ones with `on_corrupt: raise`, both with
    the way to `verify` the data set.
    """
    if on_corrupt == "raise":
        for problem in listing.problems():
            raise LamdError(f"{problem}; fix or remove it{verify}")
    if on_corrupt == "load_truncated":
        assert isinstance(decoder, FrameDecoder), "only an option of folders of frames"
        decoder = replace(decoder, load_truncated=True)
    for problem in listing.unexpected_files:
        yield Packable(listing.key(problem.path), problem.reason)

    def decode(video: Video) -> tuple[np.ndarray | Truncated | Problem | str, str | None]:
        if video.problems:
            return video.problems[0], None
        pixels = decoder(video)
        return pixels, None if isinstance(pixels, str | Problem) else video.mark()

    usable, needed = 0, limit or 1
    if len(listing.videos) < needed:
        usable = len(listing.videos)
    else:
        label = f"packing {listing.dataset}/{listing.split}"
        with closing(decode_ahead(decode, listing.videos, label)) as decoded:
            for video, (pixels, mark) in decoded:
                for problem in video.unexpected_files:
                    yield Packable(listing.key(problem.path), problem.reason)
                truncated: tuple[Problem, ...] = ()
                if isinstance(pixels, Truncated):
                    pixels, truncated = pixels
                if isinstance(pixels, Problem):
                    if on_corrupt == "raise":
                        raise LamdError(f"{pixels}; fix or remove it{verify}")
                    file = "" if pixels.path == video.path else f"{pixels.path.name}: "
                    pixels = printable(f"{file}{pixels.reason}")
                yield Packable(video.key, pixels, video.condition, len(truncated), mark)
                usable += not isinstance(pixels, str)
                if usable == limit:
                    return
    if usable < needed:
        first = "" if usable else "".join(f" (first, {p})" for p in listing.problems()[:1])
        raise LamdError(
            f"{listing.folder}: {usable} usable videos, {needed} needed{first}; lower"
            f" data.num_{listing.split} or data.num_frames{verify}"
        )


def decode_ahead(
    work: Callable[[V], Result], videos: Sequence[V], label: str
) -> Generator[tuple[V, Result], None, None]:
    """Yield each video with its result, in order, worked ahead by threads, behind a bar."""
    workers, todo = min(available_cores(), _MOST_AHEAD), iter(videos)
    with ThreadPoolExecutor(workers) as pool:
        try:
            waiting = deque(pool.submit(work, video) for video in islice(todo, workers + 2))
            for video in track(videos, label):
                result = waiting.popleft().result()
                waiting.extend(pool.submit(work, later) for later in islice(todo, 1))
                yield video, result
        finally:
            pool.shutdown(cancel_futures=True)
