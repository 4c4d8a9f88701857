"""Shares the cores among pytest's workers, and registers the data sets."""

import os

# Threads that outnumber the cores wait for each other in every operator: ten times as slow.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    threads = max(1, (os.cpu_count() or 1) // workers)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))

import lamd.data.dataset  # noqa: F401  # which tests that import only `lamd.config` need
