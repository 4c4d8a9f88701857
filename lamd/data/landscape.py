"""Landscape (Sky Time-lapse) as it lies on disk: `sky_{train,test}/<video>/<video>_<n>/*.jpg`.

Each `<video>_<n>` folder is one short video of 640x360 frames, cut from the long video `<video>`.
Folders and frames are taken in natural order; a gap in the frame numbers does not break a video
(ours). The public archive `sky_timelapse.zip` unpacks to a folder `sky_timelapse`, which may stay.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamd.errors import LamdError

SPLITS = ("train", "test")
ARCHIVE_FOLDER = "sky_timelapse"
FRAME_SUFFIXES = (".jpg", ".jpeg")
LAYOUT = "{sky_train,sky_test}/<video>/<video>_<n>/*.jpg"


@dataclass(frozen=True)
class Flaw:
    """A file or folder that is not what the layout says, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{printable(str(self.path))}: {self.reason}"


@dataclass(frozen=True)
class ShortVideo:
    """One folder of frames; with `flaws` it cannot be used, `strays` in it are ignored."""

    key: str  # landscape/train/<video>/<video>_<n>
    folder: Path
    frames: tuple[str, ...]
    flaws: tuple[Flaw, ...]
    strays: tuple[Flaw, ...]


@dataclass(frozen=True)
class LandscapeSplit:
    """All short videos of a split; no pixel is read before it is asked for.

    `strays` lie above the short videos, `fingerprint` changes with name, size and time of a frame.
    """

    split: str
    folder: Path
    videos: tuple[ShortVideo, ...]
    strays: tuple[Flaw, ...]
    fingerprint: str

    @property
    def num_frames(self) -> int:
        """Number of frames in all videos."""
        return sum(len(video.frames) for video in self.videos)

    def flaws(self) -> list[Flaw]:
        """List all that is wrong with names and folders, without reading a frame."""
        inside = [flaw for video in self.videos for flaw in (*video.flaws, *video.strays)]
        return [*self.strays, *inside]

    def key(self, path: Path) -> str:
        """Name a file or folder of this split, such as `landscape/test/a/a_1/notes.txt`."""
        return printable(f"landscape/{self.split}/{path.relative_to(self.folder).as_posix()}")


def split_folder(root: Path, split: str) -> Path:
    """Find the folder of a split, `root/sky_train` or `root/sky_timelapse/sky_train`.

    Raises:
        LamdError: when there is none, or it is a link that leads out of `root`.
    """
    if split not in SPLITS:
        raise LamdError(f"split {split!r}: unknown; Landscape has {' and '.join(SPLITS)}")
    places = [base / f"sky_{split}" for base in (root, root / ARCHIVE_FOLDER)]
    for folder in places:
        if folder.is_dir():
            if not folder.resolve().is_relative_to(root.resolve()):
                raise LamdError(f"{folder}: link leads out of {root}; put the folder itself there")
            return folder
    raise LamdError(
        f"{places[0]}: no such folder; unpack Sky Time-lapse to {LAYOUT} below LAMD_DATA"
        " or run `lamd data simulate landscape ROOT`"
    )


def open_landscape(root: Path, split: str) -> LandscapeSplit:
    """List the short videos of `split` below `root` (the folder that holds `sky_train`).

    Raises:
        LamdError: when the split's folder is missing or cannot be read.
    """
    folder = split_folder(root, split)
    scan = _Scan(root.resolve())
    try:
        long_videos = scan.entries(folder)
    except OSError as error:
        raise LamdError(f"{folder}: {error.strerror}; make it readable") from None
    videos, strays = [], []
    for long_video in long_videos:
        try:
            flaw = scan.flaw(long_video, folder=True)
            short_videos = [] if flaw else scan.entries(Path(long_video.path))
            reason = flaw or (None if short_videos else "empty folder")
        except OSError as error:
            reason, short_videos = f"cannot be read ({error.strerror})", []
        if reason:
            strays.append(Flaw(Path(long_video.path), reason))
        for entry in short_videos:
            key = printable(f"landscape/{split}/{long_video.name}/{entry.name}")
            if entry.is_symlink() or entry.is_dir():
                videos.append(_short_video(scan, key, entry))
            else:
                strays.append(Flaw(Path(entry.path), "not a folder of frames"))
    return LandscapeSplit(split, folder, tuple(videos), tuple(strays), scan.state.hexdigest())


def _short_video(scan: "_Scan", key: str, folder: os.DirEntry) -> ShortVideo:
    path, names, flaws, strays = Path(folder.path), [], [], []
    try:
        reason = scan.flaw(folder, folder=True)
        entries = [] if reason else scan.entries(path)
    except OSError as error:
        reason, entries = f"cannot be read ({error.strerror})", []
    for entry in entries:
        if not entry.name.lower().endswith(FRAME_SUFFIXES) or entry.name.startswith("."):
            strays.append(Flaw(Path(entry.path), "not a .jpg frame"))
        elif flaw := scan.flaw(entry, folder=False):
            flaws.append(Flaw(Path(entry.path), flaw))
        else:
            names.append(entry.name)
    if reason or (len(names) < 2 and not flaws):
        flaws.append(Flaw(path, reason or ("a single frame" if names else "no frames")))
    return ShortVideo(key, path, tuple(names), tuple(flaws), tuple(strays))


class _Scan:
    """Lists folders below `root` in natural order; `state` hashes what was seen."""

    def __init__(self, root: Path) -> None:
        self.root, self.state = root, hashlib.sha256()

    def entries(self, folder: Path) -> list[os.DirEntry]:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: natural_key(entry.name))
        for entry in entries:
            self.state.update(os.fsencode(entry.path))
        return entries

    def flaw(self, entry: os.DirEntry, *, folder: bool) -> str | None:
        """Say why the entry cannot be read as a folder or a file, if so."""
        if not entry.name.isprintable():
            return "name with unprintable characters"
        if entry.is_symlink() and not Path(os.path.realpath(entry.path)).is_relative_to(self.root):
            return "link leads out of the data root"
        try:
            if not (entry.is_dir() if folder else entry.is_file()):  # a pipe would block for ever
                return f"not a {'folder' if folder else 'file'}"
            if not folder:
                stat = entry.stat()
                self.state.update(f"{stat.st_size}:{stat.st_mtime_ns}".encode())
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        return None


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sort `f2` before `f10`; equal numbers, such as `f01` and `f1`, by text."""
    parts: list[Any] = re.split(r"(\d+)", name)
    parts[1::2] = map(int, parts[1::2])
    return parts, name


def printable(text: str) -> str:
    """Escape control characters and undecodable bytes, so that a name stays on one line."""
    return text if text.isprintable() else ascii(text)[1:-1]
