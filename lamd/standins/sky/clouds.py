"""Layers of clouds: planes of evolving noise in perspective, moved by wind, lit by the sun."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from PIL import Image
from scipy import fft
from scipy.interpolate import CubicSpline

from lamd.standins.sky.light import Lamp, Palette, column
from lamd.standins.sky.look import CloudKind

SIZE, WARP_SIZE = 256, 32  # texels of a tile of clouds, and of what bends them
# an octave turns by a few degrees in so many frames: a straight line between is exact enough
NOISE_KNOT_FRAMES = 4
# mean of |x| for unit-variance Gaussian x, and what brings |x| - mean back to unit variance
_MEAN = np.float32(np.sqrt(2 / np.pi))
_FOLD = np.float32(1 / np.sqrt(1 - 2 / np.pi))
# elevation added before dividing, so that clouds shrink towards the horizon but never to nothing
NEAR = 0.3
COARSE = 6
KNOT_FRAMES, NUM_KNOTS = 14, 2 + 400 // 14

Curve = Callable[[float], np.ndarray]
Octave = tuple[np.ndarray, np.ndarray]  # bins of the half spectrum that matter, their gain


class EvolvingNoise:
    """Octaves of Gaussian noise on a periodic tile, each one turning into fresh noise.

    An octave is `cos(a) now + sin(a) next` with two independent fields, so its statistics never
    change. The fields of frame 0 come from `state`, all later ones from `change`.
    """

    def __init__(
        self, state: np.random.Generator, change: np.random.Generator, *,
        weights: Sequence[float], lifetimes: Sequence[float] | np.ndarray,
        stretch: tuple[float, float] = (1.0, 0.0), billow: float = 0.0, size: int = SIZE,
    ) -> None:  # fmt: skip
        """Set up octaves of 2, 4, 8, ... cycles on a tile of `size` (a power of two) texels.

        Args:
            weights: amplitude of each octave.
            lifetimes: frames until an octave has become fresh noise.
            stretch: how much longer than wide the features are, and their direction in radians.
            billow: 0 keeps the noise Gaussian, 1 folds each octave into round puffs.
        """
        amplitudes = np.array(weights)
        self.weights = (amplitudes / np.sqrt((amplitudes**2).sum())).astype(np.float32)
        self.lifetimes, self.billow, self._change, self._size = lifetimes, billow, change, size
        self._octaves = list(_octaves(size, len(weights), stretch))
        self._now = [self._draw(octave, state) for octave in self._octaves]
        self._next = [self._draw(octave, change) for octave in self._octaves]
        self._turned, self._since = [0] * len(weights), 0
        self._knot, self._ends = 0, (self._mix(0), self._mix(NOISE_KNOT_FRAMES))

    def at(self, frame: float) -> np.ndarray:
        """Return the tile at `frame`, float32 of about unit variance; frames must not go back."""
        knot, part = divmod(frame, NOISE_KNOT_FRAMES)
        while self._knot < knot:
            self._knot += 1
            self._ends = (self._ends[1], self._mix((self._knot + 1) * NOISE_KNOT_FRAMES))
        before, after = self._ends
        tile = np.float32(part / NOISE_KNOT_FRAMES) * after
        tile += np.float32(1 - part / NOISE_KNOT_FRAMES) * before
        return tile

    def branch(self, change: np.random.Generator) -> None:
        """Draw what comes after the next knot from `change`."""
        knot = (self._knot + 1) * NOISE_KNOT_FRAMES
        turns = [(knot - self._since) / lifetime for lifetime in self.lifetimes]
        self._now = [self._octave(k, turn) for k, turn in enumerate(turns)]
        self._next = [self._draw(octave, change) for octave in self._octaves]
        self._turned, self._since, self._change = [0] * len(turns), knot, change

    def _mix(self, frame: float) -> np.ndarray:
        total = np.zeros_like(self._now[0])
        for k, weight in enumerate(self.weights):
            octave = self._octave(k, (frame - self._since) / self.lifetimes[k])
            octave *= weight
            if self.billow and k:  # the lowest octave says where clouds are, not how they look
                total += np.float32(1 - self.billow) * octave
                np.abs(octave, out=octave)
                octave -= weight * _MEAN
                octave *= np.float32(self.billow) * _FOLD
            total += octave
        return total

    def _octave(self, k: int, turns: float) -> np.ndarray:
        while self._turned[k] + 1 <= turns:
            self._turned[k] += 1
            self._now[k] = self._next[k]
            self._next[k] = self._draw(self._octaves[k], self._change)
        angle = (turns - self._turned[k]) * (np.pi / 2)
        octave = np.float32(np.cos(angle)) * self._now[k]
        octave += np.float32(np.sin(angle)) * self._next[k]
        return octave

    def _draw(self, octave: Octave, rng: np.random.Generator) -> np.ndarray:
        """Draw a field of unit variance, float32 (size, size)."""
        bins, gain = octave
        real, imaginary = rng.standard_normal((2, len(bins)), dtype=np.float32)
        spectrum = np.zeros((self._size, self._size // 2 + 1), np.complex64)
        spectrum.ravel()[bins] = (real + 1j * imaginary) * gain
        return fft.irfft2(spectrum, s=(self._size, self._size), norm="forward")


def _octaves(size: int, count: int, stretch: tuple[float, float]) -> Iterator[Octave]:
    y = fft.fftfreq(size, 1 / size).astype(np.float32)[:, None]
    x = fft.rfftfreq(size, 1 / size).astype(np.float32)
    ratio, angle = stretch
    root, cosine, sine = np.sqrt(ratio), np.cos(angle), np.sin(angle)
    along = np.float32(cosine * root) * x + np.float32(sine * root) * y
    across = (cosine * y - sine * x) / root
    height = np.log2(np.maximum(along**2 + across**2, 1e-6)).ravel() / 2
    # every column but the first and last stands for two frequencies
    twice = np.broadcast_to(np.where((x == 0) | (x == size // 2), 1.0, 2.0), (size, len(x))).ravel()
    for k in range(count):
        bins = np.flatnonzero(np.abs(height - (k + 1)) < 1.5)
        gain = np.exp(-2 * (height[bins] - (k + 1)) ** 2)
        power = 2 * (twice[bins] * gain**2).sum()
        yield bins, (gain / np.sqrt(power)).astype(np.float32)


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

    def plane(self, scale: float) -> tuple[np.ndarray, np.ndarray]:
        """Return where the rays meet a layer's plane, in texels: float32 (h, w) each."""
        depth = 1 / (np.maximum(self.e, 0)[:, None] + NEAR)
        u, v = scale * self.x * depth, scale * 1.8 * depth
        return u.astype(np.float32), np.broadcast_to(v, u.shape).astype(np.float32)


class CloudLayer:
    """One layer: `state` draws what frame 0 shows, `change` all that happens afterwards."""

    def __init__(
        self, kind: CloudKind, grid: Grid, state: np.random.Generator, change: np.random.Generator
    ) -> None:
        self.kind, self.grid = kind, grid
        octaves = np.arange(len(kind.weights))
        direction = state.uniform(0, np.pi)
        self.noise = EvolvingNoise(
            state, change, weights=kind.weights,
            lifetimes=kind.lifetime * change.uniform(0.7, 1.3) * 0.85**octaves,
            stretch=(kind.stretch, direction), billow=kind.billow,
        )  # fmt: skip
        self.warp = [
            EvolvingNoise(
                state, change, weights=(0.8, 1.0, 0.7),
                lifetimes=change.uniform(40, 80) * np.array([1.0, 0.8, 0.6]), size=WARP_SIZE,
            )
            for _ in range(2)
        ]  # fmt: skip
        self.start = state.uniform(0, SIZE, size=(2, 2))
        self.moved: Curve = _draw_wind(kind, change)
        self.cover: Curve = _draw_cover(kind.cover, change)
        self.places, self.coarse_places = (g.plane(kind.scale) for g in (grid, grid.coarse()))

    def branch(self, frame: float, change: np.random.Generator) -> None:
        """Draw what comes after `frame`, the last one that was drawn, from `change`."""
        for noise in (self.noise, *self.warp):
            noise.branch(change)
        self.moved = continued(self.moved, frame, _draw_wind(self.kind, change))
        cover = _draw_cover(float(self.cover(frame)), change)
        self.cover = lambda time: cover(time - frame)

    def density(self, frame: float) -> np.ndarray:
        """Return how thick the clouds are at `frame`: float32 (h, w), 0 where it is clear."""
        moved = self.moved(frame)
        u, v = (at + np.float32(m) for at, m in zip(self.places, moved, strict=True))
        for warp, start, axis in zip(self.warp, self.start, (u, v), strict=True):
            # the warp lags behind the wind, so clouds change their shape as they travel
            where = (np.float32(WARP_SIZE / SIZE) * (at + np.float32(s + 0.5 * m)) for at, s, m in
                     zip(self.coarse_places, start, moved, strict=True))  # fmt: skip
            bent = _enlarge(sample(warp.at(frame), *where), axis.shape)
            axis += np.float32(self.kind.warp) * bent
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
        cloud = column(colors.direct) * direct + column(colors.shade) * shade
        cloud += far * (column(colors.horizon) - cloud)
        sky += alpha * (cloud - sky)

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


def continued(curve: Curve, frame: float, after: Curve) -> Curve:
    """Return the curve that goes on by `after`, which starts at 0, where `curve` is at `frame`."""
    here = curve(frame)
    return lambda time: here + after(time - frame)


def _draw_cover(start: float, change: np.random.Generator) -> CubicSpline:
    """Draw the share of the plane that is cloud at each frame, from `start` on."""
    drift = np.cumsum(change.normal(0, 0.035, NUM_KNOTS))
    cover = np.clip(start + np.pad(drift, (1, 0)), 0.08, 0.98)
    return CubicSpline(KNOT_FRAMES * np.arange(len(cover)), cover)


def _draw_wind(kind: CloudKind, change: np.random.Generator) -> CubicSpline:
    """Draw how far the layer has moved at each frame, in texels (2,); zero at frame 0."""
    angle = change.uniform(0, 2 * np.pi)
    # a picture's width half way up, in texels, is the unit of speed
    speed = kind.speed * (16 / 9 * kind.scale / (0.4 + NEAR)) / 32
    # sideways as often as the eye expects: towards and away less
    mean = speed * np.array([np.cos(angle), 0.9 * np.sin(angle)])
    gusts = change.normal(0, 0.28 * speed, size=(NUM_KNOTS, 2))
    moved = np.pad(np.cumsum(KNOT_FRAMES * (mean + gusts), axis=0), ((1, 0), (0, 0)))
    return CubicSpline(KNOT_FRAMES * np.arange(len(moved)), moved)


def _enlarge(picture: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize(shape[::-1], Image.Resampling.BICUBIC))
