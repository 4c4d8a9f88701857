"""Look of a simulated clip: cameras, light and the static surfaces' procedural textures."""

import colorsys
from collections.abc import Sequence

import numpy as np

from lamd.standins.raycast.view import Camera, Painted, View
from lamd.standins.robot.scene import TRAY_HALF

TEXTURE_SIZE = 128
TEXTURE_METRES = 1.28
FLOOR_PATTERNS = ("wood", "checker", "speckle", "stripes", "cloth")


class Look(View):
    """Cameras (slightly jittered), a point light, and the tray's texture and colours, drawn."""

    shadow_corner = (-0.64, -0.42)

    def __init__(self, rng: np.random.Generator) -> None:
        self.draw_light(rng, (-np.pi, 0.0), (0.2, 0.6))
        warmth = rng.uniform(-0.06, 0.06)
        tint = np.array([1 + warmth, 1.0, 1 - warmth], np.float32)
        self.ambient = (np.float32(rng.uniform(0.34, 0.48)) / tint).astype(np.float32)
        self.cameras = {
            "image_main": _camera(rng, (0.0, -0.74, 0.66), (0.0, 0.09, 0.02), 0.385),
            "image_aux1": _camera(rng, (-0.70, -0.34, 0.60), (0.0, 0.02, 0.03), 0.37),
        }
        self.light_color = (tint * rng.uniform(0.62, 0.85)).astype(np.float32)
        self.floor = _floor_texture(rng)
        self.wall_color = _surface_color(rng)
        self.ground_color = _surface_color(rng) * np.float32(0.6)

    def static_albedo(self, scene: Painted, geom: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Return the colours of static geoms at ground positions `points` (..., 2)."""
        color, floor = scene.albedo.copy(), scene.model.geom("floor").id
        for wall in ("wall_l", "wall_r", "wall_f", "wall_b"):
            color[scene.model.geom(wall).id] = self.wall_color
        color[floor] = self.ground_color
        albedo = color[geom]
        x, y = points[..., 0], points[..., 1]
        inside = (geom == floor) & (np.abs(x) < TRAY_HALF[0]) & (np.abs(y) < TRAY_HALF[1])
        texel = np.floor(points[inside] * (TEXTURE_SIZE / TEXTURE_METRES)).astype(int)
        texel %= TEXTURE_SIZE
        albedo[inside] = self.floor[texel[:, 1], texel[:, 0]]
        return albedo


def _camera(
    rng: np.random.Generator, position: Sequence[float], target: Sequence[float], half_side: float
) -> Camera:
    eye = position + rng.uniform(-0.015, 0.015, 3)
    return Camera.at(eye, target + rng.uniform(-0.01, 0.01, 3), half_side * rng.uniform(0.98, 1.02))


def _surface_color(rng: np.random.Generator) -> np.ndarray:
    """Draw a quiet colour, against which saturated objects are seen."""
    hue = rng.uniform(0.05, 0.13) if rng.uniform() < 0.5 else rng.uniform()
    rgb = colorsys.hsv_to_rgb(hue, rng.uniform(0.05, 0.4), rng.uniform(0.4, 0.78))
    return np.array(rgb, np.float32)


def _floor_texture(rng: np.random.Generator) -> np.ndarray:
    """Make a float32 (size, size, 3) colour map, repeated every `TEXTURE_METRES`."""
    base = _surface_color(rng)
    pattern = _pattern(rng)[..., None]
    strength = rng.uniform(0.06, 0.2)
    accent = np.float32(0.25 * strength) * (_surface_color(rng) - base)
    return np.clip(base * (1 + np.float32(strength) * pattern) + accent * pattern, 0, 1)


def _pattern(rng: np.random.Generator) -> np.ndarray:
    """Draw a pattern in about [-1, 1], float32 (size, size), that repeats without a seam."""
    kind = rng.choice(FLOOR_PATTERNS)
    y, x = np.mgrid[0:TEXTURE_SIZE, 0:TEXTURE_SIZE].astype(np.float32) / TEXTURE_SIZE
    if rng.uniform() < 0.5:
        x, y = y, x
    match kind:
        case "checker":
            n = 2 * int(rng.integers(4, 9))
            pattern = np.where((np.floor(x * n) + np.floor(y * n)) % 2 == 0, 1.0, -1.0)
        case "stripes":
            pattern = np.sin(2 * np.pi * int(rng.integers(6, 16)) * x)
        case "wood":
            warp = _noise(rng, 0.02, 0.25)
            rings = np.sin(2 * np.pi * (int(rng.integers(6, 12)) * x) + 2.5 * warp)
            pattern = 0.6 * rings + 0.4 * _noise(rng, 0.02, 0.3)
        case "speckle":
            pattern = np.clip(_noise(rng, 0.3, 0.3), -1.5, 1.5)
        case _:
            pattern = np.clip(0.8 * _noise(rng, 0.06, 0.06), -1.5, 1.5)
    return pattern.astype(np.float32)


def _noise(rng: np.random.Generator, width_y: float, width_x: float) -> np.ndarray:
    """Return periodic Gaussian noise of unit variance, low-passed at widths in cycles per texel."""
    spectrum = np.fft.rfft2(rng.standard_normal((TEXTURE_SIZE, TEXTURE_SIZE)))
    fy = np.fft.fftfreq(TEXTURE_SIZE)[:, None]
    fx = np.fft.rfftfreq(TEXTURE_SIZE)[None]
    field = np.fft.irfft2(spectrum * np.exp(-((fy / width_y) ** 2) - (fx / width_x) ** 2))
    return (field / field.std()).astype(np.float32)
