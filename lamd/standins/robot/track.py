"""The true track of the robot's hand in a camera's frames, without a picture."""

import numpy as np

from lamd.base.progress import track
from lamd.data.dataset import Dataset
from lamd.standins.raycast.view import Camera
from lamd.standins.robot.motion import Rollout, roll_out
from lamd.standins.robot.scene import Look

# the middle of the pale cylinder above the tip, which looks alike however the hand is turned
_ABOVE_TIP = np.array([0.0, 0.0, 0.13])


def true_tracks(
    dataset: Dataset, *, num_test: int, seed: int, size: int, num_frames: int, camera: str
) -> dict[str, np.ndarray]:
    """Return the hand in all frames of each test trajectory, pixels (30, 1, 2), by its key."""
    tracks = {}
    for i in track(range(num_test), f"true tracks of {dataset.name}"):
        rollout = roll_out(dataset.random(seed, "test", i, "physics"))
        look = Look(dataset.random(seed, "test", i, "look"))
        tracks[f"{dataset.name}/test/{i}"] = hand_track(rollout, look.cameras[camera], size)
    return tracks


def hand_track(rollout: Rollout, camera: Camera, size: int) -> np.ndarray:
    """Return the hand of a rollout in square frames, pixels (30, 1, 2)."""
    hand = rollout.endeffector_pos + _ABOVE_TIP
    return camera.project(hand[:, None], (size, size))[..., :2]
