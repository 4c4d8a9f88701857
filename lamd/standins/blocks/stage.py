"""Input of the ray caster for a CATER scene: geoms, colours, camera, light.

One of CATER's units is 0.1 m, so that shadows fall as finely as the robot's.
"""

import mujoco
import numpy as np

from lamd.standins.blocks.plan import Plan, Thing
from lamd.standins.raycast.view import FLOOR_GROUP, OBJECT_GROUP, Camera, Painted, View

UNIT = 0.1
RGB = {  # CATER's
    "gray": (87, 87, 87),
    "red": (173, 35, 35),
    "blue": (42, 75, 215),
    "green": (29, 105, 20),
    "brown": (129, 74, 25),
    "purple": (129, 38, 192),
    "cyan": (41, 208, 208),
    "yellow": (255, 238, 51),
    "gold": (255, 215, 0),
}
CONE_HEIGHT = 2.5  # radii; with 2, spheres two thirds as large would stick out of a cone
CONE_SIDES = 24
DISC = 0.3  # half thickness of the snitch's three discs, radii
HIGHLIGHT = {"rubber": 0.05, "metal": 1.2}
EYE, TARGET = np.array([0.0, -1.56, 1.36]), np.array([0.0, 0.0, 0.05])
HALF_SIDE = 0.215  # at 1 m: all the ground that objects can reach is in the middle square
CAMERA = "camera"


def camera() -> Camera:
    """Return the camera, the same in all clips: x to the right, y away from it."""
    return Camera.at(EYE, TARGET, HALF_SIDE)


class Studio(View):
    """A light from the front and the shade of a plain ground, drawn."""

    shadow_corner = (-0.64, -0.64)

    def __init__(self, rng: np.random.Generator) -> None:
        self.cameras = {CAMERA: camera()}
        self.draw_light(rng, (-2.6, -1.9), (0.3, 0.5))
        self.light_color = np.full(3, rng.uniform(0.65, 0.75), np.float32)
        self.ambient = np.full(3, rng.uniform(0.42, 0.5), np.float32)
        self.ground_color = np.full(3, rng.uniform(0.52, 0.6), np.float32)

    def static_albedo(self, scene: Painted, geom: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Return the ground's colour at each of `points` (..., 2)."""
        return np.broadcast_to(self.ground_color, (*geom.shape, 3))


def build(plan: Plan) -> Painted:
    """Compile the model of the scene's objects."""
    model = mujoco.MjModel.from_xml_string(_model_xml(plan))
    owner = [None if body == 0 else plan.things[body - 1] for body in model.geom_bodyid]
    metal = [float(t is not None and t.material == "metal") for t in owner]
    specular = [0.0 if t is None else HIGHLIGHT[t.material] for t in owner]
    albedo = [(0, 0, 0) if t is None else RGB[t.color] for t in owner]
    return Painted(
        model=model,
        albedo=np.array(albedo, np.float32) / 255,
        specular=np.array(specular, np.float32),
        metal=np.array(metal, np.float32),
    )


def poses(plan: Plan) -> np.ndarray:
    """Return positions [m] and quaternions of all objects, (frames, 7 * objects)."""
    yaw = np.array([[thing.yaw] for thing in plan.things]) / 2
    tilt = plan.tilts / 2
    turned = [
        np.cos(yaw) * np.cos(tilt),
        -np.sin(yaw) * np.sin(tilt),
        np.cos(yaw) * np.sin(tilt),
        np.sin(yaw) * np.cos(tilt),
    ]
    pose = np.concatenate([plan.places * UNIT, np.stack(turned, axis=-1)], axis=-1)
    return pose.transpose(1, 0, 2).reshape(plan.places.shape[1], -1)


def _model_xml(plan: Plan) -> str:
    bodies = "\n".join(f"<body><freejoint/>{_geoms(thing)}</body>" for thing in plan.things)
    angle = np.arange(CONE_SIDES) * (2 * np.pi / CONE_SIDES)
    rim = np.stack([np.cos(angle), np.sin(angle), np.full(CONE_SIDES, -1.0)], axis=1)
    points = np.concatenate([rim, [[0.0, 0.0, CONE_HEIGHT - 1]]])
    vertices = " ".join(f"{value:.6f}" for value in points.ravel())
    # no base: nothing sees it, and rays cost less
    faces = " ".join(f"{k} {(k + 1) % CONE_SIDES} {CONE_SIDES}" for k in range(CONE_SIDES))
    cones = "".join(
        f'<mesh name="{t.instance}" vertex="{vertices}" face="{faces}" scale="{r} {r} {r}"/>'
        for t in plan.things
        if t.shape == "cone"
        for r in [t.sized * UNIT]
    )
    return f"""
<mujoco>
  <compiler angle="degree"/>
  <default>
    <geom group="{OBJECT_GROUP}" contype="0" conaffinity="0" mass="1"/>
    <mesh inertia="shell"/>
  </default>
  <asset>{cones}</asset>
  <worldbody>
    <geom name="floor" group="{FLOOR_GROUP}" type="plane" size="0 0 1"/>
    {bodies}
  </worldbody>
</mujoco>"""


def _geoms(thing: Thing) -> str:
    r = thing.sized * UNIT
    match thing.shape:
        case "cone":
            return f'<geom type="mesh" mesh="{thing.instance}"/>'
        case "spl":
            disc = f'<geom type="cylinder" size="{r} {DISC * r}" euler='
            return "".join(f'{disc}"{euler}"/>' for euler in ("0 0 0", "90 0 0", "0 90 0"))
        case shape:
            return f'<geom type="{"box" if shape == "cube" else shape}" size="{r} {r} {r}"/>'
