"""Read a set of clips from files: an `.npy`, a folder of videos, or a folder of frame folders."""

import os
import sys
import unicodedata
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from lamd.base.arrays import load_array
from lamd.base.errors import LamdError
from lamd.base.files import clip_key, input_file, is_system_file
from lamd.base.limits import MOST_CLIP
from lamd.base.processes import available_memory
from lamd.base.progress import track
from lamd.io.native import ONE_THREAD, memory_bounded, stderr_hidden
from lamd.io.pictures import FORMATS, read_picture

VIDEO_SUFFIXES = {
    ".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
    ".mts", ".ogv", ".ts", ".webm", ".wmv", ".y4m",
}  # fmt: skip
_LOSSY_FRAMES = {".jpeg", ".jpg", ".webp"}
_FORMS = (
    "give an .npy of uint8 (N, L, H, W, 3), a folder of video files, or a folder of frame folders"
)

# Demuxers of the suffixes above: a playlist under such a name would open other files.
_CONTAINERS = (
    "3g2,3gp,asf,avi,flv,gif,m4a,m4v,matroska,mj2,mov,mp4,mpeg,mpegts,mpegvideo,ogg,webm,"
    "yuv4mpegpipe"
)
MOST_CLIPS = 10**6
_MOST_PIXELS = 2**26  # of a frame; 8K has half as many
_MOST_MEMORY = MOST_CLIP + 2**28  # bytes, of a clip's frames and what a decoder takes for itself
_ARRAY_BYTES = 200  # of memory that an array takes, besides its pixels
_CHUNK_BYTES = 8  # that a frame of an AVI takes at least


@dataclass(frozen=True)
class Clips:
    """A set of clips and where it was read from."""

    path: Path
    videos: np.ndarray  # uint8 (N, L, H, W, 3)
    names: tuple[str, ...]  # without suffix; empty for an .npy
    lossless: bool


def load_clips(path: Path | str) -> Clips:
    """Read an `.npy` (memory-mapped), a folder of video files, or a folder of frame folders.

    Clips are in natural order of names; files of operating systems and hidden ones are passed over.
    LamdError when anything there is unreadable or no clip, or clips differ in length or size.
    """
    path = Path(path)
    if not path.exists():
        raise LamdError(f"{path}: does not exist; {_FORMS}")
    if not path.is_dir():
        input_file(path)
        if path.suffix != ".npy":
            raise LamdError(f"{path}: a single file that is no .npy; {_FORMS}")
        return Clips(path, _load_npy(path), (), lossless=True)
    entries = _listing(path)
    folders = [entry for entry in entries if entry.is_dir()]
    if folders and len(folders) < len(entries):
        odd = next(entry for entry in entries if not entry.is_dir())
        raise LamdError(f"{path}: holds folders and files ({odd.name}); keep one kind")
    allowed, kind = (set(FORMATS), "frame") if folders else (VIDEO_SUFFIXES, "video")
    files = [file for folder in folders for file in _listing(folder)] or entries
    for file in files:
        if file.is_dir() or file.suffix.lower() not in allowed:
            _check_layout(path, file)
            listed = ", ".join(sorted(allowed))
            raise LamdError(f"{file}: not a {kind} file ({listed}); convert it or take it out")
    videos = _stack(path, entries)
    stems = (entry.name if folders else entry.stem for entry in entries)
    names = tuple(unicodedata.normalize("NFC", stem) for stem in stems)
    lossy = not folders or any(file.suffix.lower() in _LOSSY_FRAMES for file in files)
    return Clips(path, videos, names, lossless=not lossy)


def _check_layout(path: Path, file: Path) -> None:
    """Raise LamdError when clips are on another level than in or one below the folder `path`."""
    name, nested = file.relative_to(path), file.parent != path
    if file.is_dir():
        level, fix = "folders of folders", f"give {file.parent} or another of them"
    elif nested and file.suffix.lower() in VIDEO_SUFFIXES:
        level = "folders of videos"
        fix = f"give {file.parent} or another of them, or put all videos into one folder"
    elif not nested and file.suffix.lower() in FORMATS:
        level, fix = "frames", "give the folder above, or make one folder of frames for each clip"
    else:
        return
    raise LamdError(f"{path}: holds {level} ({name}), not videos or folders of frames; {fix}")


def _load_npy(path: Path) -> np.ndarray:
    hint = "save uint8 (N, L, H, W, 3) with numpy.save"
    videos = load_array(path, np.uint8, 5, hint, mapped=True)
    if videos.shape[-1] != 3 or 0 in videos.shape:
        raise LamdError(f"{path}: shape is {videos.shape}; {hint}")
    if len(videos) > MOST_CLIPS or videos[0].nbytes > MOST_CLIP:
        raise LamdError(
            f"{path}: shape is {videos.shape}; give at most {MOST_CLIPS:,} clips of at most "
            f"{MOST_CLIP:,} bytes"
        )
    return videos


def _listing(folder: Path) -> list[Path]:
    try:
        entries = [entry for entry in folder.iterdir() if not is_system_file(entry.name)]
    except OSError as error:
        raise LamdError(f"{folder}: {error.strerror}; make it readable") from None
    if not entries:
        raise LamdError(f"{folder}: an empty folder; {_FORMS}")
    for entry in entries:
        if not os.path.isfile(entry) and not os.path.isdir(entry):
            what = "a dead link" if entry.is_symlink() else "not a file or folder"
            raise LamdError(f"{entry}: {what}; fix it or take it out")
    return sorted(entries, key=clip_key)


def _stack(path: Path, entries: list[Path]) -> np.ndarray:
    clip = _read_clip(entries[0])
    _check_memory(path, len(entries), clip)
    videos, shapes = np.empty((len(entries), *clip.shape), np.uint8), []
    for i, entry in enumerate(track(entries, f"reading {path.name}")):
        clip = _read_clip(entry) if i else clip
        shapes.append(clip.shape)
        if clip.shape == videos.shape[1:]:
            videos[i] = clip
    usual, count = Counter(shapes).most_common(1)[0]
    odd = [
        f"{e.name} is {size_text(s)}" for e, s in zip(entries, shapes, strict=True) if s != usual
    ]
    if odd:
        more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
        raise LamdError(
            f"{path}: {', '.join(odd[:3])}{more}, but {count} of {len(shapes)} clips are "
            f"{size_text(usual)}; make all clips equal in length and size"
        )
    return videos


def _read_clip(path: Path) -> np.ndarray:
    is_folder = path.is_dir()
    try:
        return _stack_frames(_pictures(_listing(path))) if is_folder else decode_video(path)
    except ValueError as error:
        fix = "make the clip shorter or smaller" if is_folder else "write it again or take it out"
        raise LamdError(f"{path}: {error}; {fix}") from None


def _check_memory(path: Path, count: int, clip: np.ndarray) -> None:
    memory = available_memory()
    if count * clip.nbytes > memory:
        raise LamdError(
            f"{path}: {count:,} clips of {size_text(clip.shape)} take {count * clip.nbytes:,} "
            f"bytes, {memory:,} are free here; give an .npy, which is read piece by piece"
        )


def _stack_frames(frames: Generator[np.ndarray, None, None]) -> np.ndarray:
    """Stack the frames of a clip; ValueError when there are none, or too many to keep."""
    kept, size = list[np.ndarray](), 0
    with closing(frames):
        for frame in frames:
            size += frame.nbytes + _ARRAY_BYTES
            if size > MOST_CLIP:
                height, width = frame.shape[:2]
                raise ValueError(
                    f"more than {len(kept)} frames of {height} x {width}, a clip of at most "
                    f"{MOST_CLIP:,} bytes is read"
                )
            kept.append(frame)
    if not kept:
        raise ValueError("a video without frames")
    return np.stack(kept)


def size_text(shape: tuple[int, ...] | list[int]) -> str:
    """Return (L, H, W, ...) in words."""
    return f"{shape[0]} frames of {shape[1]} x {shape[2]}"


def import_decord() -> ModuleType:
    """Import decord without the CUDA libraries it would load for all of the process.

    decord2 opens all files of the `nvidia` packages, gigabytes, with global symbols; libnvblas
    is among them and takes over the `sgemm` of a torch imported later, which then crashes. The CPU
    build needs none of it.
    """
    with ONE_THREAD:
        if "decord" not in sys.modules:
            hidden = {"nvidia": sys.modules["nvidia"]} if "nvidia" in sys.modules else {}
            sys.modules["nvidia"] = None  # type: ignore[assignment]  # hides the package
            try:
                import decord  # noqa: F401
            finally:
                del sys.modules["nvidia"]
                sys.modules.update(hidden)
        return sys.modules["decord"]


def decode_video(path: Path) -> np.ndarray:
    """Decode a video as ffmpeg shows it: uint8 (T, H, W, 3), cuts and rotation applied.

    ValueError when it cannot be decoded, or is too large; says why.
    """
    return _stack_frames(_frames(path))


def _frames(path: Path) -> Generator[np.ndarray, None, None]:
    with _open_video(path) as (container, stream):
        for number, frame in enumerate(container.decode(stream)):
            if frame.is_corrupt:  # the decoder fills in what it cannot read
                raise ValueError(f"frame {number} is damaged")
            has_alpha = any(part.is_alpha for part in frame.format.components)
            if has_alpha and frame.to_ndarray(format="rgba")[..., 3].min() < 255:
                raise ValueError(f"frame {number} has transparent pixels")
            yield _upright(frame)


@contextmanager
def _open_video(path: Path) -> Iterator[tuple[Any, Any]]:
    """Open a container, for reading in the body, and its video stream; errors of `decode_video`."""
    import av

    bounds = {"max_pixels": str(_MOST_PIXELS)}
    options = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS, **bounds}
    try:
        # A demuxer makes room for as many packets as a few bytes of a header state.
        with memory_bounded(_MOST_MEMORY), av.open(str(path), options=options) as container:
            if not container.streams.video:
                raise ValueError("not a readable video (no pictures in it)")
            stream = max(container.streams.video, key=_preference)
            if stream.codec_context is None:
                raise ValueError("not a readable video (unknown codec)")
            stream.codec_context.options = bounds
            yield container, stream
    except (av.FFmpegError, MemoryError) as error:
        reason = "empty file" if path.stat().st_size == 0 else type(error).__name__
        raise ValueError(f"not a readable video ({reason})") from None


def _preference(stream: Any) -> int:
    """Rank the video streams of a file as ffmpeg does where none is named."""
    if stream.disposition & type(stream.disposition).attached_pic:  # cover art
        return 1
    codec, default = stream.codec_context, stream.disposition & type(stream.disposition).default
    return (codec.width * codec.height if codec else 0) + 5_000_000 * bool(default)


def _upright(frame: Any) -> np.ndarray:
    pixels = frame.to_ndarray(format="rgb24", interpolation="BICUBIC")  # of chroma; ffmpeg's
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    a, b, _, c, d = (value / 65536 for value in np.frombuffer(matrix, np.int32)[:5])
    if {abs(a), abs(b), abs(c), abs(d)} != {0.0, 1.0}:
        raise ValueError("it is turned by less than a right angle")
    # x and y of a pixel move to a x + c y and b x + d y.
    down, right = (d, a) if a else (b, c)
    pixels = pixels if a else pixels.transpose(1, 0, 2)
    return pixels[:: int(down), :: int(right)]


def decode_with_decord(path: Path, max_frames: int | None = None) -> np.ndarray:
    """Decode the first `max_frames` frames of an AVI, by default all: uint8 (T, H, W, 3).

    An AVI has no edit list and no display matrix, which decord would not follow.
    ValueError when it cannot be decoded, or is too large; says why.
    """
    return _stack_frames(_frames_of_decord(path, max_frames))


def count_with_decord(path: Path) -> int:
    """Decode an AVI and count its frames, none of them kept; ValueError as `decode_with_decord`."""
    return sum(1 for _ in _frames_of_decord(path))


def _frames_of_decord(
    path: Path, max_frames: int | None = None
) -> Generator[np.ndarray, None, None]:
    with _open_video(path) as (container, stream):  # decord has no bounds
        if stream.frames * _CHUNK_BYTES > path.stat().st_size:
            raise ValueError(f"states {stream.frames:,} frames, more than it has room for")
        next(container.decode(stream), None)
    decord = import_decord()
    decord.logging.set_level(decord.logging.QUIET)
    try:
        with stderr_hidden():  # whatever its log level, decord writes what it cannot open
            reader = decord.VideoReader(str(path), num_threads=1)
        for _ in range(len(reader))[:max_frames]:
            yield _unpadded(reader.next().asnumpy())
    except (decord.DECORDError, RuntimeError, StopIteration) as error:
        reason = "empty file" if path.stat().st_size == 0 else type(error).__name__
        raise ValueError(f"not a readable video ({reason})") from None


def avi_comment(path: Path) -> str | None:
    """Return the comment in the header of an AVI; None where there is none or it is no AVI."""
    import av

    try:
        with av.open(str(path), format="avi") as container:
            return container.metadata.get("comment")
    except av.FFmpegError:
        return None


def _unpadded(frame: np.ndarray) -> np.ndarray:
    # Where the width divides a row's padding, decord returns it as channels (dmlc/decord#336).
    height, width, _ = frame.shape
    return frame.reshape(height, -1)[:, : width * 3].reshape(height, width, 3)


def _pictures(files: list[Path]) -> Generator[np.ndarray, None, None]:
    first = None
    for file in files:
        frame = np.asarray(read_picture(file))
        first = frame.shape if first is None else first
        if frame.shape != first:
            sizes = ["{} x {}".format(*shape) for shape in (frame.shape, first)]
            raise LamdError(
                f"{file}: is {sizes[0]}, {files[0].name} is {sizes[1]}; make them equal"
            )
        yield frame
