"""Runs hostile inputs, a part of them per process: `python tests/fuzz.py TEMPLATE BOXES 0/2`.

One JSON line per input. With words behind it, only inputs whose kind and name hold all of them.
"""

import importlib
import json
import sys
from pathlib import Path

import torch
from fuzz_box import Attempt, try_out
from fuzz_data import data_attempts
from fuzz_runs import run_attempts
from fuzz_text import text_attempts

_SHARED = (  # imported once, not by every child
    "lamd.cli", "lamd.generate", "lamd.forecast.predict", "lamd.metrics.frames",
    "lamd.report.frame", "lamd.report.media", "lamd.report.plots", "lamd.report.tables",
    "lamd.report.terminal",
    "lamd.targets.reproduce", "lamd.training.engine", "lamd.pipeline.steps.figures",
    "lamd.pipeline.steps.train", "lamd.pipeline.steps.values", "av", "rich.markup",
)  # fmt: skip


def attempts() -> list[Attempt]:
    """Return all inputs."""
    return [*text_attempts(), *data_attempts(), *run_attempts()]


def main(template: str, boxes: str, part: str, *words: str) -> None:
    """Run every n-th input and print its outcome."""
    torch.set_num_threads(1)  # a forked child has no threads of its parent
    for name in _SHARED:
        importlib.import_module(name)
    number, count = map(int, part.split("/"))
    wanted = [a for a in attempts() if all(word in f"{a.kind} {a.name}" for word in words)]
    for i, attempt in enumerate(wanted[number::count]):
        outcome = try_out(attempt, Path(boxes) / f"{number}-{i}", Path(template))
        print(json.dumps(outcome._asdict()), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
