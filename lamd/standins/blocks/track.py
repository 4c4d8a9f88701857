"""The true tracks of the objects that move in a scene, without a picture."""

from typing import Any

import numpy as np

from lamd.data.cater import decoder
from lamd.data.dataset import Dataset
from lamd.standins.blocks.scene import NUM_FRAMES, UNIT, VIEWPOINT, Plan, draw_plan


def true_tracks(
    dataset: Dataset, *, num_test: int, seed: int, size: int, num_frames: int, **own: Any
) -> dict[str, np.ndarray]:
    """Return centres in the frames of each test clip, pixels (num_frames, P, 2), by its key."""
    frames = decoder(dataset, size=size, num_frames=num_frames, **own).numbers(NUM_FRAMES)
    version, tracks = dataset.name.removeprefix("cater_"), {}
    for i in range(num_test):
        plan = draw_plan(dataset.random(seed, "test", i, "scene"), version)
        tracks[f"{dataset.name}/test/{i}"] = centre_tracks(plan, size)[frames]
    return tracks


def centre_tracks(plan: Plan, size: int) -> np.ndarray:
    """Return the centres of all objects that move or turn in square frames, pixels (33, P, 2)."""
    moving = [thing.instance in plan.moves for thing in plan.things]
    # the square in the middle has the height of the frame
    return VIEWPOINT.project(plan.places[moving] * UNIT, (size, size))[..., :2].swapaxes(0, 1)
