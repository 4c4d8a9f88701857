"""A shadow map, shared by all cameras: how far light gets along a grid of rays to the ground."""

from dataclasses import dataclass

import numpy as np

from lamd.standins.raycast.cast import BLOCKING, FAR, MOVING, Fan, Stage
from lamd.standins.raycast.view import View

SIZE = 80
METRES = 1.28
TILE = 2
SLACK = 2e-3
NORMAL_OFFSET = 0.012


@dataclass(frozen=True)
class Spot:
    """Points in the map: four texels (4, n) around each, their weights, distance from the light."""

    texel: np.ndarray
    weight: np.ndarray
    reach: np.ndarray

    def take(self, rows: np.ndarray) -> "Spot":
        """Return the selected points."""
        return Spot(self.texel[:, rows], self.weight[:, rows], self.reach[rows])


class ShadowMap:
    """Visibility of a point light, softened over about one texel (16 mm on the ground).

    `depth` is float32 (num_frames + 1, texels): how far light gets past the moving geoms of each
    frame, and in the last row, `static_frame`, past the geoms that never move.
    """

    def __init__(self, view: View, stage: Stage, num_frames: int) -> None:
        light = view.light
        self.light, self.stage = light.astype(np.float32), stage
        self.corner = np.array(view.shadow_corner, np.float32)
        steps = (np.arange(SIZE) + 0.5) * (METRES / SIZE)
        x, y = np.meshgrid(self.corner[0] + steps, self.corner[1] + steps)
        ground = np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3)
        self.fan = Fan(light, unit(ground - light)[:, None], (SIZE, SIZE), TILE)
        self.static_frame = num_frames
        self.depth = np.full((num_frames + 1, SIZE**2), FAR, np.float32)
        self.soft = np.ones((num_frames + 1, SIZE, SIZE), np.float32)
        self._fill(self.static_frame, stage.cast(light, self.fan.rays, BLOCKING).depth)

    def expose(self, frame: int, spheres: np.ndarray, radii: np.ndarray) -> None:
        """Cast the moving geoms' shadows; only within `spheres` (k, 3) has anything changed."""
        if frame:
            self.depth[frame] = self.depth[frame - 1]
        near = self.fan.near(spheres, radii)
        hits = self.stage.cast(self.fan.origin, self.fan.rays.take(near, axis=0), MOVING)
        self._fill(frame, hits.depth, near)

    def _fill(self, frame: int, depth: np.ndarray, rows: np.ndarray | slice = slice(None)) -> None:
        self.depth[frame, rows] = depth
        square = self.depth[frame].reshape(SIZE, SIZE)
        square[[0, -1]] = square[:, [0, -1]] = FAR
        lit = (square == FAR).astype(np.float32)
        lines = lit[:-2] + 2 * lit[1:-1] + lit[2:]
        self.soft[frame, 1:-1, 1:-1] = (lines[:, :-2] + 2 * lines[:, 1:-1] + lines[:, 2:]) / 16

    def locate(self, points: np.ndarray, normals: np.ndarray) -> Spot:
        """Locate `points` (3, n), lifted along `normals`: a surface must not shade itself."""
        x, y, z = points + NORMAL_OFFSET * normals - self.light[:, None]
        ground = np.stack([x, y]) * (-self.light[2] / z)
        at = (ground + (self.light[:2] - self.corner)[:, None]) * (SIZE / METRES) - 0.5
        whole = np.floor(np.clip(at, 0, SIZE - 1.01, out=at))
        right, down = at - whole
        both = right * down
        column, row = whole.astype(np.int32)
        steps = np.array([[0], [1], [SIZE], [SIZE + 1]], np.int32)
        weight = np.stack([1 - right - down + both, right - both, down - both, both])
        reach = np.sqrt(x * x + y * y + z * z) - SLACK
        return Spot(row * SIZE + column + steps, weight, reach)

    def ground_visibility(self, spot: Spot, frame: int) -> np.ndarray:
        """Return the share of the light that reaches each point of the ground, float32 (n,).

        On the ground any hit is a shadow, so the map can be smoothed beforehand.
        """
        return np.einsum("ij,ij->j", spot.weight, self.soft[frame].ravel().take(spot.texel))

    def visibility(self, spot: Spot, frame: int | np.ndarray) -> np.ndarray:
        """Return the share of the light that reaches each point in its `frame`, float32 (n,)."""
        passing = self.depth.take(spot.texel + frame * SIZE**2) > spot.reach
        return np.einsum("ij,ij->j", spot.weight, passing)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return `vectors` (..., 3) scaled to length one."""
    return vectors / np.sqrt(np.einsum("...i,...i->...", vectors, vectors))[..., None]
