"""Splits listed without reading a pixel: videos, folders of frames, and problems with their files.

Folders and frames are taken in natural order; a gap in the frame numbers does not break a video.
Files of operating systems are passed over, other files that are no frames are counted.

Nothing outside the data root is read, except that a data set's folder right below it may be a link:
only the root's owner can have made that one.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from lamd.base.errors import LamdError
from lamd.base.files import is_system_file, natural_key
from lamd.base.progress import track
from lamd.base.terminal import printable
from lamd.data.stand_in import parse_mark
from lamd.io.pictures import FORMATS, open_picture

SPLITS = ("train", "test")
MANY_FOLDERS = 500  # fewer are listed within seconds


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

    def mark(self) -> str | None:
        """Return the stand-in that a readable video's own files name, where they have room."""
        return None


V = TypeVar("V", bound=Video)


@dataclass(frozen=True, kw_only=True)
class FrameFolder(Video):
    """A video that is a folder of frames."""

    frames: tuple[str, ...]

    def mark(self) -> str | None:
        with open_picture(self.path / self.frames[0]) as image:
            return parse_mark(image.info.get("comment"))


def mark_of(videos: Iterable[Video]) -> str | None:
    """Return the first mark of a stand-in in readable videos."""
    return next(filter(None, (video.mark() for video in videos)), None)


@dataclass(frozen=True, kw_only=True)
class Listing(Generic[V]):
    """All videos of a split, and `unexpected_files` next to them.

    `fingerprint` changes with whatever decides the videos: names, sizes and times of files,
    captions. `notes` do not decide them.
    """

    dataset: str
    split: str
    folder: Path
    videos: Sequence[V]
    fingerprint: str
    unexpected_files: tuple[Problem, ...] = ()
    variant: str | None = None  # the camera or kind of captions, where a data set has several
    notes: tuple[str, ...] = ()

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
        self.homes, self.state = _homes(folder, root), hashlib.sha256()
        self.unexpected: list[Problem] = []
        self.passed_over = Counter[str]()  # suffixes of files that are no frames

    def entries(self) -> Iterator[os.DirEntry]:
        """Yield the folders in the split's own folder; behind a bar where they are many."""
        try:
            folders = self._folders(self.folder, self._entries(self.folder))
        except OSError as error:
            raise LamdError(f"{self.folder}: {error.strerror}; make it readable") from None
        label = f"listing {self.dataset}/{self.split}" if len(folders) >= MANY_FOLDERS else None
        return track(folders, label)

    def children(self, folder: os.DirEntry) -> list[os.DirEntry]:
        """List the folders in a folder in natural order."""
        entries, reason = self._list(folder)
        if reason:
            self.skip(folder, reason)
        return [] if reason else self._folders(Path(folder.path), entries)

    def _folders(self, folder: Path, entries: list[os.DirEntry]) -> list[os.DirEntry]:
        folders = [entry for entry in entries if not self._is_file(entry)]
        if not folders:
            reason = "no folders in it" if entries else "empty folder"
            for entry in entries:
                if suffix_of(entry.name) in FORMATS:
                    reason = f"holds frames ({printable(entry.name)}), not folders of frames"
            self.skip(folder, reason)
        return folders

    def _is_file(self, entry: os.DirEntry) -> bool:
        """Say whether an entry is a file where none is needed, and count it."""
        try:
            is_file = entry.is_file()
        except OSError:  # such as a link to itself
            return False
        self.passed_over[suffix_of(entry.name)] += is_file
        return is_file

    def _entries(self, folder: Path) -> list[os.DirEntry]:
        with os.scandir(folder) as listed:
            entries = [entry for entry in listed if not is_system_file(entry.name)]
        return sorted(entries, key=lambda entry: natural_key(entry.name))

    def listing(self, videos: Iterable[V]) -> Listing[V]:
        """Return `videos` as the split's, with all that was skipped or passed over so far."""
        videos = tuple(videos)
        counts = [f"{n:,} {suffix or 'without a suffix'}" for suffix, n in
                  sorted(self.passed_over.items()) if n]  # fmt: skip
        return Listing(
            dataset=self.dataset, split=self.split, folder=self.folder, videos=videos,
            unexpected_files=tuple(self.unexpected), fingerprint=self.state.hexdigest(),
            notes=(f"files that are no frames, passed over: {', '.join(counts)}",) * bool(counts),
        )  # fmt: skip

    def skip(self, entry: "os.PathLike[str]", reason: str) -> None:
        """Note an entry that is not used."""
        self._hash(entry)
        self.unexpected.append(Problem(Path(entry), reason))

    def _hash(self, entry: "os.PathLike[str]") -> None:
        # without the folder, of which links and mounts give several spellings
        self.state.update(os.fsencode(entry).removeprefix(os.fsencode(self.folder)))

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
        if entry.is_symlink() and not is_inside(Path(entry.path), *self.homes):
            return "link leads out of the data root"
        self._hash(entry)
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
            if suffix_of(entry.name) not in suffixes:
                if not self._is_file(entry):
                    self._hash(entry)
                    unexpected.append(Problem(Path(entry.path), f"not a {suffixes[0]} frame"))
            elif problem := self._reason(entry, folder=False):
                problems.append(Problem(Path(entry.path), problem))
            else:
                names.append(entry.name)
        path = Path(folder.path)
        inner = [problem.path.name for problem in unexpected if problem.path.is_dir()]
        if inner and not names:
            reason = f"holds folders ({printable(inner[0])}), not {suffixes[0]} frames"
        if reason or (len(names) < 2 and not problems):
            problems.append(Problem(path, reason or ("a single frame" if names else "no frames")))
        return FrameFolder(
            key=_key(self.dataset, self.split, path.relative_to(self.folder)), path=path,
            condition=condition, problems=tuple(problems), unexpected_files=tuple(unexpected),
            frames=tuple(names),
        )  # fmt: skip


def check_inside(path: Path, root: Path) -> None:
    """Raise LamdError when a link leads `path` out of `root`, other than its data set's folder."""
    if not is_inside(path, *_homes(path, root)):
        name = path.relative_to(root).parts[0]
        raise LamdError(
            f"{path}: link leads out of {root}; put the data itself there, or link all of {name}"
        )


def _homes(path: Path, root: Path) -> tuple[Path, Path]:
    return root.resolve(), (root / path.relative_to(root).parts[0]).resolve()


def is_inside(path: Path, *homes: Path) -> bool:
    """Say whether `path`, its links followed, is in one of these resolved folders."""
    real = Path(os.path.realpath(path))  # `Path.resolve` raises on a link to itself
    return any(real.is_relative_to(home) for home in homes)


def check_depth(root: Path, *names: str) -> None:
    """Raise LamdError when a folder of these names is up to two levels above or below `root`."""
    for name in names:
        above = [parent / name for parent in list(root.absolute().parents)[:3]]
        below = sorted(path for depth in ("*", "*/*") for path in root.glob(f"{depth}/{name}"))
        for folder in (*above, *below):
            if os.path.isdir(folder):
                right = str(folder).removesuffix(f"/{name}")
                raise LamdError(
                    f"{root / name}: no such folder, but {folder} is one; set LAMD_DATA to {right}"
                )


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name, such as `.jpg`, in lower case."""
    return os.path.splitext(name)[1].lower()


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
