"""Kernel video distance: the squared maximum mean discrepancy of I3D logits, without bias.

    MMD^2 = mean k(a, a') + mean k(b, b') - 2 mean k(a, b),  k(x, y) = (x y / D + 1)^3  (reported)

Unlike the Fréchet distance it has no bias at any number of clips, so it may be negative. Pairs of
one cluster, such as a real clip and its own continuation, are left out of all three means: they
share a frame, and would make the sets look closer than they are.
"""

import numpy as np

from lamd.metrics.values import Inputs, SetValue

_CHUNK = 2048  # rows of a kernel matrix at a time


def kvd(real: np.ndarray, fake: np.ndarray, inputs: Inputs) -> SetValue:
    """Return the distance of features (N, D) and (M, D) with its interval.

    ValueError when a set has fewer than two clusters.
    """
    a, b = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    clusters = inputs.clusters(len(a), len(b))
    if clusters.fewest < 2:
        raise ValueError(f"expected at least 2 independent clips, got {clusters.fewest}")
    same = clusters.b if clusters.videos is not None else np.full(len(b), -1)
    aa, _ = _mean_kernels(a, a, clusters.a, clusters.a)
    bb, _ = _mean_kernels(b, b, clusters.b, clusters.b)
    ab, ba = _mean_kernels(a, b, clusters.a, same)
    value = float(aa.mean() + bb.mean() - ab.mean() - ba.mean())
    influence = [2 * (own - other) for own, other in ((aa, ab), (bb, ba))]
    of_a, of_b = (side - side.mean() for side in influence)
    return clusters.set_value(value, of_a, of_b, seed=inputs.seed)


def _mean_kernels(
    a: np.ndarray, b: np.ndarray, clusters_a: np.ndarray, clusters_b: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean kernel of each row of `a` (N,) and of `b` (M,) with other clusters' rows."""
    rows, columns = np.zeros((2, len(a))), np.zeros((2, len(b)))  # sums and counts
    for start in range(0, len(a), _CHUNK):
        at = slice(start, start + _CHUNK)
        other = clusters_a[at, None] != clusters_b
        kernel = np.where(other, (a[at] @ b.T / a.shape[1] + 1) ** 3, 0.0)
        rows[:, at] = kernel.sum(axis=1), other.sum(axis=1)
        columns += kernel.sum(axis=0), other.sum(axis=0)
    return rows[0] / rows[1], columns[0] / columns[1]
