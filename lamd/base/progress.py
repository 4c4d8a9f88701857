"""Progress bars on stderr, shown on a terminal only, by the first process of a launch."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from lamd.base.processes import rank_and_world

if TYPE_CHECKING:
    from rich.console import Console

Item = TypeVar("Item")


def track(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Yield `items` and advance a bar named `label`; `total` where their number is not known."""
    from rich.console import Console
    from rich.progress import track as rich_track

    console = Console(stderr=True)
    yield from rich_track(items, label, total, console=console, disable=_hidden(console))


@contextmanager
def progress_bar(label: str | None, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that advances a bar named `label`; silent without a label or a terminal."""
    if label is None:
        yield lambda steps: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=_hidden(console)) as bar:
        task = bar.add_task(label, total=total)
        yield lambda steps: bar.advance(task, steps)


def _hidden(console: "Console") -> bool:
    return not console.is_terminal or rank_and_world()[0] > 0
