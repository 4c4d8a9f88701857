"""A signaller from head to hip, seen from the front: the 24 signals, how one looks, and one clip.

Lengths are in lengths of the arm without its hand. A signal is a path of two hands: held poses and
loops between them, from rest to rest. They follow the real signals (NATOPS) as far as two hands
that are seen from the front distinguish them.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lamd.standins.people.canvas import Canvas, at

FRAMES = (40, 60)  # of a clip at 20 per second, least and most
UPPER = 0.53  # of the arm's length
HIP = 0.27  # half the width
_SKIN = np.array([[0.93, 0.76, 0.65], [0.82, 0.62, 0.48], [0.62, 0.44, 0.32], [0.4, 0.27, 0.19]])
_HAIR = np.array([[0.12, 0.09, 0.08], [0.3, 0.2, 0.12], [0.62, 0.48, 0.26], [0.5, 0.5, 0.5]])
_CLOTHES = np.array([
    [0.85, 0.2, 0.18], [0.9, 0.75, 0.2], [0.2, 0.5, 0.3], [0.2, 0.3, 0.65], [0.9, 0.9, 0.88],
    [0.16, 0.16, 0.2], [0.5, 0.25, 0.55], [0.35, 0.6, 0.75], [0.75, 0.45, 0.25], [0.55, 0.57, 0.5],
])  # fmt: skip

# (x, y, z, open, thumb): outwards from its own shoulder, upwards, towards the viewer; 1 an open
# hand, 0 a fist; 1 the thumb up, -1 down
Hand = tuple[float, float, float, float, float]
REST: Hand = (0.13, -0.975, 0.08, 0.3, 0.0)
# shares of a clip that hands take to leave rest and to come back to it
RISE, FALL = 0.2, 0.15


class Signal(NamedTuple):
    """Poses of either hand that are passed `cycles` times, evenly in time."""

    right: tuple[Hand, ...]
    left: tuple[Hand, ...]
    cycles: int = 2


def _both(*poses: Hand, cycles: int = 2) -> Signal:
    return Signal(poses, poses, cycles)


_SIDE = (0.97, 0.02, 0.1, 1.0, 0.0)
_FOREARM_UP = (0.25, 0.42, 0.35, 0.0, 0.0)
_PALM = (-0.3, -0.25, 0.5, 1.0, 0.0)
_AHEAD, _BACK = (0.3, 0.0, 0.6, 1.0, 0.0), (0.12, 0.6, 0.1, 1.0, 0.0)
_LOW_IN, _LOW_OUT = (-0.32, -0.8, 0.35, 0.0, 0.0), (0.6, -0.62, 0.3, 0.0, 1.0)
_FAR_ELBOW, _LOW_SIDE = (-0.75, -0.1, 0.4, 1.0, 0.0), (0.4, -0.6, 0.3, 1.0, 0.0)
_SHOULDER_FIST, _HIGH_OPEN = (0.35, 0.1, 0.3, 0.0, 0.0), (0.55, 0.78, 0.1, 1.0, 0.0)
_CROSS, _V = (-0.52, 0.82, 0.15, 1.0, 0.0), (0.45, 0.84, 0.1, 1.0, 0.0)

# in the order of the set's numbers, 1 to 24
SIGNALS = (
    Signal(((0.1, 0.98, 0.05, 1.0, 0.0),), (_PALM,), 1),
    Signal(((0.35, 0.25, 0.5, 0.0, 1.0), (0.35, 0.6, 0.4, 0.0, 1.0)), (REST,)),
    Signal(((0.5, 0.15, 0.5, 0.0, -1.0), (0.5, -0.35, 0.5, 0.0, -1.0)), (REST,)),
    _both((-0.3, -0.2, 0.5, 0.0, 0.0), _SIDE, (0.5, -0.7, 0.2, 0.5, 0.0)),
    _both(_SIDE, (-0.55, 0.0, 0.5, 1.0, 0.0), (-0.2, -0.6, 0.4, 0.5, 0.0)),
    Signal(((-0.2, -0.3, 0.5, 0.0, 0.0), (-0.85, 0.02, 0.35, 0.0, 0.0)), (_SIDE,)),
    Signal(((-0.32, -0.8, 0.4, 0.0, 1.0), (-0.32, -0.2, 0.55, 0.0, 1.0)), (_PALM,)),
    Signal(((-0.32, 0.4, 0.5, 0.0, -1.0), (-0.32, -0.15, 0.55, 0.0, -1.0)), (_PALM,)),
    Signal((_FAR_ELBOW, _LOW_SIDE, _LOW_SIDE), (_FOREARM_UP,)),
    _both(_LOW_IN, _LOW_OUT, _LOW_OUT),
    _both(_LOW_OUT, _LOW_IN, _LOW_IN),
    _both(_AHEAD, _BACK),
    Signal((_SIDE,), (_AHEAD, _BACK)),
    Signal((_AHEAD, _BACK), (_SIDE,)),
    Signal((REST, (-0.75, 0.0, 0.45, 1.0, 0.0)), (REST, _SIDE)),
    _both((0.65, 0.12, 0.3, 1.0, 0.0), (0.6, -0.6, 0.3, 1.0, 0.0)),
    _both(_V, _CROSS, _CROSS),
    Signal(((-0.35, 0.42, 0.5, 0.3, 0.0),),
           ((0.45, -0.5, 0.4, 1.0, 0.0), (0.92, 0.1, 0.2, 1.0, 0.0))),
    Signal(((-0.15, 0.3, 0.5, 1.0, 0.0), (0.35, 0.38, 0.4, 1.0, 0.0)),
           ((0.8, -0.52, 0.1, 0.5, 0.0),), 3),
    _both(_HIGH_OPEN, _SHOULDER_FIST, cycles=1),
    _both(_SHOULDER_FIST, _HIGH_OPEN, cycles=1),
    Signal((_FOREARM_UP,), (_LOW_SIDE, _FAR_ELBOW, _FAR_ELBOW)),
    Signal(((0.05, 0.9, 0.1, 0.0, 0.0), (0.6, 0.55, 0.2, 0.0, 0.0),
            (0.6, 0.9, 0.1, 0.0, 0.0), (0.05, 0.55, 0.2, 0.0, 0.0)),
           ((0.72, -0.55, 0.2, 0.5, 0.0),)),
    Signal(((-0.7, 0.15, 0.4, 1.0, 0.0), (0.35, 0.15, 0.4, 1.0, 0.0)), (REST,)),
)  # fmt: skip


def hand_path(poses: tuple[Hand, ...], cycles: int, times: np.ndarray) -> np.ndarray:
    """Return a hand at `times` in [0, 1]: (T, 5), from rest through the poses back to rest.

    From pose to pose it eases in and out; a pose that is alone or repeated is held.
    """
    stops = np.array([REST, *poses * cycles, poses[-1], REST])
    passed = np.linspace(RISE, 1 - FALL, len(stops) - 2)
    knots = np.concatenate([[0.0], passed, [1.0]])
    k = np.searchsorted(knots, times, side="right").clip(1, len(knots) - 1)
    share = ((times - knots[k - 1]) / (knots[k] - knots[k - 1])).clip(0, 1)
    share = (share**2 * (3 - 2 * share))[:, None]
    return stops[k - 1] * (1 - share) + stops[k] * share


class BodyLook:
    """Constant properties of a subject, drawn at random."""

    def __init__(self, rng: np.random.Generator) -> None:
        shirt, trousers = rng.choice(len(_CLOTHES), 2, replace=False)
        wall = rng.uniform(0.35, 0.85) + rng.uniform(-0.08, 0.08, 3)
        left = rng.uniform(-1.8, 1.0)
        self.panel = left, left + rng.uniform(0.4, 1.2), rng.uniform(-0.4, 1.0)  # x, x, lower y
        self.panel_color = (wall + rng.uniform(-0.25, 0.25, 3)).clip(0.1, 0.95)
        self.skin = (_SKIN[rng.integers(len(_SKIN))] * rng.uniform(0.92, 1.06)).clip(0, 1)
        self.hair = _HAIR[rng.integers(len(_HAIR))] * rng.uniform(0.7, 1.2)
        self.shirt = (_CLOTHES[shirt] * rng.uniform(0.8, 1.05)).clip(0, 1)
        self.trousers = _CLOTHES[trousers] * rng.uniform(0.4, 0.8)
        self.wall = np.stack([wall, wall * rng.uniform(0.65, 0.95)]).clip(0, 1)  # above, below
        self.sleeve = float(rng.choice([0.25, 0.5, 0.97]))  # share of the arm that is clothed
        self.long_hair = bool(rng.uniform() < 0.35)
        self.shoulders = rng.uniform(0.31, 0.39)  # half their width
        self.girth = rng.uniform(0.85, 1.2)
        self.head = rng.uniform(0.9, 1.1)
        self.tempo = rng.uniform(0.88, 1.12)  # divides the number of frames


class _Act(NamedTuple):
    """One performance of a signal; the view and the `phases` of sway show in its first frame."""

    scale: float
    origin: tuple[float, float]
    exposure: float
    amplitude: float
    num_frames: int
    pace: float
    delay: float
    speeds: np.ndarray
    phases: np.ndarray


def _draw_act(rng: np.random.Generator, look: BodyLook, frame_size: tuple[int, int]) -> _Act:
    width, height = frame_size
    return _Act(
        scale=height / 2.85 * rng.uniform(0.95, 1.03),
        origin=(
            width * (0.5 + rng.uniform(-0.03, 0.03)),
            height * (0.45 + rng.uniform(-0.02, 0.02)),
        ),
        exposure=rng.uniform(0.92, 1.06),
        amplitude=rng.uniform(0.86, 1.04),
        num_frames=round(rng.integers(FRAMES[0], FRAMES[1] + 1) / look.tempo),
        pace=rng.uniform(0.8, 1.25),
        delay=rng.uniform(0.02, 0.07),
        speeds=rng.uniform(0.8, 3.0, (2, 6)),
        phases=rng.uniform(0, 2 * np.pi, (2, 6)),
    )


def body_frames(
    look: BodyLook, signal: int, rng: np.random.Generator, frame_size: tuple[int, int],
    other: np.random.Generator | None = None,
) -> Iterator[np.ndarray]:  # fmt: skip
    """Yield a clip of signal 0-23, uint8 (height, width, 3); `rng` draws amplitude, pace and sway.

    The first frame shows rest, and nothing in it depends on the signal. `other` draws all that does
    not show in it, if given.
    """
    act = _draw_act(rng, look, frame_size)
    if other is not None:
        act = _draw_act(other, look, frame_size)._replace(
            scale=act.scale, origin=act.origin, exposure=act.exposure, phases=act.phases
        )
    num_frames = act.num_frames
    # slow movements (T, 6) of a few hundredths: torso x, y, head x, turn, hands
    seconds = np.arange(num_frames)[:, None] / 20
    slow, fast = (seconds * speed for speed in act.speeds)
    sway = 0.012 * (np.sin(slow + act.phases[0]) + np.sin(2.3 * fast + act.phases[1]))
    times = np.arange(num_frames) / (num_frames - 1)
    acting = ((times - act.delay) / (1 - act.delay)).clip(0, 1) ** act.pace
    *poses, cycles = SIGNALS[signal]
    freely = np.array([act.amplitude] * 3 + [1.0] * 2)
    width, height = frame_size
    right, left = (REST + freely * (hand_path(p, cycles, acting) - REST) for p in poses)
    share = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    wall = np.repeat(look.wall[0] * (1 - share) + look.wall[1] * share, width, axis=1)
    behind = Canvas(wall, act.scale, act.origin)
    x0, x1, bottom = look.panel
    behind.convex([(x0, -2), (x1, -2), (x1, bottom), (x0, bottom)], 0.02, look.panel_color)
    hip = HIP * look.girth
    behind.convex([(-hip, 0.9), (hip, 0.9), (hip, 2.2), (-hip, 2.2)], 0.06, look.trousers)
    for k in range(num_frames):
        canvas = Canvas(behind.picture, act.scale, act.origin)
        _draw_figure(canvas, look, right[k], left[k], sway[k])
        yield canvas.pixels(act.exposure)


def _draw_figure(
    canvas: Canvas, look: BodyLook, right: np.ndarray, left: np.ndarray, sway: np.ndarray
) -> None:
    middle, s, hip = sway[:2], look.shoulders, HIP * look.girth
    top = [middle + at(0.06 - s, 0.03), middle + at(s - 0.06, 0.03)]
    canvas.convex([*top, (hip, 0.95), (-hip, 0.95)], 0.06, look.shirt)
    _draw_head(canvas, look, middle + at(sway[2], -0.42), sway[3])
    for side, hand, wobble in ((-1, right, sway[4]), (1, left, sway[5])):
        shoulder = middle + at(side * s, 0.06)
        moved = hand + np.array((wobble, -wobble, 0.0, 0.0, 0.0))
        _draw_arm(canvas, look, shoulder, side, moved)


def _draw_head(canvas: Canvas, look: BodyLook, center: np.ndarray, turn: float) -> None:
    size = look.head
    if look.long_hair:
        canvas.ellipse(center + at(0, 0.08), (0.2 * size, 0.3 * size), look.hair)
    canvas.capsule(center + at(0, 0.1), center + at(0, 0.42), 0.075, 0.085, look.skin * 0.85)
    canvas.ellipse(center + at(0, -0.06), (0.175 * size, 0.2 * size), look.hair, shade=0.2)
    canvas.ellipse(center + at(turn, 0.02), (0.15 * size, 0.195 * size), look.skin, shade=0.22)
    face = center + at(1.5 * turn, 0)
    for side in (-1, 1):
        canvas.ellipse(face + at(0.058 * side * size, -0.01), (0.018, 0.014), (0.08, 0.06, 0.06))
    canvas.stroke([face + at(-0.04, 0.11), face + at(0.04, 0.11)], 0.011, look.skin * 0.55)


def _draw_arm(
    canvas: Canvas, look: BodyLook, shoulder: np.ndarray, side: int, hand: np.ndarray
) -> None:
    def near(point: np.ndarray) -> float:
        return 1 + 0.22 * point[2]

    def place(point: np.ndarray) -> np.ndarray:
        return shoulder + at(side * point[0], -point[1])

    (elbow, wrist), (opened, thumb) = bend(hand[:3]), hand[3:]
    joints, sizes = [np.zeros(3), elbow, wrist], [0.088, 0.07, 0.05]
    for k, covered in enumerate((look.sleeve / UPPER, (look.sleeve - UPPER) / (1 - UPPER))):
        a, b = joints[k : k + 2]
        r_a, r_b = sizes[k] * near(a), sizes[k + 1] * near(b)
        canvas.capsule(place(a), place(b), r_a, r_b, look.skin, 0.25)
        if covered > 0:
            end, r_end = a + min(covered, 1) * (b - a), r_a + min(covered, 1) * (r_b - r_a)
            canvas.capsule(place(a), place(end), r_a + 0.012, r_end + 0.012, look.shirt, 0.25)
    along = place(wrist) - place(elbow)
    along /= max(np.hypot(*along), 1e-6)
    size = near(wrist)
    palm = place(wrist) + 0.08 * along
    tip = palm + 0.14 * opened * size * along
    canvas.capsule(palm, tip, 0.06 * size, 0.035 * size, look.skin, 0.15)
    canvas.ellipse(palm, (0.072 * size, 0.068 * size), look.skin, shade=0.25)
    canvas.capsule(
        palm, palm + at(0, -0.17 * thumb * size), 0.03 * size, 0.026 * size, look.skin * 0.92
    )


def bend(wrist: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return elbow and wrist of an arm of length 1 from (0, 0, 0): the elbow points out and down.

    A wrist that is out of reach comes nearer.
    """
    lower = 1 - UPPER
    far = np.linalg.norm(wrist)
    reach = np.clip(far, UPPER - lower + 0.05, 0.995)
    toward = wrist / max(far, 1e-6)
    pole = np.array([0.7, -0.65, -0.3])
    pole -= toward * (pole @ toward)
    pole /= max(np.linalg.norm(pole), 1e-6)
    along = (UPPER**2 - lower**2 + reach**2) / (2 * reach)
    return along * toward + np.sqrt(max(UPPER**2 - along**2, 0.0)) * pole, reach * toward
