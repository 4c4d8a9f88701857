"""The clear sky and the light: colours by the sun's elevation, glow, disc, moon and stars.

Colours are linear radiances; `develop` turns them into picture values.
"""

from typing import Any, NamedTuple

import numpy as np

from lamd.standins.sky.look import Look

# the sun's elevation, then picture values of the zenith, the horizon, light on clouds, their shade
_COLORS = np.array([
    (-0.30, 0.10, 0.14, 0.28, 0.23, 0.28, 0.40, 0.00, 0.00, 0.00, 0.15, 0.17, 0.23),
    (-0.15, 0.13, 0.13, 0.28, 0.34, 0.25, 0.36, 0.16, 0.09, 0.14, 0.19, 0.17, 0.25),
    (-0.06, 0.17, 0.24, 0.45, 0.76, 0.46, 0.38, 0.85, 0.36, 0.30, 0.28, 0.25, 0.35),
    (0.02, 0.25, 0.37, 0.60, 0.93, 0.64, 0.42, 1.00, 0.56, 0.30, 0.38, 0.36, 0.44),
    (0.12, 0.27, 0.45, 0.72, 0.92, 0.77, 0.60, 1.00, 0.78, 0.52, 0.46, 0.46, 0.53),
    (0.30, 0.22, 0.45, 0.76, 0.80, 0.85, 0.90, 1.00, 0.95, 0.86, 0.52, 0.56, 0.63),
    (0.60, 0.16, 0.39, 0.73, 0.68, 0.81, 0.92, 1.00, 0.99, 0.96, 0.52, 0.57, 0.65),
])  # fmt: skip
MOONLIGHT = (0.50, 0.54, 0.64)


def radiance(picture: np.ndarray) -> np.ndarray:
    """Return the linear radiance that `develop` turns into `picture` values in [0, 1)."""
    return -np.log1p(-np.square(picture))


def develop(light: np.ndarray) -> np.ndarray:
    """Return picture values in [0, 1] for linear radiances, with soft highlights."""
    return np.sqrt(-np.expm1(-np.maximum(light, 0)))


def column(color: np.ndarray) -> np.ndarray:
    """Return a colour (3,) as float32 (3, 1, 1), to be mixed with pictures."""
    return color.astype(np.float32)[:, None, None]


class Palette(NamedTuple):
    """The linear colours (3,) of one moment."""

    zenith: np.ndarray
    horizon: np.ndarray
    direct: np.ndarray
    shade: np.ndarray


def palette(look: Look, elevation: float) -> Palette:
    """Return the colours at the sun's `elevation`, with the look's tint and moonlight."""
    elevations, *channels = _COLORS.T
    values = np.array([np.interp(elevation, elevations, channel) for channel in channels])
    zenith, horizon, direct, shade = radiance(0.94 * values).reshape(4, 3) * look.tint
    if look.moon:
        direct = np.maximum(direct, radiance(np.array(MOONLIGHT)))
    return Palette(zenith, horizon, direct, shade)


class Lamp(NamedTuple):
    """The sun or the moon in the picture: (x, elevation), and how strong glow and disc are."""

    spot: tuple[float, float]
    glow: float
    disc: float
    radius: float


def lamp(look: Look, frame: float) -> tuple[float, Lamp]:
    """Return the sun's elevation at `frame` and what shines there."""
    x, elevation = (a + frame * b for a, b in zip(look.sun, look.sun_step, strict=True))
    elevation = float(np.clip(elevation, -0.45, 1.1))
    if look.moon:
        spot = (look.moon[0] + 8e-4 * frame, look.moon[1])
        return elevation, Lamp(spot, 0.05, 2.0, 0.018)
    strength = float(np.interp(elevation, (-0.25, -0.05, 0.03, 0.5), (0.0, 0.25, 0.9, 0.75)))
    return elevation, Lamp((x, elevation), strength, 12.0 * (elevation > -0.04), 0.022)


class ClearSky:
    """The sky without clouds on a grid of `x` (w,) and elevations `e` (h,)."""

    def __init__(self, look: Look, x: np.ndarray, e: np.ndarray) -> None:
        self.x, self.e = x.astype(np.float32), e.astype(np.float32)[:, None]
        self.low = np.exp(-np.maximum(e, 0) / (0.16 + look.haze)).astype(np.float32)

    def at(self, colors: Palette, shining: Lamp) -> tuple[np.ndarray, np.ndarray]:
        """Return the sky (3, h, w) and the glow (h, w) around the lamp."""
        dx, de = self.x - shining.spot[0], self.e - shining.spot[1]
        distance = np.sqrt(dx * dx + de * de)
        # wide along the horizon, as haze scatters
        wide = 1 / (1 + 3 * (0.5 * dx * dx + de * de) / 0.09)
        glow = np.float32(shining.glow) * (0.3 * wide * wide + 0.6 * np.exp(-distance / 0.06))
        base = colors.zenith[:, None] + (colors.horizon - colors.zenith)[:, None] * self.low
        direct = column(colors.direct)
        disc = np.clip((shining.radius - distance) / 0.006, 0, 1)
        sky = base.astype(np.float32)[:, :, None] + direct * glow
        return sky + direct * np.float32(shining.disc) * disc, glow


class Stars:
    """Points that turn about a celestial pole out of the picture."""

    def __init__(self, look: Look, rng: np.random.Generator) -> None:
        count = look.stars * 5
        self.pole = np.array([rng.uniform(-1.2, 1.2), rng.uniform(0.6, 1.5)])
        self.radius = 2.2 * np.sqrt(rng.uniform(0, 1, count))
        self.angle = rng.uniform(0, 2 * np.pi, count)
        self.bright = 0.25 * rng.uniform(0.1, 1, count) ** -1.2
        self.step = rng.choice([-1, 1]) * rng.uniform(1.5e-3, 3e-3)

    def draw(
        self, sky: np.ndarray, x: np.ndarray, e: np.ndarray, frame: float, dark: float
    ) -> None:
        """Add the stars to `sky` (3, h, w); each one is shared out among four pixels."""
        angle = self.angle + self.step * frame
        column = (self.pole[0] + self.radius * np.cos(angle) - x[0]) / (x[1] - x[0])
        row = (self.pole[1] + self.radius * np.sin(angle) - e[0]) / (e[1] - e[0])
        height, width = sky.shape[1:]
        seen = (column >= 0) & (column < width - 1) & (row >= 0) & (row < height - 1)
        column, row, bright = column[seen], row[seen], dark * self.bright[seen]
        left, top = column.astype(int), row.astype(int)
        right, down = column - left, row - top
        for add_row, share_row in ((0, 1 - down), (1, down)):
            for add_column, share_column in ((0, 1 - right), (1, right)):
                value = (bright * share_row * share_column).astype(np.float32)
                index: Any = (slice(None), top + add_row, left + add_column)
                np.add.at(sky, index, value)
