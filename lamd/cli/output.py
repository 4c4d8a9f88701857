"""Output of the commands: lines on stderr, tables on stdout."""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lamd.pipeline.store import CellFailed


def say(line: str) -> None:
    """Report progress, once in a launch of several processes."""
    if os.environ.get("RANK", "0") == "0":
        print(f"lamd: {line}", file=sys.stderr, flush=True)


def report_failures(failures: Sequence["CellFailed"]) -> int:
    """Print why cells failed; return the exit code, 2 where all were user errors."""
    for failure in failures:
        print(f"lamd: {failure}", file=sys.stderr)
    return 2 if all(failure.user_error for failure in failures) else 1


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None
) -> None:
    """Print a table on stdout."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    columns = (Column(name, overflow="fold") for name in header)
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*map(escape, row))
    # A pipe has no width: do not fold what another program will read.
    Console(width=None if Console().is_terminal else 250).print(table)
