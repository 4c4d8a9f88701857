"""What is looked for before the first cell is made: weights, packs, a GPU, file locks."""

import errno
import fcntl
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from test_cells import cell

from lamd import weights
from lamd.base.errors import LamdError
from lamd.pipeline.runner import Runner
from lamd.pipeline.store import Store
from lamd.targets import reproduce


@pytest.fixture
def runner(tmp_path):
    return Runner(Store(tmp_path), "cpu")


def prepare(store, *cells, device="auto", **target):
    data = SimpleNamespace(source="simulated", name="bair")
    chosen = SimpleNamespace(protocols=["fid.frames.given1.v1", "psnr.given1.v1"])
    plan = SimpleNamespace(target=SimpleNamespace(data=data, evaluate=chosen, **target))
    lines = []
    reproduce.prepare([plan], cells, store, device, lines.append)
    return lines


def test_gpu_and_weights_are_looked_for_before_a_run(runner, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(weights, "can_fetch", lambda name: name != "inception")
    training, values = cell("vae", collective=True), cell("values a")
    with pytest.raises(LamdError, match=r"no GPU is visible, .* or add --device cpu"):
        prepare(runner.store, training, scale="full")
    assert prepare(runner.store, training, scale="full", device="cpu") == []
    assert prepare(runner.store, training, scale="full", device=None) == []
    (line,) = prepare(runner.store, values, scale="full")
    assert line == (
        "fid.frames.given1.v1 will not be measured: weights missing, see "
        "`lamd weights fetch inception`"
    )


def test_packed_videos_that_are_gone_are_missed_before_the_run(runner, tmp_path):
    paths = {"train": str(tmp_path / "gone"), "test": str(tmp_path)}

    def build(folder: Path, inputs: dict[str, Path]):
        (folder / "data.json").write_text(json.dumps(paths))

    data = cell("data", build)
    folder = runner.run(data)
    with pytest.raises(LamdError, match=f"gone: packed videos that {folder} refers to are gone"):
        prepare(runner.store, data, cell("vae", collective=True), scale="reduced")
    prepare(runner.store, data, cell("values a"), scale="reduced")


def test_a_mount_without_locks_is_refused_before_a_run(runner, monkeypatch):
    def no_locks(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(LamdError, match=r"cannot be locked \(No locks available\)"):
        prepare(runner.store, cell("values a"), scale="reduced")
