"""A whole data set checked against what it should be, with each broken record or file named."""

from dataclasses import dataclass
from typing import NamedTuple

from lamd.data.listing import Problem


class SplitCheck(NamedTuple):
    """Number of sound videos of a split, its problems, and further counts."""

    sound: int
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitReport:
    """The check of one split and the number of expected videos, None where it is not known."""

    split: str
    expected: int | None
    check: SplitCheck

    @property
    def ok(self) -> bool:
        """True when every expected video is there and sound."""
        sound, problems, _ = self.check
        expected = max(sound, 1) if self.expected is None else self.expected
        return sound == expected and not problems


@dataclass(frozen=True)
class VerifyReport:
    """The checks of all splits; `str()` is the text for a terminal."""

    title: str
    unit: str
    splits: tuple[SplitReport, ...]

    @property
    def ok(self) -> bool:
        """True when all splits are complete and sound."""
        return all(split.ok for split in self.splits)

    def __str__(self) -> str:
        lines = [self.title]
        for report in self.splits:
            sound, problems, notes = report.check
            expected = "an unknown number of" if report.expected is None else report.expected
            lines.append(
                f"  {report.split:5s} {'ok' if report.ok else 'NOT OK'}: {sound} of {expected} "
                f"{self.unit} sound, {len(problems)} broken"
            )
            lines.extend(f"    {line}" for line in (*notes, *problems))
        return "\n".join(lines)
