"""Slurm and Ray without a cluster: lost jobs, options, and an address where nothing answers."""

import pickle
import sys
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from lamd.base.errors import LamdError
from lamd.execute import executors
from lamd.execute.executors import Job, JobResult, Ray, Slurm, _parse

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
    cluster.slurm = Slurm(tmp_path, (), 9, threads=1, gpus=0)
    cluster.sleep, cluster.submit = clock.sleep, submitit.AutoExecutor.return_value.map_array
    paths = SimpleNamespace(result_pickle=tmp_path / "result.pkl", stderr="12_0.err")
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
    assert result == JobResult("lost", "job 12_0 left the queue without a result, log: 12_0.err")


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


def test_a_job_that_raised_has_failed_with_the_last_line_of_its_trace(cluster, tmp_path):
    submitit = pytest.importorskip("submitit")
    paths = submitit.core.utils.JobPaths(tmp_path, "12")
    paths.result_pickle.write_bytes(pickle.dumps(("error", "Traceback\nKeyError: 'x'\n")))
    job = submitit.LocalJob(tmp_path, "12")
    job.done = lambda force_check=False: True
    assert cluster.slurm.result(job) == JobResult("failed", f"KeyError: 'x' (log: {paths.stderr})")


@pytest.mark.parametrize(
    ("reasons", "waits"),
    [
        (["Socket timed out on send/recv operation"], [30]),
        (["Unable to contact x"] * 3, [30, 120, 480]),
    ],
)
def test_a_busy_controller_is_asked_again(cluster, tmp_path, reasons, waits):
    from submitit.core.utils import FailedJobError

    jobs = [Job(None, "", tmp_path, "auto", 1)]
    cluster.submit.side_effect = [*(FailedJobError(f"sbatch: {text}") for text in reasons), ["a"]]
    assert cluster.slurm._submit(jobs) == ["a"]
    assert [call.args[0] for call in cluster.sleep.call_args_list] == waits
    cluster.submit.side_effect = FailedJobError("sbatch: error: invalid partition specified: x")
    with pytest.raises(LamdError, match=r"sbatch failed \(sbatch: error: invalid partition"):
        cluster.slurm._submit(jobs)
    cluster.submit.side_effect = FailedJobError("sbatch: error: Unable to contact x")
    with pytest.raises(LamdError, match="Unable to contact x"):
        cluster.slurm._submit(jobs)


def test_jobs_that_outlive_the_driver_are_said(cluster, tmp_path, capsys):
    cluster.submit.return_value = [cluster.job]
    cluster.slurm.submit([Job(None, "", tmp_path, "auto", 1)])
    cluster.slurm.close()
    assert "jobs that stay in the queue: 1; `scancel 12` ends them" in capsys.readouterr().err
    cluster.slurm.result(cluster.job)
    cluster.slurm.close()
    assert not capsys.readouterr().err


def test_a_job_whose_gpu_is_not_visible_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = executors.run_job(Job(None, "", tmp_path, "auto", 1, gpus=1.0))
    assert (result.kind, result.reason[-36:]) == ("lost", "a GPU was requested, none is visible")


def test_slurm_jobs_have_their_cpus_and_are_requeued(tmp_path, monkeypatch):
    submitit = pytest.importorskip("submitit")
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", lambda self: 2)
    slurm = Slurm(
        tmp_path,
        ["slurm_additional_parameters={qos: low}", "name=x", "slurm_srun_args=[--mpi=none]"],
        9,
        threads=3,
        gpus=1,
    )
    text = slurm._executor._executor._make_submission_file_text("run", "1")
    for flag in ("--requeue", "--qos=low", "--cpus-per-task=3", "--gpus-per-node=1",
                 "--job-name=x", "--time=1440"):  # fmt: skip
        assert f"#SBATCH {flag}\n" in text
    assert " --cpus-per-task=3 --mpi=none run" in text
    options = ["slurm_cpus_per_task=2", "slurm_additional_parameters={requeue: false}"]
    text = Slurm(tmp_path, options, 9, threads=3, gpus=1)._executor._executor
    text = text._make_submission_file_text("run", "1")
    assert "--requeue" not in text
    assert "#SBATCH --cpus-per-task=2\n" in text and " --cpus-per-task=2 run" in text


def test_slurm_options_are_keys_with_values_of_yaml():
    options = ("slurm_partition=gpu", " mem_gb = 16", "slurm_setup=[module load a, b]",
               "slurm_exclusive=true", "slurm_comment=a=b",
               "slurm_additional_parameters={requeue: 1}")  # fmt: skip
    assert _parse(options) == {
        "slurm_partition": "gpu",
        "mem_gb": 16,
        "slurm_setup": ["module load a", "b"],
        "slurm_exclusive": True,
        "slurm_comment": "a=b",
        "slurm_additional_parameters": {"requeue": 1},
    }


def test_slurm_queues_a_job_again_however_often_its_time_is_over(tmp_path, monkeypatch):
    submitit = pytest.importorskip("submitit")
    monkeypatch.setattr(submitit, "AutoExecutor", Mock())
    Slurm(tmp_path, (), 9, threads=1, gpus=0)
    assert submitit.AutoExecutor.call_args.kwargs["slurm_max_num_timeout"] == 100
    submitit.AutoExecutor.return_value.update_parameters.side_effect = AssertionError("mem_gb")
    with pytest.raises(LamdError, match="--executor slurm: mem_gb; fix it"):
        Slurm(tmp_path, ("mem_gb=32GB",), 9, threads=1, gpus=0)


def test_times_of_slurm_are_given_in_minutes():
    # submitit multiplies the limit it was given: a text makes each requeue a TypeError
    with pytest.raises(LamdError, match=r"slurm_time=12:00:00: give minutes, such as timeout_min"):
        _parse(["slurm_time=12:00:00"])
    assert _parse(["slurm_time=720", "slurm_comment=12:30"]) == {
        "slurm_time": 720,
        "slurm_comment": "12:30",
    }
    with pytest.raises(LamdError, match="slurm_additional_parameters: expected a dict"):
        _parse(["slurm_additional_parameters=requeue"])


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
        Ray(address, 9, threads=1, gpus=0)
    init.assert_called_once_with(address=address)
