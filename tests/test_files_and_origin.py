"""Files written atomically, and the description of the running code."""

import os
import shutil
from pathlib import Path
from unittest.mock import Mock, call

import pytest
import torch

from lamd.base.errors import LamdError
from lamd.base.files import check_folder, check_output, delete_folder, write_atomically
from lamd.base.origin import (
    current_origin,
    device_name,
    peak_memory,
    start_cell,
    timing_place,
)


def test_write_atomically_keeps_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "a" / "file"
    write_atomically(path, "old")

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["x" * 250, "to_a_missing_folder"])
def test_an_output_that_cannot_be_written_is_refused_before_the_work(tmp_path, name):
    path = tmp_path / name
    if name.startswith("to"):
        locked = tmp_path / "file"
        locked.write_text("")
        path.symlink_to(locked / "x")
    with pytest.raises(LamdError, match="cannot be written"):
        check_output(path)


def test_a_device_is_an_output(tmp_path):
    check_output(Path(os.devnull))
    check_output(tmp_path / "new" / "a")
    assert os.listdir(tmp_path / "new") == []


def test_results_below_a_file_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LamdError, match="file: not a folder; choose another folder than"):
        check_folder(tmp_path / "file" / "table")
    check_folder(tmp_path / "new" / "table")
    assert not (tmp_path / "new").exists()


def test_a_folder_is_deleted_at_once(tmp_path, monkeypatch):
    folder = tmp_path / "raw"
    (folder / "train").mkdir(parents=True)

    def killed(path, ignore_errors=False):
        if path.exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            delete_folder(folder)
    assert not folder.exists()
    delete_folder(folder)
    assert os.listdir(tmp_path) == []


def test_current_origin_takes_no_lock_of_git(monkeypatch):
    commands = []
    monkeypatch.setattr(
        "subprocess.check_output", lambda command, **_: commands.append(command) or ""
    )
    current_origin("cpu")
    assert commands
    assert all(command[:2] == ("git", "--no-optional-locks") for command in commands)


def test_current_origin_works_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    origin = current_origin("cpu")
    assert origin.commit is None
    assert origin.dirty is None
    assert origin.versions["python"].startswith("3.")


def test_a_cpu_is_named_by_its_model_since_numbers_differ_between_models():
    models = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text(
        encoding="utf-8").splitlines() if line.startswith("model name")]  # fmt: skip
    if not models:
        pytest.skip("this system does not name its CPU")
    assert device_name("cpu").endswith(f" cores, {models[0]}")
    assert timing_place("cpu")["device"] == device_name("cpu")


def test_peak_memory_is_that_of_the_chosen_gpu(monkeypatch):
    cuda = Mock(**{"max_memory_allocated.return_value": 2**21})
    monkeypatch.setattr(torch, "cuda", cuda)
    start_cell("cpu")
    assert peak_memory("cpu")["peak_device_memory_mb"] is None
    assert not cuda.mock_calls  # the first one would take memory of a GPU
    for device, number in (("cuda:1", "cuda:1"), ("cuda", None), ("auto", None)):
        cuda.reset_mock()
        start_cell(device)
        calls = [call.empty_cache(), call.init(), call.reset_peak_memory_stats(number)]
        assert [made for made in cuda.mock_calls if made != call.is_available()] == calls
        assert peak_memory(device)["peak_device_memory_mb"] == 2.0
        cuda.max_memory_allocated.assert_called_once_with(number)
