"""Measure under a protocol by name; `rules` says what each name stands for."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lamd.metrics import frechet
from lamd.metrics.per_class import class_distances
from lamd.metrics.rules import PROTOCOLS, Protocol
from lamd.metrics.values import MetricValue, mean_interval

__all__ = [
    "PROTOCOLS",
    "Protocol",
    "measure",
    "measure_class_features",
    "measure_diversity",
    "measure_features",
    "measure_precision",
]

_NETWORK_NAMES = {"fvd": "I3D", "fid": "Inception"}
# Draws of an interval: one of FID takes seconds, with thousands of frames of 2,048 features (ours).
_RESAMPLES = {"fvd": frechet.NUM_RESAMPLES, "fid": 40}


def measure(
    name: str,
    real: np.ndarray,
    fake: np.ndarray,
    *,
    device: str = "cpu",
    batch_size: int | None = None,
    seed: int = 0,
    cache: Path | None = None,
    progress: bool = False,
) -> MetricValue:
    """Measure generated clips against real ones under protocol `name`.

    Args:
        name: a key of `PROTOCOLS`, diversity and what goes by class left out.
        real, fake: uint8 (N, L, H, W, 3) and (M, L, H, W, 3), given frames included; N = M where
            the protocol is `paired`. Smoothness looks at `fake` alone. Not changed.
        batch_size: clips (FVD) or frames (FID, LPIPS) at a time; changes no value.
        seed: names the draws of interval and extrapolation.
        cache: folder of features, `$LAMD_CACHE/features` by default.
        progress: show bars on stderr.

    Raises:
        LamdError: when weights cannot be fetched, or do not have their pinned hash; in its form
            `WeightsMissing` when FID's are not there.
        ValueError: when the clips do not fit the metric.
    """
    protocol = PROTOCOLS[name]
    real, fake = real[:, protocol.first_frame :], fake[:, protocol.first_frame :]
    if protocol.metric in _NETWORK_NAMES:
        from lamd.metrics.features import cached_features

        if real.shape[1:] != fake.shape[1:]:
            raise ValueError(f"real {real.shape} and fake {fake.shape} differ in frames or size")
        network = _NETWORK_NAMES[protocol.metric]
        rows = [
            cached_features(clips, metric=protocol.metric, folder=cache, device=device,
                            batch_size=batch_size,
                            progress=f"{network} features, {label}" if progress else None)
            for label, clips in (("real", real), ("fake", fake))
        ]  # fmt: skip
        return measure_features(name, *rows, num_frames=real.shape[1], seed=seed)
    if protocol.metric == "smoothness":
        from lamd.metrics.smoothness import smoothness

        return _mean_value(protocol, smoothness(fake), 0, len(fake), fake.shape[1], seed)
    values = _per_clip(protocol, real, fake, device, batch_size, progress)
    return _mean_value(protocol, values, len(real), len(fake), real.shape[1], seed)


def measure_features(
    name: str,
    real: np.ndarray,
    fake: np.ndarray,
    *,
    num_frames: int | None = None,
    samples_per_condition: int | None = None,
    seed: int = 0,
) -> MetricValue:
    """Measure an FVD or FID protocol from the features of the counted frames.

    Args:
        name: a key of `PROTOCOLS`.
        real, fake: of FVD the I3D features of clips, (N, 400) and (M, 400); of FID the Inception
            features of their frames, (N, L, 2048) and (M, L, 2048).
        num_frames: length of the clips behind I3D features, where known.
        samples_per_condition: consecutive rows of `fake` with one condition; the protocol's number
            by default.
        seed: names the draws of interval and extrapolation.

    Raises:
        ValueError: under 2 clips, when features are not finite or not of that shape, or when the
            rows do not fill whole videos and conditions.
    """
    protocol = PROTOCOLS[name]
    n_real, n_fake = len(real), len(fake)
    rows_per_clip = 1
    if protocol.metric == "fid":
        if not real.ndim == fake.ndim == 3 or real.shape[1:] != fake.shape[1:]:
            raise ValueError(f"expected (N, L, D) and (M, L, D), got {real.shape}, {fake.shape}")
        num_frames = rows_per_clip = real.shape[1]
        real, fake = (rows.reshape(-1, rows.shape[-1]) for rows in (real, fake))
    samples = samples_per_condition or protocol.samples_per_condition
    # Rows of one video or condition are alike: the draws take or leave them together.
    windows = protocol.windows_per_video * rows_per_clip
    blocks = {"block_a": windows, "block_b": windows * samples}
    videos = min(len(real) // blocks["block_a"], len(fake) // blocks["block_b"])
    interval = None
    if videos >= 4:
        draws = _RESAMPLES[protocol.metric]
        interval = frechet.bootstrap_interval(real, fake, seed=seed, num_resamples=draws, **blocks)
    enough = videos >= frechet.MIN_EXTRAPOLATE
    note = ""
    if min(len(real), len(fake)) <= real.shape[1]:
        what = "frames" if protocol.metric == "fid" else "clips"
        note = f"biased upwards: no more {what} than the {real.shape[1]} features"
    return MetricValue(
        protocol=name,
        value=frechet.frechet_distance(real, fake),
        interval=interval,
        n_real=n_real,
        n_fake=n_fake,
        extrapolated=frechet.extrapolate(real, fake, seed=seed, **blocks) if enough else None,
        weight_hash=protocol.weight_hash,
        unit=protocol.unit,
        higher_is_better=protocol.higher_is_better,
        deviations=_deviations(protocol, n_real, n_fake, num_frames, samples),
        note=note,
    )


def measure_class_features(
    name: str,
    real: np.ndarray,
    real_classes: Sequence[str],
    fake: np.ndarray,
    fake_classes: Sequence[str],
    *,
    num_frames: int | None = None,
    samples_per_condition: int | None = None,
) -> MetricValue:
    """Measure cFVD or its spread from I3D features (N, 400) and (M, 400) and each row's class.

    There is no interval: the few clips of a class that carry one are too few to be halved.

    Raises:
        LamdError, ValueError: as `class_distances`.
    """
    protocol = PROTOCOLS[name]
    distances = class_distances(real, real_classes, fake, fake_classes)
    over_classes = {"cfvd": np.mean, "cfvd_spread": np.std}[protocol.metric]
    least = min(min(Counter(classes).values()) for classes in (real_classes, fake_classes))
    few = f", the smallest of {least} clips: biased upwards" if least <= real.shape[1] else ""
    samples = samples_per_condition or protocol.samples_per_condition
    return MetricValue(
        protocol=name,
        value=float(over_classes(list(distances.values()))),
        interval=None,
        n_real=len(real),
        n_fake=len(fake),
        extrapolated=None,
        weight_hash=protocol.weight_hash,
        unit=protocol.unit,
        higher_is_better=protocol.higher_is_better,
        deviations=_deviations(protocol, len(real), len(fake), num_frames, samples),
        note=f"{len(distances)} classes{few}",
    )


def measure_diversity(
    samples: np.ndarray,
    *,
    device: str = "cpu",
    batch_size: int = 32,
    seed: int = 0,
    progress: bool = False,
) -> MetricValue:
    """Measure `diversity.lpips-alex.v1` of samples, uint8 (N, S, L, H, W, 3), given frame included.

    Raises:
        LamdError: when weights cannot be fetched, or do not have their pinned hash.
        ValueError: under 2 samples a condition, or on another dtype or layout.
    """
    from lamd.metrics.diversity import diversity

    protocol = PROTOCOLS["diversity.lpips-alex.v1"]
    values = diversity(
        samples[:, :, protocol.first_frame :],
        device=device,
        batch_size=batch_size,
        progress="diversity" if progress else None,
    )
    n, s, length = samples.shape[:3]
    return _mean_value(protocol, values, 0, n * s, length - protocol.first_frame, seed)


def measure_precision(
    name: str, true: Sequence[str], told: Sequence[str], *, seed: int = 0
) -> MetricValue:
    """Measure a precision protocol of N captions `told` against the `true` ones.

    Raises:
        LamdError: when a true caption is none of the data set's.
        ValueError: when there are not as many of each.
    """
    from lamd.metrics.precision import precisions

    protocol = PROTOCOLS[name]
    values = precisions(true, told)[protocol.metric]
    return _mean_value(protocol, values, 0, len(told), None, seed)


def _per_clip(
    protocol: Protocol,
    real: np.ndarray,
    fake: np.ndarray,
    device: str,
    batch_size: int | None,
    progress: bool,
) -> np.ndarray:
    from lamd.metrics import frames

    label = protocol.metric if progress else None
    if protocol.metric == "psnr":
        return frames.psnr(real, fake)
    if protocol.metric == "ssim":
        return frames.ssim(real, fake, progress=label)
    backbone = protocol.metric.removeprefix("lpips-")
    return frames.lpips_distance(
        real, fake, backbone, device=device, batch_size=batch_size or 32, progress=label
    )


def _mean_value(
    protocol: Protocol,
    values: np.ndarray,
    n_real: int,
    n_fake: int,
    num_frames: int | None,
    seed: int,
) -> MetricValue:
    return MetricValue(
        protocol=protocol.name,
        value=float(values.mean()),
        interval=mean_interval(values, seed=seed),
        n_real=n_real,
        n_fake=n_fake,
        extrapolated=None,
        weight_hash=protocol.weight_hash,
        unit=protocol.unit,
        higher_is_better=protocol.higher_is_better,
        deviations=_deviations(protocol, n_real, n_fake, num_frames, None),
    )


def _deviations(
    protocol: Protocol,
    n_real: int,
    n_fake: int,
    num_frames: int | None,
    samples: int | None,
) -> tuple[str, ...]:
    found = [] if protocol.departure is None else [protocol.departure]
    for what, asked, used in (
        ("real clips", protocol.num_real, n_real),
        ("generated clips", protocol.num_fake, n_fake),
        ("frames", protocol.num_frames, num_frames),
        ("samples a condition", protocol.samples_per_condition, samples),
    ):
        if asked is not None and used is not None and asked != used:
            found.append(f"{used} {what}, the protocol asks for {asked}")
    return tuple(found)
