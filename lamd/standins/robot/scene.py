"""A simulated scene, drawn at random: the MuJoCo model of arm, tray and objects.

Lengths in metres, masses in kilograms. World frame: x to the right and y away from the front
camera, z up, origin in the middle of the tray's floor; the arm is behind the tray at +y.
"""

import colorsys
from dataclasses import dataclass

import mujoco
import numpy as np

from lamd.standins.raycast.view import (
    ARM_GROUP,
    FLOOR_GROUP,
    OBJECT_GROUP,
    STATIC_GROUP,
    Painted,
)

TRAY_HALF = (0.30, 0.24)
WALL_HEIGHT = 0.045
WALL_HALF_THICKNESS = 0.012
BASE_Y = 0.52
SHOULDER_Z = 0.30
UPPER_ARM = 0.46
FOREARM = 0.46
HAND = 0.19  # wrist axis to finger tips
TIMESTEP = 0.005
SPECULAR = 0.25
KINDS = ("box", "sphere", "cylinder", "capsule", "lying_cylinder", "hammer")


@dataclass(frozen=True)
class SimObject:
    """One free object: geoms in MJCF, resting pose and the radius of its footprint."""

    geoms: str
    position: tuple[float, float, float]
    yaw: float
    footprint: float


@dataclass(frozen=True, kw_only=True)
class Scene(Painted):
    """A compiled model; `objects` are the free bodies in the model's order."""

    objects: list[SimObject]


def draw_scene(rng: np.random.Generator, tip: np.ndarray) -> Scene:
    """Draw objects around the starting gripper position `tip` (x, y, z) and compile the model."""
    hue, count = rng.uniform(), int(rng.integers(4, 9))
    objects: list[SimObject] = []
    for k in range(count):
        saturation, value = rng.uniform(0.65, 1.0), rng.uniform(0.5, 1.0)
        if rng.uniform() < 0.12:
            saturation = 0.05
        color = _hsv((hue + k / count) % 1.0, saturation, value)
        if placed := _place(rng, color, objects, tip):
            objects.append(placed)
    model = mujoco.MjModel.from_xml_string(_model_xml(rng, objects))
    return Scene(
        model=model,
        albedo=model.geom_rgba[:, :3].astype(np.float32),
        specular=np.full(model.ngeom, SPECULAR, np.float32),
        objects=objects,
    )


def _rgba(*color: float) -> str:
    return " ".join(f"{c:.4f}" for c in color) + " 1"


def _hsv(hue: float, saturation: float, value: float) -> str:
    return _rgba(*colorsys.hsv_to_rgb(hue, saturation, value))


def _place(
    rng: np.random.Generator, color: str, others: list[SimObject], tip: np.ndarray
) -> SimObject | None:
    """Find free room for one more object; None when the tray is too full."""
    geoms, height, footprint = _object_geoms(rng, color)
    room = np.array(TRAY_HALF) - footprint - 0.01
    for _ in range(30):
        x, y = rng.uniform(-room, room)
        clear = np.hypot(x - tip[0], y - tip[1]) > footprint + 0.065
        if clear and all(
            np.hypot(x - o.position[0], y - o.position[1]) > footprint + o.footprint + 0.004
            for o in others
        ):
            yaw = float(rng.uniform(-np.pi, np.pi))
            return SimObject(geoms, (float(x), float(y), height), yaw, footprint)
    return None


def _object_geoms(rng: np.random.Generator, color: str) -> tuple[str, float, float]:
    """Return an object's geoms, the height of its centre at rest and its footprint's radius."""
    kind = str(rng.choice(KINDS))
    r, h = rng.uniform(0.027, 0.046), rng.uniform(0.025, 0.05)
    look, along = f'class="object" rgba="{color}"', 'euler="0 90 0"'
    match kind:
        case "box":
            w, z = rng.uniform(0.02, 0.05), rng.uniform(0.018, 0.038)
            shape, height, footprint = f'"box" size="{r:.4f} {w:.4f} {z:.4f}"', z, np.hypot(r, w)
        case "sphere":
            shape, height, footprint = f'"sphere" size="{r:.4f}"', r, r
        case "cylinder":
            height, footprint = h / 1.4, r
            shape = f'"cylinder" size="{r:.4f} {height:.4f}"'
        case "capsule":
            height = r * 0.75
            shape, footprint = f'"capsule" size="{height:.4f} {h:.4f}" {along}', height + h
        case "lying_cylinder":
            height = r * 0.85
            footprint = np.hypot(height, h)
            shape = f'"cylinder" size="{height:.4f} {h:.4f}" {along}'
        case _:
            head = rng.uniform(0.02, 0.028)
            handle = _hsv(rng.uniform(), rng.uniform(0.2, 0.9), 0.9)
            geoms = f"""
            <geom type="box" pos="-0.045 0 0" size="0.018 0.04 {head:.4f}" {look}/>
            <geom type="capsule" pos="0.02 0 {0.013 - head:.4f}" size="0.013 0.05" {along}
              class="object" rgba="{handle}"/>"""
            return geoms, head, 0.085
    return f"<geom type={shape} {look}/>", height, float(footprint)


def _model_xml(rng: np.random.Generator, objects: list[SimObject]) -> str:
    """Write the model; its arm has yaw, shoulder, elbow, wrist pitch, wrist roll and two fingers.

    At zero angles every link points along its own x axis; positive pitch turns it downwards.
    """
    # near one robot's: dark links, red joints, pale hand
    shade = rng.uniform(0.12, 0.22)
    red = _hsv(rng.uniform(-0.02, 0.02) % 1.0, 0.85, rng.uniform(0.65, 0.85))
    pale = _rgba(*(rng.uniform(0.72, 0.85),) * 3)
    dark, darkest = _rgba(shade, shade, shade * 1.1), _rgba(*(shade * 0.8,) * 3)
    strength = {"yaw": 3000, "shoulder": 3000, "elbow": 2000, "wrist": 600, "roll": 80}
    actuators = "".join(
        f'<position joint="{joint}" kp="{kp}" dampratio="1"/>'
        for joint, kp in (strength | {"finger_a": 300, "finger_b": 300}).items()
    )
    bodies = "\n".join(
        f'<body pos="{o.position[0]:.5f} {o.position[1]:.5f} {o.position[2] + 0.001:.5f}" '
        f'euler="0 0 {np.degrees(o.yaw):.3f}"><joint type="free" damping="0.0015"/>{o.geoms}</body>'
        for o in objects
    )
    x, y = TRAY_HALF
    t, h = WALL_HALF_THICKNESS, WALL_HEIGHT / 2
    length = (HAND - 0.125) / 2
    fingers = "\n".join(
        f'<body name="{name}" pos="{0.125 + length} {side * 0.012} 0" gravcomp="1">'
        f'<joint name="{name}" type="slide" axis="0 {side} 0" armature="0.05"/>'
        f'<geom class="grip" size="{length} 0.01 0.02" rgba="{darkest}"/></body>'
        for name, side in (("finger_a", 1), ("finger_b", -1))
    )
    return f"""
<mujoco>
  <compiler angle="degree"/>
  <option timestep="{TIMESTEP}" integrator="implicitfast" iterations="30" tolerance="1e-6">
    <flag sleep="enable"/>
  </option>
  <size memory="4M"/>
  <default>
    <geom solref="0.012 1" friction="0.55 0.005 0.0002"/>
    <default class="object"><geom group="{OBJECT_GROUP}" density="350"/></default>
    <default class="static">
      <geom group="{STATIC_GROUP}"/>
      <default class="wall"><geom type="box" rgba="0.5 0.5 0.5 1"/></default>
    </default>
    <default class="arm">
      <geom group="{ARM_GROUP}" contype="0" conaffinity="0" mass="0.4"/>
      <default class="link"><geom type="capsule" rgba="{dark}"/></default>
      <default class="joint"><geom type="cylinder" euler="90 0 0" rgba="{red}"/></default>
    </default>
    <default class="grip">
      <geom group="{ARM_GROUP}" type="box" mass="0.1" friction="0.7 0.005 0.0002"/>
    </default>
  </default>
  <worldbody>
    <geom name="floor" class="static" group="{FLOOR_GROUP}" type="plane" size="0 0 1"/>
    <geom name="wall_l" class="wall" pos="{-x - t} 0 {h}" size="{t} {y + 2 * t} {h}"/>
    <geom name="wall_r" class="wall" pos="{x + t} 0 {h}" size="{t} {y + 2 * t} {h}"/>
    <geom name="wall_f" class="wall" pos="0 {-y - t} {h}" size="{x} {t} {h}"/>
    <geom name="wall_b" class="wall" pos="0 {y + t} {h}" size="{x} {t} {h}"/>
    <geom class="static" type="cylinder" size="0.085 0.13" pos="0 {BASE_Y} 0.13" rgba="{dark}"/>
    <body pos="0 {BASE_Y} 0" euler="0 0 -90" gravcomp="1">
      <joint name="yaw" axis="0 0 1" armature="0.1"/>
      <geom class="joint" size="0.08 0.085" pos="0 0 {SHOULDER_Z}"/>
      <body pos="0 0 {SHOULDER_Z}" gravcomp="1">
        <joint name="shoulder" axis="0 1 0" armature="0.1"/>
        <geom class="link" size="0.055" fromto="0.03 0 0 {UPPER_ARM} 0 0"/>
        <body pos="{UPPER_ARM} 0 0" gravcomp="1">
          <joint name="elbow" axis="0 1 0" armature="0.1"/>
          <geom class="joint" size="0.062 0.062"/>
          <geom class="link" size="0.045" fromto="0.03 0 0 {FOREARM} 0 0"/>
          <body pos="{FOREARM} 0 0" gravcomp="1">
            <joint name="wrist" axis="0 1 0" armature="0.05"/>
            <geom class="joint" size="0.05 0.052"/>
            <body gravcomp="1">
              <joint name="roll" axis="1 0 0" armature="0.02"/>
              <geom class="joint" size="0.035 0.045" pos="0.06 0 0" euler="0 90 0" rgba="{pale}"/>
              <geom class="grip" size="0.016 0.062 0.026" pos="0.115 0 0" rgba="{pale}"/>
              <site name="tip" pos="{HAND} 0 0"/>
              {fingers}
            </body>
          </body>
        </body>
      </body>
    </body>
    {bodies}
  </worldbody>
  <contact><exclude body1="finger_a" body2="finger_b"/></contact>
  <actuator>{actuators}</actuator>
</mujoco>"""
