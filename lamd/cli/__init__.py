"""The `lamd` command: arguments in, one call, lines out. Nothing heavy is imported at the top."""

import json
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from lamd.base.errors import LamdError
from lamd.cli.data import data_app
from lamd.cli.output import print_table, say
from lamd.cli.weights import weights_app

app = typer.Typer(
    name="lamd",
    help="Latent Motion Diffusion: every table and figure by one command.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")
app.add_typer(weights_app, name="weights")

TargetArg = Annotated[str, typer.Argument(help="A target's name (`lamd list`) or a YAML.")]
Profile = Annotated[str, typer.Option(help="quick, standard or paper.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Override, e.g. data.num_test=8; repeatable.")
]
Runs = Annotated[Path, typer.Option(envvar="LAMD_RUNS", help="Where cells are kept and shared.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0.")]
INTERRUPTED = 130
RUNS, RESULTS = Path("runs"), Path("results")
VALUES = ["protocol", "value", "95 % interval", "N→∞", "n real", "n fake"]


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line; the exit code is 0, 1 (failed), 2 (user error) or 130 (Ctrl-C)."""
    code = _run(sys.argv[1:] if arguments is None else arguments)
    if code == INTERRUPTED:
        print("lamd: stopped; run the same command to go on", file=sys.stderr)
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    try:
        result = typer.main.get_command(app).main(
            args=arguments, prog_name="lamd", standalone_mode=False
        )
        return result if isinstance(result, int) else 0
    except LamdError as error:
        print("lamd:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:
        if not hasattr(error, "format_message"):  # click's own errors have it
            raise
        error.show()
        return getattr(error, "exit_code", 2)


@app.command("list")
def list_command() -> None:
    """Name the targets."""
    from lamd.cli.describe import target_rows
    from lamd.config import list_targets

    print_table(["target", "profiles", "title"], target_rows(list_targets()))


@app.command()
def show(
    target: TargetArg,
    profile: Profile = "quick",
    set_: Set = None,
    runs: Runs = RUNS,
) -> None:
    """Print the resolved config and the cells with their keys, or a sweep's grid, and states."""
    from lamd.cli.describe import config_text, state_table
    from lamd.config import load_target
    from lamd.pipeline.cells import Store

    resolved = load_target(target, profile, set_ or ())
    header, *rows = state_table(resolved, Store(runs))
    print(config_text(resolved))
    print_table(header, rows)


@app.command()
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
    from lamd.pipeline.cells import Store

    _check_device(device)
    resolved = load_target(target, profile, set_ or ())
    found = forecast(resolved, Store(runs), device, limit=limit if probe else None)
    (header, *rows), lines = forecast_table(found)
    print_table(header, rows)
    print("\n".join(lines))


@app.command()
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
    jobs: Annotated[int | None, typer.Option(min=1, help="Sweeps: worker processes.")] = None,
    executor: Annotated[str, typer.Option(help="Sweeps: process, ray or slurm.")] = "process",
    ray_address: Annotated[str | None, typer.Option(help="RAY_ADDRESS by default.")] = None,
    slurm: Annotated[list[str] | None, typer.Option(help="key=value for submitit.")] = None,
    retry_failed: Annotated[bool, typer.Option(help="Sweeps: failed cells too.")] = False,
) -> None:
    """Make a target's table or pictures and its record; go on where an earlier run stopped."""
    from lamd.cli.describe import outcome_table
    from lamd.config import load_target
    from lamd.execute.jobs import Workers
    from lamd.forecast.predict import accuracy
    from lamd.pipeline.cells import CellFailed, Store
    from lamd.targets import reproduce as run

    _check_device(device)
    workers = Workers(executor, jobs, ray_address, tuple(slurm or ()), retry_failed)
    overrides = [*(set_ or ()), *([f"rows=[{rows}]"] if rows is not None else [])]
    try:
        outcome = run.reproduce(
            target, profile, overrides, runs=runs, results=results, device=device,
            workers=None if workers == Workers() else workers, say=say,
        )  # fmt: skip
    except CellFailed as failure:
        _fail([failure])
    if outcome is None:
        return
    (header, *table), lines = outcome_table(outcome.report)
    if table:
        print_table(header, table, outcome.report.title)
    print("\n".join(lines))
    told = accuracy(load_target(target, profile, overrides), Store(runs), device)
    if told is not None:
        print(told)
    if outcome.folder.name != outcome.report.target:
        print(f"{outcome.folder.parent} keeps larger or fuller results, so these are in:")
    for path in outcome.files:
        print(f"  {path}")
    if outcome.failed:
        _fail(outcome.failed)


@app.command()
def train(
    target: TargetArg,
    stage: Annotated[str, typer.Option(help="vae, dmg, captioner, video_vae, pixel_clips, ...")],
    profile: Profile = "quick",
    set_: Set = None,
    runs: Runs = RUNS,
    device: Device = "auto",
) -> None:
    """Train one stage and what it needs; on several GPUs: `accelerate launch -m lamd train ...`."""
    from lamd.pipeline.cells import CellFailed
    from lamd.targets import reproduce as run

    _check_device(device)
    try:
        folder = run.train(target, profile, set_ or (), stage, runs=runs, device=device, say=say)
    except CellFailed as failure:
        _fail([failure])
    say(f"{stage}: finished in {folder}")


@app.command()
def generate(
    target: TargetArg,
    out: Annotated[Path, typer.Option(help="samples.npy, .mp4 or .gif")],
    frames: Annotated[
        str, typer.Option(help="An image, a folder of images, or `test` for the test split.")
    ] = "test",
    count: Annotated[int, typer.Option(min=1, help="At most this many first frames.")] = 16,
    samples: Annotated[int, typer.Option(min=1, help="Clips for each first frame.")] = 1,
    prompt: Annotated[
        str | None, typer.Option(help="Caption or class; of `test` frames their own by default.")
    ] = None,
    rollout: Annotated[
        int, typer.Option(min=1, help="Chunks a clip, each from the last frame of the one before.")
    ] = 1,
    seed: Annotated[int | None, typer.Option(help="Of the noise; the config's by default.")] = None,
    vae: Annotated[Path | None, typer.Option(help="Folder of a trained MCD-VAE.")] = None,
    dmg: Annotated[Path | None, typer.Option(help="Folder of the DMG trained on it.")] = None,
    profile: Profile = "quick",
    set_: Set = None,
    runs: Runs = RUNS,
    device: Device = "auto",
) -> None:
    """Generate clips from first frames with a finished pair of checkpoints."""
    from lamd.cli.sampling import sample_to_file

    _check_device(device)
    overrides = [*(set_ or ()), *([f"sampler.seed={seed}"] if seed is not None else [])]
    shape, seam = sample_to_file(
        target, profile, overrides, runs=runs, device=device, frames=frames, count=count,
        samples=samples, out=out, prompt=prompt, rollout=rollout, vae=vae, dmg=dmg,
    )  # fmt: skip
    print(f"{out}: {shape[0]} clips of {shape[1]} frames, {shape[2]}x{shape[3]}")
    if seam is not None:
        print(f"change from frame to frame at the seams: {seam:.2f} times that inside chunks")


@app.command()
def evaluate(
    real: Annotated[Path, typer.Option(help=".npy of uint8 (N, L, H, W, 3), or a folder.")],
    fake: Annotated[Path, typer.Option(help="Likewise, of the same shape.")],
    metrics: Annotated[str, typer.Option(help="Comma-separated.")] = (
        "fvd,lpips-alex,lpips-vgg,psnr,ssim"
    ),
    json_: Annotated[Path | None, typer.Option("--json", help="Write the values here.")] = None,
    device: Device = "auto",
) -> None:
    """Measure fake clips against real ones; needs no training and no config."""
    from lamd.cli.describe import value_rows
    from lamd.evaluate import evaluate_paths, to_json

    names = [name.strip() for name in metrics.split(",") if name.strip()]
    values = evaluate_paths(real, fake, names, device=device)
    print_table(VALUES, value_rows(values))
    if json_ is not None:
        from lamd.base.files import write_atomically

        report = to_json(real, fake, values, device)
        write_atomically(json_, json.dumps(report, indent=1, ensure_ascii=False) + "\n")


@app.command("evaluate-captions")
def evaluate_captions(
    true: Annotated[Path, typer.Option(help="JSON list of the true captions.")],
    told: Annotated[Path, typer.Option(help="JSON list of the captions of generated clips.")],
) -> None:
    """Score what any captioner told of generated clips: action and referring precision."""
    from lamd import evaluate
    from lamd.cli.describe import value_rows

    print_table(VALUES, value_rows(evaluate.evaluate_captions(true, told)))


@app.command()
def doctor(runs: Runs = RUNS) -> None:
    """Say what works here and what is missing: device, versions, data, weights, disk."""
    from lamd.cli.doctor import examine

    findings = examine(runs)
    print_table(["", "what", "found"], [[f.state, f.what, f.found] for f in findings])
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)


def _check_device(device: str) -> None:
    if device != "auto":
        from lamd.evaluate import resolve_device

        resolve_device(device)


def _fail(failures) -> NoReturn:
    for failure in failures:
        print(f"lamd: {failure}", file=sys.stderr)
    raise typer.Exit(2 if all(failure.user_error for failure in failures) else 1)
