"""Layers of clouds: planes of evolving noise in perspective, moved by wind, lit by the sun."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from PIL import Image
from scipy.interpolate import CubicSpline

from lamd.standins.sky.light import Lamp, Palette
from lamd.standins.sky.look import CloudKind
from lamd.standins.sky.noise import SIZE, EvolvingNoise

# elevation added before dividing, so that clouds shrink towards the horizon but never to nothing
NEAR = 0.3
COARSE = 6
KNOT_FRAMES = 14
WARP_SIZE = 32


@dataclass(frozen=True)
class Grid:
    """Positions of the sky's pixels: `x` (w,) from the middle, `e` (h,) above the horizon."""

    x: np.ndarray
    e: np.ndarray

    def coarse(self) -> "Grid":
        """Return the grid with every `COARSE`-th row and column, or so."""

        def thin(line: np.ndarray) -> np.ndarray:
            edges = np.linspace(0, len(line), max(2, len(line) // COARSE) + 1)
            return np.interp((edges[1:] + edges[:-1]) / 2 - 0.5, np.arange(len(line)), line)

        return Grid(thin(self.x), thin(self.e))


class CloudLayer:
    """One layer: `state` draws what frame 0 shows, `change` all that happens afterwards."""

    def __init__(
        self, kind: CloudKind, grid: Grid, state: np.random.Generator, change: np.random.Generator
    ) -> None:
        self.kind, self.grid = kind, grid
        octaves = np.arange(len(kind.weights))
        direction = state.uniform(0, np.pi)
        self.noise = EvolvingNoise(
            state, change, weights=np.array(kind.weights),
            lifetimes=kind.lifetime * change.uniform(0.7, 1.3) * 0.85**octaves,
            stretch=(kind.stretch, direction), billow=kind.billow,
        )  # fmt: skip
        self.warp = [
            EvolvingNoise(
                state, change, weights=np.array([0.8, 1.0, 0.7]),
                lifetimes=change.uniform(40, 80) * np.array([1.0, 0.8, 0.6]), size=WARP_SIZE,
            )
            for _ in range(2)
        ]  # fmt: skip
        self.start = state.uniform(0, SIZE, size=(2, 2))
        self.wind = _draw_wind(kind, change)
        drift = np.cumsum(change.normal(0, 0.035, 2 + 400 // KNOT_FRAMES))
        cover = np.clip(kind.cover + np.concatenate([[0.0], drift]), 0.08, 0.98)
        self.cover = CubicSpline(KNOT_FRAMES * np.arange(len(cover)), cover)
        self.places = _plane(grid, kind.scale)
        self.coarse_places = _plane(grid.coarse(), kind.scale)

    def density(self, frame: float) -> np.ndarray:
        """Return how thick the clouds are at `frame`: float32 (h, w), 0 where it is clear."""
        moved = self.wind(frame)
        u, v = (at + np.float32(m) for at, m in zip(self.places, moved, strict=True))
        for k, axis in enumerate((u, v)):
            tile = self.warp[k].at(frame)
            # the warp lags behind the wind, so clouds change their shape as they travel
            where = (np.float32(WARP_SIZE / SIZE) * (p + np.float32(s + 0.5 * m)) for p, s, m in
                     zip(self.coarse_places, self.start[k], moved, strict=True))  # fmt: skip
            axis += np.float32(self.kind.warp) * _enlarge(sample(tile, *where), axis.shape)
        threshold = NormalDist().inv_cdf(1 - float(np.clip(self.cover(frame), 0.02, 0.98)))
        noise = sample(self.noise.at(frame), u, v)
        return np.maximum((noise - np.float32(threshold)) / np.float32(self.kind.soft), 0)

    def paint(
        self, sky: np.ndarray, density: np.ndarray, glow: np.ndarray, colors: Palette, shining: Lamp
    ) -> None:
        """Lay the clouds over `sky` (3, h, w), which is changed."""
        inside = np.minimum(density, 1)
        alpha = np.float32(self.kind.opacity) * inside * inside * (3 - 2 * inside)
        lit = self._lit(density, shining)
        thick = np.exp(np.float32(-0.8 * self.kind.density) * density)
        far = np.exp(-np.maximum(self.grid.e, 0) / 0.07).astype(np.float32)[:, None] * 0.8
        direct = 0.12 + 0.6 * lit + glow * thick
        shade = 0.5 + 0.6 * thick
        for k in range(3):
            cloud = np.float32(colors.direct[k]) * direct + np.float32(colors.shade[k]) * shade
            cloud += far * (np.float32(colors.horizon[k]) - cloud)
            sky[k] += alpha * (cloud - sky[k])

    def _lit(self, density: np.ndarray, shining: Lamp) -> np.ndarray:
        """Return the light that gets to each pixel through the clouds between it and the lamp."""
        height, width = density.shape
        small = Image.fromarray(np.minimum(density, 2.5)).resize(
            (max(2, width // 2), max(2, height // 2)), Image.Resampling.BOX
        )
        step_x, step_e = self.grid.x[1] - self.grid.x[0], self.grid.e[0] - self.grid.e[1]
        x = (shining.spot[0] - self.grid.x[0]) / step_x * small.width / width
        y = (self.grid.e[0] - shining.spot[1]) / step_e * small.height / height
        depth = np.zeros((small.height, small.width), np.float32)
        for pull in (0.04, 0.09, 0.16):
            matrix = (1 - pull, 0, pull * x, 0, 1 - pull, pull * y)
            depth += np.asarray(small.transform(small.size, Image.Transform.AFFINE, matrix,
                                                Image.Resampling.BILINEAR))  # fmt: skip
        return _enlarge(np.exp(np.float32(-self.kind.density / 2) * depth), density.shape)


def sample(tile: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Look up the periodic `tile` between its texels: columns `u`, rows `v`, any shape."""
    left, top = np.floor(u), np.floor(v)
    right, down = u - left, v - top
    size = len(tile)
    column, row = left.astype(np.int32) & (size - 1), top.astype(np.int32) & (size - 1)
    # a row and column more than the tile has spare the wrapping of the neighbours
    wide = np.pad(tile, (0, 1), mode="wrap").ravel()
    index = row * (size + 1) + column
    upper, lower = wide.take(index), wide.take(index + (size + 1))
    upper += right * (wide.take(index + 1) - upper)
    lower += right * (wide.take(index + (size + 2)) - lower)
    return upper + down * (lower - upper)


def _plane(grid: Grid, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return where the grid's rays meet the layer's plane, in texels: float32 (h, w) each."""
    depth = 1 / (np.maximum(grid.e, 0)[:, None] + NEAR)
    u, v = scale * grid.x * depth, np.broadcast_to(scale * 1.8 * depth, (len(grid.e), len(grid.x)))
    return u.astype(np.float32), v.astype(np.float32)


def _draw_wind(kind: CloudKind, change: np.random.Generator) -> CubicSpline:
    """Draw how far the layer has moved at each frame, in texels (2,); zero at frame 0."""
    angle = change.uniform(0, 2 * np.pi)
    # a picture's width half way up, in texels, is the unit of speed
    width = 16 / 9 * kind.scale / (0.4 + NEAR)
    speed = kind.speed * width / 32
    # sideways as often as the eye expects: towards and away less
    mean = speed * np.array([np.cos(angle), 0.9 * np.sin(angle)])
    gusts = change.normal(0, 0.28 * speed, size=(2 + 400 // KNOT_FRAMES, 2))
    moved = np.pad(np.cumsum(KNOT_FRAMES * (mean + gusts), axis=0), ((1, 0), (0, 0)))
    return CubicSpline(KNOT_FRAMES * np.arange(len(moved)), moved)


def _enlarge(picture: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize(shape[::-1], Image.Resampling.BICUBIC))
