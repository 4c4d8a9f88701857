"""Metrics as named, versioned protocols; `protocols` lists them and measures by name."""

from lamd.metrics.values import MetricValue

__all__ = ["MetricValue"]
