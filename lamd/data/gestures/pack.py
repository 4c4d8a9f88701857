"""NATOPS and MUG packed: `num_frames` frames a clip, drawn evenly, with the clip's class."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lamd.data.frames import FrameRule, VideoRule, check_options, packed_frames
from lamd.data.gestures.reader import GESTURE_SETS, gesture_class, open_gestures
from lamd.data.packed import PackedVideos, Source, pack

if TYPE_CHECKING:
    from PIL.Image import Image


def pack_gestures(
    name: str,
    root: Path,
    cache: Path,
    *,
    split: str,
    size: int,
    num_frames: int,
    limit: int | None = None,
    broken: str = "stop",
) -> PackedVideos:
    """Decode a split of `natops` or `mug` once into `cache`, or reuse what lies there.

    Each clip is `evenly_drawn`, its frames made square by `frame_in` (LFDM's rules, reported); its
    condition is the name of its class.

    Args:
        name: `natops` or `mug`.
        root: holds the folder of that name.
        cache: where packed data sets lie.
        split: `train` or `test`; subjects of one are not in the other.
        size: height and width of the result, pixels.
        num_frames: length L of every packed clip.
        limit: take the first so many usable clips, spread over classes and subjects; None takes
            all.
        broken: `skip` leaves out and lists clips that cannot be read, and ignores and lists stray
            files; `stop` raises on the first of either.

    Raises:
        LamdError: on a missing folder, too few usable clips, and on broken files with `stop`.
    """
    check_options(broken, size=size, num_frames=num_frames, limit=limit)
    of = GESTURE_SETS[name]
    found = open_gestures(name, root, split)
    frame = FrameRule(size, of.image_formats, partial(frame_in, crop=of.crop))
    rule = VideoRule(frame, partial(evenly_drawn, num_frames=num_frames), limit, broken, "")
    source = Source(
        dataset=name,
        split=split,
        variant=None,
        size=size,
        identity=(str(root.resolve()), split, str(limit), str(size), str(num_frames), broken),
        fingerprint=found.fingerprint,
        videos=partial(packed_frames, found, rule),
        conditions={video.key: gesture_class(video.key) for video in found.videos},
    )
    return pack(source, cache)


def evenly_drawn(length: int, num_frames: int) -> list[int]:
    """Return the numbers of `num_frames` frames of a clip of `length`.

    They are drawn evenly, rounded down, from the first to the last; of a shorter clip all, the last
    one repeated (LFDM's test rule, reported).
    """
    if length < num_frames:
        return [*range(length), *[length - 1] * (num_frames - length)]
    return np.linspace(0, length - 1, num_frames, dtype=int).tolist()


def frame_in(image: "Image", size: int, crop: tuple[float, float, float, float]) -> "Image":
    """Crop to shares of width and height, fit into a square, and fill what is left with black.

    The aspect stays (LFDM, reported); Lanczos (ours).
    """
    from PIL import Image, ImageOps

    width, height = image.size
    box = [round(share * side) for share, side in zip(crop, (width, height) * 2, strict=True)]
    return ImageOps.pad(image.crop(box), (size, size), Image.Resampling.LANCZOS, color="black")
