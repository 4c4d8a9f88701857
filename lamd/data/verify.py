"""Check a whole data set against what it should be, naming each broken record."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from lamd.data.bair.reader import SPLITS, file_range, open_bair, read_trajectory
from lamd.data.bair.tfrecord import RecordError, RecordSpan, resume_after, scan_records
from lamd.data.folders import Flaw
from lamd.data.stand_in import read_stand_in

REAL_COUNTS = {"train": 43_264, "test": 256}


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
    """One split: videos expected (None: not known), sound ones found, broken, further counts."""

    split: str
    expected: int | None
    sound: int
    broken: tuple[BrokenRecord | Flaw, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True when every expected video is there and sound."""
        expected = max(self.sound, 1) if self.expected is None else self.expected
        return self.sound == expected and not self.broken


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
            expected = "an unknown number of" if s.expected is None else s.expected
            lines.append(
                f"  {s.split:5s} {verdict}: {s.sound} of {expected} {self.unit} sound,"
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
