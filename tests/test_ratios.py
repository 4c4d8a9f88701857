"""The regression check of the benchmarks: ratios within one run, against a stored run."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
spec = importlib.util.spec_from_file_location("ratios", FOLDER / "ratios.py")
ratios = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ratios)
WHERE = {"scale": "reduced", "device": "x86_64", "torch": "2"}


def run(slower: str | None = None, machine: float = 1.0) -> list[dict]:
    """Return a made-up run, on a slower machine or with one part three times as slow."""

    def part(name: str, seconds: float, **info) -> dict:
        seconds *= 3 if name == slower else 1
        matmul = {"over_matmul": seconds / 1e-2}  # both slow down with the machine
        return {"name": name, "median": machine * seconds, "extra_info": matmul | info}

    pair = {"equal_ratio": 1.2 / (3 if slower == "pair" else 1), "equal_noise": 0.1}
    return [
        part("motion", 0.01, paradigm="latent-motion", place="step"),
        part("pixel", 0.5, paradigm="pixel-full", place="step"),
        part("pixel alone", 0.5, paradigm="pixel-full", place="decode"),
        part("psnr", 0.1),
        {"name": "pair", "median": 0.2, "extra_info": pair | {"work_ratio": 2.0}},
    ]


def test_ratios_are_of_one_run():
    found = ratios.ratios_of(run())
    assert found["step: pixel-full / latent-motion"] == pytest.approx(50)
    assert found["pair equal: ours / theirs"] == pytest.approx(1 / 1.2)
    assert found["psnr / matmul"] == pytest.approx(10)
    assert len(found) == 1 + 1 + 4  # neither work nor noise, nor a paradigm without its other


def test_a_slower_machine_is_no_slowdown():
    stored = ratios.ratios_of(run())
    assert ratios.compare(ratios.ratios_of(run(machine=10)), stored, 1.01) == []


@pytest.mark.parametrize(
    ("slower", "lines"),
    [
        ("psnr", ["psnr / matmul: 30, was 10 (3.00 times)"]),
        ("pair", ["pair equal: ours / theirs: 2.5, was 0.833 (3.00 times)"]),
        (
            "pixel",
            [
                "pixel / matmul: 150, was 50 (3.00 times)",
                "step: pixel-full / latent-motion: 150, was 50 (3.00 times)",
            ],
        ),
        ("motion", ["motion / matmul: 3, was 1 (3.00 times)"]),
    ],
)
def test_compare_names_slower_ratios(slower, lines):
    now, stored = ratios.ratios_of(run(slower)), ratios.ratios_of(run())
    assert ratios.compare(now, stored, 1.5) == lines
    assert ratios.compare(now, stored, 3.1) == []


def test_compare_skips_ratios_of_one_run():
    assert ratios.compare({"new": 5.0}, {"old": 1.0}, 1.5) == []


def test_a_stored_run_comes_back(tmp_path):
    path, found = tmp_path / "stored.json", ratios.ratios_of(run())
    ratios.write(path, found, WHERE)
    assert ratios.read(path, WHERE | {"torch": "3"}) == found
    with pytest.raises(ValueError, match="of scale reduced, this run is of full"):
        ratios.read(path, WHERE | {"scale": "full"})
    with pytest.raises(ValueError, match="of device x86_64, this run is of arm64"):
        ratios.read(path, WHERE | {"device": "arm64"})


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", {"ratios": {"a": 0}, "where": WHERE}, {"ratios": {}, "where": WHERE}],
)
def test_read_refuses_another_file(tmp_path, content):
    path = tmp_path / "stored.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match="not a stored run"):
        ratios.read(path, WHERE)


@pytest.mark.slow
def test_the_suite_fails_loudly(tmp_path):
    stored = tmp_path / "stored.json"
    command = [sys.executable, "-m", "pytest", str(FOLDER), "--benchmark-only", "-q", "-k",
               "frechet"]  # fmt: skip
    # pytest-benchmark refuses to measure in a worker of pytest-xdist, which this test may run in.
    alone = {name: value for name, value in os.environ.items() if "XDIST" not in name}

    def suite(*options: str) -> subprocess.CompletedProcess:
        return subprocess.run([*command, *options], capture_output=True, text=True, env=alone)

    assert suite("--store-ratios", str(stored)).returncode == 0
    content = json.loads(stored.read_text())
    ((name, value),) = content["ratios"].items()
    assert suite("--store-ratios", str(stored), "--collect-only").returncode == 0
    assert json.loads(stored.read_text()) == content
    assert suite("--compare-ratios", str(stored), "--slowdown", "50").returncode == 0
    stored.write_text(json.dumps(content | {"ratios": {name: value / 100}}))
    done = suite("--compare-ratios", str(stored), "--store-ratios", str(stored))
    assert done.returncode == 1
    assert json.loads(stored.read_text())["ratios"] == {name: value / 100}
    assert f"SLOWER {name}" in done.stdout
    assert suite("--compare-ratios", str(tmp_path / "none.json")).returncode == 4
