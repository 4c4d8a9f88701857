"""Registers the data sets, which tests that import only `lamd.config` need."""

import lamd.data.dataset  # noqa: F401
