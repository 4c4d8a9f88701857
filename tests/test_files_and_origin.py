"""Files written atomically, and the description of the running code."""

import os

import pytest

from lamd.base.files import write_atomically
from lamd.base.origin import current_origin


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
