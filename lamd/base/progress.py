"""Progress bars on stderr, shown on a terminal only, by the first process of a launch."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from lamd.base.processes import rank_and_world

Item = TypeVar("Item")


def track(items: Iterable[Item], label: str | None, total: int | None = None) -> Iterator[Item]:
    """Yield `items` and advance a bar named `label`, if any; `total` where `items` have no len."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    console = Console(stderr=True)
    hidden = label is None or not console.is_terminal or rank_and_world()[0] > 0
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=hidden) as bar:
        yield from bar.track(items, total, description=label or "")
