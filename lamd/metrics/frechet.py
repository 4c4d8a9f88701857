"""Fréchet distance between Gaussians fitted to two feature sets, in float64.

    d^2 = |mu_a - mu_b|^2 + tr C_a + tr C_b - 2 tr (C_a C_b)^(1/2)

With centred data matrices A (N, D) and B (M, D), C_a = A^T A / (N - 1), the last trace is the sum
of the singular values of A B^T / sqrt((N - 1)(M - 1)). That is exact at any N, also where N < D
leaves the covariances singular, and needs neither a matrix square root nor a regulariser.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from lamd.base import rng
from lamd.base.errors import LamdError
from lamd.metrics.values import Clusters, Inputs, SetValue

# Sizes of the extrapolation as 1/fraction: evenly spaced on the axis of the fit, halves the least.
_INVERSE_FRACTIONS = np.linspace(1.0, 2.0, 6)
_REPEATS = 24
_FID_REPEATS = 8  # one takes seconds, with thousands of frames of 2,048 features
_MIN_EXTRAPOLATE = 16  # videos, or conditions
_MIN_CLASS = 8  # clips of the smallest class, for an interval


def fvd(real: np.ndarray, fake: np.ndarray, inputs: Inputs) -> SetValue:
    """Return the distance of I3D features (N, D) and (M, D), with interval and extrapolation."""
    return _measure(real, fake, inputs.clusters(len(real), len(fake)), inputs, _REPEATS)


def fid(real: np.ndarray, fake: np.ndarray, inputs: Inputs) -> SetValue:
    """Return the distance of the frames' features (N, L, D) and (M, L, D), as `fvd`."""
    if not real.ndim == fake.ndim == 3 or real.shape[1:] != fake.shape[1:]:
        raise ValueError(f"expected (N, L, D) and (M, L, D), got {real.shape}, {fake.shape}")
    length, width = real.shape[1:]
    clusters = inputs.clusters(len(real), len(fake), rows_per_clip=length)
    a, b = real.reshape(-1, width), fake.reshape(-1, width)
    return _measure(a, b, clusters, inputs, _FID_REPEATS)


def _measure(
    a: np.ndarray, b: np.ndarray, clusters: Clusters, inputs: Inputs, repeats: int
) -> SetValue:
    few = min(clusters.fewest, len(a), len(b)) <= a.shape[1]
    words = f"biased upwards: no more independent clips than the {a.shape[1]} features"
    effect, limit = influence(a, b), None
    if clusters.fewest >= _MIN_EXTRAPOLATE and not few:
        generator = rng.numpy_generator("frechet-extrapolate", inputs.seed)
        limit = _extrapolate(a, b, effect, clusters, generator, repeats)
    return clusters.set_value(
        *effect, at_least=0.0, extrapolated=limit, note=words * few, seed=inputs.seed
    )


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the squared Fréchet distance of feature sets `a` (N, D) and `b` (M, D).

    Raises:
        ValueError: on other shapes, fewer than 2 rows, or a value that is not finite.
    """
    return _distance(*_checked(a, b))


def influence(a: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the distance and how far each row of `a` (N,) and of `b` (M,) moves it.

    This is the derivative of the distance by the weight of a row, times the number of rows: its
    mean over a set is 0, and its spread gives the sampling noise of the distance to first order
    (infinitesimal jackknife; Jaeckel 1972, Efron 1982). With K = A B^T / sqrt((N - 1)(M - 1)) =
    U S V^T, row i has the share (U S U^T)_ii in the last trace.

    Raises:
        ValueError: as `frechet_distance`.
    """
    a, b = _checked(a, b)
    shift = a.mean(axis=0) - b.mean(axis=0)
    (basis_a, root_a), (basis_b, root_b) = (_basis_and_root(rows) for rows in (a, b))
    left, overlap, right = np.linalg.svd(root_a @ root_b.T, full_matrices=False)
    effects = []
    for rows, basis, vectors, sign in ((a, basis_a, left, 2), (b, basis_b, right.T, -2)):
        centred, n = rows - rows.mean(axis=0), len(rows)
        shares = n * ((vectors if basis is None else basis @ vectors) ** 2 @ overlap)
        energy = n / (n - 1) * (centred**2).sum(axis=1)
        effects.append(sign * centred @ shift + energy - energy.mean() - shares + shares.mean())
    return _distance(a, b), effects[0], effects[1]


def _extrapolate(
    a: np.ndarray,
    b: np.ndarray,
    effect: tuple[float, np.ndarray, np.ndarray],
    clusters: Clusters,
    generator: np.random.Generator,
    repeats: int,
) -> float:
    """Return the distance extrapolated to infinitely many clips.

    As FID_inf (Chong & Forsyth 2020), with both sets thinned by the same fraction, one half to
    one, but by a parabola in 1/N: with no more clips than features the bias saturates, and a line
    keeps more than half of it. Where clips are paired, both sets keep the same ones; otherwise the
    frame that they share would count as a difference. What the choice of clips moves to first order
    is taken off each draw. Where the distance is near 0 the result may be slightly negative.

    Args:
        effect: of `influence`.
    """
    value, of_a, of_b = effect
    means = [value]
    for inverse in _INVERSE_FRACTIONS[1:]:
        draws = []
        for _ in range(repeats):
            in_a, in_b = clusters.thinned(1 / inverse, generator)
            chosen = of_a[in_a].mean() + of_b[in_b].mean()
            draws.append(_distance(a[in_a], b[in_b]) - chosen)
        means.append(float(np.mean(draws)))
    return float(np.polynomial.Polynomial.fit(_INVERSE_FRACTIONS, means, 2)(0.0))


def _checked(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    for name, rows in (("a", a), ("b", b)):
        if rows.ndim != 2 or len(rows) < 2:
            raise ValueError(f"{name}: expected at least 2 rows of features, got {rows.shape}")
        if not np.isfinite(rows).all():
            raise ValueError(f"{name}: features are not finite")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"feature widths differ: {a.shape[1]} and {b.shape[1]}")
    return a, b


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    roots = [_basis_and_root(rows)[1] for rows in (a, b)]
    overlap = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    shift = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    # Rounding can leave the difference of traces a hair below zero.
    return float(max(shift + sum((root**2).sum() for root in roots) - 2 * overlap, 0.0))


def _basis_and_root(rows: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """Return Q and R of the centred rows over sqrt(N - 1); no Q where they have N <= D rows."""
    root = (rows - rows.mean(axis=0)) / np.sqrt(len(rows) - 1)
    if len(rows) <= rows.shape[1]:
        return None, root
    basis, root = np.linalg.qr(root)
    return basis, root


def _rows_by_class(
    real: np.ndarray, real_classes: Sequence[str], fake: np.ndarray, fake_classes: Sequence[str]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the masks (N,) and (M,) of each class."""
    for rows, classes in ((real, real_classes), (fake, fake_classes)):
        if len(rows) != len(classes):
            raise ValueError(f"{len(rows)} rows of features, but {len(classes)} classes")
    masks = {}
    for name in sorted({*real_classes, *fake_classes}):
        a, b = (np.asarray(classes) == name for classes in (real_classes, fake_classes))
        if min(a.sum(), b.sum()) < 2:
            raise LamdError(
                f"class {name!r}: {a.sum()} real and {b.sum()} generated clips, 2 needed; give "
                "more test clips"
            )
        masks[name] = a, b
    return masks


Summary = Callable[[np.ndarray], tuple[float, np.ndarray]]


def _mean(distances: np.ndarray) -> tuple[float, np.ndarray]:
    return float(distances.mean()), np.full(len(distances), 1 / len(distances))


def _spread(distances: np.ndarray) -> tuple[float, np.ndarray]:
    value = distances.std()
    slopes = (distances - distances.mean()) / (len(distances) * max(value, 1e-300))
    return float(value), slopes


def _over_classes(summary: Summary, real: np.ndarray, fake: np.ndarray, inputs: Inputs) -> SetValue:
    """Summarise the distances of all classes.

    With fewer clips than features each distance is biased upwards, so values compare at equal
    numbers of clips per class only.

    Args:
        summary: returns the value and its derivative by each class's distance.

    Raises:
        LamdError: when a class has fewer than 2 clips in one of the sets.
    """
    if inputs.classes is None:
        raise ValueError("distances by class need the classes of the clips, got none")
    real_classes, fake_classes = inputs.classes
    rows = _rows_by_class(real, real_classes, fake, fake_classes)
    effects = [(a, b, influence(real[a], fake[b])) for a, b in rows.values()]
    value, slopes = summary(np.array([distance for *_, (distance, *_) in effects]))
    of_real, of_fake = np.zeros(len(real)), np.zeros(len(fake))
    for slope, (a, b, (_, effect_a, effect_b)) in zip(slopes, effects, strict=True):
        # A row weighs more in its class than in the whole set.
        of_real[a] = slope * len(real) / a.sum() * effect_a
        of_fake[b] = slope * len(fake) / b.sum() * effect_b
    least = min(min(Counter(classes).values()) for classes in inputs.classes)
    few = f", the smallest of {least} clips: biased upwards" if least <= real.shape[1] else ""
    note = f"{len(rows)} classes{few}"
    if least < _MIN_CLASS:
        return SetValue(value, note=note)
    clusters = inputs.clusters(len(real), len(fake))
    return clusters.set_value(value, of_real, of_fake, at_least=0.0, note=note, seed=inputs.seed)


cfvd = partial(_over_classes, _mean)
cfvd_spread = partial(_over_classes, _spread)
