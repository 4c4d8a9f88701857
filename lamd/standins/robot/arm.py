"""Where the arm goes: a random smooth path of the finger tips, and the joint angles for it."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from lamd.standins.robot.scene import BASE_Y, FOREARM, HAND, SHOULDER_Z, TRAY_HALF, UPPER_ARM

REACH = np.array(TRAY_HALF) - 0.05
LOWEST, HIGHEST = 0.012, 0.14
FRAMES_PER_ANCHOR = (4.0, 9.0)


@dataclass(frozen=True)
class GripperPath:
    """A smooth path: knots at `frames` with rows x, y, z [m], roll [rad], opening [m]."""

    frames: np.ndarray
    knots: np.ndarray

    def at(self, frames: np.ndarray) -> np.ndarray:
        """Return (n, 5) gripper targets at fractional frame numbers."""
        values = CubicSpline(self.frames, self.knots, bc_type="clamped")(frames)
        values[:, :2] = np.clip(values[:, :2], -REACH, REACH)
        values[:, 2] = np.clip(values[:, 2], LOWEST, HIGHEST)
        values[:, 4] = np.clip(values[:, 4], 0.0, 0.035)
        return values


def draw_start(rng: np.random.Generator) -> np.ndarray:
    """Draw the first gripper target (x, y, z, roll, opening)."""
    x, y = rng.uniform(-REACH, REACH)
    return np.array([x, y, _height(rng), rng.uniform(-1.3, 1.3), rng.uniform(0.0, 0.035)])


def draw_path(
    rng: np.random.Generator, start: np.ndarray, targets: np.ndarray, num_frames: int
) -> GripperPath:
    """Draw a path of `num_frames` frames from `start`, often shoving past `targets` (n, 2)."""
    knots, frames = [start], [0.0]
    pace = rng.uniform(0.9, 1.5)
    while frames[-1] < num_frames:
        frames.append(frames[-1] + pace * rng.uniform(*FRAMES_PER_ANCHOR))
        here = knots[-1]
        goal = _next_anchor(rng, here[:2], targets)
        roll = np.clip(here[3] + rng.normal(0, 0.5), -1.5, 1.5)
        knots.append(np.array([*goal, _height(rng), roll, rng.uniform(0.0, 0.035)]))
    return GripperPath(np.array(frames), np.stack(knots))


def _height(rng: np.random.Generator) -> float:
    return float(rng.uniform(0.014, 0.03) if rng.uniform() < 0.8 else rng.uniform(0.05, 0.12))


def _next_anchor(rng: np.random.Generator, here: np.ndarray, targets: np.ndarray) -> np.ndarray:
    goal = here
    for _ in range(20):
        if len(targets) and rng.uniform() < 0.6:
            target = targets[rng.integers(len(targets))]
            away = target - here
            goal = target + away / (np.linalg.norm(away) + 1e-6) * rng.uniform(0.03, 0.14)
        else:
            goal = rng.uniform(-REACH, REACH)
        goal = np.clip(goal, -REACH, REACH)
        if 0.1 < np.linalg.norm(goal - here) < 0.38:
            break
    return goal


def joint_angles(targets: np.ndarray) -> np.ndarray:
    """Solve the arm's inverse kinematics: (n, 5) gripper targets to (n, 7) joint positions.

    The hand always points straight down, so the wrist is above the tips and shoulder and elbow form
    a planar two-link arm with the elbow up.
    """
    x, y, z, roll, opening = targets.T
    dx, dy = x, y - BASE_Y
    yaw = np.arctan2(dx, -dy)
    radius, drop = np.hypot(dx, dy), SHOULDER_Z - (z + HAND)
    cosine = (radius**2 + drop**2 - UPPER_ARM**2 - FOREARM**2) / (2 * UPPER_ARM * FOREARM)
    elbow = np.arccos(np.clip(cosine, -1.0, 1.0))
    inner = np.arctan2(FOREARM * np.sin(elbow), UPPER_ARM + FOREARM * np.cos(elbow))
    shoulder = np.arctan2(drop, radius) - inner
    wrist = np.pi / 2 - shoulder - elbow
    return np.stack([yaw, shoulder, elbow, wrist, roll, opening, opening], axis=1)
