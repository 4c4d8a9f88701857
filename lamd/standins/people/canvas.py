"""Shapes with soft edges on a picture: each is a distance to its outline, at any number of pixels.

Lengths are in units of the canvas, x to the right, y down; colours are RGB in [0, 1].
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

Point = Sequence[float] | np.ndarray
Color = Sequence[float] | np.ndarray
# Where the light comes from, on the picture; shapes look round against it.
_LIGHT = (-0.45, -0.6)


def at(x: float, y: float) -> np.ndarray:
    """Return a point or a step of a canvas."""
    return np.array((x, y), float)


def _floats(point: Point) -> list[float]:
    return np.asarray(point, float).tolist()  # Python's floats leave float32 as it is


class Canvas:
    """A picture (height, width, 3) float32 with the point (0, 0) in pixel `origin` (x, y).

    A shape is a function of x and y: distance to the outline, inside negative, and for `shade` also
    the light. `shade` 0 is flat, 0.5 strongly rounded.
    """

    def __init__(self, background: np.ndarray, scale: float, origin: tuple[float, float]) -> None:
        self.picture, self.scale, self.origin = background.astype(np.float32), float(scale), origin

    def capsule(
        self, a: Point, b: Point, radius_a: float, radius_b: float, color: Color,
        shade: float = 0.0,
    ) -> None:  # fmt: skip
        """Draw a limb from `a` to `b`."""
        (ax, ay), (bx, by) = map(_floats, (a, b))
        length = max((bx - ax) ** 2 + (by - ay) ** 2, 1e-12)

        def distance(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            x, y = x - ax, y - ay
            along = ((x * ((bx - ax) / length)) + (y * ((by - ay) / length))).clip(0, 1)
            dx, dy = x - along * (bx - ax), y - along * (by - ay)
            thick = radius_a + along * (radius_b - radius_a)
            return np.sqrt(dx * dx + dy * dy) - thick, (_LIGHT[0] * dx + _LIGHT[1] * dy) / thick

        self._paint([a, b], max(radius_a, radius_b), distance, color, shade)

    def ellipse(self, center: Point, radii: Point, color: Color, *, shade: float = 0.0) -> None:
        """Draw an ellipse with `radii` in x and y."""
        (cx, cy), (rx, ry) = map(_floats, (center, radii))

        def distance(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            u, v = (x - cx) / rx, (y - cy) / ry
            gap = (np.sqrt(u * u + v * v) - 1) * min(rx, ry)  # exact at the flat sides
            return gap, _LIGHT[0] * u + _LIGHT[1] * v

        self._paint([center], radii, distance, color, shade)

    def convex(self, corners: Sequence[Point], radius: float, color: Color) -> None:
        """Draw a convex polygon, its corners clockwise on the picture and rounded by `radius`."""
        points = np.asarray(corners, float)
        sides = np.roll(points, -1, axis=0) - points
        normals = np.stack([sides[:, 1], -sides[:, 0]], axis=1)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)

        def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            pairs = zip(normals.tolist(), points.tolist(), strict=True)
            gaps = [n[0] * (x - p[0]) + n[1] * (y - p[1]) for n, p in pairs]
            return np.maximum.reduce(gaps) - radius

        self._paint(points, radius, distance, color)

    def stroke(self, points: Sequence[Point] | np.ndarray, radius: float, color: Color) -> None:
        """Draw a line through `points`."""

        def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            squares = []
            for (ax, ay), (bx, by) in pairwise(map(_floats, points)):
                length = max((bx - ax) ** 2 + (by - ay) ** 2, 1e-12)
                along = (((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length).clip(0, 1)
                dx, dy = x - ax - along * (bx - ax), y - ay - along * (by - ay)
                squares.append(dx * dx + dy * dy)
            return np.sqrt(np.minimum.reduce(squares)) - radius

        self._paint(points, radius, distance, color)

    def between(
        self, center: Point, half_width: float, upper: Callable, lower: Callable, color: Color,
        reach: float,
    ) -> None:  # fmt: skip
        """Fill between two curves y(u), u in [-1, 1] over `half_width`, all within `reach` in y."""
        cx, cy = _floats(center)

        def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            u = ((x - cx) / half_width).clip(-1, 1)
            gap = np.maximum(upper(u) - (y - cy), y - cy - lower(u))
            return np.maximum(gap, np.abs(x - cx) - half_width)

        self._paint([center], (half_width, reach), distance, color)

    def _paint(
        self, points: Sequence[Point] | np.ndarray, reach: Point | float, shape: Callable,
        color: Color, shade: float | None = None,
    ) -> None:  # fmt: skip
        """Paint a shape that is within `reach` in x and y of the box around `points`."""
        height, width, _ = self.picture.shape
        origin, box = np.array(self.origin), np.asarray(points, float)
        low, high = box.min(axis=0) - reach, box.max(axis=0) + reach
        left, top = (np.floor(low * self.scale + origin).astype(int) - 1).clip(0)
        right, bottom = np.ceil(high * self.scale + origin).astype(int) + 2
        rows, columns = np.arange(top, min(bottom, height)), np.arange(left, min(right, width))
        if not (rows.size and columns.size):
            return
        x = (columns[None, :] + 0.5 - origin[0]) / self.scale
        y = (rows[:, None] + 0.5 - origin[1]) / self.scale
        gap = shape(x.astype(np.float32), y.astype(np.float32))
        tint = np.asarray(color, np.float32)
        if shade is not None:
            gap, light = gap
            tint = tint * (1 + shade * light.clip(-1, 1))[..., None]
        cover = (0.5 - gap * self.scale).clip(0, 1)[..., None]
        patch = self.picture[top:bottom, left:right]
        patch += cover * (tint - patch)

    def pixels(self, exposure: float) -> np.ndarray:
        """Return the picture as uint8 (height, width, 3)."""
        return ((self.picture * exposure).clip(0, 1) * 255 + 0.5).astype(np.uint8)
