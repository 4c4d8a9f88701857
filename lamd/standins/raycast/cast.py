"""Rays through `mujoco.mj_multiRay`, and which of them are worth casting."""

from dataclasses import dataclass
from typing import Self

import mujoco
import numpy as np

FAR = 20.0
FLOOR_GROUP, STATIC_GROUP, OBJECT_GROUP, ARM_GROUP = range(4)
STATIC = (FLOOR_GROUP, STATIC_GROUP)
BLOCKING = (STATIC_GROUP,)
MOVING = (OBJECT_GROUP, ARM_GROUP)


@dataclass(frozen=True)
class Hits:
    """Hits of rays: `geom` int32 (n,) or -1, `depth` (n,) in metres or `FAR`, `normal` (n, 3)."""

    geom: np.ndarray
    depth: np.ndarray
    normal: np.ndarray

    @classmethod
    def none(cls, count: int) -> Self:
        """Return `count` rays that met nothing."""
        return cls(np.full(count, -1, np.int32), np.full(count, FAR), np.zeros((count, 3)))

    def take(self, rows: np.ndarray) -> "Hits":
        """Return the selected rays."""
        return Hits(self.geom.take(rows), self.depth.take(rows), self.normal.take(rows, axis=0))

    def put(self, rows: np.ndarray, hits: "Hits") -> None:
        """Overwrite the selected rays."""
        self.geom[rows], self.depth[rows], self.normal[rows] = hits.geom, hits.depth, hits.normal


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
    """Spheres around the moving geoms; long ones get several, so that few rays are cast in vain."""

    def __init__(self, model: mujoco.MjModel) -> None:
        geoms, offsets, radii = [], [], []
        for g in np.flatnonzero(np.isin(model.geom_group, MOVING)):
            radius, half = model.geom_size[g, :2]
            if model.geom_type[g] == mujoco.mjtGeom.mjGEOM_CAPSULE:
                half += radius
            elif model.geom_type[g] != mujoco.mjtGeom.mjGEOM_CYLINDER:
                radius, half = model.geom_rbound[g], 0.0
            count = max(1, int(np.ceil(1.5 * half / radius)))
            for k in range(count):
                geoms.append(g)
                offsets.append((2 * k + 1 - count) * half / count)
                radii.append(np.hypot(radius, half / count))
        self.geoms, self.offsets = np.array(geoms), np.array(offsets)
        self.radii = np.array(radii) + 1e-3
        self.pose = np.empty((0, 12))

    def changes(self, data: mujoco.MjData) -> tuple[np.ndarray, np.ndarray]:
        """Bound all that moved since the call before, old and new: centres (k, 3), radii (k,)."""
        before = self.pose
        self.pose = np.concatenate([data.geom_xpos, data.geom_xmat], axis=1)[self.geoms]
        if not len(before):
            return self._centres(self.pose), self.radii
        moved = (before != self.pose).any(axis=1)
        centres = [self._centres(pose)[moved] for pose in (before, self.pose)]
        return np.concatenate(centres), np.tile(self.radii[moved], 2)

    def _centres(self, pose: np.ndarray) -> np.ndarray:
        # columns: position, then the rows of the rotation, of which the third column is the axis
        return pose[:, :3] + pose[:, [5, 8, 11]] * self.offsets[:, None]


class Fan:
    """A picture's rays from one point, in tiles, so that few are cast in vain.

    `rays` is float64 (height * width, rays per pixel, 3), unit length, row by row; the first of a
    pixel goes through its middle, and only that one is kept. `tile` divides both sides.
    """

    def __init__(
        self, origin: np.ndarray, rays: np.ndarray, frame_size: tuple[int, int], tile: int
    ) -> None:
        self.origin, self.rays = origin, np.ascontiguousarray(rays[:, 0])
        columns, rows = (side // tile for side in frame_size)
        number = np.arange(len(rays)).reshape(rows, tile, columns, tile)
        self.members = number.transpose(0, 2, 1, 3).reshape(rows * columns, tile**2)
        blocks = rays[self.members].reshape(rows * columns, -1, 3)
        centres = self.rays[self.members].mean(axis=1)
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        self.cosine = np.einsum("tij,tj->ti", blocks, centres).min()
        self.centres = np.ascontiguousarray(centres.T, dtype=np.float32)
        self.sine = np.sqrt(1 - self.cosine**2)

    def near(self, spheres: np.ndarray, radii: np.ndarray) -> np.ndarray:
        """Return the numbers of all rays in tiles whose cone touches a sphere."""
        if not len(spheres):
            return np.empty(0, int)
        to = spheres - self.origin
        distance = np.sqrt(np.einsum("ij,ij->i", to, to))
        sine = radii / distance
        # cos(a + b) of the sphere's and the tile's opening angles
        bound = np.sqrt(1 - sine**2) * self.cosine - sine * self.sine
        toward = (to / (distance * bound)[:, None]).astype(np.float32)
        touched = np.flatnonzero((toward @ self.centres).max(axis=0) > 1)
        return self.members.take(touched, axis=0).ravel()
