"""Landscape packed: whole short videos, each frame squeezed to a square."""

from functools import partial
from pathlib import Path

from lamd.data.frames import FrameRule, VideoRule, check_options, packed_frames
from lamd.data.packed import PackedVideos, Source, pack
from lamd.data.sky.reader import open_landscape


def pack_landscape(
    root: Path,
    cache: Path,
    *,
    split: str,
    size: int,
    min_frames: int,
    limit: int | None = None,
    broken: str = "stop",
) -> PackedVideos:
    """Decode a split of Landscape once into `cache`, or reuse what lies there.

    Frames are resized whole to a square, so that their aspect changes (paper), by Lanczos (ours).

    Args:
        root: holds `sky_train` and `sky_test`.
        cache: where packed data sets lie.
        split: `train` or `test`.
        size: height and width of the result, pixels.
        min_frames: shorter videos are left out and listed.
        limit: take the first so many usable videos; None takes all.
        broken: `skip` leaves out and lists videos that cannot be read, and ignores and lists stray
            files; `stop` raises on the first of either.

    Raises:
        LamdError: on missing folders, too few usable videos, and on broken files with `stop`.
    """
    check_options(broken, size=size, min_frames=min_frames, limit=limit)
    found = open_landscape(root, split)
    options = (split, str(limit), str(size), str(min_frames), broken)
    needed = f" of at least {min_frames} frames"
    rule = VideoRule(FrameRule(size), partial(_whole, min_frames), limit, broken, needed)
    source = Source(
        dataset="landscape",
        split=split,
        variant=None,
        size=size,
        identity=(str(root.resolve()), *options),
        fingerprint=found.fingerprint,
        videos=partial(packed_frames, found, rule),
    )
    return pack(source, cache)


def _whole(min_frames: int, num_frames: int) -> range | str:
    if num_frames < min_frames:
        return f"{num_frames} frames, fewer than {min_frames}"
    return range(num_frames)
