"""Contents of a motion latent: active units, leaked content, and its effect on D_V."""

import numpy as np

ACTIVE_VARIANCE = 0.01  # Burda et al., arXiv 1509.00519: their threshold
MIN_CLIPS = 8  # of the probe: half are scored, and the others make the folds
STRENGTHS = tuple(10.0**exponent for exponent in range(-4, 3))
_FOLDS = 4


def posterior_mean_variance(mean: np.ndarray) -> np.ndarray:
    """Return the variance over clips of posterior means (N, d, ...), float64 (d, M).

    Each of a channel's M latent positions is a unit. It is active where this is above
    `ACTIVE_VARIANCE`, and so is a channel by the mean over its units.
    """
    return mean.reshape(*mean.shape[:2], -1).var(axis=0, dtype=np.float64)


def probe_features(f_x0: np.ndarray) -> np.ndarray:
    """Append the mean over positions to each position of f_x0: (N, C, h, w) to (N, 2 C, h * w)."""
    local = f_x0.reshape(*f_x0.shape[:2], -1)
    return np.concatenate([local, np.broadcast_to(local.mean(2, keepdims=True), local.shape)], 1)


def linear_probe_r2(features: np.ndarray, latents: np.ndarray) -> tuple[float, float]:
    """Return the share of the latents' variance that a linear probe explains, and its strength.

    One ridge regression, the same at each position, is fitted on the first half of the clips and
    scored on the second as R^2 = 1 - squared error / squared distance from the first half's mean at
    that position; 0 and below mean that nothing is explained. The strength, relative to the
    features' variance, has the lowest error in 4 folds of the first half; ties go to the stronger.
    `features` are (N, P, M) at M positions, N >= 8, `latents` (N, Q, M). ValueError on fewer clips,
    or latents that are the same in each clip.
    """
    count = len(features)
    if count < MIN_CLIPS:
        raise ValueError(f"a probe needs {MIN_CLIPS} clips, got {count}")
    fitted, scored = np.arange(count // 2), np.arange(count // 2, count)
    errors = np.zeros(len(STRENGTHS))
    for held in np.array_split(fitted, _FOLDS):  # clips in a row: one video, one block
        kept = np.setdiff1d(fitted, held)
        errors += _squared_errors(features, latents, kept, held)[0]
    best = len(errors) - 1 - int(np.argmin(errors[::-1]))
    scores, distance = _squared_errors(features, latents, fitted, scored)
    if distance == 0:
        raise ValueError("the latents are the same in each clip")
    return 1 - scores[best] / distance, STRENGTHS[best]


def _squared_errors(
    features: np.ndarray, latents: np.ndarray, fitted: np.ndarray, scored: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the squared error on the clips `scored` by strength, and that of the mean alone."""
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
        for strength in STRENGTHS
    ]
    errors, distance = np.zeros(len(STRENGTHS)), 0.0
    for i in scored:
        x, y = features[i] - x_mean, latents[i] - y_mean
        errors += [((y - w.T @ x) ** 2).sum() for w in weights]
        distance += float((y**2).sum())
    return errors, distance


def motion_map(clip: np.ndarray) -> np.ndarray:
    """Return |x_l - x_0| of uint8 (L, H, W, 3), mean over RGB and 3x3 pixels, (L - 1, H, W)."""
    from scipy.ndimage import uniform_filter

    x = clip.astype(np.float32)
    change = np.abs(x[1:] - x[:1]).mean(axis=-1)
    return uniform_filter(change, size=(1, 3, 3), mode="nearest")


def motion_correlation(clips: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the correlation of the `motion_map`s of uint8 (N, L, H, W, 3), 0 at rest, as (N,)."""
    correlations = np.zeros(len(clips))
    for i, pair in enumerate(zip(clips, others, strict=True)):
        a, b = (motion_map(clip).astype(np.float64) for clip in pair)
        a, b = a - a.mean(), b - b.mean()
        norms = np.linalg.norm(a) * np.linalg.norm(b)
        if norms > 0:
            correlations[i] = (a * b).sum() / norms
    return correlations


def relative_change(clips: np.ndarray, real: np.ndarray) -> float:
    """Return the mean absolute change of clips from the real first frames over the real clips' own.

    Both are uint8 (N, L, H, W, 3) and start at frame 0 of `real`; ValueError if `real` is still.
    """

    def change(videos: np.ndarray) -> np.floating:
        pairs = zip(videos, real, strict=True)
        return np.mean([np.abs(a[1:].astype(np.int16) - b[:1]).mean() for a, b in pairs])

    changes, real_changes = change(clips), change(real)
    if real_changes == 0:
        raise ValueError("the real clips do not move")
    return float(changes / real_changes)
