"""Arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer


def _check_device(device: str) -> str:
    if device != "auto":
        from lamd.evaluate import resolve_device

        resolve_device(device)  # raises LamdError on a device that is not here
    return device


TargetArg = Annotated[str, typer.Argument(help="A target's name (`lamd list`) or a YAML.")]
Profile = Annotated[str, typer.Option(help="quick, standard or paper.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Override, e.g. sampler.num_steps=50; repeatable.")
]
Runs = Annotated[Path, typer.Option(envvar="LAMD_RUNS", help="Where cells are kept and shared.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.", callback=_check_device)]
RUNS, RESULTS = Path("runs"), Path("results")
