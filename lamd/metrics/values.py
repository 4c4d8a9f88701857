"""A measured value, with what is needed to read it, and what it is measured from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from lamd.base import rng

NUM_RESAMPLES = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Pairs (real, generated) of clips, or of what was computed from them, and options.

    Attributes:
        clips: uint8 (N, L, H, W, 3) and (M, L, H, W, 3), given frames included; not changed.
        features: in place of clips, of the frames that count: I3D (N, 400) and (M, 400), or
            Inception (N, L, 2048) and (M, L, 2048).
        captions, classes: of each real and each generated clip.
        num_frames: length of the clips behind `features`, given frames included, where known.
        samples: consecutive generated clips per condition; 0 for the protocol's number.
        windows: consecutive real clips per video; `measure` sets the protocol's number.
        batch_size: clips (I3D) or frames (Inception, LPIPS) at a time; changes no value.
        seed: names the draws of interval and extrapolation.
        cache: folder of features, `$LAMD_CACHE/features` by default.
        progress: show bars on stderr.
    """

    clips: tuple[np.ndarray, np.ndarray] | None = None
    features: tuple[np.ndarray, np.ndarray] | None = None
    captions: tuple[Sequence[str], Sequence[str]] | None = None
    classes: tuple[Sequence[str], Sequence[str]] | None = None
    num_frames: int | None = None
    samples: int = 0
    windows: int = 1
    device: str = "cpu"
    batch_size: int | None = None
    seed: int = 0
    cache: Path | None = None
    progress: bool = False

    def bar(self, label: str) -> str | None:
        """Return the label of a progress bar, None when there is to be none."""
        return label if self.progress else None


DEFAULTS = Inputs()


@dataclass(frozen=True)
class SetValue:
    """The value of two whole sets, where single clips have none."""

    value: float
    interval: tuple[float, float] | None = None
    extrapolated: float | None = None
    note: str = ""


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
    # float64 per generated clip, for diversity per condition; None for a value of whole sets
    per_clip: np.ndarray | None = field(default=None, repr=False, compare=False)

    def as_dict(self) -> dict:
        """Return all fields but `per_clip` as plain data."""
        fields = asdict(self)
        del fields["per_clip"]
        return fields


def check_clips(videos: np.ndarray, min_frames: int = 1) -> None:
    """Raise ValueError unless `videos` is uint8 (N, L, H, W, 3), L >= `min_frames`."""
    if videos.dtype != np.uint8 or videos.ndim != 5 or videos.shape[-1] != 3:
        raise ValueError(f"expected uint8 (N, L, H, W, 3), got {videos.dtype} {videos.shape}")
    if videos.shape[1] < min_frames:
        raise ValueError(f"expected clips of at least {min_frames} frames, got {videos.shape[1]}")


def mean_interval(values: np.ndarray, *, seed: int = 0) -> tuple[float, float] | None:
    """Return the 95 % percentile bootstrap interval of the mean of (N,); None under 2 values."""
    if len(values) < 2:
        return None
    generator = rng.numpy_generator("mean-interval", seed)
    picks = generator.integers(0, len(values), (NUM_RESAMPLES, len(values)))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.asarray(values)[picks].mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)
