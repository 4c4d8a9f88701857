"""`lamd list`, `show`, `plan`, `bench` and `results`: what there is, without making anything."""

import os
from pathlib import Path
from typing import Annotated

import typer

from lamd.base.files import check_output, write_output
from lamd.cli.options import RESULTS, RUNS, Device, Profile, Runs, Set, TargetArg
from lamd.cli.output import print_lines, print_table

COLUMNS = [
    "target", "profile", "source", "data", "row", "point", "part", "metric", "value", "low", "high",
]  # fmt: skip


def list_() -> None:
    """List the targets."""
    from lamd.config import describe_target, list_targets

    described = {path.stem: describe_target(path) for path in list_targets()}
    rows = [[name, ", ".join(profiles), title] for name, (title, profiles) in described.items()]
    print_table(["target", "profiles", "title"], rows)


def show(
    target: TargetArg, profile: Profile = "quick", set_: Set = None, runs: Runs = RUNS
) -> None:
    """Print the resolved config and the cells with their keys, or a sweep's grid, and states."""
    import yaml

    from lamd.config import Sweep, config_hash, load_target
    from lamd.pipeline.store import Store
    from lamd.targets import KINDS, sweep

    config = load_target(target, profile, set_ or ())
    graph, store = KINDS[config.kind].plan(config, "auto"), Store(runs)
    if isinstance(config, Sweep):
        header, *rows = sweep.state_table(config, graph, store)
    else:
        header, rows = ["cell", "state", "folder"], []
        for source, cells in graph.cells().items():
            for cell in cells:
                key = store.key(cell) or "(known once data is made)"
                name = f"{source}: {cell.name}" if source else cell.name
                rows.append([name, store.state(cell), f"{cell.kind}-{key}"])
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    print_lines(f"# config {config_hash(config)}", *text.split("\n"))
    print_table(header, rows)


def plan(
    target: TargetArg,
    profile: Profile = "quick",
    set_: Set = None,
    runs: Runs = RUNS,
    device: Device = "auto",
    probe: Annotated[bool, typer.Option(help="Time a few steps here; else FLOPs only.")] = True,
    limit: Annotated[float, typer.Option(min=1, max=86_400, help="Seconds for the probe.")] = 120.0,
) -> None:
    """Predict what a run will take: time, memory, disk; after it, how far off that was."""
    from lamd.config import load_target
    from lamd.forecast.predict import forecast, forecast_table
    from lamd.pipeline.store import Store

    config = load_target(target, profile, set_ or ())
    store = Store(runs)
    predicted = forecast(config, store, device, limit=limit if probe else None)
    (header, *rows), lines = forecast_table(predicted, store)
    print_table(header, rows)
    print_lines(*lines)


def bench(
    target: TargetArg, profile: Profile = "quick", set_: Set = None, device: Device = "auto"
) -> None:
    """Profile the training steps here: where their time goes, and the rate that they reach."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # PyTorch's profiler complains of a missing GPU
    from lamd.base.progress import track
    from lamd.config import load_target
    from lamd.forecast.bench import HEADER, profile_target

    stages = profile_target(load_target(target, profile, set_ or ()), device)
    print_table(HEADER, [stage.row() for stage in track(stages, "stages")])


def results(
    paths: Annotated[list[Path] | None, typer.Argument(help="Records or folders.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write all columns here.")] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write all columns here.")] = None,
) -> None:
    """Print the values of all records below PATHS (results/ by default), or write them."""
    from lamd.report.frame import load_results, to_csv, to_parquet

    frame = load_results(paths or [RESULTS])
    writers = {csv: lambda: to_csv(frame), parquet: lambda: to_parquet(frame)}
    outputs = [path for path in writers if path is not None]
    for path in outputs:
        check_output(path)
    for path in outputs:
        write_output(path, writers[path]())
        print_lines(f"{path}: {len(frame)} values")
    if csv is None and parquet is None:
        print_lines(*frame[COLUMNS].to_string(index=False).split("\n"))
