"""Rays through `mujoco.mj_multiRay`, which of them are worth casting, and a map of shadows."""

from dataclasses import dataclass
from typing import NamedTuple, Self

import mujoco
import numpy as np

from lamd.standins.raycast.view import View

FAR = 20.0
FLOOR_GROUP, STATIC_GROUP, OBJECT_GROUP, ARM_GROUP = range(4)
STATIC = (FLOOR_GROUP, STATIC_GROUP)
BLOCKING = (STATIC_GROUP,)
MOVING = (OBJECT_GROUP, ARM_GROUP)
# of the shadow map: texels and length of a side; how much further than its depth a surface may be,
# and how far it is lifted along its normal, so that it does not shade itself [m]
SIZE, METRES, SLACK, NORMAL_OFFSET = 80, 1.28, 2e-3, 0.012


class Hits(NamedTuple):
    """Hits of rays: `geom` int32 (n,) or -1, `depth` (n,) in metres or `FAR`, `normal` (n, 3)."""

    geom: np.ndarray
    depth: np.ndarray
    normal: np.ndarray

    @classmethod
    def none(cls, count: int) -> Self:
        """Return `count` rays that met nothing."""
        return cls(np.full(count, -1, np.int32), np.full(count, FAR), np.zeros((count, 3)))


@dataclass(frozen=True)
class Stage:
    """A model in its current pose: what rays are cast at."""

    model: mujoco.MjModel
    data: mujoco.MjData

    def cast(self, origin: np.ndarray, rays: np.ndarray, groups: tuple[int, ...]) -> Hits:
        """Cast unit `rays` (n, 3) from one point at the geoms of `groups`."""
        n, hits = len(rays), Hits.none(len(rays))
        if n:
            wanted = np.zeros(mujoco.mjNGROUP, np.uint8)
            wanted[list(groups)] = 1
            mujoco.mj_multiRay(
                self.model, self.data, origin, rays.ravel(), wanted, True, -1,
                hits.geom, hits.depth, hits.normal.ravel(), n, FAR,
            )  # fmt: skip
            hits.depth[hits.geom < 0] = FAR
        return hits


class Bounds:
    """Spheres around the moving geoms."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self.geoms = np.flatnonzero(np.isin(model.geom_group, MOVING))
        self.radii = model.geom_rbound[self.geoms] + 1e-3
        self.pose: np.ndarray | None = None

    def changes(self, data: mujoco.MjData) -> tuple[np.ndarray, np.ndarray]:
        """Bound all that moved since the call before, old and new: centres (k, 3), radii (k,)."""
        before = self.pose
        pose = self.pose = np.hstack([data.geom_xpos, data.geom_xmat])[self.geoms]
        if before is None:
            return pose[:, :3], self.radii
        moved = (before != pose).any(axis=1)
        centres = np.concatenate([before[moved, :3], pose[moved, :3]])
        return centres, np.tile(self.radii[moved], 2)


class Fan:
    """Unit `rays` (n, 3) from one point, of which each represents all within `spread` [rad]."""

    def __init__(self, origin: np.ndarray, rays: np.ndarray, spread: float = 0.0) -> None:
        self.origin, self.spread = origin, spread
        self.columns = np.ascontiguousarray(rays.T, np.float32)

    def near(self, spheres: np.ndarray, radii: np.ndarray) -> np.ndarray:
        """Return the numbers of all rays that may meet a sphere."""
        to = spheres - self.origin
        distance = np.linalg.norm(to, axis=1)
        least = np.cos(np.arcsin(radii / distance) + self.spread)
        toward = (to / (distance * least)[:, None]).astype(np.float32)
        closeness = np.einsum("ki,in->kn", toward, self.columns)
        return np.flatnonzero(closeness.max(axis=0, initial=0) > 1)


class Spot(NamedTuple):
    """Points in a shadow map: four texels (4, n) around each, their weights, way to the light."""

    texel: np.ndarray
    weight: np.ndarray
    reach: np.ndarray


class ShadowMap:
    """Visibility of a point light, softened over about one texel (16 mm on the ground).

    `depth` is float32 (num_frames + 1, texels): how far light gets past the moving geoms of each
    frame, and in the last row past the geoms that never move.
    """

    def __init__(self, view: View, stage: Stage, num_frames: int) -> None:
        light = view.light
        self.view, self.light, self.stage = view, light.astype(np.float32), stage
        self.corner = np.array(view.shadow_corner, np.float32)
        steps = (np.arange(SIZE) + 0.5) * (METRES / SIZE)
        x, y = np.meshgrid(self.corner[0] + steps, self.corner[1] + steps)
        ground = np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3)
        self.rays = unit(ground - light)
        self.fan = Fan(light, self.rays)
        self.num_frames = num_frames
        self.depth = np.full((num_frames + 1, SIZE**2), FAR, np.float32)
        self.soft = np.ones((num_frames + 1, SIZE, SIZE), np.float32)
        self._fill(self.num_frames, stage.cast(light, self.rays, BLOCKING).depth)

    def expose(self, frame: int, spheres: np.ndarray, radii: np.ndarray) -> None:
        """Cast the moving geoms' shadows; only within `spheres` (k, 3) has anything changed."""
        if frame:
            self.depth[frame] = self.depth[frame - 1]
        near = self.fan.near(spheres, radii)
        hits = self.stage.cast(self.fan.origin, self.rays.take(near, axis=0), MOVING)
        self._fill(frame, hits.depth, near)

    def _fill(self, frame: int, depth: np.ndarray, rows: np.ndarray | slice = slice(None)) -> None:
        self.depth[frame, rows] = depth
        square = self.depth[frame].reshape(SIZE, SIZE)
        square[[0, -1]] = square[:, [0, -1]] = FAR
        lit = (square == FAR).astype(np.float32)
        lines = lit[:-2] + 2 * lit[1:-1] + lit[2:]
        self.soft[frame, 1:-1, 1:-1] = (lines[:, :-2] + 2 * lines[:, 1:-1] + lines[:, 2:]) / 16

    def locate(self, points: np.ndarray, normals: np.ndarray) -> Spot:
        """Locate `points` (3, n), lifted along `normals`."""
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
