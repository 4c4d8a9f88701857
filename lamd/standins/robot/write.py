"""Simulated BAIR: trajectories in TFRecord files of BAIR's own layout."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lamd.base.errors import LamdError
from lamd.data.bair import (
    FLOATS,
    FOLDER,
    FULL_SIZE,
    NUM_FRAMES,
    RECORDS_PER_FILE,
    Trajectory,
    encode_trajectory,
)
from lamd.data.bair.tfrecord import write_records
from lamd.data.dataset import Dataset
from lamd.standins.raycast.render import render_clip
from lamd.standins.robot.motion import roll_out
from lamd.standins.robot.scene import Look
from lamd.standins.writer import Part, Request, write

FRAME_SIZE = (FULL_SIZE, FULL_SIZE)


def simulate(dataset: Dataset, root: Path, **options: Any) -> None:
    """Write `root/softmotion30_44k/{train,test}`; frames have BAIR's 64x64 pixels only."""
    request = Request(dataset, root, **options)
    if request.frame_size not in (None, FRAME_SIZE):
        raise LamdError("frame_size: bair has 64x64; leave it out")
    write(replace(request, frame_size=None), _missing_files(request))


def simulate_trajectory(request: Request, split: str, i: int) -> Trajectory:
    """Simulate trajectory `i` of `split`; its bytes depend on these, seed and future only."""
    future, parts = request.future, []
    for first, end in future.segments(NUM_FRAMES) if future else [(0, NUM_FRAMES)]:
        motion = request.other_motion(split, i, first)
        rollout = roll_out(request.random(split, i, "physics"), first, motion)
        look, part = Look(request.random(split, i, "look")), slice(first, end)
        videos = render_clip(rollout.scene, look, rollout.qpos[part], FRAME_SIZE)
        floats = {name: getattr(rollout, name)[part] for name in FLOATS}
        parts.append({**videos, **floats})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _missing_files(request: Request) -> Iterator[Part]:
    for split, count in request.counts.items():
        for first in range(0, count, RECORDS_PER_FILE):
            last = min(first + RECORDS_PER_FILE, count) - 1
            path = request.root / FOLDER / split / f"traj_{first}_to_{last}.tfrecords"
            if not path.exists():
                for abandoned in path.parent.glob(f".{path.name}.*.tmp"):
                    abandoned.unlink()
                jobs = [partial(_record, request, split, i) for i in range(first, last + 1)]
                yield Part(jobs, partial(write_records, path))


def _record(request: Request, split: str, i: int) -> bytes:
    return encode_trajectory(simulate_trajectory(request, split, i), request.stand_in.mark)
