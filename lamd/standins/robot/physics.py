"""Physics roll-out of one trajectory: who is where at every frame."""

from dataclasses import dataclass

import mujoco
import numpy as np

from lamd.standins.robot.arm import draw_path, draw_start, joint_angles
from lamd.standins.robot.scene import TIMESTEP, Scene, draw_scene

NUM_FRAMES = 30
FRAME_SECONDS = 0.1
STEPS_PER_FRAME = round(FRAME_SECONDS / TIMESTEP)
NUM_ARM_JOINTS = 7
SETTLE_STEPS = 20


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


def roll_out(rng: np.random.Generator) -> Rollout:
    """Draw a scene and a path and let the arm follow it for 30 frames of 0.1 s."""
    start = draw_start(rng)
    scene = draw_scene(rng, start)
    places = np.array([o.position[:2] for o in scene.objects]).reshape(-1, 2)
    path = draw_path(rng, start, places, NUM_FRAMES)
    steps = np.arange(NUM_FRAMES * STEPS_PER_FRAME) / STEPS_PER_FRAME
    control = joint_angles(path.at(steps))
    frames = path.at(np.arange(NUM_FRAMES + 1.0))
    qpos, tips = _simulate(scene.model, control)
    action = np.diff(frames, axis=0)[:, :4].astype(np.float32)
    return Rollout(scene, qpos, tips.astype(np.float32), action)


def _simulate(model: mujoco.MjModel, control: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    data = mujoco.MjData(model)
    data.qpos[:NUM_ARM_JOINTS] = control[0]
    data.ctrl[:] = control[0]
    mujoco.mj_step(model, data, SETTLE_STEPS)
    qpos = np.empty((NUM_FRAMES, model.nq))
    tips = np.empty((NUM_FRAMES, 3))
    tip = data.site("tip").xpos
    for k in range(NUM_FRAMES):
        mujoco.mj_forward(model, data)
        qpos[k], tips[k] = data.qpos, tip
        for step in range(k * STEPS_PER_FRAME, (k + 1) * STEPS_PER_FRAME, 2):
            data.ctrl[:] = control[step]
            mujoco.mj_step(model, data, 2)
    return qpos, tips
