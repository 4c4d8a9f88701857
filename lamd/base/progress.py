"""Progress bars on stderr, shown on a terminal only, by the first process of a launch."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from lamd.base.processes import rank_and_world
from lamd.base.terminal import printable

Item = TypeVar("Item")


def track(items: Iterable[Item], label: str | None, total: int | None = None) -> Iterator[Item]:
    """Yield `items` and advance a bar named `label`, if any; `total` where `items` have no len."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True)
    hidden = label is None or not console.is_terminal or rank_and_world()[0] > 0
    _, *columns = Progress.get_default_columns()  # the first reads markup
    name = TextColumn("{task.description}", markup=False)
    with Progress(name, *columns, MofNCompleteColumn(), console=console, disable=hidden) as bar:
        yield from bar.track(items, total, description=printable(label or ""))
