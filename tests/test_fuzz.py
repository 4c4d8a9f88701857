"""Hostile and damaged input ends in one printable line and exit code 2, and touches nothing else.

The inputs are in fuzz_text.py, fuzz_data.py and fuzz_runs.py, the box in fuzz_box.py.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from fuzz import attempts
from fuzz_box import REFUSED, Attempt, try_out
from fuzz_text import TINY

from lamd.data.bair import BAIR

HERE = Path(__file__).resolve().parent
PROCESSES = 2


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """Make the run, results and data that inputs are damaged copies of."""
    root = tmp_path_factory.mktemp("template")
    (root / "tiny.yaml").write_text(TINY)
    # finished trainings keep their checkpoints here: some inputs are begun ones
    code = (
        "from unittest.mock import Mock; from lamd.pipeline.steps import train;"
        "train.shutil = Mock(); from lamd.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "reproduce", "./tiny.yaml", "--device", "cpu"]
    subprocess.run(command, cwd=root, env=_environment(), check=True, capture_output=True)
    BAIR.simulate(root / "data", num_train=1, num_test=1, seed=0, num_workers=1)
    return root


def _environment() -> dict[str, str]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    paths = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
    own = {k: v for k, v in os.environ.items() if k not in ("LAMD_RUNS", "LAMD_DATA")}
    return own | threads | {"PYTHONPATH": paths}


def test_inputs_are_many_and_distinct():
    inputs = attempts()
    kinds = Counter(attempt.kind for attempt in inputs)
    names = Counter((attempt.kind, attempt.name) for attempt in inputs)
    mutated = [a for a in inputs if "flipped bits" in a.name or "the first " in a.name]
    assert len(inputs) >= 400 and min(kinds.values()) >= 15
    assert set(kinds) == {
        "yaml", "set", "tfrecord", "npy", "videos", "pictures", "captions", "weights", "cells",
        "checkpoints", "packs", "links", "environment", "titles",
    }  # fmt: skip
    assert max(names.values()) == 1
    assert 4 * len(mutated) <= len(inputs)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("open('../outside/made', 'w')", "writes outside/made"),
        ("import os; os.symlink('x', '../outside/made')", "os.symlink outside/made"),
        ("import os; os.system('true')", "os.system"),
        ("import subprocess; subprocess.run(['true'])", "starts ['true']"),
        ("import socket; socket.socket().connect(('127.0.0.1', 9))", "socket.connect"),
        ("x = b'x' * (3 << 29)", "1.5 GiB"),
        ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL"),
        ("print('\\x1b\\u202e')", "stdout holds \\x1b \\u202e"),
        ("print(open('../outside/secret.txt').read())", "stdout shows a file from outside"),
        ("import os; os._exit(0)", "exit 0, not 2"),
        ("raise SystemExit(2)", "no error line at the end"),
        ("raise KeyboardInterrupt", "exit 130, not 2"),
    ],
)
def test_box_reports_what_it_watches(tmp_path, monkeypatch, code, problem):
    monkeypatch.syspath_prepend(tmp_path / "box" / "work")

    def prepare(box):
        box.write("hostile.py", code)
        return ["list"]

    environment = {"LAMD_EXTENSIONS": "hostile"}
    attempt = Attempt("box", code, prepare, REFUSED, environment)
    problems = try_out(attempt, tmp_path / "box", tmp_path).problems
    assert any(text.startswith(problem) for text in problems), problems


def test_box_passes_a_clear_error(tmp_path):
    outcome = try_out(Attempt("box", "x", lambda box: ["show", "x"]), tmp_path / "box", tmp_path)
    assert not outcome.problems and outcome.line.startswith("lamd: x: no such target")


@pytest.mark.slow
def test_hostile_inputs_end_in_one_line(template, tmp_path):
    runs, files = [], [tmp_path / f"{number}.jsonl" for number in range(PROCESSES)]
    for number, file in enumerate(files):
        part = [template, tmp_path, f"{number}/{PROCESSES}"]
        with file.open("w") as stream:
            command = [sys.executable, HERE / "fuzz.py", *part]
            runs.append(subprocess.Popen(command, stdout=stream, env=_environment()))
    assert [run.wait() for run in runs] == [0] * PROCESSES
    lines = [line for file in files for line in file.read_text().splitlines()]
    outcomes = pd.DataFrame(map(json.loads, lines))
    assert len(outcomes) == len(attempts())
    outcomes["wrong"] = outcomes["problems"].map(", ".join)
    report = table(outcomes)
    print(report)
    failed = outcomes[outcomes["wrong"] != ""].sort_values(["kind", "name"])
    listed = [f"{o.kind}: {o.name}: {o.wrong}: {o.line}" for o in failed.itertuples()]
    assert not listed, "\n".join([f"{len(listed)} unexpected of {len(outcomes)}", report, *listed])


def table(outcomes: pd.DataFrame) -> str:
    """Return the inputs of each kind, their ends, and the most of seconds and MiB."""
    kinds = pd.concat([outcomes, outcomes.assign(kind="all")]).groupby("kind")
    return kinds.agg(
        inputs=("code", "size"),
        refused=("code", lambda codes: (codes == 2).sum()),
        read=("code", lambda codes: (codes == 0).sum()),
        unexpected=("wrong", lambda wrong: (wrong != "").sum()),
        seconds=("seconds", "max"),
        mebibytes=("peak_mb", "max"),
    ).to_string(float_format="{:.1f}".format)
