"""The pictures of a short video, drawn at half their size and enlarged."""

from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image

from lamd.standins.sky.clouds import CloudLayer, Grid
from lamd.standins.sky.land import Land, Water
from lamd.standins.sky.light import ClearSky, Stars, develop, lamp, palette
from lamd.standins.sky.look import Look


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
        self.height = height
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
        picture = np.empty((3, self.height, sky.shape[2]), np.float32)
        picture[:, : len(self.grid.e)] = sky
        self.water.paint(picture, time, colors)
        return picture
