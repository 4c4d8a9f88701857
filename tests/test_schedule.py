"""The schedule and the executors: order, one making a cell, lost workers, failures kept."""

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from test_cells import cell, writer
from tiny import tiny_target

from lamd.base.errors import LamdError
from lamd.execute import ExecutorOptions, executors, open_executor
from lamd.execute.executors import Job, JobResult
from lamd.execute.schedule import WORKERS_PER_CELL, Schedule
from lamd.pipeline.cell import Step
from lamd.pipeline.runner import Runner
from lamd.pipeline.store import PARTIAL, CellFailed, Store
from lamd.targets import reproduce
from lamd.targets.kind import Graph


class Hands:
    """An executor of two hands: makes the cells itself, or ends jobs as the test says."""

    slots, heard = 2, True

    def __init__(self, store, results=None):
        self.store, self.results = store, results or {}
        self.batches: list[list[str]] = []

    def submit(self, jobs: Sequence[Job]) -> list[Job]:
        if jobs:
            self.batches.append([job.cell.name for job in jobs])
        return list(jobs)

    def ended(self, jobs: Sequence[Job], seconds: float) -> list[Job]:
        assert len(jobs) <= self.slots
        return list(jobs[:1])

    def result(self, job: Job) -> JobResult:
        planned = self.results.get(job.cell.name)
        if planned:
            return planned.pop(0)
        try:
            Runner(self.store, "cpu").run(job.cell)
        except CellFailed as failure:
            return JobResult("failed", failure.reason, failure.user_error)
        return JobResult("made", key=self.store.key(job.cell))

    def close(self) -> None:
        pass


def run(sources, store, results=None, **options):
    hands = Hands(store, results)
    return Schedule(sources, store, hands, **options).run(), hands.batches


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def point(width, data_build=None, **options):
    """Return the cells of a point that shares its data with the others."""
    data = cell("data", data_build or writer(outputs={"content_hash": "aa"}), states_content=True)
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


def test_failure_is_a_missing_value_that_the_next_run_remembers(store):
    sources = {"a": point(1, step=writer(fail=ValueError("no memory"))), "b": point(2)}
    failed, _ = run(sources, store)
    vae, values = sources["a"][1:]
    assert set(failed) == {vae.plan_hash, values.plan_hash}
    assert failed[values.plan_hash].name == "vae"
    assert store.state(vae) == "failed"
    fixed = {"a": point(1), "b": point(2)}
    said = []
    failed, batches = run(fixed, store, say=said.append)
    assert batches == []
    assert "no memory" in failed[values.plan_hash].reason
    assert "--retry-failed" in said[0]
    failed, batches = run(fixed, store, retry_failed=True)
    assert (failed, batches) == ({}, [["vae"], ["values"]])
    assert store.state(vae) == "cached"
    assert attempts(store, vae) == 2
    assert store.failure(vae) is None


def test_a_lost_worker_is_replaced_a_bounded_number_of_times(store):
    lost = JobResult("lost", "killed")
    sources = {"a": point(1)}
    failed, batches = run(sources, store, {"vae": [lost, lost]})
    assert failed == {}
    assert batches.count(["vae"]) == 3
    sources = {"a": point(5)}
    failed, batches = run(sources, store, {"vae": [lost] * WORKERS_PER_CELL})
    assert batches.count(["vae"]) == WORKERS_PER_CELL
    assert failed[sources["a"][2].plan_hash].reason.startswith("3 workers were lost without")
    assert store.state(sources["a"][1]) == "failed"


def test_losses_of_a_training_that_progresses_are_not_counted(store):
    one = cell("vae")
    partial = store.folder(one, PARTIAL)

    class Preempted(Hands):
        def result(self, job):
            step = len(self.batches)
            (partial / "checkpoints" / f"step_{step:08d}").mkdir(parents=True)
            return JobResult("lost", "preempted") if step < 9 else super().result(job)

    hands = Preempted(store)
    assert Schedule({"a": [one]}, store, hands).run() == {}
    assert len(hands.batches) == 9


@pytest.mark.parametrize("heard", [True, False])
def test_a_failure_is_said_where_the_worker_is_not_heard(store, heard):
    hands, said = Hands(store, {"vae": [JobResult("failed", "KeyError: 'x'")]}), []
    hands.heard = heard
    Schedule({"a": [cell("vae")]}, store, hands, say=said.append).run()
    assert said == ([] if heard else ["vae: FAILED, KeyError: 'x'"])


def test_schedule_waits_for_cells_of_another_run(store):
    one = cell("vae")
    store.root.mkdir()
    assert not store.is_being_made(one)
    with store.lock(one):
        assert store.is_being_made(one)
        schedule = Schedule({"a": [one]}, store, None)
        assert schedule._ready() == []
    assert [job.cell for job in schedule._ready()] == [one]


def test_a_job_of_a_cell_that_another_makes_ends_at_once_and_is_not_lost(
    store, tmp_path, monkeypatch
):
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    monkeypatch.setattr("lamd.execute.schedule._POLL", 0.0)
    one = cell("vae", Step("pkgutil:resolve_name"))
    store.root.mkdir()
    with store.lock(one):
        assert executors.run_job(Job(one, "", tmp_path, "cpu", 1)) == JobResult("elsewhere")
    elsewhere = [JobResult("elsewhere")] * (WORKERS_PER_CELL + 1)
    failed, batches = run({"a": point(1)}, store, {"vae": elsewhere})
    assert failed == {}
    assert batches.count(["vae"]) == WORKERS_PER_CELL + 2


def test_jobs_that_sbatch_refuses_are_one_line(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    for name in ("sbatch", "srun"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'invalid partition: x' >&2; exit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    options = ExecutorOptions(executor="slurm", slurm=("slurm_partition=x",))
    executor = open_executor(options, threads=1, gpus=0, store=Store(tmp_path / "runs"))
    job = Job(cell("vae", Step("pkgutil:resolve_name")), "", tmp_path, "cpu", 1)
    with pytest.raises(LamdError, match=r"--executor slurm: sbatch failed .*invalid partition"):
        executor.submit([job])


def test_worker_that_makes_another_cell_is_reported(store, monkeypatch):
    one = cell("vae")
    failed, _ = run({"a": [one]}, store, {"vae": [JobResult("made", key="0" * 12)]})
    assert "other data, weights" in failed[one.plan_hash].reason
    monkeypatch.setattr("lamd.execute.schedule._LATE", 0.0)
    failed, _ = run({"a": [one]}, store, {"vae": [JobResult("made", key=store.key(one))]})
    assert "share the run folder" in failed[one.plan_hash].reason


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
    ("options", "reason"),
    [
        ({"executor": "rey"}, "unknown; use process, ray, slurm"),
        ({"ray_address": "x:1"}, "--ray-address: has no effect"),
        ({"slurm": ("a=1",)}, "--slurm: has no effect"),
    ],
)
def test_options_without_effect_are_refused(options, reason):
    with pytest.raises(LamdError, match=reason):
        ExecutorOptions(**options)


@pytest.mark.parametrize(("name", "module"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_extra_is_one_line(tmp_path, monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(LamdError, match=rf"--executor {name}: not installed; pip install"):
        open_executor(ExecutorOptions(executor=name), threads=1, gpus=0, store=Store(tmp_path))


@pytest.mark.parametrize(
    ("script", "queued"), [("echo 12_0; echo 12_1", {"12_0", "12_1"}), ("exit 1", None)]
)
def test_a_controller_that_does_not_answer_loses_no_job(tmp_path, monkeypatch, script, queued):
    (tmp_path / "squeue").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert executors._queued() == queued


def _die(job: Job) -> JobResult:
    if job.source == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    return JobResult("made", str(os.environ["OMP_NUM_THREADS"]))


def test_a_killed_process_takes_its_own_job_only(monkeypatch, tmp_path):
    monkeypatch.setattr(executors, "run_job", _die)
    pool, others = executors.Processes(2), multiprocessing.active_children()

    def job(source: str) -> Job:
        step = Step("pkgutil:resolve_name")
        return Job(cell("vae", step), source, tmp_path, "cpu", 3)

    running = dict(zip(pool.submit([job("dies"), job("lives")]), ("dies", "lives"), strict=True))
    results = {}
    while running:
        for handle in pool.ended(list(running), 5):
            results[running.pop(handle)] = pool.result(handle)
    assert results["dies"].kind == "lost"
    assert results["lives"] == JobResult("made", "3")
    handles = pool.submit([job("again")])
    assert [pool.result(handle).kind for handle in pool.ended(handles, 60)] == ["made"]
    deadline = time.monotonic() + 20
    while len(own := [c for c in multiprocessing.active_children() if c not in others]) > 1:
        assert time.monotonic() < deadline, own
        time.sleep(0.01)
    own[0].kill()
    own[0].join()
    while not pool._idle[0]._broken:  # its thread has seen it
        assert time.monotonic() < deadline
        time.sleep(0.01)
    handles = pool.submit([job("again")])
    assert [pool.result(handle).kind for handle in pool.ended(handles, 60)] == ["made"]
    pool.close()


def test_latency_is_measured_by_the_driver_after_all_other_cells(store, monkeypatch):
    target = tiny_target()
    parent, made = cell("vae"), []
    timed = cell("latency", parents=[parent])
    graph = Graph(wanted={"": [timed]}, plans={"": SimpleNamespace(target=target)})

    def schedule(cells, *_):
        made.append([one.name for own in cells.values() for one in own])
        lost = {parent.plan_hash: CellFailed("vae", "no memory", True)} if fail else {}
        return SimpleNamespace(run=lambda: lost)

    monkeypatch.setattr(reproduce, "Schedule", schedule)
    monkeypatch.setattr(
        Runner, "run_all", lambda _, cells: made.append([c.name for c in cells]) or {}
    )
    fail, options, runner = False, ExecutorOptions(jobs=2), Runner(store, "cpu")
    assert not reproduce._make(target, graph, runner, options)
    assert made == [["vae"], ["latency"]]
    fail, made[:] = True, []
    failed = reproduce._make(target, graph, runner, options)
    assert failed.keys() == {parent.plan_hash, timed.plan_hash} and made == [["vae"]]
