"""Splits listed without reading a pixel: videos, folders of frames, and problems with their files.

Folders and frames are taken in natural order; a gap in the frame numbers does not break a video.
Nothing outside the data root is read.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from lamd.base.errors import LamdError
from lamd.base.files import natural_key

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Problem:
    """A file or folder that is not as the layout says, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{printable(str(self.path))}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Video:
    """One video: with `problems` it cannot be used, `unexpected_files` in it are ignored."""

    key: str  # such as bair/test/7 or landscape/train/<video>/<video>_<n>
    path: Path
    condition: str | None = None  # caption or class
    problems: tuple[Problem, ...] = ()
    unexpected_files: tuple[Problem, ...] = ()


V = TypeVar("V", bound=Video)


@dataclass(frozen=True, kw_only=True)
class FrameFolder(Video):
    """A video that is a folder of frames."""

    frames: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Listing(Generic[V]):
    """All videos of a split, and `unexpected_files` next to them.

    `fingerprint` changes with whatever decides the videos: names, sizes and times of files,
    captions.
    """

    dataset: str
    split: str
    folder: Path
    videos: Sequence[V]
    fingerprint: str
    unexpected_files: tuple[Problem, ...] = ()
    variant: str | None = None  # the camera or kind of captions, where a data set has several

    def problems(self) -> list[Problem]:
        """List all that is wrong with names and folders, without reading a frame."""
        inside = [p for video in self.videos for p in (*video.problems, *video.unexpected_files)]
        return [*self.unexpected_files, *inside]

    def key(self, path: Path) -> str:
        """Name a file or folder of this split, such as `landscape/test/a/a_1/notes.txt`."""
        return _key(self.dataset, self.split, path.relative_to(self.folder))


def _key(dataset: str, split: str, path: Path) -> str:
    return printable(f"{dataset}/{split}/{path.as_posix()}")


class FolderScan:
    """Lists `folder` of a split below `root` in natural order, and hashes names, sizes and times.

    Folders that are empty or cannot be listed are among the `unexpected_files` of its listing.
    """

    def __init__(self, dataset: str, root: Path, split: str, folder: Path) -> None:
        self.dataset, self.split, self.folder = dataset, split, folder
        self.root, self.state = root.resolve(), hashlib.sha256()
        self.unexpected: list[Problem] = []

    def entries(self) -> list[os.DirEntry]:
        """List the split's own folder."""
        try:
            return self._entries(self.folder)
        except OSError as error:
            raise LamdError(f"{self.folder}: {error.strerror}; make it readable") from None

    def _entries(self, folder: Path) -> list[os.DirEntry]:
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: natural_key(entry.name))
        for entry in entries:
            self.state.update(os.fsencode(entry.path))
        return entries

    def listing(self, videos: Iterable[FrameFolder]) -> Listing[FrameFolder]:
        """Return `videos` as the split's, with all that was skipped so far."""
        return Listing(
            dataset=self.dataset, split=self.split, folder=self.folder, videos=tuple(videos),
            unexpected_files=tuple(self.unexpected), fingerprint=self.state.hexdigest(),
        )  # fmt: skip

    def skip(self, entry: os.DirEntry, reason: str) -> None:
        """Note an entry that is not used."""
        self.unexpected.append(Problem(Path(entry.path), reason))

    def children(self, folder: os.DirEntry) -> list[os.DirEntry]:
        """List a folder in natural order."""
        entries, reason = self._list(folder)
        if reason or not entries:
            self.skip(folder, reason or "empty folder")
        return entries

    def _list(self, folder: os.DirEntry) -> tuple[list[os.DirEntry], str | None]:
        try:
            reason = self._reason(folder, folder=True)
            return [] if reason else self._entries(Path(folder.path)), reason
        except OSError as error:
            return [], f"cannot be read ({error.strerror})"

    def _reason(self, entry: os.DirEntry, *, folder: bool) -> str | None:
        """Return why the entry cannot be read as a folder or a file, if so."""
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

    def frames(
        self, folder: os.DirEntry, suffixes: Sequence[str], condition: str | None = None
    ) -> FrameFolder:
        """List the frames of a video, which end in one of `suffixes`."""
        names, problems, unexpected = [], [], []
        entries, reason = self._list(folder)
        for entry in entries:
            if not entry.name.lower().endswith(tuple(suffixes)) or entry.name.startswith("."):
                unexpected.append(Problem(Path(entry.path), f"not a {suffixes[0]} frame"))
            elif problem := self._reason(entry, folder=False):
                problems.append(Problem(Path(entry.path), problem))
            else:
                names.append(entry.name)
        path = Path(folder.path)
        if reason or (len(names) < 2 and not problems):
            problems.append(Problem(path, reason or ("a single frame" if names else "no frames")))
        return FrameFolder(
            key=_key(self.dataset, self.split, path.relative_to(self.folder)), path=path,
            condition=condition, problems=tuple(problems), unexpected_files=tuple(unexpected),
            frames=tuple(names),
        )  # fmt: skip


def check_inside(path: Path, root: Path) -> None:
    """Raise LamdError when `path` is a link that leads out of `root`."""
    if not path.resolve().is_relative_to(root.resolve()):
        raise LamdError(f"{path}: link leads out of {root}; put the data itself there")


def hash_files(paths: Iterable[Path]) -> str:
    """Return a hash of name, size and time of each file; LamdError where these are unreadable."""
    try:
        stats = [(path.name, path.stat()) for path in paths]
    except OSError as error:
        raise LamdError(f"{error.filename}: {error.strerror}; make it readable") from None
    return digest(*(f"{name}:{stat.st_size}:{stat.st_mtime_ns}" for name, stat in stats))


def digest(*parts: str) -> str:
    """Return the SHA-256 of some lines of text, hexadecimal."""
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()


def printable(text: str) -> str:
    """Escape control characters and undecodable bytes, so that a name stays on one line."""
    return text if text.isprintable() else ascii(text)[1:-1]
