"""Periodic fractal noise that changes in time by its own random process."""

from collections.abc import Iterator

import numpy as np
from scipy import fft

SIZE = 256
Octave = tuple[np.ndarray, np.ndarray]  # bins of the half spectrum that matter, their gain
# an octave turns by a few degrees in so many frames: a straight line between is exact enough
KNOT_FRAMES = 4
QUARTER_TURN = np.pi / 2
# mean of |x| for unit-variance Gaussian x, and what brings |x| - mean back to unit variance
_MEAN = np.float32(np.sqrt(2 / np.pi))
_FOLD = np.float32(1 / np.sqrt(1 - 2 / np.pi))


class EvolvingNoise:
    """Octaves of Gaussian noise on a periodic tile, each one turning into fresh noise.

    An octave is `cos(a) now + sin(a) next` with two independent fields, so its statistics never
    change. The fields of frame 0 come from `state`, all later ones from `change`.
    """

    def __init__(
        self, state: np.random.Generator, change: np.random.Generator, *, weights: np.ndarray,
        lifetimes: np.ndarray, stretch: tuple[float, float] = (1.0, 0.0), billow: float = 0.0,
        size: int = SIZE,
    ) -> None:  # fmt: skip
        """Set up octaves of 2, 4, 8, ... cycles on a tile of `size` (a power of two) texels.

        Args:
            weights: amplitude of each octave.
            lifetimes: frames until an octave has become fresh noise.
            stretch: how much longer than wide the features are, and their direction in radians.
            billow: 0 keeps the noise Gaussian, 1 folds each octave into round puffs.
        """
        self.weights, self.lifetimes, self.billow = weights, lifetimes, billow
        self._change = change
        self._size, self._octaves = size, list(_octaves(size, len(weights), stretch))
        self._now = [self._draw(octave, state) for octave in self._octaves]
        self._next = [self._draw(octave, change) for octave in self._octaves]
        self._turned = [0] * len(weights)
        self._knot, self._ends = 0, (self._mix(0), self._mix(KNOT_FRAMES))

    def at(self, frame: float) -> np.ndarray:
        """Return the tile at `frame`, float32 of about unit variance; frames must not go back."""
        knot, part = divmod(frame, KNOT_FRAMES)
        while self._knot < knot:
            self._knot += 1
            self._ends = (self._ends[1], self._mix((self._knot + 1) * KNOT_FRAMES))
        before, after = self._ends
        tile = np.float32(part / KNOT_FRAMES) * after
        tile += np.float32(1 - part / KNOT_FRAMES) * before
        return tile

    def _mix(self, frame: float) -> np.ndarray:
        total = np.zeros_like(self._now[0])
        weights = (self.weights / np.sqrt((self.weights**2).sum())).astype(np.float32)
        for k, weight in enumerate(weights):
            octave = self._octave(k, frame / self.lifetimes[k])
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
        angle = (turns - self._turned[k]) * QUARTER_TURN
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
    along = (
        np.float32(np.cos(angle) * np.sqrt(ratio)) * x
        + np.float32(np.sin(angle) * np.sqrt(ratio)) * y
    )
    across = (np.cos(angle) * y - np.sin(angle) * x) / np.sqrt(ratio)
    height = np.log2(np.maximum(along**2 + across**2, 1e-6)).ravel() / 2
    # every column but the first and last stands for two frequencies
    twice = np.broadcast_to(np.where((x == 0) | (x == size // 2), 1.0, 2.0), (size, len(x))).ravel()
    for k in range(count):
        bins = np.flatnonzero(np.abs(height - (k + 1)) < 1.5)
        gain = np.exp(-2 * (height[bins] - (k + 1)) ** 2)
        power = 2 * (twice[bins] * gain**2).sum()
        yield bins, (gain / np.sqrt(power)).astype(np.float32)
