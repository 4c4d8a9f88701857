"""A simulated CATER scene: objects and moves by CATER's generator's rules, and its look.

Lengths in CATER's units: objects are in [-3, 3] x [-3, 3], z up; frames count from 0. Moves are
kinematic, as CATER's own. Not CATER's: 33 frames, one move per object, one or two moving objects.
One unit is 0.1 m for the ray caster, so that shadows fall as finely as the robot's.
"""

import math
from typing import Any, NamedTuple

import mujoco
import numpy as np

from lamd.data.cater.captions import COLORS, HALF_WIDTH, MATERIALS, Mode, cell_of, quadrant_of
from lamd.standins.raycast.cast import FLOOR_GROUP, OBJECT_GROUP
from lamd.standins.raycast.view import Camera, Painted, View

NUM_FRAMES = 33
LAST_MOVING_FRAME = 30
MOVE_FRAMES = (20, 30)  # CATER's, like all numbers below
LATEST_START = 10
LIFT = 2.0
LIFTED, LOWERING = 0.2, 0.8  # of the frames of a pick-place
MIN_DISTANCE = 0.25
MARGIN = 0.4
TRIES = 100
NEAR = 0.2  # objects closer than this along a direction are not related
RADII = {"small": 0.25, "medium": 0.5, "large": 0.75}
SNITCH_RADIUS = 0.3
NUM_OBJECTS = {"v1": (2, 2), "v2": (3, 8)}  # v1: CATER's first two; v2 is reported
DRAWN_SHAPES = ("cube", "sphere", "cylinder", "cone")
ROTATING = ("cube", "cylinder", "spl")
CONTAINED = ("cone", "sphere", "spl")

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
CAMERA = "camera"
# the same in all clips: x to the right, y away from it; all the ground that objects can reach is in
# the middle square
VIEWPOINT = Camera.at(np.array([0.0, -1.56, 1.36]), np.array([0.0, 0.0, 0.05]), 0.215)


class Thing(NamedTuple):
    """An object at rest: `sized` is its radius and the height of its centre, `yaw` in radians."""

    instance: str
    shape: str
    size: str
    sized: float
    material: str
    color: str
    x: float
    y: float
    yaw: float


class Movement(NamedTuple):
    """One recorded move, in CATER's words; frames `start` to `end`."""

    action: str
    other: str | None
    start: int
    end: int


class Plan(NamedTuple):
    """A scene: `moves` by instance, `places` (objects, frames, 3), `tilts` (objects, frames) [rad].

    An object tilts about its own y axis.
    """

    things: list[Thing]
    moves: dict[str, Movement]
    places: np.ndarray
    tilts: np.ndarray


def draw_plan(rng: np.random.Generator, version: str) -> Plan:
    """Draw objects and moves until at least one object moves."""
    plan = None
    while plan is None or not plan.moves:
        plan = _draw_moves(rng, _draw_things(rng, version))
    return plan


def _draw_things(rng: np.random.Generator, version: str) -> list[Thing]:
    least, most = NUM_OBJECTS[version]
    count = int(rng.integers(least, most + 1))
    things: list[Thing] = []
    while len(things) < count:
        thing = _draw_thing(rng, things)
        things = [*things, thing] if thing else []
    return things


def _draw_thing(rng: np.random.Generator, others: list[Thing]) -> Thing | None:
    """Draw the next object of a scene and find room for it; None when that fails."""
    first = [("spl", "small"), ("cone", "medium"), ("cone", "large")]
    drawn = (str(rng.choice(DRAWN_SHAPES)), str(rng.choice(list(RADII))))
    shape, size = first[len(others)] if len(others) < len(first) else drawn
    color, material = str(rng.choice(COLORS[:-1])), str(rng.choice(MATERIALS))
    radius = RADII[size]
    if shape == "spl":
        radius, color, material = SNITCH_RADIUS, "gold", "metal"
    yaw = float(rng.uniform(0, 2 * math.pi))
    for _ in range(TRIES):
        x, y = rng.uniform(-HALF_WIDTH, HALF_WIDTH, 2).tolist()
        away = [(abs(x - o.x), abs(y - o.y), radius + o.sized + MIN_DISTANCE) for o in others]
        if all(math.hypot(dx, dy) >= gap and min(dx, dy) >= MARGIN for dx, dy, gap in away):
            instance = f"{shape.capitalize()}_{sum(o.shape == shape for o in others)}"
            sized = radius / math.sqrt(2) if shape == "cube" else radius
            return Thing(instance, shape, size, sized, material, color, x, y, yaw)
    return None


def draw_future(rng: np.random.Generator, plan: Plan, mode: Mode) -> Plan:
    """Draw other times and places for the moves of `plan`; its captions of a `mode` stay true."""
    place_of = quadrant_of if mode == "ambiguous" else cell_of
    numbers = [i for i, thing in enumerate(plan.things) if thing.instance in plan.moves]
    future = None
    while future is None or len(future.moves) < len(numbers):
        future = _at_rest(plan.things)
        for i in rng.permutation(numbers).tolist():
            action, other, *_ = plan.moves[plan.things[i].instance]
            said = place_of(*plan.places[i, -1, :2])
            start, end = _draw_frames(rng)
            for _ in range(TRIES):
                there = plan.places[i, -1]
                if action in ("_slide", "_pick_place"):
                    there = _draw_place(rng, plan.things[i])
                fits = place_of(*there[:2]) == said
                if fits and _record(future, i, Movement(action, other, start, end), there):
                    break
    return future


def _at_rest(things: list[Thing]) -> Plan:
    rest = np.array([[t.x, t.y, t.sized] for t in things])
    places = np.repeat(rest[:, None], NUM_FRAMES, axis=1)
    return Plan(things, {}, places, np.zeros(places.shape[:2]))


def _draw_moves(rng: np.random.Generator, things: list[Thing]) -> Plan:
    plan = _at_rest(things)
    wanted = int(rng.integers(1, 3))
    busy = _contain(rng, plan) if rng.uniform() < 0.5 else ()
    for i in rng.permutation(len(things)).tolist():
        if len(plan.moves) < wanted and i not in busy:
            _move(rng, plan, i)
    return plan


def _contain(rng: np.random.Generator, plan: Plan) -> tuple[int, ...]:
    """Let a cone cover something, if it can; return the numbers of both."""
    things = plan.things
    pairs = [
        (i, j)
        for i, cone in enumerate(things)
        for j, inner in enumerate(things)
        if cone.shape == "cone" and inner.shape in CONTAINED and cone.sized > inner.sized
    ]
    for i, j in rng.permutation(pairs).tolist():
        move = Movement("_contain", things[j].instance, *_draw_frames(rng))
        if _record(plan, i, move, plan.places[j, 0]):
            return i, j
    return ()


def _move(rng: np.random.Generator, plan: Plan, i: int) -> None:
    """Let object `i` slide, be picked and placed, or rotate; nothing happens without room."""
    thing = plan.things[i]
    actions = ["_slide", "_pick_place", *(["_rotate"] if thing.shape in ROTATING else [])]
    start, end = _draw_frames(rng)
    for _ in range(TRIES):
        move = Movement(str(rng.choice(actions)), None, start, end)
        if _record(plan, i, move, _draw_place(rng, thing)):
            return


def _draw_place(rng: np.random.Generator, thing: Thing) -> np.ndarray:
    return np.array([*rng.uniform(-HALF_WIDTH, HALF_WIDTH, 2), thing.sized])


def _record(plan: Plan, i: int, move: Movement, there: np.ndarray) -> bool:
    """Let object `i` move to `there`, or to the object that it contains, if the way is free."""
    here, (action, other, start, end) = plan.places[i, 0], move
    if action in ("_pick_place", "_contain"):
        path = _lifted(here, there, start, end)
    else:
        path = _through([start, end], [here, here if action == "_rotate" else there])
    if not _free(plan, i, path, ignored=other):
        return False
    plan.places[i] = path
    if action == "_rotate":
        plan.tilts[i] = np.interp(np.arange(NUM_FRAMES), [start, end], [0, math.pi / 2])
    plan.moves[plan.things[i].instance] = move
    return True


def _draw_frames(rng: np.random.Generator) -> tuple[int, int]:
    frames = int(rng.integers(MOVE_FRAMES[0], MOVE_FRAMES[1] + 1))
    start = int(rng.integers(0, min(LATEST_START, LAST_MOVING_FRAME - frames) + 1))
    return start, start + frames


def _lifted(here: np.ndarray, there: np.ndarray, start: int, end: int) -> np.ndarray:
    """Go up, across and down again: (frames, 3)."""
    frames, up = end - start + 1, np.array([0, 0, LIFT])
    high, over = (start + int(share * frames) for share in (LIFTED, LOWERING))
    down = np.array([*there[:2], here[2]])
    knots = [start, high, high + 1, over, over + 1, end]
    return _through(knots, [here, here + up, here + up, down + up, down + up, down])


def _through(knots: list[int], points: list[np.ndarray]) -> np.ndarray:
    """Go from point to point at constant speed: (frames, 3)."""
    frames = np.arange(NUM_FRAMES)
    return np.stack([np.interp(frames, knots, axis) for axis in np.stack(points, axis=1)], axis=1)


def _free(plan: Plan, i: int, path: np.ndarray, ignored: str | None) -> bool:
    """Return whether object `i` keeps its distance on `path` from all others, in every frame."""
    return not any(
        np.linalg.norm(path - plan.places[j], axis=1).min()
        < plan.things[i].sized + other.sized + MIN_DISTANCE
        for j, other in enumerate(plan.things)
        if j != i and other.instance != ignored
    )


def scene_json(
    plan: Plan, split: str, index: int, video: str, frame_size: tuple[int, int]
) -> dict[str, Any]:
    """Return the scene in CATER's schema; `pixel_coords` are (x, y, depth) in the video."""
    objects = [
        {
            "shape": thing.shape, "size": thing.size, "sized": thing.sized,
            "material": thing.material, "3d_coords": path[0].tolist(),
            "rotation": float(np.degrees(thing.yaw)), "pixel_coords": _pixel(path[0], frame_size),
            "color": thing.color, "instance": thing.instance,
            "locations": {str(frame): at for frame, at in enumerate(path.tolist())},
        }
        for thing, path in zip(plan.things, plan.places, strict=True)
    ]  # fmt: skip
    directions = {
        "behind": [0.0, 1.0, 0.0], "front": [0.0, -1.0, 0.0], "left": [-1.0, 0.0, 0.0],
        "right": [1.0, 0.0, 0.0], "above": [0.0, 0.0, 1.0], "below": [0.0, 0.0, -1.0],
    }  # fmt: skip
    along = {name: plan.places[:, 0] @ np.array(axis) for name, axis in directions.items()}
    return {
        "split": split,
        "image_index": index,
        "image_filename": video,
        "objects": objects,
        "directions": directions,
        "relationships": {  # for each object, those that are in a direction of it
            name: [np.flatnonzero(along[name] > own + NEAR).tolist() for own in along[name]]
            for name in ("behind", "front", "left", "right")
        },
        "movements": {
            name: [plan.moves[name]] if name in plan.moves else []
            for name in (thing.instance for thing in plan.things)
        },
    }


def _pixel(position: np.ndarray, frame_size: tuple[int, int]) -> list[float]:
    x, y, depth = VIEWPOINT.project(position * UNIT, frame_size).tolist()
    return [x, y, depth / UNIT]


class Studio(View):
    """A light from the front and the shade of a plain ground, drawn."""

    shadow_corner = (-0.64, -0.64)

    def __init__(self, rng: np.random.Generator) -> None:
        self.cameras = {CAMERA: VIEWPOINT}
        self.draw_light(rng, (-2.6, -1.9), (0.3, 0.5))
        self.light_color = np.full(3, rng.uniform(0.65, 0.75), np.float32)
        self.ambient = np.full(3, rng.uniform(0.42, 0.5), np.float32)
        self.ground_color = np.full(3, rng.uniform(0.52, 0.6), np.float32)


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
