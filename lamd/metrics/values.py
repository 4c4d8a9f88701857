"""A measured value, with what is needed to read it."""

from dataclasses import dataclass

import numpy as np

from lamd.base import rng

NUM_RESAMPLES = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class MetricValue:
    """One value under one protocol."""

    protocol: str
    value: float
    interval: tuple[float, float] | None  # 95 %, of sampling noise at this n; None when n is small
    n_real: int  # clips
    n_fake: int  # clips
    extrapolated: float | None  # to infinite n; only of a Fréchet distance
    weight_hash: str | None
    unit: str
    higher_is_better: bool
    deviations: tuple[str, ...] = ()  # where the clips depart from the protocol
    note: str = ""

    def __str__(self) -> str:
        parts = [f"{self.protocol} = {self.value:.4f} {self.unit}".rstrip()]
        if self.interval is not None:
            parts.append("[{:.4f}, {:.4f}]".format(*self.interval))
        parts.append(f"n = {self.n_real} real, {self.n_fake} fake")
        if self.extrapolated is not None:
            parts.append(f"n -> inf: {self.extrapolated:.4f}")
        return ", ".join([*parts, *self.deviations, *filter(None, [self.note])])


def mean_interval(values: np.ndarray, *, seed: int = 0) -> tuple[float, float] | None:
    """Return the 95 % percentile bootstrap interval of the mean of (N,); None under 2 values."""
    if len(values) < 2:
        return None
    generator = rng.numpy_generator("mean-interval", seed)
    picks = generator.integers(0, len(values), (NUM_RESAMPLES, len(values)))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.asarray(values)[picks].mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)
