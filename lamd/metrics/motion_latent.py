"""What a motion latent carries: active units, content that leaked into it, and what drives D_V."""

import numpy as np

ACTIVE_VARIANCE = 0.01  # Burda et al., arXiv 1509.00519: their threshold
MIN_CLIPS = 8  # of the probe: half are scored, and the others make the folds
STRENGTHS = tuple(10.0**exponent for exponent in range(-4, 3))  # ours
_FOLDS = 4


def unit_variance(mean: np.ndarray) -> np.ndarray:
    """Return the variance over clips of the posterior mean, float64 (d, M).

    Each of a channel's M latent cells is a unit. It is active where this is above
    `ACTIVE_VARIANCE`, and so is a channel by the mean over its units.

    Args:
        mean: (N, d, ...) posterior means.
    """
    return mean.reshape(*mean.shape[:2], -1).var(axis=0, dtype=np.float64)


def probe_features(f_x0: np.ndarray) -> np.ndarray:
    """Put the mean over all cells beside each cell of f_x0: (N, C, h, w) to (N, 2 C, h * w)."""
    local = f_x0.reshape(*f_x0.shape[:2], -1)
    return np.concatenate([local, np.broadcast_to(local.mean(2, keepdims=True), local.shape)], 1)


def explained_share(features: np.ndarray, latents: np.ndarray) -> tuple[float, float]:
    """Return the share of the latents' variance that a linear probe explains, and its strength.

    One ridge regression, the same at each cell, is fitted on the first half of the clips and scored
    on the second as R^2 = 1 - squared error / squared distance from the first half's mean at that
    cell; 0 and below mean that nothing is explained. The strength, relative to the features'
    variance, has the lowest error in 4 folds of the first half; ties go to the stronger.

    Args:
        features: (N, P, M) at each of M cells, N >= 8.
        latents: (N, Q, M).

    Raises:
        ValueError: on fewer clips, or latents that are the same in each clip.
    """
    count = len(features)
    if count < MIN_CLIPS:
        raise ValueError(f"a probe needs {MIN_CLIPS} clips, got {count}")
    half = count // 2
    blocks = np.array_split(np.arange(half), _FOLDS)  # of clips in a row: one video, one block
    errors = np.zeros(len(STRENGTHS))
    for held in blocks:
        kept = np.setdiff1d(np.arange(half), held)
        errors += _squared_errors(features, latents, kept, held, STRENGTHS)[0]
    best = len(errors) - 1 - int(np.argmin(errors[::-1]))
    fitted, scored = np.arange(half), np.arange(half, count)
    (error,), distance = _squared_errors(features, latents, fitted, scored, STRENGTHS[best:][:1])
    if distance == 0:
        raise ValueError("the latents are the same in each clip")
    return 1 - error / distance, STRENGTHS[best]


def _squared_errors(
    features: np.ndarray,
    latents: np.ndarray,
    fitted: np.ndarray,
    scored: np.ndarray,
    strengths: tuple[float, ...],
) -> tuple[np.ndarray, float]:
    """Return the squared error on the clips `scored` a strength, and that of the mean alone."""
    x_mean, y_mean = (a[fitted].mean(0, dtype=np.float64) for a in (features, latents))
    products, targets = 0.0, 0.0
    for i in fitted:  # a clip at a time: all at once would not fit the memory at full scale
        x, y = features[i] - x_mean, latents[i] - y_mean
        products, targets = products + x @ x.T, targets + x @ y.T
    scale = np.sqrt(np.diag(products))
    scale[scale == 0] = 1.0  # a feature that never changes
    values, vectors = np.linalg.eigh(products / np.outer(scale, scale))
    rotated = vectors.T @ (targets / scale[:, None])
    weights = [
        (vectors @ (rotated / (np.maximum(values, 0) + strength)[:, None])) / scale[:, None]
        for strength in strengths
    ]
    errors, distance = np.zeros(len(strengths)), 0.0
    for i in scored:
        x, y = features[i] - x_mean, latents[i] - y_mean
        errors += [((y - w.T @ x) ** 2).sum() for w in weights]
        distance += float((y**2).sum())
    return errors, distance


def motion_map(clip: np.ndarray) -> np.ndarray:
    """Return how far each later frame is from the first, mean of RGB and of 3x3 pixels.

    Args:
        clip: uint8 (L, H, W, 3).

    Returns:
        float32 (L - 1, H, W) in grey levels.
    """
    from scipy.ndimage import uniform_filter

    x = clip.astype(np.float32)
    change = np.abs(x[1:] - x[:1]).mean(axis=-1)
    return uniform_filter(change, size=(1, 3, 3), mode="nearest")


def motion_correlation(clips: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the correlation over frames and pixels of two clips' `motion_map`s, 0 at rest.

    Args:
        clips, others: uint8 (N, L, H, W, 3).

    Returns:
        float64 (N,).
    """
    found = np.zeros(len(clips))
    for i, pair in enumerate(zip(clips, others, strict=True)):
        a, b = (motion_map(clip).astype(np.float64) for clip in pair)
        a, b = a - a.mean(), b - b.mean()
        norms = np.linalg.norm(a) * np.linalg.norm(b)
        if norms > 0:
            found[i] = (a * b).sum() / norms
    return found


def relative_change(clips: np.ndarray, real: np.ndarray) -> float:
    """Return the mean absolute change of clips from the real first frames over the real clips' own.

    Args:
        clips, real: uint8 (N, L, H, W, 3); frame 0 of `real` is the given one.

    Raises:
        ValueError: when the real clips stand still.
    """
    ours, theirs = (
        np.mean([
            np.abs(clip[1:].astype(np.int16) - given[:1]).mean()
            for clip, given in zip(one, real, strict=True)
        ])
        for one in (clips, real)
    )  # fmt: skip
    if theirs == 0:
        raise ValueError("the real clips stand still")
    return float(ours / theirs)
