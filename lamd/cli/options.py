"""Arguments that several commands share, and their checks."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from lamd.pipeline.store import CellFailed

TargetArg = Annotated[str, typer.Argument(help="A target's name (`lamd list`) or a YAML.")]
Profile = Annotated[str, typer.Option(help="quick, standard or paper.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Override, e.g. data.num_test=8; repeatable.")
]
Runs = Annotated[Path, typer.Option(envvar="LAMD_RUNS", help="Where cells are kept and shared.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")]
RUNS = Path("runs")


def check_device(device: str) -> None:
    """Raise LamdError on a device that is not here."""
    if device != "auto":
        from lamd.evaluate import resolve_device

        resolve_device(device)


def fail(failures: Sequence["CellFailed"]) -> NoReturn:
    """Print the failures and end, with 2 where all were user errors."""
    for failure in failures:
        print(f"lamd: {failure}", file=sys.stderr)
    raise typer.Exit(2 if all(failure.user_error for failure in failures) else 1)
