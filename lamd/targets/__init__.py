"""The kinds of target; importing this registers all of them, with the data sets and rows."""

from lamd.config import load_target
from lamd.targets import clip_figure, cost, quality, sweep, table
from lamd.targets.kind import KINDS

__all__ = ["KINDS", "clip_figure", "cost", "load_target", "quality", "sweep", "table"]
