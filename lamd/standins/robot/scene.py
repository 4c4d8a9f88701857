"""A simulated scene, drawn at random: the MuJoCo model of arm, tray and objects, and its look.

Lengths in metres, masses in kilograms. World frame: x to the right and y away from the front
camera, z up, origin in the middle of the tray's floor; the arm is behind the tray at +y.
"""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import mujoco
import numpy as np

from lamd.standins.raycast.cast import ARM_GROUP, FLOOR_GROUP, OBJECT_GROUP, STATIC_GROUP
from lamd.standins.raycast.view import Camera, Painted, View

TRAY_HALF = (0.30, 0.24)
WALL_HALF = 0.012, 0.0225  # thickness, height
BASE_Y, SHOULDER_Z = 0.52, 0.30
UPPER_ARM, FOREARM, HAND = 0.46, 0.46, 0.19  # the hand from wrist axis to finger tips
TIMESTEP = 0.005
SPECULAR = 0.25
TEXTURE_SIZE, TEXTURE_METRES = 128, 1.28
FLOOR_PATTERNS = ("wood", "checker", "speckle", "stripes", "cloth")
KINDS = ("box", "sphere", "cylinder", "capsule", "lying_cylinder", "hammer")


class SimObject(NamedTuple):
    """One free object: its body in MJCF, where it is, and the radius of its footprint."""

    body: str
    x: float
    y: float
    footprint: float


@dataclass(frozen=True, kw_only=True)
class Scene(Painted):
    """A compiled model, and where its free objects are, (n, 2)."""

    targets: np.ndarray


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
    xml = _model_xml(rng, "\n".join(o.body for o in objects))
    model = mujoco.MjModel.from_xml_string(xml)
    return Scene(
        model=model,
        albedo=model.geom_rgba[:, :3].astype(np.float32),
        specular=np.full(model.ngeom, SPECULAR, np.float32),
        targets=np.array([(o.x, o.y) for o in objects]).reshape(-1, 2),
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
            np.hypot(x - o.x, y - o.y) > footprint + o.footprint + 0.004 for o in others
        ):
            turned = np.degrees(rng.uniform(-np.pi, np.pi))
            body = (
                f'<body pos="{x:.5f} {y:.5f} {height + 0.001:.5f}" euler="0 0 {turned:.3f}">'
                f'<joint type="free" damping="0.0015"/>{geoms}</body>'
            )
            return SimObject(body, x, y, footprint)
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


def _model_xml(rng: np.random.Generator, bodies: str) -> str:
    """Write the model; its arm has yaw, shoulder, elbow, wrist pitch, wrist roll and two fingers.

    At zero angles every link points along its own x axis; positive pitch turns it downwards.
    """
    # near one robot's: dark links, red joints, pale hand
    shade = rng.uniform(0.12, 0.22)
    red = _hsv(rng.uniform(-0.02, 0.02) % 1.0, 0.85, rng.uniform(0.65, 0.85))
    pale = _rgba(*(rng.uniform(0.72, 0.85),) * 3)
    dark, darkest = _rgba(shade, shade, shade * 1.1), _rgba(*(shade * 0.8,) * 3)
    strength = {"yaw": 3000, "shoulder": 3000, "elbow": 2000, "wrist": 600, "roll": 80}
    strength |= {"finger_a": 300, "finger_b": 300}
    actuators = "".join(
        f'<position joint="{joint}" kp="{kp}" dampratio="1"/>' for joint, kp in strength.items()
    )
    (x, y), (t, h) = TRAY_HALF, WALL_HALF
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


class Look(View):
    """Cameras (slightly jittered), a point light, and the tray's texture and colours, drawn."""

    shadow_corner = (-0.64, -0.42)

    def __init__(self, rng: np.random.Generator) -> None:
        self.draw_light(rng, (-np.pi, 0.0), (0.2, 0.6))
        warmth = rng.uniform(-0.06, 0.06)
        tint = np.array([1 + warmth, 1.0, 1 - warmth], np.float32)
        self.ambient = (np.float32(rng.uniform(0.34, 0.48)) / tint).astype(np.float32)
        self.cameras = {
            "image_main": _camera(rng, (0.0, -0.74, 0.66), (0.0, 0.09, 0.02), 0.385),
            "image_aux1": _camera(rng, (-0.70, -0.34, 0.60), (0.0, 0.02, 0.03), 0.37),
        }
        self.light_color = (tint * rng.uniform(0.62, 0.85)).astype(np.float32)
        self.floor = _floor_texture(rng)
        self.wall_color = _surface_color(rng)
        self.ground_color = _surface_color(rng) * np.float32(0.6)

    def static_albedo(self, scene: Painted, geom: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Return the colours of static geoms at ground positions `points` (..., 2)."""
        color, floor = scene.albedo.copy(), scene.model.geom("floor").id
        for wall in ("wall_l", "wall_r", "wall_f", "wall_b"):
            color[scene.model.geom(wall).id] = self.wall_color
        color[floor] = self.ground_color
        albedo = color[geom]
        x, y = points[..., 0], points[..., 1]
        inside = (geom == floor) & (np.abs(x) < TRAY_HALF[0]) & (np.abs(y) < TRAY_HALF[1])
        texel = np.floor(points[inside] * (TEXTURE_SIZE / TEXTURE_METRES)).astype(int)
        texel %= TEXTURE_SIZE
        albedo[inside] = self.floor[texel[:, 1], texel[:, 0]]
        return albedo


def _camera(
    rng: np.random.Generator, position: Sequence[float], target: Sequence[float], half_side: float
) -> Camera:
    eye = position + rng.uniform(-0.015, 0.015, 3)
    return Camera.at(eye, target + rng.uniform(-0.01, 0.01, 3), half_side * rng.uniform(0.98, 1.02))


def _surface_color(rng: np.random.Generator) -> np.ndarray:
    """Draw a quiet colour, against which saturated objects are seen."""
    hue = rng.uniform(0.05, 0.13) if rng.uniform() < 0.5 else rng.uniform()
    rgb = colorsys.hsv_to_rgb(hue, rng.uniform(0.05, 0.4), rng.uniform(0.4, 0.78))
    return np.array(rgb, np.float32)


def _floor_texture(rng: np.random.Generator) -> np.ndarray:
    """Make a float32 (size, size, 3) colour map, repeated every `TEXTURE_METRES`."""
    base = _surface_color(rng)
    pattern = _pattern(rng)[..., None]
    strength = rng.uniform(0.06, 0.2)
    accent = np.float32(0.25 * strength) * (_surface_color(rng) - base)
    return np.clip(base * (1 + np.float32(strength) * pattern) + accent * pattern, 0, 1)


def _pattern(rng: np.random.Generator) -> np.ndarray:
    """Draw a pattern in about [-1, 1], float32 (size, size), that repeats without a seam."""
    kind = rng.choice(FLOOR_PATTERNS)
    y, x = np.mgrid[0:TEXTURE_SIZE, 0:TEXTURE_SIZE].astype(np.float32) / TEXTURE_SIZE
    if rng.uniform() < 0.5:
        x, y = y, x
    match kind:
        case "checker":
            n = 2 * int(rng.integers(4, 9))
            pattern = np.where((np.floor(x * n) + np.floor(y * n)) % 2 == 0, 1.0, -1.0)
        case "stripes":
            pattern = np.sin(2 * np.pi * int(rng.integers(6, 16)) * x)
        case "wood":
            warp = _noise(rng, 0.02, 0.25)
            rings = np.sin(2 * np.pi * (int(rng.integers(6, 12)) * x) + 2.5 * warp)
            pattern = 0.6 * rings + 0.4 * _noise(rng, 0.02, 0.3)
        case "speckle":
            pattern = np.clip(_noise(rng, 0.3, 0.3), -1.5, 1.5)
        case _:
            pattern = np.clip(0.8 * _noise(rng, 0.06, 0.06), -1.5, 1.5)
    return pattern.astype(np.float32)


def _noise(rng: np.random.Generator, width_y: float, width_x: float) -> np.ndarray:
    """Return periodic Gaussian noise of unit variance, low-passed at widths in cycles per texel."""
    spectrum = np.fft.rfft2(rng.standard_normal((TEXTURE_SIZE, TEXTURE_SIZE)))
    fy = np.fft.fftfreq(TEXTURE_SIZE)[:, None]
    fx = np.fft.rfftfreq(TEXTURE_SIZE)[None]
    field = np.fft.irfft2(spectrum * np.exp(-((fy / width_y) ** 2) - (fx / width_x) ** 2))
    return (field / field.std()).astype(np.float32)
