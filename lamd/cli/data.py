"""`lamd data`: simulate a stand-in, pack, verify."""

from pathlib import Path
from typing import Annotated

import typer

from lamd.base.errors import LamdError

data_app = typer.Typer(help="Data sets: simulate a stand-in, pack, verify.", no_args_is_help=True)

DatasetArg = Annotated[
    str, typer.Argument(help="bair, landscape, cater_v1, cater_v2, natops or mug.")
]


@data_app.command("simulate")
def data_simulate(
    dataset: DatasetArg,
    root: Annotated[Path, typer.Argument(help="Written here, in the data set's own layout.")],
    num_train: Annotated[int, typer.Option(min=1, help="Videos.")] = 1024,
    num_test: Annotated[int, typer.Option(min=1, help="Videos.")] = 256,
    seed: int = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="One a core by default.")] = None,
) -> None:
    """Simulate the stand-in of a data set; with LAMD_DATA=ROOT it is read, and labelled, as one."""
    from lamd.data import simulate_dataset

    simulate_dataset(
        dataset, root, num_train=num_train, num_test=num_test, seed=seed, num_workers=workers
    )
    print(f"{root}: {num_train} train and {num_test} test videos")


@data_app.command("prepare")
def data_prepare(
    dataset: DatasetArg = "bair",
    camera: Annotated[str | None, typer.Option(help="bair only; image_aux1 by default.")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Pixels; bair 64, others 128.")] = None,
    min_frames: Annotated[
        int | None, typer.Option(min=1, help="landscape only: leave out shorter videos; 32.")
    ] = None,
    captions: Annotated[
        str | None, typer.Option(help="cater only: ambiguous or explicit; explicit.")
    ] = None,
    num_frames: Annotated[
        int | None, typer.Option(min=1, help="Not bair, landscape: frames a clip; 16.")
    ] = None,
    frame_interval: Annotated[
        int | None, typer.Option(min=1, help="cater only: from frame to frame; 4.")
    ] = None,
    broken: Annotated[str | None, typer.Option(help="Not bair: stop or skip.")] = None,
) -> None:
    """Pack the real data under LAMD_DATA into the cache, as the paper profile would."""
    from lamd.cli.describe import prepare

    lines = prepare(
        dataset, camera=camera, size=size, min_frames=min_frames, captions=captions,
        num_frames=num_frames, frame_interval=frame_interval, broken=broken,
    )  # fmt: skip
    for line in lines:
        print(line)


@data_app.command("verify")
def data_verify(
    dataset: DatasetArg = "bair",
    root: Annotated[Path | None, typer.Option(help="In place of LAMD_DATA.")] = None,
) -> None:
    """Read all of a data set, compare counts with the expected ones, name what is broken."""
    from lamd.cli.describe import verify

    text, ok = verify(dataset, root)
    print(text)
    if not ok:
        raise LamdError(f"{dataset}: not as expected; get the files named above again")
