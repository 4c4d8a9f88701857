"""A face before a plain wall: how one looks, and one clip of one expression, from neutral on.

Lengths are in heights of the frame, from the middle of the head.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lamd.standins.people.canvas import Canvas, Color, at

FRAMES = (40, 64)  # of a clip at 19 per second, least and most
_SKIN = np.array([[0.95, 0.8, 0.7], [0.9, 0.72, 0.6], [0.78, 0.58, 0.45], [0.6, 0.43, 0.33]])
_HAIR = np.array([[0.1, 0.08, 0.07], [0.28, 0.18, 0.1], [0.65, 0.5, 0.28], [0.5, 0.48, 0.46]])
_IRIS = np.array([[0.25, 0.15, 0.08], [0.2, 0.35, 0.5], [0.3, 0.4, 0.25]])


class Face(NamedTuple):
    """State of the muscles; 0 is neutral, 1 or -1 far."""

    brow: float = 0.0  # up
    inner: float = 0.0  # the brows' inner ends up
    lids: float = 0.0  # apart
    corners: float = 0.0  # of the mouth, up
    width: float = 0.0  # of the mouth
    jaw: float = 0.0  # down, the mouth open
    teeth: float = 0.0
    cheeks: float = 0.0  # up
    nose: float = 0.0  # wrinkled
    nod: float = 0.0  # the head down


# in the order of the set's classes: anger to surprise
EXPRESSIONS = (
    Face(brow=-0.8, inner=-1.0, lids=-0.25, corners=-0.35, width=-0.3, nod=0.3),
    Face(brow=-0.55, inner=-0.4, lids=-0.6, corners=-0.5, width=-0.1, jaw=0.25, teeth=0.6,
         cheeks=0.4, nose=1.0, nod=-0.5),
    Face(brow=0.75, inner=0.7, lids=0.75, corners=-0.45, width=0.45, jaw=0.35, teeth=1.0, nod=-0.3),
    Face(brow=0.1, lids=-0.4, corners=1.0, width=0.7, jaw=0.35, teeth=1.0, cheeks=1.0),
    Face(),
    Face(brow=-0.1, inner=1.0, lids=-0.4, corners=-1.0, width=-0.25, nod=0.9),
    Face(brow=1.0, inner=0.1, lids=1.0, width=-0.45, jaw=1.0),
)  # fmt: skip


class FaceLook:
    """Constant properties of a subject, drawn at random; lengths as above."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.skin = (_SKIN[rng.integers(len(_SKIN))] * rng.uniform(0.94, 1.04)).clip(0, 1)
        self.long_hair = bool(rng.uniform() < 0.45)
        self.hair = _HAIR[rng.integers(len(_HAIR))] * rng.uniform(0.7, 1.2)
        self.iris = _IRIS[rng.integers(len(_IRIS))]
        self.lips = (self.skin * (0.86, 0.6, 0.6) * rng.uniform(0.85, 1.05)).clip(0, 1)
        self.shirt = rng.uniform(0.1, 0.9, 3)
        blue = np.array([0.25, 0.35, 0.62])
        self.wall = blue * rng.uniform(0.7, 1.25) + rng.uniform(-0.06, 0.06, 3)
        self.size = rng.uniform(0.245, 0.29), rng.uniform(0.335, 0.38)  # half width, half height
        # half the eyes' distance, their height above the middle, half the width of one
        self.eyes = rng.uniform(0.098, 0.118), rng.uniform(0.03, 0.06)
        self.eye = rng.uniform(0.046, 0.056)
        self.brow = rng.uniform(0.009, 0.016)  # thickness
        self.mouth = rng.uniform(0.075, 0.095), rng.uniform(0.165, 0.19)  # half width, depth
        self.nose = rng.uniform(0.024, 0.034)
        self.hair_line = rng.uniform(0.6, 0.8)
        self.beard = 0.0 if self.long_hair else max(0.0, rng.uniform(-0.8, 0.6))


class _Act(NamedTuple):
    """One performance of an expression; view and `phases` of drift show in its first frame."""

    scale: float
    origin: tuple[float, float]
    exposure: float
    strength: float
    num_frames: int
    onset: float
    rise: float
    back: float
    shuts: np.ndarray  # when the eyes blink
    speeds: np.ndarray
    phases: np.ndarray


def _draw_act(rng: np.random.Generator, frame_size: tuple[int, int]) -> _Act:
    width, height = frame_size
    return _Act(
        scale=height * rng.uniform(0.96, 1.04),
        origin=(
            width * (0.5 + rng.uniform(-0.02, 0.02)),
            height * (0.47 + rng.uniform(-0.02, 0.02)),
        ),
        exposure=rng.uniform(0.93, 1.05),
        strength=rng.uniform(0.75, 1.05),
        num_frames=int(rng.integers(FRAMES[0], FRAMES[1] + 1)),
        onset=rng.uniform(0.04, 0.15),
        rise=rng.uniform(0.25, 0.45),
        back=rng.uniform(0.0, 0.6),
        shuts=rng.uniform(0.15, 0.95, rng.integers(0, 3)),
        speeds=rng.uniform(0.6, 2.2, 2),
        phases=rng.uniform(0, 2 * np.pi, 2),
    )


def face_frames(
    look: FaceLook, expression: int, rng: np.random.Generator, frame_size: tuple[int, int],
    other: np.random.Generator | None = None,
) -> Iterator[np.ndarray]:  # fmt: skip
    """Yield a clip of expression 0-6, uint8 (height, width, 3); `rng` draws strength and pace.

    The first frame is neutral; the expression grows to its apex and goes back part of the way.
    `other` draws all that does not show in the first frame, if given.
    """
    act = _draw_act(rng, frame_size)
    if other is not None:
        act = _draw_act(other, frame_size)._replace(
            scale=act.scale,
            origin=act.origin,
            exposure=act.exposure,
            # as many: a clip without blinks is drawn in float32, others in float64
            shuts=other.uniform(0.15, 0.95, len(act.shuts)),
            phases=act.phases,
        )
    width, height = frame_size
    # how the head moves by itself, (T, 2)
    seconds = np.arange(act.num_frames)[:, None] / 19
    drift = 0.006 * np.sin(seconds * act.speeds + act.phases)
    x, y = np.linspace(-1, 1, width), np.linspace(-1, 1, height)
    light = 1 - 0.18 * (x[None, :] ** 2 + 0.5 * (y[:, None] + 0.3) ** 2)
    behind = Canvas(look.wall * light[..., None], act.scale, act.origin)
    half, tall = look.size
    if look.long_hair:
        behind.ellipse((0, 0.1), (half * 1.22, tall * 1.2), look.hair * 0.85)
    behind.capsule((0, tall * 0.6), (0, 0.55), 0.115, 0.13, look.skin * 0.8)
    behind.ellipse((0, 0.78), (0.52, 0.3), look.shirt, shade=0.15)
    for time, step in zip(np.arange(act.num_frames) / (act.num_frames - 1), drift, strict=True):
        risen, gone = _ease((time - act.onset) / act.rise), _ease((time - 0.8) / 0.2)
        level = act.strength * (risen - act.back * gone)
        shut = max((np.exp(-(((time - when) / 0.025) ** 2)) for when in act.shuts), default=0.0)
        face = Face(*(level * muscle for muscle in EXPRESSIONS[expression]))
        canvas = Canvas(behind.picture, act.scale, act.origin)
        _draw_head(canvas, look, face, step, shut)
        yield canvas.pixels(act.exposure)


def _ease(share: float) -> float:
    # a share outside [0, 1] becomes a Python float, which leaves float32 as it is
    share = min(max(share, 0.0), 1.0)
    return share * share * (3 - 2 * share)


def _draw_head(canvas: Canvas, look: FaceLook, face: Face, drift: np.ndarray, shut: float) -> None:
    half, tall = look.size
    middle = drift + at(0, 0.02 * face.nod)
    features = middle + at(0, 0.018 * face.nod)  # they move more than the outline: it nods
    for side in (-1, 1):
        canvas.ellipse(middle + at(side * half, 0.02), (0.035, 0.06), look.skin * 0.88)
    canvas.ellipse(middle + at(0, -0.05), (half * 1.06, tall * 1.02), look.hair, shade=0.2)
    chin = 0.045 * max(face.jaw, 0.0)
    canvas.ellipse(
        middle + at(0, 0.03 + chin / 2), (half, tall * 0.93 + chin / 2), look.skin, shade=0.14
    )
    fringe = -tall * look.hair_line
    canvas.ellipse(middle + at(0, fringe - 0.05), (half * 0.86, 0.095), look.hair, shade=0.15)
    if look.beard:
        tint = look.skin * (1 - look.beard) + look.hair * look.beard
        canvas.ellipse(middle + at(0, 0.22 + chin), (half * 0.72, 0.125), tint)
    for side in (-1, 1):
        _draw_eye(canvas, look, face, features, side, shut)
    _draw_nose(canvas, look, face, features)
    _draw_mouth(canvas, look, face, features)


def _draw_eye(
    canvas: Canvas, look: FaceLook, face: Face, middle: np.ndarray, side: int, shut: float
) -> None:
    apart, high = look.eyes
    center = middle + at(side * apart, -high)
    w = look.eye
    upper = w * (0.48 + 0.34 * face.lids) * (1 - shut)
    lower = w * (0.34 - 0.22 * face.cheeks + 0.08 * face.lids) * (1 - shut) + 0.002
    canvas.between(center, w, lambda u: -upper * (1 - u**2), lambda u: lower * (1 - u**2),
                   (0.95, 0.94, 0.92), w)  # fmt: skip
    iris = min(0.42 * w, (upper + lower) / 2)
    if iris > 0.004:
        canvas.ellipse(center + at(0, (lower - upper) / 4), (iris, iris), look.iris)
        canvas.ellipse(center + at(0, (lower - upper) / 4), (iris * 0.45,) * 2, (0.04, 0.04, 0.05))
    u = np.linspace(-1, 1, 7)
    lid = np.stack([center[0] + w * u, center[1] - upper * (1 - u**2)], axis=1)
    canvas.stroke(lid, 0.0055, look.skin * 0.35)
    raised = -high - w * 1.25 - 0.05 * face.brow
    ends = [(side * (apart - 1.05 * w), raised - 0.045 * face.inner + 0.004),
            (side * apart, raised - 0.012 - 0.01 * face.inner),
            (side * (apart + 1.15 * w), raised + 0.008 + 0.012 * face.inner)]  # fmt: skip
    canvas.stroke([middle + at(*end) for end in ends], look.brow, look.hair * 0.8)


def _draw_nose(canvas: Canvas, look: FaceLook, face: Face, middle: np.ndarray) -> None:
    low = 0.085 - 0.014 * face.nose
    canvas.capsule(
        middle + at(0, -0.02), middle + at(0, low), 0.012, look.nose, look.skin * 0.97, 0.22
    )
    for side in (-1, 1):
        canvas.ellipse(middle + at(side * look.nose * 0.7, low + look.nose * 0.55), (0.009, 0.006),
                       look.skin * 0.5)  # fmt: skip
        if face.nose > 0.15:
            for k in range(2):
                start = middle + at(side * 0.022, -0.03 + 0.022 * k)
                fold = look.skin * (1 - 0.35 * face.nose)
                canvas.stroke([start, start + at(side * 0.018, -0.012)], 0.004, fold)
        groove = 0.35 * max(face.cheeks, face.nose, 0.0)
        if groove > 0.05:
            path = [middle + at(side * 0.05, low), middle + at(side * 0.1, low + 0.06),
                    middle + at(side * 0.105, low + 0.1)]  # fmt: skip
            canvas.stroke(path, 0.005, look.skin * (1 - groove))


def _draw_mouth(canvas: Canvas, look: FaceLook, face: Face, middle: np.ndarray) -> None:
    half = look.mouth[0] * (1 + 0.4 * face.width)
    center = middle + at(0, look.mouth[1] + 0.02 * face.jaw - 0.012 * face.nose)
    bow = 0.05 * face.corners  # the corners' rise over the middle
    up, down = 0.016 * max(face.jaw, 0) + 0.018 * face.nose, 0.085 * max(face.jaw, 0)
    lip = 0.02 * (1 - 0.25 * abs(face.width))

    def line(u: np.ndarray) -> np.ndarray:
        return -bow * u**2 + bow * 0.4

    def bulge(u: np.ndarray) -> np.ndarray:
        return np.sqrt((1 - u**2).clip(0))

    def fill(width: float, above: float, below: float, edge: float, color: Color) -> None:
        canvas.between(
            center, half * width, lambda u: line(u) - above * bulge(u) - edge,
            lambda u: line(u) + below * bulge(u) + edge, color, 0.2,
        )  # fmt: skip

    fill(1.06, up + 0.8 * lip, down + 1.2 * lip, 0.002, look.lips)
    fill(0.94, up, down, 0.0035, (0.2, 0.07, 0.08))
    if face.teeth > 0.1:
        fill(0.84, up, 0.55 * face.teeth * (up + down) - up, 0.0, (0.93, 0.92, 0.88))
