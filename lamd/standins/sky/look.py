"""Look that the short videos of a long video share: time of day, light, land, water, clouds.

Lengths are in heights of the picture, with `x` from its middle to the right, `y` from its top
down, elevations up from the horizon. Times are in frames.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class CloudKind:
    """One layer of clouds: its noise, how it is cut into clouds, and how they look.

    `cover` is the share of the plane that is cloud, `soft` the noise's rise from clear to thick,
    `opacity` that of thick cloud, `density` how fast light fades in it, `scale` the tile's texels
    in one length, `speed` the wind in picture widths in 32 frames half way up, `warp` in texels.
    """

    cover: float
    soft: float
    opacity: float
    density: float
    scale: float
    speed: float
    warp: float
    lifetime: float
    stretch: float
    billow: float
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Ridge:
    """A silhouette: mean height above the horizon, its roughness, share of trees, and haze."""

    height: float
    rough: float
    trees: float
    haze: float
    color: tuple[float, float, float]


# name: (cover, soft, opacity, density, scale, speed, warp, lifetime, stretch, billow, weights)
_KINDS = {
    "cumulus": (
        (0.25, 0.55), (0.45, 0.8), (0.97, 1.0), (0.7, 1.3), (24, 35), (0.10, 0.22), (1.2, 2.5),
        (300, 600), (1.0, 1.5), (0.5, 0.9), (1.0, 1.0, 0.75, 0.5, 0.34),
    ),
    "stratocumulus": (
        (0.55, 0.85), (0.9, 1.4), (0.95, 1.0), (0.7, 1.2), (26, 38), (0.10, 0.22), (1.2, 2.5),
        (300, 600), (1.3, 2.6), (0.2, 0.7), (0.8, 1.0, 0.9, 0.55, 0.3),
    ),
    "altocumulus": (
        (0.35, 0.65), (0.9, 1.4), (0.7, 0.95), (0.4, 0.8), (26, 35), (0.06, 0.14), (1, 2),
        (250, 500), (1.2, 2.2), (0.3, 0.8), (0.7, 0.8, 0.7, 0.9, 0.7),
    ),
    "cirrus": (
        (0.35, 0.65), (1.8, 2.8), (0.5, 0.8), (0.1, 0.25), (22, 32), (0.05, 0.12), (1, 2.5),
        (300, 600), (4.0, 9.0), (0.0, 0.1), (0.9, 0.9, 0.8, 0.6, 0.45),
    ),
    "storm": (
        (0.85, 0.97), (1.7, 2.4), (0.97, 1.0), (0.9, 1.5), (22, 30), (0.10, 0.22), (1.5, 3),
        (300, 600), (1.3, 2.4), (0.4, 0.8), (1.0, 0.9, 0.7, 0.45, 0.26),
    ),
}  # fmt: skip

# range of the sun's elevation, and its greatest rise per frame
_HOURS = {
    "day": ((0.3, 1.0), 4e-4),
    "low": ((0.02, 0.3), 9e-4),
    "dusk": ((-0.16, 0.03), 8e-4),
    "night": ((-0.4, -0.2), 2e-4),
}

# from the highest layer to the lowest, with how often
_SKIES = (
    (("cirrus", "cumulus"), 0.28),
    (("cumulus",), 0.14),
    (("altocumulus", "cumulus"), 0.12),
    (("cirrus", "altocumulus"), 0.10),
    (("altocumulus",), 0.06),
    (("cirrus", "stratocumulus"), 0.14),
    (("stratocumulus", "cumulus"), 0.08),
    (("storm", "cumulus"), 0.08),
)


class Look:
    """Everything that one long video fixes, drawn at random.

    `sun` and `moon` are (x, elevation) at frame 0 and `sun_step` its change per frame; the sky's
    colours follow the sun's elevation, above or below the horizon, even out of the picture.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        hour = rng.choice([*_HOURS], p=[0.42, 0.28, 0.15, 0.15])
        elevations, rise = _HOURS[hour]
        self.water = float(rng.uniform(0.7, 1.0)) if rng.uniform() < 0.28 else 0.0
        self.horizon = rng.uniform(0.58, 0.72) if self.water else rng.uniform(0.84, 1.0)
        self.sun = rng.uniform(-0.8, 0.8), rng.uniform(*elevations)
        self.sun_step = rng.uniform(-1, 1) * 1.5e-3, rng.uniform(-1, 1) * rise
        moon = rng.uniform(-0.8, 0.8), rng.uniform(0.25, 0.75)
        warm = rng.uniform(-0.06, 0.06)
        self.moon = moon if hour == "night" and rng.uniform() < 0.6 else None
        self.tint = (1 + warm, 1 + rng.uniform(-0.03, 0.03), 1 - warm)
        self.haze = rng.uniform(0.05, 0.22)
        self.stars = int(rng.integers(120, 320))
        self.layers = _draw_layers(rng)
        self.ridges = _draw_ridges(rng, bool(self.water))


def _draw_layers(rng: np.random.Generator) -> list[CloudKind]:
    skies, chances = zip(*_SKIES, strict=True)
    layers = []
    for kind in skies[rng.choice(len(skies), p=chances)]:
        *ranges, weights = _KINDS[kind]
        values: list[Any] = [*(rng.uniform(*r) for r in ranges), weights]
        layers.append(CloudKind(*values))
    return layers


def _draw_ridges(rng: np.random.Generator, water: bool) -> list[Ridge]:
    """Draw one to three ridges from far to near; before water only distant ones."""
    count = int(rng.integers(1, 3 if water else 4))
    top = rng.uniform(0.03, 0.09) if water else rng.uniform(0.06, 0.2)
    ridges = []
    for k in range(count):
        near = 1.0 if count == 1 and not water else (k + 0.3) / count * (0.5 if water else 1.0)
        green, rough = rng.uniform(0.0, 1.0), rng.uniform(0.25, 0.8)
        trees = rng.uniform(0.3, 1.0) if k == count - 1 and rng.random() < 0.5 else 0.0
        color = (0.05 + 0.03 * (1 - green), 0.055 + 0.02 * green, 0.045 + 0.02 * (1 - green))
        haze = (0.3 if water else 0.55) * (1 - near)
        ridges.append(Ridge(top * (1 - 0.7 * k / count), rough, trees, haze, color))
    return ridges
