"""Check a whole data set against what it should be, naming each broken record."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from lamd.clip_files import decode_video
from lamd.data.bair import SPLITS, file_range, open_bair, read_trajectory
from lamd.data.captions import MODES, moves_of, parse, tells
from lamd.data.cater import (
    CaterVideo,
    captions_file,
    check_whole,
    data_folder,
    open_cater,
    shown,
)
from lamd.data.landscape import Flaw, open_landscape, printable
from lamd.data.landscape_frames import check_frames
from lamd.data.packed import windows
from lamd.data.stand_in import StandIn, read_stand_in
from lamd.data.tfrecord import RecordError, RecordSpan, resume_after, scan_records
from lamd.errors import LamdError

REAL_COUNTS = {"train": 43_264, "test": 256}
# long videos, short videos, clips; the readme does not say how the clips were counted
LANDSCAPE_README = {"train": (997, 2_392, 35_383), "test": (111, 225, 2_815)}
LANDSCAPE_CLIP = 32  # frames
# what the script that makes the captions asks for; nothing is known of v1
CATER_COUNTS = {"v1": {}, "v2": {"train": 24_000, "test": 6_000}}


@dataclass(frozen=True)
class BrokenRecord:
    """A record that cannot be used: byte `offset` of its header in `path`, and why."""

    path: Path
    offset: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: byte {self.offset}: {self.reason}"


@dataclass(frozen=True)
class SplitReport:
    """One split: videos expected, sound ones found, what is broken, further counts."""

    split: str
    expected: int
    sound: int
    broken: tuple[BrokenRecord | Flaw, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True when every expected video is there and sound."""
        return self.sound == self.expected and not self.broken


@dataclass(frozen=True)
class VerifyReport:
    """What was found; `lines()` or `str()` is the text for a terminal."""

    dataset: str
    root: Path
    kind: str
    unit: str
    splits: tuple[SplitReport, ...]

    @property
    def ok(self) -> bool:
        """True when all splits are complete and sound."""
        return all(split.ok for split in self.splits)

    def lines(self) -> list[str]:
        """Return one line a split, its notes, and one for each broken record or file."""
        lines = [f"{self.dataset} in {self.root} ({self.kind})"]
        for s in self.splits:
            verdict = "ok" if s.ok else "NOT OK"
            lines.append(
                f"  {s.split:5s} {verdict}: {s.sound} of {s.expected} {self.unit} sound,"
                f" {len(s.broken)} broken"
            )
            lines.extend(f"    {line}" for line in (*s.notes, *s.broken))
        return lines

    def __str__(self) -> str:
        return "\n".join(self.lines())


def verify_bair(root: Path, *, splits: tuple[str, ...] = SPLITS) -> VerifyReport:
    """Read every record of BAIR below `root`: checksums, keys, shapes and counts.

    A stand-in is held against the counts in its manifest, anything else against the real 43,264 +
    256.

    Raises:
        LamdError: when a split has no files at all; broken records are reported instead.
    """
    stand_in = read_stand_in(root, "bair")
    counts = REAL_COUNTS if stand_in is None else stand_in.counts
    kind = "real data" if stand_in is None else f"stand-in {stand_in}"
    files = {split: open_bair(root, split).files for split in splits}
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        total = sum(path.stat().st_size for paths in files.values() for path in paths)
        task = progress.add_task("verifying bair", total=total)
        reports = []
        for split, paths in files.items():
            sound, broken, lengths = 0, [], {}
            for path in paths:
                for found in _check_file(path, lengths):
                    if isinstance(found, BrokenRecord):
                        broken.append(found)
                    else:
                        sound += 1
                        progress.advance(task, found.end - found.offset)
            reports.append(SplitReport(split, counts.get(split, 0), sound, tuple(broken)))
    return VerifyReport("bair", root, kind, "trajectories", tuple(reports))


def _check_file(path: Path, lengths: dict[int, None]) -> Iterator[RecordSpan | BrokenRecord]:
    """Yield sound spans and broken records; `lengths` collects the data lengths seen so far."""
    records = 0
    broken = False
    for found in _scan_on(path, lengths):
        if isinstance(found, RecordSpan):
            lengths[found.length] = None
            try:
                read_trajectory(path, found)
            except RecordError as error:
                found = BrokenRecord(path, error.offset, error.reason)
        records += 1
        broken |= isinstance(found, BrokenRecord)
        yield found
    first, last = file_range(path)
    if records == 0:
        yield BrokenRecord(path, 0, "empty file, no records")
    elif records != last - first + 1 and not broken:
        reason = f"file ends after {records} records, its name says {last - first + 1}"
        yield BrokenRecord(path, path.stat().st_size, reason)


def _scan_on(path: Path, lengths: dict[int, None]) -> Iterator[RecordSpan | BrokenRecord]:
    """Scan a file and go on behind broken headers where the next record can be found."""
    start: int | None = 0
    while start is not None:
        try:
            yield from scan_records(path, start)
            return
        except RecordError as error:
            start = resume_after(path, error.offset, lengths)
            lost = path.stat().st_size - error.offset
            rest = f"; {lost} bytes to the end of the file are lost" if start is None else ""
            yield BrokenRecord(path, error.offset, error.reason + rest)


def verify_landscape(root: Path, *, splits: tuple[str, ...] = SPLITS) -> VerifyReport:
    """Decode every frame of Landscape below `root`; hold the counts against the expected ones.

    Short videos are expected as in a stand-in's manifest, or as in the readme of the real set.
    Counts of 32-frame windows are only printed. Short videos are listed, they are not broken.

    Raises:
        LamdError: when a split has no folder; broken files are reported instead.
    """
    stand_in = read_stand_in(root, "landscape")
    kind = "real data" if stand_in is None else f"stand-in {stand_in}"
    reports = tuple(_landscape_split(root, split, stand_in) for split in splits)
    return VerifyReport("landscape", root, kind, "short videos", reports)


def _landscape_split(root: Path, split: str, stand_in: StandIn | None) -> SplitReport:
    found = open_landscape(root, split)
    bad_frames = check_frames(found)
    bad = {flaw.path.parent for flaw in bad_frames}
    sound = [v for v in found.videos if not v.flaws and v.folder not in bad]
    lengths = [len(video.frames) for video in sound]
    num_clips = len(windows(lengths, LANDSCAPE_CLIP, LANDSCAPE_CLIP))
    num_long = len({video.folder.parent for video in found.videos})
    if stand_in is None:
        long_videos, expected, clips = LANDSCAPE_README[split]
        in_readme = f" (readme: {long_videos:,})", f" (readme: {clips:,})"
    else:
        expected, in_readme = stand_in.counts.get(split, 0), ("", "")
    notes = (
        f"long videos: {num_long:,}{in_readme[0]}; clips of {LANDSCAPE_CLIP} frames from starts 0,"
        f" {LANDSCAPE_CLIP}, ...: {num_clips:,}{in_readme[1]}",
        *(
            f"short: {video.key}, {length} frames"
            for video, length in zip(sound, lengths, strict=True)
            if length < LANDSCAPE_CLIP
        ),
    )
    return SplitReport(split, expected, len(sound), (*found.flaws(), *bad_frames), notes)


def verify_cater(root: Path, *, version: str, splits: tuple[str, ...] = SPLITS) -> VerifyReport:
    """Decode every video of CATER-GEN `version` below `root`; hold captions against scenes.

    Videos are expected as in a stand-in's manifest, for the real v2 as in its authors' script, and
    for the real v1 as many as are listed. A missing scene is only counted.

    Raises:
        LamdError: when a split has no captions or a malformed JSON; broken videos are reported.
    """
    name = f"cater_{version}"
    stand_in = read_stand_in(root, name)
    kind = "real data" if stand_in is None else f"stand-in {stand_in}"
    counts = CATER_COUNTS[version] if stand_in is None else stand_in.counts
    reports = tuple(_cater_split(root, version, split, counts.get(split)) for split in splits)
    return VerifyReport(name, root, kind, "videos", reports)


def _cater_split(root: Path, version: str, split: str, expected: int | None) -> SplitReport:
    folder = data_folder(root, version)
    modes = [mode for mode in MODES if captions_file(folder, split, mode).exists()]
    found = {mode: open_cater(root, version, split, mode) for mode in modes or MODES[:1]}
    broken: dict[Path, Flaw] = {}
    paths = dict.fromkeys(video.path for listed in found.values() for video in listed.videos)
    for path in shown(list(paths), f"verifying cater_{version}/{split}"):
        try:
            check_whole(path)
            decode_video(path)
        except ValueError as error:
            broken[path] = Flaw(path, str(error))
    notes = []
    for mode, listed in found.items():
        scenes = 0
        for video in listed.videos:
            scenes += video.scene.is_file()
            if flaw := _caption_flaw(video, mode):
                broken.setdefault(video.path, Flaw(video.path, flaw))
        notes.append(f"{mode}: {len(listed.videos)} captions, {scenes} with a scene")
    sound = len(paths) - len(broken)
    count = len(paths) if expected is None else expected
    return SplitReport(split, count, sound, tuple(broken.values()), tuple(notes))


def _caption_flaw(video: CaterVideo, mode: str) -> str | None:
    """Say what is wrong with a caption: its grammar, or that its scene tells of other moves."""
    try:
        told = parse(video.caption)
        if not told:
            return "empty caption"
        if not video.scene.is_file():
            return None
        true = moves_of(json.loads(video.scene.read_text(encoding="utf-8")), mode)
    except LamdError as error:
        return printable(str(error))
    except (OSError, ValueError, RecursionError) as error:
        return f"scene cannot be read ({printable(str(error))})"
    agrees = len(told) == len(true) and all(map(tells, told, true))
    return None if agrees else f"{mode} caption tells of other moves than the scene"
