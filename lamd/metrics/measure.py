"""Measuring under a protocol by name: the way of `lamd evaluate` and of every table."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pkgutil import resolve_name
from typing import Any

import numpy as np

from lamd.metrics.protocols import PROTOCOLS, Protocol, metric_for
from lamd.metrics.values import Inputs, MetricValue, SetValue, mean_interval


def measure(name: str, inputs: Inputs) -> MetricValue:
    """Measure generated clips against real ones under protocol `name`, a key of `PROTOCOLS`.

    `inputs` are what its metric needs: features or their clips, clips, captions or tracks. Paired
    metrics take one real clip or caption per condition. LamdError when weights cannot be fetched or
    do not have their pinned hash (`WeightsMissing` when only the user can get them), ValueError
    when the inputs do not fit the metric; else as the metric raises.
    """
    protocol, metric = PROTOCOLS[name], metric_for(name)
    samples = inputs.samples or protocol.samples_per_condition
    inputs = replace(inputs, samples=samples, windows=protocol.windows_per_video or 1)
    real, fake, num_frames = _counted(protocol, inputs)
    result, n_real = resolve_name(metric.measure)(real, fake, inputs), len(real)
    asked: int | None = samples
    if not isinstance(result, SetValue):
        asked = None
        num_conditions = len(fake) // samples if metric.paired else len(real)
        clusters = inputs.clusters(num_conditions, len(fake))
        per_clip = np.asarray(result, np.float64)
        owners = clusters.b if len(per_clip) == len(clusters.b) else clusters.a
        interval = mean_interval(per_clip, owners, seed=inputs.seed)
        result = SetValue(float(per_clip.mean()), interval, per_clip=per_clip)
        if metric.needs == "captions" or not (metric.from_features or metric.paired):
            n_real = 0
        elif metric.paired:
            n_real = num_conditions
    return MetricValue(
        protocol=name,
        value=result.value,
        interval=result.interval,
        n_real=n_real,
        n_fake=len(fake),
        extrapolated=result.extrapolated,
        weight_hash=protocol.weight_hash,
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        deviations=_deviations(protocol, n_real, len(fake), num_frames, asked, inputs.videos),
        note=result.note,
        per_clip=result.per_clip,
    )


def _counted(protocol: Protocol, inputs: Inputs) -> tuple[Any, Any, int | None]:
    """Return what the metric needs of both sets, and the number of frames that count."""
    metric, first = metric_for(protocol.name), protocol.first_frame
    if metric.from_features and inputs.features is not None:
        return *inputs.features, inputs.num_frames and inputs.num_frames - first
    pair: Any = inputs.captions if metric.needs == "captions" else inputs.clips
    if pair is None:
        raise ValueError(f"{protocol.name} needs {metric.needs}, got none")
    real, fake = pair
    if metric.needs == "tracks" and (
        inputs.tracks is None or inputs.tracks.shape[:2] != real.shape[:2]
    ):
        raise ValueError(f"{protocol.name} needs the tracks of {real.shape[:2]} real frames")
    repeats = inputs.samples if metric.paired else 1
    if metric.needs == "captions":
        return [caption for caption in real for _ in range(repeats)], fake, None
    real, fake = real[:, first:], fake[:, first:]
    num_frames = fake.shape[1]
    if repeats > 1:
        real = _Repeated(real, repeats)
    if metric.from_features:
        from lamd.metrics.features import cached_features

        if real.shape[1:] != fake.shape[1:]:
            raise ValueError(f"real {real.shape} and fake {fake.shape} differ in frames or size")
        real, fake = (
            cached_features(clips, metric.needs, inputs, label)
            for label, clips in (("real", real), ("fake", fake))
        )
    return real, fake, num_frames


class _Repeated:
    """Each real clip `repeats` times in a row, without copies (100 of BAIR's test clips are 5 GB).

    Iteration is enough for the metrics here; anything else that arrays do makes the copies.
    """

    def __init__(self, clips: np.ndarray, repeats: int) -> None:
        self._clips, self._repeats = clips, repeats
        self.shape, self.dtype = (len(clips) * repeats, *clips.shape[1:]), clips.dtype
        self.ndim = clips.ndim

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (clip for clip in self._clips for _ in range(self._repeats))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.repeat(self._clips, self._repeats, axis=0).astype(dtype or self.dtype)

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.asarray(self)[index]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # NumPy looks for other protocols first
            raise AttributeError(name)
        return getattr(np.asarray(self), name)


def _deviations(
    protocol: Protocol,
    n_real: int,
    n_fake: int,
    num_frames: int | None,
    samples: int | None,
    videos: Sequence[str] | None,
) -> tuple[str, ...]:
    wanted = protocol.windows_per_video
    windows = [n for n in Counter(videos or ()).values() if n != wanted]
    rules = (
        ("real clips", protocol.num_real, n_real),
        ("generated clips", protocol.num_fake, n_fake),
        ("frames", protocol.num_frames, num_frames),
        ("samples per condition", protocol.samples_per_condition, samples),
        ("windows of a video", wanted, max(windows, default=None)),
    )
    return tuple(filter(None, [protocol.departure])) + tuple(
        f"{actual} {noun}, the protocol asks for {wanted}"
        for noun, wanted, actual in rules
        if wanted is not None and actual is not None and actual != wanted
    )
