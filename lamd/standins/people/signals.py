"""The 24 signals as paths of two hands: held poses and loops between them, from rest to rest.

A hand is (x, y, z, open, thumb): outwards from its own shoulder, upwards, towards the viewer, in
lengths of the arm; 1 an open hand, 0 a fist; 1 the thumb up, -1 down. They follow the real signals
(NATOPS) as far as two hands that are seen from the front distinguish them.
"""

from dataclasses import dataclass

import numpy as np

Hand = tuple[float, float, float, float, float]
REST: Hand = (0.13, -0.975, 0.08, 0.3, 0.0)
# shares of a clip that hands take to leave rest and to come back to it
RISE, FALL = 0.2, 0.15


@dataclass(frozen=True)
class Signal:
    """Poses of either hand that are passed `cycles` times, evenly in time."""

    right: tuple[Hand, ...]
    left: tuple[Hand, ...]
    cycles: int = 2


def _both(*poses: Hand, cycles: int = 2) -> Signal:
    return Signal(poses, poses, cycles)


_SIDE = (0.97, 0.02, 0.1, 1.0, 0.0)
_FOREARM_UP = (0.25, 0.42, 0.35, 0.0, 0.0)
_PALM = (-0.3, -0.25, 0.5, 1.0, 0.0)
_AHEAD, _BACK = (0.3, 0.0, 0.6, 1.0, 0.0), (0.12, 0.6, 0.1, 1.0, 0.0)
_LOW_IN, _LOW_OUT = (-0.32, -0.8, 0.35, 0.0, 0.0), (0.6, -0.62, 0.3, 0.0, 1.0)
_FAR_ELBOW, _LOW_SIDE = (-0.75, -0.1, 0.4, 1.0, 0.0), (0.4, -0.6, 0.3, 1.0, 0.0)
_SHOULDER_FIST, _HIGH_OPEN = (0.35, 0.1, 0.3, 0.0, 0.0), (0.55, 0.78, 0.1, 1.0, 0.0)
_CROSS, _V = (-0.52, 0.82, 0.15, 1.0, 0.0), (0.45, 0.84, 0.1, 1.0, 0.0)

# in the order of the set's numbers, 1 to 24
SIGNALS = (
    Signal(((0.1, 0.98, 0.05, 1.0, 0.0),), (_PALM,), 1),
    Signal(((0.35, 0.25, 0.5, 0.0, 1.0), (0.35, 0.6, 0.4, 0.0, 1.0)), (REST,)),
    Signal(((0.5, 0.15, 0.5, 0.0, -1.0), (0.5, -0.35, 0.5, 0.0, -1.0)), (REST,)),
    _both((-0.3, -0.2, 0.5, 0.0, 0.0), _SIDE, (0.5, -0.7, 0.2, 0.5, 0.0)),
    _both(_SIDE, (-0.55, 0.0, 0.5, 1.0, 0.0), (-0.2, -0.6, 0.4, 0.5, 0.0)),
    Signal(((-0.2, -0.3, 0.5, 0.0, 0.0), (-0.85, 0.02, 0.35, 0.0, 0.0)), (_SIDE,)),
    Signal(((-0.32, -0.8, 0.4, 0.0, 1.0), (-0.32, -0.2, 0.55, 0.0, 1.0)), (_PALM,)),
    Signal(((-0.32, 0.4, 0.5, 0.0, -1.0), (-0.32, -0.15, 0.55, 0.0, -1.0)), (_PALM,)),
    Signal((_FAR_ELBOW, _LOW_SIDE, _LOW_SIDE), (_FOREARM_UP,)),
    _both(_LOW_IN, _LOW_OUT, _LOW_OUT),
    _both(_LOW_OUT, _LOW_IN, _LOW_IN),
    _both(_AHEAD, _BACK),
    Signal((_SIDE,), (_AHEAD, _BACK)),
    Signal((_AHEAD, _BACK), (_SIDE,)),
    Signal((REST, (-0.75, 0.0, 0.45, 1.0, 0.0)), (REST, _SIDE)),
    _both((0.65, 0.12, 0.3, 1.0, 0.0), (0.6, -0.6, 0.3, 1.0, 0.0)),
    _both(_V, _CROSS, _CROSS),
    Signal(((-0.35, 0.42, 0.5, 0.3, 0.0),),
           ((0.45, -0.5, 0.4, 1.0, 0.0), (0.92, 0.1, 0.2, 1.0, 0.0))),
    Signal(((-0.15, 0.3, 0.5, 1.0, 0.0), (0.35, 0.38, 0.4, 1.0, 0.0)),
           ((0.8, -0.52, 0.1, 0.5, 0.0),), 3),
    _both(_HIGH_OPEN, _SHOULDER_FIST, cycles=1),
    _both(_SHOULDER_FIST, _HIGH_OPEN, cycles=1),
    Signal((_FOREARM_UP,), (_LOW_SIDE, _FAR_ELBOW, _FAR_ELBOW)),
    Signal(((0.05, 0.9, 0.1, 0.0, 0.0), (0.6, 0.55, 0.2, 0.0, 0.0),
            (0.6, 0.9, 0.1, 0.0, 0.0), (0.05, 0.55, 0.2, 0.0, 0.0)),
           ((0.72, -0.55, 0.2, 0.5, 0.0),)),
    Signal(((-0.7, 0.15, 0.4, 1.0, 0.0), (0.35, 0.15, 0.4, 1.0, 0.0)), (REST,)),
)  # fmt: skip


def hand_path(poses: tuple[Hand, ...], cycles: int, times: np.ndarray) -> np.ndarray:
    """Return a hand at `times` in [0, 1]: (T, 5), from rest through the poses back to rest.

    From pose to pose it eases in and out; a pose that is alone or repeated is held.
    """
    stops = np.array([REST, *poses * cycles, poses[-1], REST])
    passed = np.linspace(RISE, 1 - FALL, len(stops) - 2)
    knots = np.concatenate([[0.0], passed, [1.0]])
    k = np.searchsorted(knots, times, side="right").clip(1, len(knots) - 1)
    share = ((times - knots[k - 1]) / (knots[k] - knots[k - 1])).clip(0, 1)
    share = (share**2 * (3 - 2 * share))[:, None]
    return stops[k - 1] * (1 - share) + stops[k] * share
