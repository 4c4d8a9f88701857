"""Whole sweeps, made tiny: any number of workers, killed drivers and workers, Ray, submitit."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
import slurm_cluster
from tiny import HERE

from lamd import cli
from lamd.execute import ExecutorOptions, executors
from lamd.pipeline.runner import ATTEMPTS
from lamd.report.frame import Summaries
from lamd.report.results import Column, Results, read_results
from lamd.report.sweep import channel_means
from lamd.targets import reproduce as run

pytestmark = pytest.mark.slow

SWEEP = str(HERE / "sweep_tiny.yaml")
FILES = ("table.md", "table.tex", "values.csv", "per_clip.parquet", "curves.png", "diagnostics.md",
         "diagnostics.png")  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Run the sweep once on one worker; return the folder with its `runs` and `results`."""
    root = tmp_path_factory.mktemp("sweep")
    reproduce(root)
    return root


@pytest.fixture
def fresh(place, tmp_path):
    """Return a folder in which only the data is made."""
    (data,) = cells(place).glob("data-*")
    shutil.copytree(data, cells(tmp_path) / data.name)
    return tmp_path


def cells(root: Path) -> Path:
    return root / "runs" / "cells"


def reproduce(root: Path, *overrides: str, options: ExecutorOptions | None = None) -> run.Outcome:
    return run.reproduce(SWEEP, "quick", overrides, runs=root / "runs", results=root / "results",
                         device="cpu", options=options)  # fmt: skip


def results_of(root: Path) -> Results:
    return read_results(root / "results" / "sweep_tiny" / "quick" / "record.json")


def values(root: Path) -> dict:
    return {
        (v.point, v.row, v.metric, v.part): (v.value, v.low, v.high, v.cells)
        for v in results_of(root).values
    }


def files(root: Path) -> dict[str, bytes]:
    folder = root / "results" / "sweep_tiny" / "quick"
    return {name: (folder / name).read_bytes() for name in FILES}


def attempts(root: Path) -> dict[str, int]:
    """Return how many processes have worked on each finished cell."""
    return {
        path.parent.name: len(path.read_text(encoding="utf-8").splitlines())
        for path in cells(root).glob(f"*/{ATTEMPTS}")
    }


def kill_once(
    root: Path, pattern: str, killed: list[str], numbers: tuple[int, ...] = (signal.SIGKILL,)
) -> threading.Thread:
    """Signal the process that trains a cell as soon as a path like `pattern` is there.

    Each further number goes to another cell.
    """

    def watch() -> None:
        deadline = time.monotonic() + 600
        while len(killed) < len(numbers) and time.monotonic() < deadline:
            for found in cells(root).glob(pattern):
                folder = next(p for p in (found, *found.parents) if p.suffix == ".partial")
                if folder.stem not in killed:
                    line = (folder / ATTEMPTS).read_text(encoding="utf-8").splitlines()[-1]
                    os.kill(json.loads(line)["pid"], numbers[len(killed)])
                    killed.append(folder.stem)
                    break
            time.sleep(0.02)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def check_kills(whole: Path, root: Path, killed: list[str], count: int = 1) -> None:
    """Check for the bits of `whole`, `count` killed cells made by two processes, others by one."""
    assert len(killed) == count
    made = attempts(root)
    assert {name: n for name, n in made.items() if n != 1} == dict.fromkeys(killed, 2)
    assert not list(cells(root).glob("*.partial"))
    results = results_of(root)
    assert results.missing == ()
    assert len({info.key for info in results.cells}) == len(results.cells) == len(made)
    assert values(root) == values(whole)
    assert files(root) == files(whole)


def test_points_share_what_they_can_and_seeds_make_one_row(place):
    kinds = [name.split("-")[0] for name in attempts(place)]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "data": 1, "vae": 2, "latents": 2, "dmg": 2, "clips": 7, "values": 6,
        "diagnostics": 2}  # fmt: skip
    assert set(attempts(place).values()) == {1}
    results = results_of(place)
    assert {(s.data, s.scale) for s in results.sources.values()} == {("stand-in", "reduced")}
    summary, kl = Summaries(results), Column(row="diagnostics", metric="kl")
    assert summary.axes == ["vae.motion_channels", "vae.temporal_downsampling"]
    assert len(summary.points) == 2
    for position in summary.points:
        assert len(summary.by_seed(position, Column(row="lamd", metric="psnr"))) == 2
        assert len(summary.by_seed(position, Column(row="reconstruction", metric="psnr"))) == 1
        line, channels = summary.at(position, kl), channel_means(summary, position, "kl")
        assert line["num_seeds"] == 1  # the sampler's seeds share it
        assert len(channels) == position[0]
        assert line["value"] == pytest.approx(sum(channels))
        assert line["n_real"] == 4 * 7  # of 4 frames, in 4 videos of 30


def test_show_prints_the_grid(place, capsys):
    with pytest.raises(SystemExit):
        cli.main(["show", SWEEP, "--runs", str(place / "runs")])
    assert capsys.readouterr().out.count("done") == 4


def test_four_jobs_and_a_killed_worker_give_the_bits_of_one(place, fresh):
    killed: list[str] = []
    watcher = kill_once(fresh, "vae-*.partial/checkpoints/step_*", killed)
    reproduce(fresh, options=ExecutorOptions(jobs=4))
    watcher.join()
    check_kills(place, fresh, killed)


def test_failed_point_is_missing_until_it_is_retried(place, fresh, capsys):
    (vae,) = (p for p in cells(place).glob("vae-*") if '"motion_channels": 2' in
              (p / "cell.json").read_text(encoding="utf-8"))  # fmt: skip
    blocker = cells(fresh) / f"{vae.name}.partial"
    blocker.mkdir(parents=True)
    (blocker / "checkpoints").write_text("no folder", encoding="utf-8")
    outcome = reproduce(fresh)
    assert [failure.name for failure in outcome.failed] == ["vae"]
    missing = Counter(entry.point for entry in outcome.results.missing)
    assert sorted(missing.values()) == [3, 3]
    for name in ("table.md", "diagnostics.md"):
        text = files(fresh)[name].decode()
        assert "not run [1]" in text and "[1] needs vae, which failed" in text
    with pytest.raises(SystemExit):
        cli.main(["show", SWEEP, "--runs", str(fresh / "runs")])
    assert capsys.readouterr().out.count("failed") >= 2
    shutil.rmtree(blocker)
    assert len(reproduce(fresh).failed) == 1
    assert reproduce(fresh, options=ExecutorOptions(retry_failed=True)).failed == ()
    assert values(fresh) == values(place)


def test_a_driver_killed_at_six_moments_ends_with_the_same_table(place, fresh):
    moments = random.Random(0)
    command = [sys.executable, "-m", "lamd", "reproduce", SWEEP, "--device", "cpu", "--jobs", "2",
               "--runs", str(fresh / "runs"), "--results", str(fresh / "results")]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    cut_short = 0
    for _ in range(6):
        begun = len(list(cells(fresh).iterdir()))
        driver = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
        while driver.poll() is None and len(list(cells(fresh).iterdir())) == begun:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.6))
        cut_short += driver.poll() is None
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
    assert cut_short >= 3
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert values(fresh) == values(place)
    assert files(fresh) == files(place)


def test_ray_with_two_nodes_survives_a_killed_worker(place, fresh):
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        killed: list[str] = []
        watcher = kill_once(fresh, "vae-*.partial/checkpoints/step_*", killed)
        reproduce(fresh, options=ExecutorOptions(executor="ray", ray_address=cluster.address))
        watcher.join()
    finally:
        cluster.shutdown()
    check_kills(place, fresh, killed)


def test_submitit_local_gives_the_same_bits(place, fresh, monkeypatch):
    submitit = pytest.importorskip("submitit")
    if not slurm_cluster.why_not():
        pytest.skip("Slurm is here and tested itself")
    auto = submitit.AutoExecutor

    def local(**options):
        return auto(**options | {"cluster": "local"})

    monkeypatch.setattr(submitit, "AutoExecutor", local)
    monkeypatch.setattr(executors, "_queued", lambda: {str(pid) for pid in psutil.pids()})
    reproduce(fresh, options=ExecutorOptions(executor="slurm"))
    assert values(fresh) == values(place)
    assert set(attempts(fresh).values()) == {1}


@pytest.fixture
def cluster(tmp_path_factory):
    pytest.importorskip("submitit")
    if reason := slurm_cluster.why_not():
        pytest.skip(reason)
    with slurm_cluster.slurm_cluster(tmp_path_factory.mktemp("slurm")):
        yield


def test_slurm_loses_neither_a_killed_nor_a_preempted_job(place, fresh, cluster, monkeypatch):
    monkeypatch.setattr(executors, "_QUEUE_POLL", 1.0)
    monkeypatch.setattr(executors, "_LATE", 5.0)
    killed: list[str] = []
    numbers = (signal.SIGKILL, signal.SIGUSR2)  # the second is submitit's signal for preemption
    watcher = kill_once(fresh, "vae-*.partial/checkpoints/step_*", killed, numbers)
    slurm = ExecutorOptions(executor="slurm", slurm=("slurm_partition=test",))
    reproduce(fresh, options=slurm)
    watcher.join()
    check_kills(place, fresh, killed, 2)
    folder = fresh / "runs" / f"slurm-{os.geteuid()}"
    logs = [path.read_text(encoding="utf-8") for path in folder.glob("*.out")]
    assert sum("Requeued job" in log for log in logs) == 1


def test_slurm_without_slurm_is_one_line(tmp_path, capsys):
    pytest.importorskip("submitit")
    if shutil.which("sbatch"):
        pytest.skip("Slurm is here")
    with pytest.raises(SystemExit) as done:
        cli.main(["reproduce", SWEEP, "--executor", "slurm", "--runs", str(tmp_path)])
    assert done.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_budget_factor_sweeps_the_other_paradigms_next_to_lamd(tmp_path):
    shutil.copy(HERE / "tiny.yaml", tmp_path)
    rows, psnr = ["pixel_flops", "latent_video_flops"], {"metric": "psnr"}
    sweep = {
        "kind": "sweep", "title": "budgets", "sources": ["tiny"], "published": None,
        "runtime": {"threads": 1, "gpus": 0},
        "overrides": {"rows": ["lamd", "latent_video_reconstruction", *rows]},
        "sweep": {"baselines.budget_factor": [1, 2]},
        "figure": {"name": "curves", "columns": [{"row": row, **psnr} for row in rows],
                   "reference": {"row": "lamd", **psnr}},
    }  # fmt: skip
    path = tmp_path / "sweep_budget.yaml"
    path.write_text(json.dumps(sweep), encoding="utf-8")
    places = {"runs": tmp_path / "runs", "results": tmp_path / "results", "device": "cpu"}
    outcome = run.reproduce(str(path), "quick", [], **places)
    assert not outcome.failed and (outcome.folder / "curves.png").exists()
    kinds = Counter(cell.name.split()[0] for cell in outcome.results.cells)
    assert (kinds["vae"], kinds["dmg"]) == (1, 1)  # LaMD's line
    assert (kinds["pixel"], kinds["video_vae"], kinds["latent_video"]) == (2, 2, 2)
    points = {value.row: set() for value in outcome.results.values}
    for value in outcome.results.values:
        points[value.row].add(value.value)
    assert len(points.pop("lamd")) == 1
    assert {row: len(values) for row, values in points.items()} == dict.fromkeys(
        (*rows, "latent_video_reconstruction"), 2
    )
