"""Diversity: how much the samples of one condition differ from each other."""

from itertools import combinations

import numpy as np

from lamd.metrics.frames import lpips_distance


def diversity(
    samples: np.ndarray,
    *,
    device: str = "cpu",
    batch_size: int = 32,
    progress: str | None = None,
) -> np.ndarray:
    """Return, for each condition, the mean LPIPS-alex over all pairs of its samples.

    Args:
        samples: uint8 (N, S, L, H, W, 3), S >= 2 samples for each of N conditions.
        batch_size: frames at a time.
        progress: label of a progress bar on stderr; no bar without it.

    Returns:
        float64 (N,), at least 0; higher is more diverse.

    Raises:
        LamdError: when weights cannot be fetched, or do not have their pinned hash.
        ValueError: on another dtype or layout, or under 2 samples.
    """
    if samples.ndim != 6 or samples.shape[1] < 2:
        raise ValueError(f"expected uint8 (N, S, L, H, W, 3) with S >= 2, got {samples.shape}")
    pairs = list(combinations(range(samples.shape[1]), 2))
    i, j = np.array(pairs).T
    a, b = (samples[:, k].reshape(-1, *samples.shape[2:]) for k in (i, j))
    values = lpips_distance(a, b, "alex", device=device, batch_size=batch_size, progress=progress)
    return values.reshape(len(samples), len(pairs)).mean(axis=1)
