"""The schedule and the executors: order, one making a cell, lost workers, failures kept."""

import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest
from test_cells import cell, writer

from lamd.base.errors import LamdError
from lamd.execute import local
from lamd.execute.jobs import Ending, Job, Workers
from lamd.execute.local import open_executor
from lamd.execute.schedule import WORKERS_A_CELL, Schedule, identity
from lamd.pipeline.cells import CellFailed, Runner, Store


class Hands:
    """An executor of two hands: makes the cells of `sources` itself, or ends jobs as told."""

    slots = 2

    def __init__(self, sources, store, endings=None):
        self.sources, self.store, self.endings = sources, store, endings or {}
        self.batches: list[list[str]] = []
        self.running: list[Job] = []

    def submit(self, jobs: Sequence[Job]) -> None:
        if jobs:
            self.batches.append([job.cell for job in jobs])
        self.running += jobs
        assert len(self.running) <= self.slots

    def wait(self, seconds: float) -> list[tuple[Job, Ending]]:
        job = self.running.pop(0)
        told = self.endings.get(job.cell)
        if told:
            return [(job, told.pop(0))]
        wanted = next(c for c in self.sources[job.source] if c.name == job.cell)
        try:
            Runner(self.store, "cpu").run(wanted)
        except CellFailed as failure:
            return [(job, Ending("failed", failure.reason, failure.user_error))]
        return [(job, Ending("made", key=self.store.key(wanted)))]

    def close(self) -> None:
        pass


def run(sources, store, endings=None, **options):
    hands = Hands(sources, store, endings)
    job = Job("x.yaml", "quick", (), "", "", "runs", "cpu", 1)

    def make_job(source: str, name: str) -> Job:
        return replace(job, source=source, cell=name)

    return Schedule(sources, store, hands, make_job, **options).run(), hands.batches


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def point(width, data_build=None, **options):
    """Return the cells of a point that shares its data with the others."""
    data = cell("data", data_build or writer(facts={"content_hash": "aa"}), states_content=True)
    vae = cell("vae", parents=(data,), config={"width": width}, **options)
    return [data, vae, cell("values", parents=(vae,))]


def attempts(store, one) -> int:
    return len((store.folder(one) / "attempts.jsonl").read_text().splitlines())


def test_parents_come_first_and_equal_cells_are_made_once(store):
    sources = {"a": point(1), "b": point(2), "c": point(1)}
    failed, batches = run(sources, store)
    assert failed == {}
    assert [name for batch in batches for name in batch].count("data") == 1
    assert batches == [["data"], ["vae", "vae"], ["values"], ["values"]]
    assert {attempts(store, one) for cells in sources.values() for one in cells} == {1}


def test_a_second_driver_makes_nothing_again(store):
    sources = {"a": point(1)}
    run(sources, store)
    assert run(sources, store) == ({}, [])


def test_a_failure_is_a_hole_that_the_next_run_remembers(store):
    sources = {"a": point(1, build=writer(fail=ValueError("no memory"))), "b": point(2)}
    failed, _ = run(sources, store)
    vae, values = sources["a"][1:]
    assert set(failed) == {identity(vae), identity(values)}
    assert failed[identity(values)].name == "vae"
    assert store.state(vae) == "failed"
    mended = {"a": point(1), "b": point(2)}
    said = []
    failed, batches = run(mended, store, say=said.append)
    assert batches == []
    assert "no memory" in failed[identity(values)].reason
    assert "--retry-failed" in said[0]
    failed, batches = run(mended, store, retry_failed=True)
    assert (failed, batches) == ({}, [["vae"], ["values"]])
    assert store.state(vae) == "cached"
    assert attempts(store, vae) == 2
    assert store.failure(vae) is None


def test_a_lost_worker_is_replaced_a_bounded_number_of_times(store):
    lost = Ending("lost", "killed")
    sources = {"a": point(1)}
    failed, batches = run(sources, store, {"vae": [lost, lost]})
    assert failed == {}
    assert batches.count(["vae"]) == 3
    sources = {"a": point(5)}
    failed, batches = run(sources, store, {"vae": [lost] * WORKERS_A_CELL})
    assert batches.count(["vae"]) == WORKERS_A_CELL
    assert f"died {WORKERS_A_CELL} times" in failed[identity(sources["a"][2])].reason
    assert store.state(sources["a"][1]) == "failed"


def test_what_another_run_is_making_is_waited_for(store):
    one = cell("vae")
    store.root.mkdir()
    assert not store.is_being_made(one)
    with store.lock(one):
        assert store.is_being_made(one)
        schedule = Schedule({"a": [one]}, store, None, lambda source, name: name)
        assert schedule._ready() == []
    assert schedule._ready() == [identity(one)]


def test_a_worker_that_makes_another_cell_or_elsewhere_is_told(store, monkeypatch):
    one = cell("vae")
    failed, _ = run({"a": [one]}, store, {"vae": [Ending("made", key="0" * 12)]})
    assert "other data, weights" in failed[identity(one)].reason
    monkeypatch.setattr("lamd.execute.schedule._LATE", 0.0)
    failed, _ = run({"a": [one]}, store, {"vae": [Ending("made", key=store.key(one))]})
    assert "share the run folder" in failed[identity(one)].reason


def test_a_damaged_note_of_a_failure_is_no_failure(store):
    one = cell("vae", writer(fail=ValueError("x")))
    with pytest.raises(CellFailed):
        Runner(store, "cpu").run(one)
    (note,) = store.root.glob("*.failed")
    assert json.loads(note.read_text())["reason"].startswith("ValueError: x")
    for text in ("{", "[]", '{"reason": "x"}', '{"other": 1}'):
        note.write_text(text)
        assert store.failure(one) is None


@pytest.mark.parametrize(
    ("workers", "reason"),
    [
        (Workers(executor="rey"), "unknown; use process, ray, slurm"),
        (Workers(executor="ray", jobs=2), "--jobs: has no effect"),
        (Workers(ray_address="x:1"), "--ray-address: has no effect"),
        (Workers(slurm=("a=1",)), "--slurm: has no effect"),
    ],
)
def test_options_without_effect_are_refused(tmp_path, workers, reason):
    with pytest.raises(LamdError, match=reason):
        open_executor(workers, threads=1, gpus=0, runs=tmp_path)


@pytest.mark.parametrize(("name", "module"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_extra_is_one_line(tmp_path, monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "lamd.execute.slurm", raising=False)
    with pytest.raises(LamdError, match=rf"--executor {name}: not installed; pip install"):
        open_executor(Workers(executor=name), threads=1, gpus=0, runs=tmp_path)


@pytest.mark.parametrize(
    ("script", "queued"), [("echo 12_0; echo 12_1", {"12_0", "12_1"}), ("exit 1", None)]
)
def test_a_controller_that_does_not_answer_loses_no_job(tmp_path, monkeypatch, script, queued):
    pytest.importorskip("submitit")
    from lamd.execute import slurm

    (tmp_path / "squeue").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert slurm._queued() == queued


def _die(job: Job) -> Ending:
    if job.cell == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    return Ending("made", str(os.environ["OMP_NUM_THREADS"]))


def test_a_killed_process_takes_its_own_job_only(monkeypatch):
    monkeypatch.setattr(local, "run_job", _die)
    pool = local.Processes(2)
    job = Job("x.yaml", "quick", (), "", "", "runs", "cpu", 3)
    jobs = [replace(job, cell="dies"), replace(job, cell="lives")]
    pool.submit(jobs)
    ended = {}
    while len(ended) < 2:
        ended |= {one.cell: ending for one, ending in pool.wait(5)}
    assert ended["dies"].kind == "lost"
    assert ended["lives"] == Ending("made", "3")
    pool.submit([replace(job, cell="again")])
    assert pool.wait(60)[0][1].kind == "made"
    pool.close()
