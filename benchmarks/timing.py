"""Timing shared by all benchmarks."""

import statistics
import time
from collections.abc import Callable

import pytest
import torch

Measure = Callable[..., None]  # (run, cost=None, rounds=5, **info); see the fixture `measure`
MIN_ROUNDS = 3
SECONDS = 8.0  # that one benchmark's rounds should take: the suite is meant for 15 minutes
WARMUP, ROUNDS = 2, 15  # of a pair
TOO_NOISY = 0.2  # of a ratio


def synchronise() -> None:
    """Wait for the device, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def synchronised(run: Callable[[], object]) -> Callable[[], None]:
    """Return a run that ends with the device's work."""

    def whole() -> None:
        run()
        synchronise()

    return whole


def seconds_of(run: Callable[[], object]) -> float:
    """Time one run, the device's work included."""
    start = time.perf_counter()
    synchronised(run)()
    return time.perf_counter() - start


def affordable(rounds: int, seconds: float) -> int:
    """Return how many rounds of so many seconds fit, up to `rounds` and at least a few."""
    return max(MIN_ROUNDS, min(rounds, int(SECONDS / max(seconds, 1e-9))))


def compare(
    ours: Callable[[], object], theirs: Callable[[], object], name: str
) -> dict[str, float]:
    """Time both in alternating rounds; print and return the ratio of medians and its noise.

    Slow phases of the machine affect both alike. The ratio is theirs over ours: above 1, ours is
    faster.
    """
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    sides = (("ours", ours), ("theirs", theirs))
    for _ in range(WARMUP):
        once = sum(seconds_of(run) for _, run in sides)
    rounds = affordable(ROUNDS, once / 2)
    for _ in range(rounds):
        for side, run in sides:
            seconds[side].append(seconds_of(run))
    info, noise = {}, 0.0
    for side, values in seconds.items():
        low, middle, high = statistics.quantiles(values, n=4)
        info |= {f"{name}_{side}_median_s": middle, f"{name}_{side}_iqr_s": high - low}
        noise += (high - low) / middle / rounds**0.5
    ratio = info[f"{name}_theirs_median_s"] / info[f"{name}_ours_median_s"]
    print(f"\n{name}: theirs / ours {ratio:.2f} (noise {noise:.2f})")
    return info | {f"{name}_ratio": ratio, f"{name}_noise": noise}


def assert_not_slower(info: dict[str, float], name: str) -> None:
    """Fail when theirs is faster by more than the noise; skip where that is too large to tell."""
    ratio, noise = info[f"{name}_ratio"], info[f"{name}_noise"]
    if noise > TOO_NOISY:
        pytest.skip(f"too noisy to tell: theirs / ours {ratio:.2f}, noise {noise:.2f}")
    assert ratio >= 1.0 - noise, f"ours is slower: theirs / ours = {ratio:.2f}"
