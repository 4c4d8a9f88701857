"""Simulated BAIR on disk: worker processes fill TFRecord files of BAIR's own layout."""

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

from filelock import FileLock
from rich.console import Console
from rich.progress import Progress

from lamd.base.errors import LamdError
from lamd.base.rng import numpy_generator
from lamd.data.bair.reader import (
    FOLDER,
    FRAME_SHAPE,
    RECORDS_PER_FILE,
    Trajectory,
    encode_trajectory,
)
from lamd.data.bair.tfrecord import write_records
from lamd.data.stand_in import GENERATORS, StandIn
from lamd.standins.raycast.render import render_clip
from lamd.standins.robot.look import draw_look
from lamd.standins.robot.physics import roll_out
from lamd.standins.writer import claim, count_workers, in_order

# goes up with every change that alters a byte
GENERATOR = GENERATORS["bair"]

Job = tuple[int, str, int]


def simulate_trajectory(seed: int, split: str, i: int) -> Trajectory:
    """Simulate trajectory `i` of `split`; its bytes depend on these three arguments only."""
    rollout = roll_out(numpy_generator(GENERATOR, seed, split, i, "physics"))
    look = draw_look(numpy_generator(GENERATOR, seed, split, i, "look"))
    videos = render_clip(rollout.scene, look, rollout.qpos, FRAME_SHAPE[:2])
    return Trajectory(videos, rollout.action, rollout.endeffector_pos)


def simulate_bair(
    root: Path, *, num_train: int, num_test: int, seed: int, num_workers: int | None = None
) -> None:
    """Write the stand-in for BAIR and its manifest: `root/softmotion30_44k/{train,test}`.

    Complete files of an interrupted run are kept. `num_workers` (default: one a core) never changes
    a byte.

    Raises:
        LamdError: when `root` holds real data or a stand-in of another seed, size or generator
        version.
    """
    counts = {"train": num_train, "test": num_test}
    for split, count in counts.items():
        if count < 1:
            raise LamdError(f"num_{split}: {count} trajectories asked for; ask for at least 1")
    workers = count_workers(num_workers)
    claim(root, StandIn("bair", GENERATOR, seed, counts), [FOLDER])
    with FileLock(root / ".simulate.lock"):
        missing = [
            (path, split, numbers)
            for split, count in counts.items()
            for path, numbers in _files(root, split, count)
            if not path.exists()
        ]
        jobs = [(seed, split, i) for _, split, numbers in missing for i in numbers]
        if jobs:
            _write_files(missing, in_order(_record, jobs, min(workers, len(jobs))), len(jobs))


def _files(root: Path, split: str, count: int) -> Iterator[tuple[Path, range]]:
    for first in range(0, count, RECORDS_PER_FILE):
        last = min(first + RECORDS_PER_FILE, count) - 1
        name = f"traj_{first}_to_{last}.tfrecords"
        yield root / FOLDER / split / name, range(first, last + 1)


def _write_files(
    files: list[tuple[Path, str, range]], records: Iterator[bytes], total: int
) -> None:
    console = Console(stderr=True)
    with (
        closing(records),
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        shown = progress.track(records, total=total, description="simulating bair")
        for path, _, numbers in files:
            for abandoned in path.parent.glob(f".{path.name}.*.tmp"):
                abandoned.unlink()
            write_records(path, islice(shown, len(numbers)))


def _record(job: Job) -> bytes:
    return encode_trajectory(simulate_trajectory(*job))
