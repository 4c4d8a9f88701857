"""Measured seconds: taken in rounds, kept in a cell, shown as a median with its quartiles.

A finished `latency` cell holds `latency.json`: for each name a list of seconds, one per round.
"""

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lamd.base.files import write_atomically

_FILE = "latency.json"
Seconds = dict[str, list[float]]


class Spread(NamedTuple):
    """Median and quartiles over the rounds."""

    median: float
    low: float
    high: float


def interleaved(
    runs: Mapping[str, Callable[[], object]], rounds: int, synchronise: Callable[[], object]
) -> Seconds:
    """Return the seconds of each run, after a round to warm up.

    Each round times everything once, so that a slow phase of the machine affects all alike; the
    ratios within one call are what is comparable.

    Args:
        synchronise: waits for the device.
    """
    seconds: Seconds = {name: [] for name in runs}
    for number in range(1 + rounds):
        for name, run in runs.items():
            synchronise()
            start = time.perf_counter()
            run()
            synchronise()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def spread(seconds: Sequence[float]) -> Spread:
    """Return the median and the quartiles of two or more values."""
    low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return Spread(median, low, high)


def write_latency(folder: Path, seconds: Seconds) -> None:
    """Write the seconds of a `latency` cell."""
    write_atomically(folder / _FILE, json.dumps(seconds, indent=1) + "\n")


def read_latency(folder: Path) -> Seconds:
    """Return the seconds of a finished `latency` cell."""
    return json.loads((folder / _FILE).read_text(encoding="utf-8"))
