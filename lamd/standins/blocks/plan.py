"""Objects of a simulated CATER scene and their moves, by CATER's generator's rules.

Lengths in CATER's units: objects are in [-3, 3] x [-3, 3], z up; frames count from 0. Moves are
kinematic, as CATER's own. Not CATER's: 33 frames, one move per object, one or two moving objects.
"""

import math
from dataclasses import dataclass

import numpy as np

from lamd.data.cater.captions import COLORS, HALF_WIDTH, MATERIALS

NUM_FRAMES = 33
LAST_MOVING_FRAME = 30
MOVE_FRAMES = (20, 30)  # CATER's, like all numbers below
LATEST_START = 10
LIFT = 2.0
LIFTED, LOWERING = 0.2, 0.8  # of the frames of a pick-place
MIN_DISTANCE = 0.25
MARGIN = 0.4
TRIES = 100
RADII = {"small": 0.25, "medium": 0.5, "large": 0.75}
SNITCH_RADIUS = 0.3
NUM_OBJECTS = {"v1": (2, 2), "v2": (3, 8)}  # v1: CATER's first two; v2 is reported
DRAWN_SHAPES = ("cube", "sphere", "cylinder", "cone")
ROTATING = ("cube", "cylinder", "spl")
CONTAINED = ("cone", "sphere", "spl")


@dataclass(frozen=True)
class Thing:
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


@dataclass(frozen=True)
class Movement:
    """One recorded move, in CATER's words; frames `start` to `end`."""

    action: str
    other: str | None
    start: int
    end: int


@dataclass(frozen=True)
class Plan:
    """A scene: `moves` by instance, `places` (objects, frames, 3), `tilts` (objects, frames) [rad].

    An object tilts about its own y axis.
    """

    things: tuple[Thing, ...]
    moves: dict[str, Movement]
    places: np.ndarray
    tilts: np.ndarray


def draw_plan(rng: np.random.Generator, version: str) -> Plan:
    """Draw objects and moves until at least one object moves."""
    while True:
        plan = _draw_moves(rng, _draw_things(rng, version))
        if plan.moves:
            return plan


def _draw_things(rng: np.random.Generator, version: str) -> tuple[Thing, ...]:
    least, most = NUM_OBJECTS[version]
    count = int(rng.integers(least, most + 1))
    while True:
        things: list[Thing] = []
        while len(things) < count and (thing := _draw_thing(rng, things)):
            things.append(thing)
        if len(things) == count:
            return tuple(things)


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
        if all(_apart(x - o.x, y - o.y, radius + o.sized) for o in others):
            instance = f"{shape.capitalize()}_{sum(o.shape == shape for o in others)}"
            sized = radius / math.sqrt(2) if shape == "cube" else radius
            return Thing(instance, shape, size, sized, material, color, x, y, yaw)
    return None


def _apart(dx: float, dy: float, radii: float) -> bool:
    return math.hypot(dx, dy) >= radii + MIN_DISTANCE and min(abs(dx), abs(dy)) >= MARGIN


def _draw_moves(rng: np.random.Generator, things: tuple[Thing, ...]) -> Plan:
    rest = np.array([[t.x, t.y, t.sized] for t in things])
    places = np.repeat(rest[:, None], NUM_FRAMES, axis=1)
    plan = Plan(things, {}, places, np.zeros(places.shape[:2]))
    wanted = int(rng.integers(1, 3))
    busy = _contain(rng, plan) if rng.uniform() < 0.5 else set()
    for i in rng.permutation(len(things)).tolist():
        if len(plan.moves) < wanted and i not in busy:
            _move(rng, plan, i)
    moves = {t.instance: plan.moves[t.instance] for t in things if t.instance in plan.moves}
    return Plan(things, moves, plan.places, plan.tilts)


def _contain(rng: np.random.Generator, plan: Plan) -> set[int]:
    """Let a cone cover something, if it can; return the numbers of both."""
    things = plan.things
    pairs = [
        (i, j)
        for i, cone in enumerate(things)
        for j, inner in enumerate(things)
        if cone.shape == "cone" and inner.shape in CONTAINED and cone.sized > inner.sized
    ]
    for i, j in rng.permutation(pairs).tolist():
        start, end = _draw_frames(rng)
        path = _lifted(plan.places[i, 0], plan.places[j, 0], start, end)
        if _free(plan, i, path, ignored=j):
            plan.places[i] = path
            other = things[j].instance
            plan.moves[things[i].instance] = Movement("_contain", other, start, end)
            return {i, j}
    return set()


def _move(rng: np.random.Generator, plan: Plan, i: int) -> None:
    """Let object `i` slide, be picked and placed, or rotate; nothing happens without room."""
    thing, here = plan.things[i], plan.places[i, 0]
    actions = ["_slide", "_pick_place", *(["_rotate"] if thing.shape in ROTATING else [])]
    start, end = _draw_frames(rng)
    for _ in range(TRIES):
        action = str(rng.choice(actions))
        there = np.array([*rng.uniform(-HALF_WIDTH, HALF_WIDTH, 2), thing.sized])
        if action == "_rotate":
            there = here
        if action == "_pick_place":
            path = _lifted(here, there, start, end)
        else:
            path = _through([start, end], [here, there])
        if _free(plan, i, path):
            plan.places[i] = path
            if action == "_rotate":
                plan.tilts[i] = np.interp(np.arange(NUM_FRAMES), [start, end], [0, math.pi / 2])
            plan.moves[thing.instance] = Movement(action, None, start, end)
            return


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


def _free(plan: Plan, i: int, path: np.ndarray, ignored: int | None = None) -> bool:
    """Return whether object `i` keeps its distance on `path` from all others, in every frame."""
    return not any(
        np.linalg.norm(path - plan.places[j], axis=1).min()
        < plan.things[i].sized + other.sized + MIN_DISTANCE
        for j, other in enumerate(plan.things)
        if j not in (i, ignored)
    )
