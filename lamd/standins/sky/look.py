"""What the short videos of one long video share: time of day, light, land, water, kinds of cloud.

Lengths are in heights of the picture, with `x` from its middle to the right, `y` from its top
down, elevations up from the horizon. Times are in frames.
"""

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Look:
    """Everything that one long video fixes.

    `sun` and `moon` are (x, elevation) at frame 0 and `*_step` their change a frame; the sky's
    colours follow the sun's elevation, above or below the horizon, even out of the picture.
    """

    horizon: float
    sun: tuple[float, float]
    sun_step: tuple[float, float]
    moon: tuple[float, float] | None
    tint: tuple[float, float, float]
    haze: float
    stars: int
    layers: tuple[CloudKind, ...]
    ridges: tuple[Ridge, ...]
    water: float


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


def draw_look(rng: np.random.Generator) -> Look:
    """Draw a long video's look."""
    hour = rng.choice(["day", "low", "dusk", "night"], p=[0.42, 0.28, 0.15, 0.15])
    water = float(rng.uniform(0.7, 1.0)) if rng.uniform() < 0.28 else 0.0
    horizon = rng.uniform(0.58, 0.72) if water else rng.uniform(0.84, 1.0)
    sun, step = _draw_sun(rng, hour)
    moon = (float(rng.uniform(-0.8, 0.8)), float(rng.uniform(0.25, 0.75)))
    warm = rng.uniform(-0.06, 0.06)
    return Look(
        horizon=float(horizon),
        sun=sun,
        sun_step=step,
        moon=moon if hour == "night" and rng.uniform() < 0.6 else None,
        tint=(1 + warm, 1 + float(rng.uniform(-0.03, 0.03)), 1 - warm),
        haze=float(rng.uniform(0.05, 0.22)),
        stars=int(rng.integers(120, 320)),
        layers=_draw_layers(rng),
        ridges=_draw_ridges(rng, bool(water)),
        water=water,
    )


def _draw_sun(
    rng: np.random.Generator, hour: str
) -> tuple[tuple[float, float], tuple[float, float]]:
    elevation = {
        "day": (0.3, 1.0),
        "low": (0.02, 0.3),
        "dusk": (-0.16, 0.03),
        "night": (-0.4, -0.2),
    }
    rise = {"day": 4e-4, "low": 9e-4, "dusk": 8e-4, "night": 2e-4}[hour]
    start = (float(rng.uniform(-0.8, 0.8)), float(rng.uniform(*elevation[hour])))
    return start, (float(rng.uniform(-1, 1) * 1.5e-3), float(rng.uniform(-1, 1) * rise))


def _draw_layers(rng: np.random.Generator) -> tuple[CloudKind, ...]:
    skies, chances = zip(*_SKIES, strict=True)
    kinds = skies[rng.choice(len(skies), p=chances)]
    return tuple(
        CloudKind(*(float(rng.uniform(*r)) for r in _KINDS[kind][:-1]), _KINDS[kind][-1])
        for kind in kinds
    )


def _draw_ridges(rng: np.random.Generator, water: bool) -> tuple[Ridge, ...]:
    """Draw one to three ridges from far to near; before water only distant ones."""
    count = int(rng.integers(1, 3 if water else 4))
    top = rng.uniform(0.03, 0.09) if water else rng.uniform(0.06, 0.2)
    ridges = []
    for k in range(count):
        near = 1.0 if count == 1 and not water else (k + 0.3) / count * (0.5 if water else 1.0)
        green = rng.uniform(0.0, 1.0)
        ridges.append(
            Ridge(
                height=float(top * (1 - 0.7 * k / count)),
                rough=float(rng.uniform(0.25, 0.8)),
                trees=float(rng.uniform(0.3, 1.0))
                if k == count - 1 and rng.random() < 0.5
                else 0.0,
                haze=float((0.3 if water else 0.55) * (1 - near)),
                color=(0.05 + 0.03 * (1 - green), 0.055 + 0.02 * green, 0.045 + 0.02 * (1 - green)),
            )
        )
    return tuple(ridges)
