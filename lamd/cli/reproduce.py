"""`lamd reproduce`: a target's table or pictures, and its record."""

from pathlib import Path
from typing import Annotated

import typer

from lamd.cli.options import RUNS, Device, Profile, Runs, Set, TargetArg, check_device, fail
from lamd.cli.output import print_table, say

RESULTS = Path("results")


def reproduce(
    target: TargetArg,
    profile: Profile = "quick",
    set_: Set = None,
    runs: Runs = RUNS,
    results: Annotated[Path, typer.Option(help="Where tables and figures go.")] = RESULTS,
    device: Device = "auto",
    rows: Annotated[
        str | None, typer.Option(help="Tables: rows, e.g. lamd,pixel_flops; short for --set rows=.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Worker processes.")] = None,
    executor: Annotated[str, typer.Option(help="process, ray or slurm.")] = "process",
    ray_address: Annotated[str | None, typer.Option(help="RAY_ADDRESS by default.")] = None,
    slurm: Annotated[list[str] | None, typer.Option(help="key=value for submitit.")] = None,
    retry_failed: Annotated[bool, typer.Option(help="Try cells that failed before again.")] = False,
) -> None:
    """Make a target's table or pictures and its record; resume where an earlier run stopped."""
    from lamd.config import load_target
    from lamd.execute import ExecutorOptions
    from lamd.forecast.predict import accuracy
    from lamd.pipeline.store import CellFailed, Store
    from lamd.report.terminal import terminal_table
    from lamd.targets import reproduce as run

    check_device(device)
    options = ExecutorOptions(executor, jobs, ray_address, tuple(slurm or ()), retry_failed)
    overrides = [*(set_ or ()), *([f"rows=[{rows}]"] if rows is not None else [])]
    try:
        outcome = run.reproduce(
            target, profile, overrides, runs=runs, results=results, device=device,
            options=None if options == ExecutorOptions() else options, say=say,
        )  # fmt: skip
    except CellFailed as failure:
        fail([failure])
    if outcome is None:
        return
    header, table, lines = terminal_table(outcome.results)
    if table:
        print_table(header, table, outcome.results.title)
    print("\n".join(lines))
    compared = accuracy(load_target(target, profile, overrides), Store(runs), device)
    if compared is not None:
        print(compared)
    if outcome.notice:
        print(outcome.notice)
    for path in outcome.files:
        print(f"  {path}")
    if outcome.failed:
        fail(outcome.failed)
