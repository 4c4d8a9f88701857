"""The door: speed, exit codes, one line for each mistake, and what the small commands print."""

import errno
import multiprocessing.synchronize
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from lamd import __version__, cli
from lamd.cli.doctor import examine
from lamd.pipeline.store import CellFailed
from lamd.targets import reproduce as run
from lamd.weights import weights_path

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def lamd(monkeypatch, tmp_path, capsys):
    """Return a function that runs a command in an empty folder: code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    for name in ("LAMD_DATA", "LAMD_RUNS"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as done:
            cli.main(list(arguments))
        out, err = capsys.readouterr()
        return done.value.code, out, err

    return call


def one_line(err: str) -> str:
    assert err.startswith("lamd: ")
    assert err.count("\n") == 1
    return err


def cpu_seconds_of_children() -> float:
    """Return processor time, which other work on the machine stretches far less than a clock."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_help_is_quick_and_light():
    start = cpu_seconds_of_children()
    done = subprocess.run(
        [sys.executable, "-m", "lamd", "--help"], capture_output=True, text=True, check=True
    )
    assert "reproduce" in done.stdout
    assert cpu_seconds_of_children() - start < 0.5


@pytest.mark.parametrize(
    "arguments",
    [
        ("nosuch",),
        ("reproduce",),
        ("train", "table_bair"),
        ("reproduce", "table_bair", "--nosuch"),
        ("generate", "table_bair", "--out", "x.npy", "--count", "0"),
        ("data", "simulate"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(lamd, arguments):
    code, _, err = lamd(*arguments)
    assert code == 2
    assert one_line(err).endswith(" --help`\n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("reproduce", "table_bari"), "did you mean 'table_bair'?"),
        (("reproduce", "nowhere.yaml"), "no such experiment file"),
        (("reproduce", "table_bair", "--profile", "fast"), "no profile 'fast'"),
        (("reproduce", "table_bair", "--set", "data.num_tset=3"), "did you mean 'num_test'?"),
        (("reproduce", "table_bair", "--set", "a\nb"), "expected key.subkey=value"),
        (("reproduce", "table_bair", "--device", "tpu"), "--device tpu: unknown"),
        (("reproduce", "table_bair", "--device", "cuda:99"), "not on this machine"),
        (("reproduce", "table_bair", "--profile", "paper"), "LAMD_DATA is not set"),
        (("reproduce", "table_bair", "--set", "published=x"), "no cell 'x'"),
        (("reproduce", "table_bair", "--set", "compare_with=x"), "no group 'x'"),
        (
            ("show", "table_bair", "--set", "evaluate.protocols=[fvd.bear.v1]"),
            "did you mean 'fvd.bair.v1'?",
        ),
        (("show", "table_bair", "--set", "evaluate.protocols=[psnr.v1]"), "needs FVD"),
        (("train", "table_bair", "--stage", "gan"), "--stage gan: unknown"),
        (("generate", "table_bair", "--out", "x.avi"), "x.avi: unknown format"),
        (("generate", "table_bair", "--out", "x.npy"), "no trained vae of this config"),
        (("data", "simulate", "kitti", "out"), "data set 'kitti': unknown"),
        (("data", "verify", "kitti"), "data set 'kitti': unknown"),
        (("data", "verify", "bair", "--root", "nowhere"), "nowhere"),
        (("data", "prepare", "bair"), "LAMD_DATA is not set"),
        (("weights", "fetch", "resnet"), "resnet: no such weights"),
        (("evaluate", "--real", "a.npy", "--fake", "b.npy"), "a.npy"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(lamd, arguments, reason):
    code, out, err = lamd(*arguments)
    assert reason in one_line(err)
    assert code == 2
    assert not out


def test_ctrl_c_exits_130_with_one_line(lamd, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "train", stop)
    code, _, err = lamd("train", "table_bair", "--stage", "vae")
    assert code == 130
    assert err.strip().splitlines() == ["lamd: stopped; run the same command to resume"]


@pytest.mark.parametrize(("user_error", "expected"), [(True, 2), (False, 1)])
def test_failed_cell_prints_its_reason(lamd, monkeypatch, user_error, expected):
    def fail(*_, **__):
        raise CellFailed("vae", "file: reason; fix", user_error)

    monkeypatch.setattr(run, "reproduce", fail)
    code, _, err = lamd("reproduce", "table_bair")
    assert code == expected
    assert one_line(err) == "lamd: vae: file: reason; fix\n"


def test_list_and_show(lamd):
    code, out, _ = lamd("list")
    assert code == 0
    assert "table_bair" in out
    assert "quick, standard, paper" in out
    code, out, _ = lamd("show", "table_bair", "--set", "data.num_test=9")
    assert code == 0
    assert "num_test: 9" in out
    assert "missing" in out
    assert "values lamd" in out


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--help"], {"torch", "pandas", "matplotlib", "mujoco"}),
        (["list"], {"torch", "pandas", "matplotlib", "mujoco"}),
        (["show", "table_bair"], {"torch", "matplotlib", "mujoco"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_light_commands_import_no_heavy_package(arguments, heavy):
    code = (
        "import sys, lamd.cli\n"
        f"try: lamd.cli.main({arguments})\n"
        f"finally: assert not {heavy} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_version_is_printed(lamd):
    assert lamd("--version") == (0, f"{__version__}\n", "")


def test_weights_and_doctor(lamd, monkeypatch, tmp_path):
    monkeypatch.setenv("LAMD_CACHE", str(tmp_path / "cache"))
    code, out, _ = lamd("weights", "list")
    assert code == 0
    assert out.count("missing") == 4
    code, out, _ = lamd("doctor")
    assert code == 0
    assert "LAMD_DATA is not set" in out
    assert not (tmp_path / "cache").exists()


def test_bench_of_a_target_that_trains_nothing_is_one_line(lamd):
    code, out, err = lamd("bench", "table_sampling_cost")
    assert (code, out) == (2, "")
    assert err == "lamd: table_sampling_cost: trains nothing; choose a target that trains\n"


def test_doctor_names_a_broken_package(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mujoco", None)
    broken = [finding for finding in examine(tmp_path) if finding.state == "broken"]
    assert [finding.what for finding in broken] == ["mujoco (simulated stand-ins)"]


def test_doctor_names_broken_weights_and_a_folder_that_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setenv("LAMD_CACHE", str(tmp_path))
    path = weights_path("lpips-alexnet")
    path.parent.mkdir(parents=True)
    path.touch()
    monkeypatch.setattr("os.access", lambda *_: False)
    broken = {
        finding.what: finding.text for finding in examine(tmp_path) if finding.state == "broken"
    }
    assert list(broken) == ["weights lpips-alexnet", "disk for runs", "disk for cache"]
    assert broken["weights lpips-alexnet"].startswith(f"{path}: wrong hash; delete it")
    assert broken["disk for runs"].endswith("which cannot be written")


def test_no_temporary_folder_is_one_line(lamd, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/nowhere"])
    code, _, err = lamd("list")
    assert code == 2
    assert "No usable temporary directory" in one_line(err) and "set TMPDIR" in err


def test_files_that_cannot_be_used_and_full_memory_are_one_line(lamd, monkeypatch):
    code, _, err = lamd("show", "table_bair", "--runs", "x" * 300)
    assert code == 2 and "File name too long" in one_line(err)
    code, _, err = lamd("show", "table_bair", "--runs", "~nobody-here/x")
    assert code == 2 and "~nobody-here/x: no such user" in one_line(err)

    def fill(*_, **__):
        raise MemoryError

    monkeypatch.setattr("lamd.config.load_target", fill)
    monkeypatch.setattr("lamd.config.load_experiment", fill)
    code, _, err = lamd("show", "table_bair")
    assert code == 1 and "not enough memory" in one_line(err)

    def fill_gpu(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8 GiB.")

    monkeypatch.setattr("lamd.config.load_target", fill_gpu)
    monkeypatch.setattr("lamd.config.load_experiment", fill_gpu)
    code, _, err = lamd("show", "table_bair")
    assert code == 1 and "not enough memory" in one_line(err)


def test_worker_processes_without_room_for_locks_are_one_line(lamd, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(multiprocessing.synchronize._multiprocessing, "SemLock", refuse)
    simulate = ("data", "simulate", "bair", "root", "--num-train", "1", "--num-test", "1")
    sweep = ("reproduce", str(ROOT / "tests" / "sweep_tiny.yaml"), "--jobs", "2")
    for arguments in ((*simulate, "--workers", "2"), (*sweep, "--runs", "runs")):
        code, _, err = lamd(*arguments)
        assert code == 2
        assert "/dev/shm: locks of worker processes" in one_line(err)
