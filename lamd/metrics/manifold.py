"""Precision, recall, density and coverage: how far two feature sets overlap.

A ball around each clip reaches to its k-th nearest neighbour in its own set.

    precision   share of generated clips in a ball of the real ones (Kynkäänniemi et al. 2019)
    recall      share of real clips in a ball of the generated ones
    density     balls of real clips around a generated one, over k (Naeem et al. 2020)
    coverage    share of real clips with a generated one in their ball

Each returns one value per clip that it counts; the interval of their mean is given the other set.
"""

from collections.abc import Iterator

import numpy as np
from scipy.spatial.distance import cdist

from lamd.base.errors import LamdError
from lamd.metrics.values import Inputs

_CHUNK = 2048  # rows of a distance matrix at a time


def precision(real: np.ndarray, fake: np.ndarray, inputs: Inputs) -> np.ndarray:
    """Return 1 or 0 for each generated clip (M,), by features (N, D) and (M, D)."""
    radii = _radii(real, 3)
    return np.concatenate([(part <= radii).any(axis=1) for part in _distances(fake, real)])


def recall(real: np.ndarray, fake: np.ndarray, inputs: Inputs) -> np.ndarray:
    """Return 1 or 0 for each real clip (N,), by features (N, D) and (M, D)."""
    return precision(fake, real, inputs)


def density(real: np.ndarray, fake: np.ndarray, inputs: Inputs) -> np.ndarray:
    """Return the number of balls around each generated clip over k (M,), as `precision`."""
    radii = _radii(real, 5)
    return np.concatenate([(part <= radii).sum(axis=1) / 5 for part in _distances(fake, real)])


def coverage(real: np.ndarray, fake: np.ndarray, inputs: Inputs) -> np.ndarray:
    """Return 1 or 0 for each real clip (N,), by features (N, D) and (M, D)."""
    nearest = np.concatenate([part.min(axis=1) for part in _distances(real, fake)])
    return nearest <= _radii(real, 5)


def _radii(rows: np.ndarray, k: int) -> np.ndarray:
    if len(rows) <= k:
        raise LamdError(f"{len(rows)} clips, {k + 1} needed for {k} neighbours; give more")
    # A row is its own nearest neighbour.
    return np.concatenate([np.partition(part, k, axis=1)[:, k] for part in _distances(rows, rows)])


def _distances(a: np.ndarray, b: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the distances (n, M) of `a` (N, D) to `b` (M, D), some rows at a time."""
    for start in range(0, len(a), _CHUNK):
        yield cdist(a[start : start + _CHUNK], b)
