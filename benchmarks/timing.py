"""What all benchmarks need to take a time."""

from collections.abc import Callable

import torch

Measure = Callable[..., None]  # (run, cost=None, rounds=5, **info); see the fixture `measure`


def synchronise() -> None:
    """Wait for the device, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
