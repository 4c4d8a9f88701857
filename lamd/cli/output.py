"""Output of the commands: lines on stderr, tables on stdout."""

import os
import sys


def say(line: str) -> None:
    """Report progress, once in a launch of several processes."""
    if os.environ.get("RANK", "0") == "0":
        print(f"lamd: {line}", file=sys.stderr, flush=True)


def print_table(header: list[str], rows: list[list[str]], title: str | None = None) -> None:
    """Print a table on stdout."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    console = Console()
    # A pipe has no width: do not fold what another program will read.
    Console(width=None if console.is_terminal else 250).print(table)
