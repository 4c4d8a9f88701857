"""`lamd plan`: what a run will take, before it."""

from typing import Annotated

import typer

from lamd.cli.options import RUNS, Device, Profile, Runs, Set, TargetArg, check_device
from lamd.cli.output import print_table


def plan(
    target: TargetArg,
    profile: Profile = "quick",
    set_: Set = None,
    runs: Runs = RUNS,
    device: Device = "auto",
    probe: Annotated[bool, typer.Option(help="Time a few steps here; else FLOPs only.")] = True,
    limit: Annotated[float, typer.Option(min=1, help="Seconds for the probe.")] = 120.0,
) -> None:
    """Predict what a run will take: time, memory, disk; after it, how far off that was."""
    from lamd.config import load_target
    from lamd.forecast.predict import forecast, forecast_table
    from lamd.pipeline.store import Store

    check_device(device)
    config = load_target(target, profile, set_ or ())
    predicted = forecast(config, Store(runs), device, limit=limit if probe else None)
    (header, *rows), lines = forecast_table(predicted)
    print_table(header, rows)
    print("\n".join(lines))
