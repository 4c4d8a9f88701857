"""Motion of one trajectory: a random smooth path of the finger tips, and the physics it drives."""

from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import numpy as np
from scipy.interpolate import CubicSpline

from lamd.standins.robot.scene import (
    BASE_Y,
    FOREARM,
    HAND,
    SHOULDER_Z,
    TIMESTEP,
    TRAY_HALF,
    UPPER_ARM,
    Scene,
    draw_scene,
)

Path = Callable[[np.ndarray], np.ndarray]  # from fractional frames (k,) to targets (k, 5)
REACH = np.array(TRAY_HALF) - 0.05
OPEN = 0.035
# of a gripper target: x, y, z [m], roll [rad], opening [m]
LEAST, MOST = np.array([*-REACH, 0.012, -np.inf, 0.0]), np.array([*REACH, 0.14, np.inf, OPEN])
FRAMES_PER_ANCHOR = (4.0, 9.0)
NUM_FRAMES = 30
STEPS_PER_FRAME = round(0.1 / TIMESTEP)
NUM_ARM_JOINTS = 7
SETTLE_STEPS = 20


def draw_start(rng: np.random.Generator) -> np.ndarray:
    """Draw the first gripper target (x, y, z, roll, opening)."""
    x, y = rng.uniform(-REACH, REACH)
    return np.array([x, y, _height(rng), rng.uniform(-1.3, 1.3), rng.uniform(0.0, OPEN)])


def draw_path(
    rng: np.random.Generator, start: np.ndarray, targets: np.ndarray, num_frames: int,
    velocity: np.ndarray | float = 0.0,
) -> Path:  # fmt: skip
    """Draw a smooth path from `start` for `num_frames` frames, often shoving past `targets` (n, 2).

    `velocity` is that at its start, per frame.
    """
    knots, frames = [start], [0.0]
    pace = rng.uniform(0.9, 1.5)
    while frames[-1] < num_frames:
        frames.append(frames[-1] + pace * rng.uniform(*FRAMES_PER_ANCHOR))
        here = knots[-1]
        goal = _next_anchor(rng, here[:2], targets)
        roll = np.clip(here[3] + rng.normal(0, 0.5), -1.5, 1.5)
        knots.append(np.array([*goal, _height(rng), roll, rng.uniform(0.0, OPEN)]))
    spline = CubicSpline(frames, knots, bc_type=((1, np.zeros(5) + velocity), "clamped"))
    return lambda at: np.clip(spline(at), LEAST, MOST)


def branch_path(path: Path, frame: int, rng: np.random.Generator, targets: np.ndarray) -> Path:
    """Return `path` up to `frame`, and another one from there, at the same speed."""
    before, here = path(np.array([frame - 1 / STEPS_PER_FRAME, frame]))
    velocity = (here - before) * STEPS_PER_FRAME if frame else 0.0
    other = draw_path(rng, here, targets, NUM_FRAMES - frame, velocity)
    return lambda at: np.where((at < frame)[:, None], path(at), other(at - frame))


def _height(rng: np.random.Generator) -> float:
    return rng.uniform(0.014, 0.03) if rng.uniform() < 0.8 else rng.uniform(0.05, 0.12)


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

    The hand points straight down; shoulder and elbow are a planar two-link arm, the elbow up.
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


@dataclass(frozen=True)
class Rollout:
    """States of one trajectory.

    `qpos` (30, nq); `endeffector_pos` float32 (30, 3) metres; `action` float32 (30, 4): commanded
    displacement of the finger tips [m] and of the hand's roll [rad] until the next frame.
    """

    scene: Scene
    qpos: np.ndarray
    endeffector_pos: np.ndarray
    action: np.ndarray


def roll_out(
    rng: np.random.Generator, branch: int = 0, other: np.random.Generator | None = None
) -> Rollout:
    """Draw a scene and a path and let the arm follow it for 30 frames of 0.1 s.

    From the frame `branch` on, the path is that of `other`, if it is given.
    """
    start = draw_start(rng)
    scene = draw_scene(rng, start)
    path = draw_path(rng, start, scene.targets, NUM_FRAMES)
    if other is not None:
        path = branch_path(path, branch, other, scene.targets)
    control = joint_angles(path(np.arange(NUM_FRAMES * STEPS_PER_FRAME) / STEPS_PER_FRAME))
    action = np.diff(path(np.arange(NUM_FRAMES + 1.0)), axis=0)[:, :4].astype(np.float32)
    model, data = scene.model, mujoco.MjData(scene.model)
    data.qpos[:NUM_ARM_JOINTS] = data.ctrl[:] = control[0]
    mujoco.mj_step(model, data, SETTLE_STEPS)
    qpos, tips = [], []
    for frame in control.reshape(NUM_FRAMES, STEPS_PER_FRAME, -1):
        mujoco.mj_forward(model, data)
        qpos.append(data.qpos.copy())
        tips.append(data.site("tip").xpos.copy())
        for angles in frame[::2]:
            data.ctrl[:] = angles
            mujoco.mj_step(model, data, 2)
    return Rollout(scene, np.stack(qpos), np.stack(tips).astype(np.float32), action)
