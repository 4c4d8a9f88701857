"""Input of the ray caster: geoms with their surfaces, cameras and light."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import mujoco
import numpy as np


@dataclass(frozen=True, kw_only=True)
class Painted:
    """A compiled model and the surfaces of its geoms, float32.

    `albedo` (num_geoms, 3) is in [0, 1], `specular` (num_geoms,) the strength of the light's
    highlight, `metal` (num_geoms,) in [0, 1] how much a geom mirrors; None where nothing does.
    """

    model: mujoco.MjModel
    albedo: np.ndarray
    specular: np.ndarray
    metal: np.ndarray | None = None


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: position, `axes` (rows right, up, forward), half the height at 1 m."""

    position: np.ndarray
    axes: np.ndarray
    half_side: float

    @classmethod
    def at(cls, eye: np.ndarray, target: np.ndarray, half_side: float) -> Self:
        """Look from `eye` at `target`, level."""
        forward = target - eye
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, (0.0, 0.0, 1.0))
        right /= np.linalg.norm(right)
        return cls(eye, np.stack([right, np.cross(right, forward), forward]), half_side)

    def directions(
        self, frame_size: tuple[int, int], shifts: Sequence[tuple[float, float]]
    ) -> np.ndarray:
        """Return unit rays (height * width, len(shifts), 3), row by row from the top left.

        Each shift moves a pixel's ray by (x, y) pixels from its middle.
        """
        width, height = frame_size
        pixel = 2 / height * self.half_side
        row, column = np.divmod(np.arange(width * height)[:, None], width)
        right, down = np.array(shifts).T
        x = (column + 0.5 - width / 2 + right) * pixel
        y = (row + 0.5 - height / 2 + down) * pixel
        rays = x[..., None] * self.axes[0] - y[..., None] * self.axes[1] + self.axes[2]
        rays /= np.sqrt(1 + x * x + y * y)[..., None]
        return rays

    def project(self, points: np.ndarray, frame_size: tuple[int, int]) -> np.ndarray:
        """Return (x, y) in pixels from the top left corner, and depth [m], of `points` (..., 3)."""
        ray = (self.axes @ (points - self.position)[..., None])[..., 0]
        right, up, depth = np.moveaxis(ray, -1, 0)
        width, height = frame_size
        scale = height / 2 / self.half_side / depth
        return np.stack([width / 2 + right * scale, height / 2 - up * scale, depth], axis=-1)


class View:
    """Cameras, a point light and the light from all around; fixed within a clip.

    `shadow_corner` is where the square of ground begins (least x and y) on which shadows fall.
    """

    cameras: dict[str, Camera]
    shadow_corner: tuple[float, float]
    light: np.ndarray
    light_color: np.ndarray
    ambient: np.ndarray
    ground_color: np.ndarray

    def draw_light(
        self, rng: np.random.Generator, azimuths: tuple[float, float], tilts: tuple[float, float]
    ) -> None:
        """Draw where the light is, 2.2 m above the ground."""
        azimuth, tilt = rng.uniform(*azimuths), rng.uniform(*tilts)
        self.light = 2.2 * np.array([np.cos(azimuth) * tilt, np.sin(azimuth) * tilt, 1.0])

    def static_albedo(self, scene: Painted, geom: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Return the colours of static geoms at ground positions `points` (..., 2), float32."""
        return np.broadcast_to(self.ground_color, (*geom.shape, 3))
