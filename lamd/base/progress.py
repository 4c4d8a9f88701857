"""Progress on stderr, by the first process of a launch: a bar, or lines where no terminal is."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sized
from typing import Self, TypeVar

from lamd.base.processes import rank_and_world
from lamd.base.terminal import printable, say

Item = TypeVar("Item")
EVERY = 60.0  # seconds between two lines
_WINDOW = 30.0  # seconds, at least, that the rate is of: the steps of one work may differ in cost


class Progress:
    """The progress of one piece of work, for use as a context manager.

    On a terminal it is a bar with rate and remaining time, elsewhere a line per minute.

    Args:
        label: names the work; None shows nothing.
        total: number of things to do, None where it is not known.
        start: number of things that were done before.
        unit: of the rate, such as `steps`.
    """

    def __init__(self, label: str | None, total: int | None, *, start: int = 0, unit: str = ""):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self.label, self.total, self.unit = label or "", total, unit
        self.shown = label is not None and rank_and_world()[0] == 0
        self.note, self.reported = "", time.monotonic()
        self.marks = deque([(self.reported, start)], maxlen=2)
        self.console = Console(stderr=True, quiet=not self.shown)
        columns = (
            TextColumn("{task.description}", markup=False),  # a label is no markup
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeRemainingColumn(),
        )
        is_bar = self.shown and self.console.is_terminal
        self.bar = Bar(*columns, console=self.console, disable=not is_bar)
        name = printable(self.label)
        self.task = self.bar.add_task(name, total=total, completed=start, note="")

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def advance(self, done: int, note: str = "") -> None:
        """State how many things are done; a `note` stays until the next one."""
        now = time.monotonic()
        self.note = note or self.note
        since, before = self.marks[0]
        rate = (done - before) / max(now - since, 1e-9)
        if now - self.marks[-1][0] > _WINDOW:
            self.marks.append((now, done))
        speed = f"{rate:.3g} {self.unit}/s" if self.unit else f"{rate:.3g}/s"
        text = f"{speed}  {self.note}".strip()
        self.bar.update(self.task, completed=done, note=printable(text))
        if not self.bar.disable or not self.shown or now - self.reported < EVERY:
            return
        self.reported = now
        of, left = "", ""
        if self.total is not None:
            of, left = f"/{self.total}", f", {duration((self.total - done) / rate)} left"
        say(f"{self.label}: {done}{of}, {text}{left}")


def track(items: Iterable[Item], label: str | None, total: int | None = None) -> Iterator[Item]:
    """Yield `items` and show their progress as `label`, if any; `total` where they have no len."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(label, total) as progress:
        for done, item in enumerate(items, 1):
            yield item
            progress.advance(done)


def duration(seconds: float) -> str:
    """Return e.g. `12.3 s`, `45 min` or `3 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds else "0 s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
