"""`lamd train`: one stage, on one device or several."""

from typing import Annotated

import typer

from lamd.cli.options import RUNS, Device, Profile, Runs, Set, TargetArg, check_device, fail
from lamd.cli.output import say


def train(
    target: TargetArg,
    stage: Annotated[str, typer.Option(help="vae, dmg, captioner, video_vae, pixel_clips, ...")],
    profile: Profile = "quick",
    set_: Set = None,
    runs: Runs = RUNS,
    device: Device = "auto",
) -> None:
    """Train one stage and what it needs; on several GPUs: `accelerate launch -m lamd train ...`."""
    from lamd.pipeline.store import CellFailed
    from lamd.targets import reproduce as run

    check_device(device)
    try:
        folder = run.train(target, profile, set_ or (), stage, runs=runs, device=device, say=say)
    except CellFailed as failure:
        fail([failure])
    say(f"{stage}: finished in {folder}")
