"""Shares the cores among pytest's workers, and registers the data sets."""

import os

import pytest

import lamd.data.dataset  # noqa: F401  # which tests that import only `lamd.config` need


def pytest_configure(config: pytest.Config) -> None:
    """Give each worker its share of the cores, before torch is imported.

    Threads that outnumber the cores wait for each other in every operator.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0"))
    if workers:
        threads = max(1, (os.cpu_count() or 1) // workers)
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
