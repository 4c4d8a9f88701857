"""The documented launch of several processes, from nothing to a trained stage and to a table."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import HERE, records

from lamd import load_results
from lamd.targets import reproduce

LIMIT = 150.0  # seconds; a launch takes about 30
# Rounding grows in the adaptive weight, a ratio of gradients, and in the hinge, whose terms cancel.
OVERRIDES = (
    "rows=[another_future,frames_permuted,copy_first_frame,reconstruction,lamd]",
    "loss.gan.adaptive=false", "loss.gan.loss=bce",
)  # fmt: skip


def launch(*arguments: str) -> None:
    """Run `lamd` on two CPU processes; fail loudly where they hang."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    line = ["--multi_gpu", "--num_processes", "2", "--main_process_port", port, "-m", "lamd"]
    overrides = [part for override in OVERRIDES for part in ("--set", override)]
    process = subprocess.Popen(
        [sys.executable, "-m", "accelerate.commands.launch", *line, *arguments, *overrides],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent)},
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    try:
        _, errors = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"hangs: {process.communicate()[1]}")
    assert process.returncode == 0, errors


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """A table made by one process."""
    folder = tmp_path_factory.mktemp("alone")
    reproduce.reproduce(
        str(HERE / "tiny.yaml"), "quick", OVERRIDES,
        runs=folder / "runs", results=folder / "results", device="cpu",
    )  # fmt: skip
    return folder


def check_losses(alone: Path, runs: Path) -> None:
    for stage in ("vae", "dmg"):
        (one,), (two,) = (path.glob(f"cells/{stage}-*") for path in (alone / "runs", runs))
        assert one.name == two.name
        losses = [
            [r["loss"] for r in records(folder) if r["group"] == "train"] for folder in (one, two)
        ]
        assert len(losses[0]) == 10
        assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.slow
def test_stage_two_is_trained_from_nothing(alone, tmp_path):
    target = str(HERE / "tiny.yaml")
    launch("train", target, "--stage", "dmg", "--runs", str(tmp_path), "--device", "cpu")
    check_losses(alone, tmp_path)


@pytest.mark.slow
def test_a_table_is_made_from_nothing(alone, tmp_path):
    runs, results = tmp_path / "runs", tmp_path / "results"
    launch(
        "reproduce", str(HERE / "tiny.yaml"), "--device", "cpu",
        "--runs", str(runs), "--results", str(results),
    )  # fmt: skip
    check_losses(alone, runs)
    one, two = (load_results([path]) for path in (alone / "results", results))
    assert len(one) == len(two) > 0
    assert np.allclose(one["value"], two["value"], rtol=1e-3)
