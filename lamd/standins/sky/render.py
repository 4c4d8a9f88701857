"""The pictures of a short video, drawn at half their size and enlarged; its land and water."""

from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image

from lamd.standins.sky.clouds import CloudLayer, Curve, EvolvingNoise, Grid, continued, sample
from lamd.standins.sky.light import ClearSky, Palette, Stars, column, develop, lamp, palette
from lamd.standins.sky.look import Look, Ridge


class Renderer:
    """Draws one short video.

    `scenery` draws what the whole long video shares, `state` what the first frame shows, `change`
    how it goes on; frames count from the short video's first, the light from the long video's.
    """

    def __init__(
        self, look: Look, frame_size: tuple[int, int], light_start: float, *,
        scenery: np.random.Generator, state: np.random.Generator, change: np.random.Generator,
    ) -> None:  # fmt: skip
        self.look, self.frame_size, self.light_start = look, frame_size, light_start
        width, height = frame_size[0] // 2, frame_size[1] // 2
        x = (np.arange(width) + 0.5 - width / 2) / height
        e = look.horizon - (np.arange(height) + 0.5) / height
        sky_rows = int((e > 0).sum()) if look.water else height
        self.grid = Grid(x, e[:sky_rows])
        self.clear = ClearSky(look, x, self.grid.e)
        self.stars = Stars(look, scenery)
        self.land = Land(look, x, self.grid.e, scenery)
        self.layers = [CloudLayer(kind, self.grid, state, change) for kind in look.layers]
        self.water = None
        if look.water:
            self.water = Water(look, self.grid, height - sky_rows, state, change)
        self.dither = scenery.uniform(-0.5, 0.5, (height, width)).astype(np.float32) + 0.5

    def frames(self, times: Iterable[float]) -> Iterator[Image.Image]:
        """Yield the pictures at `times`, which must rise."""
        for time in times:
            picture = develop(self._light(time)) * 255 + self.dither
            image = Image.fromarray(np.moveaxis(picture, 0, -1).astype(np.uint8))
            yield image.resize(self.frame_size, Image.Resampling.BILINEAR)

    def branch(self, time: float, change: np.random.Generator) -> None:
        """Draw how it goes on after `time`, that of the last picture, from `change`."""
        for layer in self.layers:
            layer.branch(time, change)
        if self.water is not None:
            self.water.branch(time, change)

    def _light(self, time: float) -> np.ndarray:
        """Return the linear picture (3, H, w) at `time`."""
        elevation, shining = lamp(self.look, self.light_start + time)
        colors = palette(self.look, elevation)
        sky, glow = self.clear.at(colors, shining)
        dark = float(np.interp(elevation, (-0.25, -0.12), (1.0, 0.0)))
        if dark:
            self.stars.draw(sky, self.grid.x, self.grid.e, self.light_start + time, dark)
        for layer in self.layers:
            layer.paint(sky, layer.density(time), glow, colors, shining)
        self.land.paint(sky, colors)
        if self.water is None:
            return sky
        return np.concatenate([sky, self.water.mirror(sky, time, colors)], axis=1)


class Land:
    """Static ridges, far to near, that take their light from the sky."""

    def __init__(self, look: Look, x: np.ndarray, e: np.ndarray, rng: np.random.Generator) -> None:
        tile = EvolvingNoise(rng, rng, weights=[1.0] * 6, lifetimes=[np.inf] * 6).at(0)
        tops = [_profile(ridge, x, rng) for ridge in look.ridges]
        self.layers = []
        for ridge, top in zip(look.ridges, tops, strict=True):
            below = top - e[:, None]
            mask = np.clip(below / (e[0] - e[1]) + 0.5, 0, 1).astype(np.float32)
            across = np.broadcast_to(x * 160, mask.shape).astype(np.float32)
            grain = sample(tile, across, (below * 500).astype(np.float32))
            self.layers.append((ridge, mask, (1 + 0.12 * grain).astype(np.float32)))

    def paint(self, picture: np.ndarray, colors: Palette) -> None:
        """Lay the ridges over `picture` (3, h, w), which is changed."""
        light = 0.7 * colors.shade + 0.15 * colors.direct + 0.4 * colors.zenith
        for ridge, mask, grain in self.layers:
            color = column(np.array(ridge.color) * light * (1 - ridge.haze)) * grain
            color += column(ridge.haze * 0.45 * colors.horizon)
            picture += mask * (color - picture)


def _profile(ridge: Ridge, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a ridge's upper edge: elevations (w,)."""
    edge = np.zeros_like(x)
    for octave in range(7):
        knots = np.arange(-2, 2.01, 0.5**octave)
        edge += ridge.rough**octave * np.interp(x, knots, rng.uniform(-1, 1, len(knots)))
    edge = ridge.height * (1 + 0.6 * edge)
    if ridge.trees:
        # conifers: narrow triangles of all sizes
        count = int(220 * ridge.trees)
        middles = np.sort(rng.uniform(-1, 1, count))
        heights = ridge.trees * rng.uniform(0.015, 0.075, count)
        edge += np.maximum(heights - np.abs(x[:, None] - middles) * 5.5, 0).max(axis=1)
    return np.maximum(edge, 0.004)


class Water:
    """A surface that mirrors the rows above the horizon, with ripples that run towards the eye."""

    def __init__(
        self, look: Look, grid: Grid, rows: int, state: np.random.Generator,
        change: np.random.Generator,
    ) -> None:  # fmt: skip
        pixel = grid.e[0] - grid.e[1]
        below = (np.arange(rows) + 0.5)[:, None] * pixel
        depth = 1 / (below + 0.035)
        self.u = (9 * depth * grid.x).astype(np.float32)
        self.v = np.broadcast_to(11 * depth, self.u.shape).astype(np.float32)
        self.rise = (below / pixel).astype(np.float32)
        self.swell = look.water, (len(grid.e) * (0.015 + 0.45 * below)).astype(np.float32)
        self.ripples = EvolvingNoise(
            state, change, weights=(0.6, 0.9, 1.0, 0.8, 0.5),
            lifetimes=(40, 32, 25, 19, 14), stretch=(3.0, 0.0),
        )  # fmt: skip
        self.moved = _draw_stream(change)
        self.clear = np.clip(0.92 - 0.9 * below, 0.5, 1).astype(np.float32)

    def branch(self, frame: float, change: np.random.Generator) -> None:
        """Draw what comes after `frame`, the last one that was drawn, from `change`."""
        self.ripples.branch(change)
        self.moved = continued(self.moved, frame, _draw_stream(change))

    def mirror(self, sky: np.ndarray, frame: float, colors: Palette) -> np.ndarray:
        """Return the picture (3, rows, w) of the water below `sky` (3, h, w)."""
        _, height, width = sky.shape
        across, along = self.moved(frame).astype(np.float32)
        u, v = self.u + across, self.v + along
        ripple = sample(self.ripples.at(frame), u, v)
        row = height - 1 - self.rise * 1.1 - self.swell[0] * self.swell[1] * ripple
        row = np.clip(row, 0, height - 1.001)
        upper = row.astype(np.int32)
        index = upper * width + np.arange(width)
        above, under = (sky.reshape(3, -1).take(index + step, axis=1) for step in (0, width))
        deep = column(0.25 * colors.zenith)
        seen = above + (row - upper) * (under - above)
        return (deep + self.clear * (seen - deep)).astype(np.float32)


def _draw_stream(change: np.random.Generator) -> Curve:
    """Draw how far the ripples have moved at each frame, in texels (2,); zero at frame 0."""
    step = change.normal(0, [0.8, 0.5])
    return lambda frame: step * frame
