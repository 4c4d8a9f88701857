"""Slurm and Ray without a cluster: lost jobs, options, and an address where nothing answers."""

import sys
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from lamd.base.errors import LamdError
from lamd.execute import executors
from lamd.execute.executors import JobResult, Ray, Slurm, _parse

QUEUED, GONE, UNKNOWN = {"12_0", "12_1"}, {"12_1"}, None


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """An executor `slurm`, its `queue` and the time `now` for the test to set, and its `job`."""
    submitit = pytest.importorskip("submitit")
    monkeypatch.setattr(submitit, "AutoExecutor", Mock())
    cluster = SimpleNamespace(queue=QUEUED, now=0)
    clock = SimpleNamespace(monotonic=lambda: cluster.now, sleep=Mock())
    monkeypatch.setattr(executors, "time", clock)
    monkeypatch.setattr(executors, "_queued", lambda: cluster.queue)
    cluster.slurm = Slurm(tmp_path, (), threads=1, gpus=0)
    paths = SimpleNamespace(result_pickle=tmp_path / "result.pkl")
    cluster.job = SimpleNamespace(job_id="12_0", paths=paths, result=Mock())
    return cluster


@pytest.mark.parametrize(
    ("queues", "end"),
    [
        ([QUEUED] * 40, 400),
        ([QUEUED] + [GONE] * 39, 140),
        ([QUEUED, GONE, GONE, QUEUED] + [GONE] * 36, 170),
        ([UNKNOWN] * 40, 400),
        ([QUEUED] + [UNKNOWN] * 39, 400),
        ([QUEUED, GONE] + [UNKNOWN] * 38, 140),
    ],
)
def test_a_job_without_a_result_ends_two_minutes_after_it_left_the_queue(cluster, queues, end):
    ends = []
    for cluster.now, cluster.queue in zip(range(0, 400, 10), queues, strict=True):
        if cluster.slurm.ended([cluster.job], 0):
            ends.append(cluster.now)
    assert ends == list(range(end, 400, 10))


def test_a_job_without_a_result_is_lost(cluster):
    result = cluster.slurm.result(cluster.job)
    assert result == JobResult("lost", "job 12_0 left the queue without a result")


def test_a_job_with_a_result_has_ended_and_is_not_lost(cluster):
    made = JobResult("made", key="0")
    cluster.job.result.return_value = made
    assert not cluster.slurm.ended([cluster.job], 0)
    cluster.job.paths.result_pickle.write_bytes(b"")
    assert cluster.slurm.ended([cluster.job], 0) == [cluster.job]
    assert cluster.slurm.result(cluster.job) == made
    cluster.queue, cluster.now = GONE, 1000
    assert cluster.slurm.ended([cluster.job], 0) == [cluster.job]
    assert cluster.slurm.result(cluster.job) == made


def test_a_job_that_raised_has_failed_with_the_last_line(cluster):
    from submitit.core.utils import FailedJobError

    cluster.job.paths.result_pickle.write_bytes(b"")
    cluster.job.result.side_effect = FailedJobError("Job failed:\nTraceback\nKeyError: 'x'\n")
    assert cluster.slurm.result(cluster.job) == JobResult("failed", "KeyError: 'x'")


def test_slurm_options_are_keys_with_values_of_yaml():
    options = ("slurm_partition=gpu", " mem_gb = 16", "slurm_setup=[module load a, b]",
               "slurm_exclusive=true", "slurm_comment=a=b", "slurm_time=12:00:00",
               "slurm_additional_parameters={requeue: 1}")  # fmt: skip
    assert _parse(options) == {
        "slurm_partition": "gpu",
        "mem_gb": 16,
        "slurm_setup": ["module load a", "b"],
        "slurm_exclusive": True,
        "slurm_comment": "a=b",
        "slurm_time": "12:00:00",
        "slurm_additional_parameters": {"requeue": 1},
    }


def test_slurm_queues_a_job_again_however_often_its_time_is_over(tmp_path, monkeypatch):
    submitit = pytest.importorskip("submitit")
    monkeypatch.setattr(submitit, "AutoExecutor", Mock())
    Slurm(tmp_path, (), threads=1, gpus=0)
    assert submitit.AutoExecutor.call_args.kwargs["slurm_max_num_timeout"] == 100
    submitit.AutoExecutor.return_value.update_parameters.side_effect = AssertionError("mem_gb")
    with pytest.raises(LamdError, match="--executor slurm: mem_gb; fix it"):
        Slurm(tmp_path, ("mem_gb=32GB",), threads=1, gpus=0)


@pytest.mark.parametrize(
    "option", ["gpu", "", "=gpu", "a=[1", "a=2024-13-45", "a=!!python/name:os.x"]
)
def test_slurm_options_without_a_value_are_refused(option):
    with pytest.raises(LamdError) as caught:
        _parse(["mem_gb=16", option])
    assert str(caught.value).startswith(f"--slurm {option}: expected key=value")


@pytest.mark.parametrize(
    ("address", "environment", "name"),
    [("x:1", "y:2", "x:1"), (None, "y:2", "y:2"), (None, None, r"\(local\)")],
)
def test_an_address_without_a_ray_cluster_is_one_line(monkeypatch, address, environment, name):
    init = Mock(side_effect=ConnectionError("no node\n  answers"))
    ray = SimpleNamespace(is_initialized=lambda: False, init=init)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if environment:
        monkeypatch.setenv("RAY_ADDRESS", environment)
    expected = rf"^--ray-address {name}: no cluster there \(no node answers\); start one with"
    with pytest.raises(LamdError, match=expected):
        Ray(address, threads=1, gpus=0)
    init.assert_called_once_with(address=address)
