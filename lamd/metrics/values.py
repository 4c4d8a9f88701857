"""A measured value, with what is needed to read it, and what it is measured from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import InstanceOf

from lamd.base import rng

NUM_RESAMPLES = 1000
CONFIDENCE = 0.95
_MIN_CLUSTERS = 4  # of an interval


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Pairs (real, generated) of clips, or of what was computed from them, and options."""

    # uint8 (N, L, H, W, 3) and (M, L, H, W, 3), given frames included; not changed
    clips: tuple[np.ndarray, np.ndarray] | None = None
    # in place of clips, of the frames that count: I3D (N, 400) and (M, 400), or Inception
    # (N, L, 2048) and (M, L, 2048)
    features: tuple[np.ndarray, np.ndarray] | None = None
    captions: tuple[Sequence[str], Sequence[str]] | None = None
    classes: tuple[Sequence[str], Sequence[str]] | None = None
    # of each real clip (N, L, P, 2), (x, y) in pixels of the P things that move, from the top left
    # corner, within the frame; NaN for things that others have more of
    tracks: np.ndarray | None = None
    num_frames: int | None = None  # of the clips behind `features`, given frames included
    samples: int = 0  # consecutive generated clips per condition; 0: the protocol's number
    windows: int = 1  # consecutive real clips per video; `measure` sets the protocol's number
    videos: Sequence[str] | None = None  # source of each real clip; None: every `windows` clips
    device: str = "cpu"
    # clips (I3D) or frames (Inception, LPIPS) at once; moves values by rounding only
    batch_size: int | None = None
    seed: int = 0  # names the draws of interval and extrapolation
    cache: Path | None = None  # folder of features, `$LAMD_CACHE/features` by default
    progress: bool = False  # show bars on stderr

    def bar(self, label: str) -> str | None:
        """Return the label of a progress bar, None when there is to be none."""
        return label if self.progress else None

    def clusters(self, num_real: int, num_fake: int, rows_per_clip: int = 1) -> "Clusters":
        """Return the clusters of that many real and generated clips; `rows_per_clip` of each."""
        samples = max(self.samples, 1)
        videos = np.arange(num_real) // self.windows
        if self.videos is not None:
            videos = _numbered(self.videos)
        paired = num_fake == num_real * samples
        fakes = np.repeat(videos, samples)
        if not paired:
            fakes = np.arange(num_fake) // (samples * self.windows)
        a, b = (np.repeat(clusters, rows_per_clip) for clusters in (videos, fakes))
        return Clusters(a, b, videos if paired else None)


DEFAULTS = Inputs()


@dataclass(frozen=True)
class SetValue:
    """The value of two whole sets, where single clips have none."""

    value: float
    interval: tuple[float, float] | None = None
    extrapolated: float | None = None
    note: str = ""
    per_clip: np.ndarray | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Clusters:
    """The rows of two feature sets that random draws take or leave together.

    Clips of one source video, and samples and real clip of one first frame, are alike: drawn on
    their own, they would count as independent.
    """

    a: np.ndarray  # of each row of the real set (N,)
    b: np.ndarray  # of each row of the generated set (M,)
    videos: np.ndarray | None  # of each real clip; None: the generated clips do not belong to them

    @property
    def fewest(self) -> int:
        """Number of clusters of the set that has fewer."""
        return int(min(self.a.max(), self.b.max())) + 1

    def thinned(
        self, fraction: float, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw a fraction of the clusters; return masks (N,) and (M,) of their rows."""

        def draw(clusters: np.ndarray) -> np.ndarray:
            number = clusters.max() + 1
            kept = generator.choice(number, max(round(number * fraction), 2), replace=False)
            return np.isin(np.arange(number), kept)

        of_a = draw(self.a)
        of_b = of_a if self.videos is not None else draw(self.b)
        return of_a[self.a], of_b[self.b]

    def set_value(
        self,
        value: float,
        influence_a: np.ndarray,  # of each row, (N,); its mean is 0
        influence_b: np.ndarray,  # likewise, (M,)
        *,
        at_least: float = -np.inf,  # the least value that is possible
        seed: int = 0,
        **fields: Any,
    ) -> SetValue:
        """Return a value of two sets with its interval, and pseudo-values where they are paired.

        A pseudo-value is the value plus what one real clip and its generated clips add to it.
        Their mean is the value; two rows of a table are compared by their differences.
        """
        result = SetValue(value, **fields)
        if self.videos is not None:
            sides = (side.reshape(len(self.videos), -1) for side in (influence_a, influence_b))
            per_clip = value + sum(side.mean(axis=1) for side in sides)
            result = replace(result, per_clip=per_clip)
        if self.fewest < _MIN_CLUSTERS:
            return result
        if result.per_clip is not None:
            interval = mean_interval(result.per_clip, self.videos, seed=seed)
        else:
            noise = _resampled_means(influence_a, self.a, seed)
            interval = _interval(value + noise + _resampled_means(influence_b, self.b, seed + 1))
        assert interval is not None
        return replace(result, interval=(max(interval[0], at_least), max(interval[1], at_least)))


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
    higher_is_better: bool | None
    deviations: tuple[str, ...] = ()  # where the clips depart from the protocol
    note: str = ""
    # float64 per generated clip, for diversity per condition; of whole sets pseudo-values per
    # condition (`Clusters.set_value`), None where the sets are not paired
    per_clip: InstanceOf[np.ndarray] | None = field(default=None, repr=False, compare=False)

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


def mean_interval(
    values: np.ndarray, clusters: np.ndarray | None = None, *, seed: int = 0
) -> tuple[float, float] | None:
    """Return the 95 % percentile bootstrap interval of the mean of (N,); None under 4 clusters.

    `clusters` numbers the cluster of each value, 0 to C - 1; by default each is its own.
    """
    clusters = np.arange(len(values)) if clusters is None else clusters
    if not len(values) or clusters.max() + 1 < _MIN_CLUSTERS:
        return None
    return _interval(_resampled_means(np.asarray(values), clusters, seed))


def difference(
    a: np.ndarray, b: np.ndarray, videos: Sequence[str]
) -> tuple[float, tuple[float, float] | None]:
    """Return the mean of `a` less `b`, with its interval over the same clips.

    Both have one or several values per real clip, in order; `videos` names the video of each clip.
    """
    paired = [values.reshape(len(videos), -1).mean(axis=1) for values in (a, b)]
    return float(paired[0].mean() - paired[1].mean()), mean_interval(
        paired[0] - paired[1], _numbered(videos)
    )


def _numbered(names: Sequence[str]) -> np.ndarray:
    numbers = {name: k for k, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names])


def _resampled_means(values: np.ndarray, clusters: np.ndarray, seed: int) -> np.ndarray:
    generator = rng.numpy_generator("mean-interval", seed)
    sums, counts = np.bincount(clusters, values), np.bincount(clusters)
    picks = generator.integers(0, len(sums), (NUM_RESAMPLES, len(sums)))
    return sums[picks].sum(axis=1) / counts[picks].sum(axis=1)


def _interval(draws: np.ndarray) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)
