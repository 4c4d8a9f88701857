"""CATER-GEN as it lies on disk: `cater_gen_{v1,v2}/{train,test}_{ambiguous,explicit}.json`.

Each JSON maps a key to `{"video": "videos/<name>.avi", "caption": "..."}`; the video's scene, in
CATER's own schema, is `scenes/<name>.json`. Paths in the JSON never leave the data set's folder.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.progress import track

from lamd.base.errors import LamdError
from lamd.data.cater.captions import MODES
from lamd.data.folders import Flaw, natural_key, printable
from lamd.data.packed import PackedVideos, Source, pack
from lamd.io.clips import decode_video

VERSIONS = ("v1", "v2")
SPLITS = ("train", "test")
_RIFF_HEADER = 8  # bytes
Item = TypeVar("Item")


@dataclass(frozen=True)
class CaterVideo:
    """One entry of a caption JSON and its scene; `key` is such as `cater_v2/test/17`."""

    key: str
    path: Path
    caption: str
    scene: Path  # need not exist


@dataclass(frozen=True)
class CaterSplit:
    """A split's videos in the natural order of their keys; no pixel is read before it is asked for.

    `fingerprint` changes with the captions and with name, size and time of a video.
    """

    name: str  # cater_v2/test
    captions: Path
    videos: tuple[CaterVideo, ...]
    fingerprint: str


def data_folder(root: Path, version: str) -> Path:
    """Return the folder of CATER-GEN `version` below `root`."""
    return root / f"cater_gen_{version}"


def captions_file(folder: Path, split: str, mode: str) -> Path:
    """Return the JSON with a split's captions."""
    return folder / f"{split}_{mode}.json"


def open_cater(root: Path, version: str, split: str, captions: str) -> CaterSplit:
    """List the videos of a split with their captions.

    Args:
        root: holds `cater_gen_v1` or `cater_gen_v2`.
        version: `v1` or `v2`.
        split: `train` or `test`.
        captions: `ambiguous` or `explicit`.

    Raises:
        LamdError: when the JSON is missing or malformed, or a path leaves the data set's folder.
    """
    for word, known in ((version, VERSIONS), (split, SPLITS), (captions, MODES)):
        if word not in known:
            raise LamdError(f"CATER-GEN {word!r}: unknown; choose {' or '.join(known)}")
    folder, name = data_folder(root, version), f"cater_{version}/{split}"
    path = captions_file(folder, split, captions)
    if not path.is_file():
        raise LamdError(
            f"{path}: no such file; put CATER-GEN-{version} at {folder.name} below LAMD_DATA"
            f" or run `lamd data simulate cater_{version} ROOT`"
        )
    if not path.resolve().is_relative_to(root.resolve()):
        raise LamdError(f"{path}: link leads out of {root}; put the file itself there")
    text, entries = _load(path)
    state = hashlib.sha256(text)
    home, videos = folder.resolve(), []
    for key in sorted(entries, key=natural_key):
        place = f"{path}: entry {printable(key)!r}"
        match entries[key]:
            case {"video": str(video), "caption": str(caption)}:
                file = _inside(folder, home, video, place)
            case _:
                raise LamdError(f"{place}: holds no video and caption; get the file again")
        if file.is_file():
            stat = file.stat()
            state.update(f"{video}:{stat.st_size}:{stat.st_mtime_ns}".encode())
        scene = _inside(folder, home, f"scenes/{file.stem}.json", place)
        videos.append(CaterVideo(f"{name}/{printable(key)}", file, caption.strip(), scene))
    return CaterSplit(name, path, tuple(videos), state.hexdigest())


def _load(path: Path) -> tuple[bytes, dict[str, object]]:
    try:
        text = path.read_bytes()
        entries = json.loads(text)
    except OSError as error:
        raise LamdError(f"{path}: {error.strerror}; make it readable") from None
    except (ValueError, RecursionError) as error:
        raise LamdError(f"{path}: not JSON ({printable(str(error))}); get it again") from None
    if not isinstance(entries, dict) or not entries:
        raise LamdError(f"{path}: no map from keys to videos and captions; get it again")
    return text, entries


def _inside(folder: Path, home: Path, video: str, place: str) -> Path:
    """Return the file that an entry names, if it lies in the data set's folder."""
    parts, shown = PurePosixPath(video), printable(video[:80])
    if not video.isprintable() or "\\" in video:
        raise LamdError(f"{place}: path {shown!r} has odd characters; correct it")
    if parts.is_absolute() or ".." in parts.parts or not parts.name:
        raise LamdError(f"{place}: path {shown!r} leaves the data set's folder; correct it")
    file = folder / parts
    if not file.resolve().is_relative_to(home):
        raise LamdError(f"{place}: {shown!r} is a link out of {folder}; put the file itself there")
    return file


def read_clip(video: CaterVideo, size: int, num_frames: int, frame_interval: int) -> np.ndarray:
    """Decode a clip: uint8 (num_frames, size, size, 3).

    Frame 0 and every `frame_interval`-th after it, up to `num_frames`; a short video is padded with
    its last frame (reported: padding; ours: from frame 0, at a fixed interval). The centre square,
    resized (Lanczos), which is the shorter side brought to `size` (reported) and cropped (ours).

    Raises:
        ValueError: when the video cannot be read or has no caption; says why.
    """
    from PIL import Image, ImageOps

    if not video.caption:
        raise ValueError("empty caption")
    check_whole(video.path)
    frames = decode_video(video.path, (num_frames - 1) * frame_interval + 1)
    wanted = np.minimum(np.arange(num_frames) * frame_interval, len(frames) - 1)
    squares = [
        ImageOps.fit(Image.fromarray(frame), (size, size), Image.Resampling.LANCZOS)
        for frame in frames[np.unique(wanted)]
    ]
    clip = np.stack([np.asarray(square) for square in squares])
    return clip[np.minimum(np.arange(num_frames), len(clip) - 1)]


def check_whole(path: Path) -> None:
    """Hold an AVI's size against the one in its header: decoders take a torn one as short.

    Raises:
        ValueError: when the file is missing, no AVI or shorter than it says.
    """
    try:
        if not path.is_file():  # a pipe would block for ever
            raise ValueError("no such file")
        with path.open("rb") as stream:
            header = stream.read(_RIFF_HEADER)
        size = path.stat().st_size
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None
    if header[:4] != b"RIFF":
        raise ValueError("not an AVI")
    stated = int.from_bytes(header[4:], "little") + _RIFF_HEADER
    if stated > size or stated == _RIFF_HEADER:
        raise ValueError(f"truncated AVI ({size} of {stated} bytes)")


def pack_cater(
    root: Path,
    cache: Path,
    *,
    version: str,
    split: str,
    captions: str,
    size: int,
    num_frames: int,
    frame_interval: int,
    limit: int | None = None,
    broken: str = "stop",
) -> PackedVideos:
    """Decode a split of CATER-GEN once into `cache`, or reuse what lies there.

    Args:
        root: holds `cater_gen_v1` or `cater_gen_v2`.
        cache: where packed data sets lie.
        version: `v1` or `v2`.
        split: `train` or `test`.
        captions: `ambiguous` or `explicit`; become the videos' conditions.
        size: height and width of the result, pixels.
        num_frames: length of each clip; see `read_clip` for the rule.
        frame_interval: from one frame of the clip to the next.
        limit: take the first so many usable videos; None takes all.
        broken: `skip` leaves out and lists what cannot be read; `stop` raises on it. A path that
            leaves the folder always raises.

    Raises:
        LamdError: on a missing or malformed JSON, too few usable videos, and broken videos with
            `stop`.
    """
    numbers = {
        "size": size, "num_frames": num_frames, "frame_interval": frame_interval, "limit": limit
    }  # fmt: skip
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise LamdError(f"{name} {value}: must be at least 1")
    if broken not in ("skip", "stop"):
        raise LamdError(f"broken {broken!r}: unknown; use skip or stop")
    found = open_cater(root, version, split, captions)
    source = Source(
        dataset=f"cater_{version}",
        split=split,
        variant=captions,
        size=size,
        identity=(str(root.resolve()), split, captions, broken, *map(str, numbers.values())),
        fingerprint=found.fingerprint,
        videos=partial(_videos, found, size, num_frames, frame_interval, limit, broken),
        conditions={video.key: video.caption for video in found.videos},
    )
    return pack(source, cache)


def _videos(
    found: CaterSplit, size: int, num_frames: int, interval: int, limit: int | None, broken: str
) -> Iterator[tuple[str, np.ndarray | str]]:
    taken = 0
    for video in shown(found.videos, f"packing {found.name}"):
        try:
            yield video.key, read_clip(video, size, num_frames, interval)
        except ValueError as error:
            if broken == "stop":
                raise LamdError(
                    f"{Flaw(video.path, str(error))}; mend it or set data.broken: skip;"
                    f" `lamd data verify {found.name.split('/')[0]}` lists all such files"
                ) from None
            yield video.key, f"{video.path.name}: {error}"
            continue
        taken += 1
        if taken == limit:
            return
    if taken < (limit or 1):
        raise LamdError(
            f"{found.captions}: {taken} usable videos, {limit or 1} needed; lower"
            f" data.num_{found.name.split('/')[1]} or run `lamd data verify`"
        )


def shown(items: Sequence[Item], verb: str) -> Iterator[Item]:
    """Yield `items` behind a progress bar."""
    console = Console(stderr=True)
    yield from track(
        items,
        verb,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
