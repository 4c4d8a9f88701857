"""Folders of frames, as Landscape, NATOPS and MUG have them: listing, order, and what is amiss.

Folders and frames are taken in natural order; a gap in the frame numbers does not break a video
(ours). Nothing outside the data root is read.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Flaw:
    """A file or folder that is not what the layout says, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{printable(str(self.path))}: {self.reason}"


@dataclass(frozen=True)
class FrameFolder:
    """One folder of frames; with `flaws` it cannot be used, `strays` in it are ignored."""

    key: str  # such as landscape/train/<video>/<video>_<n>
    folder: Path
    frames: tuple[str, ...]
    flaws: tuple[Flaw, ...]
    strays: tuple[Flaw, ...]


@dataclass(frozen=True)
class FrameSplit:
    """All videos of a split; no pixel is read before it is asked for.

    `strays` lie above the videos, `fingerprint` changes with name, size and time of a frame.
    """

    dataset: str
    split: str
    folder: Path
    videos: tuple[FrameFolder, ...]
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
        place = path.relative_to(self.folder).as_posix()
        return printable(f"{self.dataset}/{self.split}/{place}")


class FolderScan:
    """Lists folders below `root` in natural order; `state` hashes what was seen."""

    def __init__(self, root: Path) -> None:
        self.root, self.state = root, hashlib.sha256()

    def entries(self, folder: Path) -> list[os.DirEntry]:
        """List a folder in natural order."""
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

    def frames(self, key: str, folder: os.DirEntry, suffixes: Sequence[str]) -> FrameFolder:
        """List the frames of a video, which end in one of `suffixes`."""
        path, names, flaws, strays = Path(folder.path), [], [], []
        try:
            reason = self.flaw(folder, folder=True)
            entries = [] if reason else self.entries(path)
        except OSError as error:
            reason, entries = f"cannot be read ({error.strerror})", []
        for entry in entries:
            if not entry.name.lower().endswith(tuple(suffixes)) or entry.name.startswith("."):
                strays.append(Flaw(Path(entry.path), f"not a {suffixes[0]} frame"))
            elif flaw := self.flaw(entry, folder=False):
                flaws.append(Flaw(Path(entry.path), flaw))
            else:
                names.append(entry.name)
        if reason or (len(names) < 2 and not flaws):
            flaws.append(Flaw(path, reason or ("a single frame" if names else "no frames")))
        return FrameFolder(key, path, tuple(names), tuple(flaws), tuple(strays))


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sort `f2` before `f10`; equal numbers, such as `f01` and `f1`, by text."""
    parts: list[Any] = re.split(r"(\d+)", name)
    parts[1::2] = map(int, parts[1::2])
    return parts, name


def printable(text: str) -> str:
    """Escape control characters and undecodable bytes, so that a name stays on one line."""
    return text if text.isprintable() else ascii(text)[1:-1]
