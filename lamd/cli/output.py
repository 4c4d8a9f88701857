"""Output of the commands: lines on stderr, lines and tables on stdout."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lamd.base.processes import rank_and_world
from lamd.base.terminal import printable, say

if TYPE_CHECKING:
    from lamd.pipeline.store import CellFailed


def say_once(line: str) -> None:
    """Report progress, once in a launch of several processes."""
    if rank_and_world()[0] == 0:
        say(line)


def report_failures(failures: Sequence["CellFailed"]) -> int:
    """Print why cells failed; return the exit code, 2 where all were user errors."""
    for failure in failures:
        say(failure)
    return 2 if all(failure.user_error for failure in failures) else 1


def print_lines(*lines: object) -> None:
    """Print lines on stdout; a line break inside one is shown, not made."""
    for line in lines:
        print(printable(str(line)))


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None
) -> None:
    """Print a table on stdout."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    def plain(text: str) -> Text:  # a str would be read as markup
        return Text(printable(text))

    heading = None if title is None else Text(printable(title), "table.title")
    columns = (Column(plain(name), overflow="fold") for name in header)
    table = Table(*columns, title=heading, title_justify="left")
    for row in rows:
        table.add_row(*map(plain, row))
    # A pipe has no width: do not fold what another program will read.
    Console(width=None if Console().is_terminal else 250).print(table)
