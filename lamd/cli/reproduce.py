"""`lamd reproduce` and `lamd train`: make a target's cells, with its results or a stage's only."""

from pathlib import Path
from typing import Annotated

import typer

from lamd.cli.options import RESULTS, RUNS, Device, Profile, Runs, Set, TargetArg
from lamd.cli.output import print_lines, print_table, report_failures, say_once


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
    jobs: Annotated[int | None, typer.Option(min=1, help="Cells at once.")] = None,
    executor: Annotated[str, typer.Option(help="process, ray or slurm.")] = "process",
    ray_address: Annotated[str | None, typer.Option(help="RAY_ADDRESS by default.")] = None,
    slurm: Annotated[list[str] | None, typer.Option(help="key=value for submitit.")] = None,
    retry_failed: Annotated[bool, typer.Option(help="Try cells that failed before again.")] = False,
) -> None:
    """Make a target's table or pictures and its record; resume where an earlier run stopped."""
    from lamd.config import load_target
    from lamd.execute import ExecutorOptions
    from lamd.forecast.predict import accuracy
    from lamd.pipeline.store import Store
    from lamd.report.terminal import terminal_table
    from lamd.targets import reproduce as run

    options = ExecutorOptions(executor, jobs, ray_address, tuple(slurm or ()), retry_failed)
    overrides = [*(set_ or ()), *([f"rows=[{rows}]"] if rows is not None else [])]
    outcome = run.reproduce(
        target, profile, overrides, runs=runs, results=results, device=device,
        options=None if options == ExecutorOptions() else options, say=say_once,
    )  # fmt: skip
    if outcome is None:
        return
    header, table, lines = terminal_table(outcome.results)
    if table:
        print_table(header, table, outcome.results.title)
    compared = accuracy(load_target(target, profile, overrides), Store(runs), device)
    files = (f"  {path}" for path in outcome.files)
    print_lines(*lines, *filter(None, (compared, outcome.notice)), *files)
    if outcome.failed:
        raise typer.Exit(report_failures(outcome.failed))


def train(
    target: TargetArg,
    stage: Annotated[str, typer.Option(help="vae, dmg, captioner, video_vae, pixel_clips, ...")],
    profile: Profile = "quick",
    set_: Set = None,
    runs: Runs = RUNS,
    device: Device = "auto",
) -> None:
    """Train one stage and what it needs; on several GPUs: `accelerate launch -m lamd train ...`."""
    from lamd.targets import reproduce as run

    folder = run.train(target, profile, set_ or (), stage, runs=runs, device=device, say=say_once)
    say_once(f"{stage}: finished in {folder}")
