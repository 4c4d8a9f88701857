"""Names that become paths, links in shared folders, inputs that are no files, waits."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from small_results import make_results
from test_cells import cell, writer
from tiny import tiny_target

from lamd import cli, weights
from lamd.base import processes
from lamd.base.errors import LamdError
from lamd.base.files import (
    below,
    check_name,
    check_own,
    dump_json,
    input_file,
    make_private,
    write_atomically,
)
from lamd.base.processes import locked
from lamd.config import PROFILES, Target, list_targets, load_target
from lamd.data.dataset import find_dataset
from lamd.data.packed import Packable, open_packed, pack
from lamd.data.stand_in import read_stand_in
from lamd.execute.executors import Processes, Slurm
from lamd.execute.schedule import Schedule
from lamd.io.clips import load_clips, read_picture
from lamd.metrics.protocols import PROTOCOLS
from lamd.metrics.values import MetricValue
from lamd.pipeline.contents import VALUES, read_per_clip
from lamd.pipeline.runner import ATTEMPTS, Runner
from lamd.pipeline.steps.data import DATA, open_split
from lamd.pipeline.store import FAILED, PARTIAL, CellFailed, Store
from lamd.report.folder import choose_folder, write_folder
from lamd.report.frame import load_results
from lamd.report.results import read_results

BAD_NAMES = ("", ".", "..", "../x", "a/b", "/x", ".x", "-x", "a\nb", "a\0", "a b", "x" * 101)


@pytest.fixture
def outside(tmp_path) -> Path:
    """Return a folder of somebody else, with one file, that no test may change."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_text("theirs")
    return folder


@pytest.fixture
def alarm():
    """End a test that waits."""
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits"))
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


@pytest.fixture
def runs(tmp_path) -> Path:
    return tmp_path / "runs"


def untouched(folder: Path) -> bool:
    return {p.name: p.read_text() for p in folder.iterdir()} == {"file": "theirs"}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_leaves_its_folder_is_refused(tmp_path, name):
    with pytest.raises(LamdError, match="cannot name a file or folder") as error:
        below(tmp_path, "a", name)
    assert str(error.value).isprintable()


def test_the_names_of_the_package_become_paths():
    for name in (*PROTOCOLS, *PROFILES, *(path.stem for path in list_targets())):
        assert check_name(name) == name


def test_target_is_a_name(tmp_path, capsys):
    with pytest.raises(LamdError, match=r"--set target=\.\./x: target: '\.\./x' cannot name"):
        load_target("table_bair", "quick", ["target=../x"])
    places = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    assert cli._run(["reproduce", "table_bair", "--set", "target=../../x", *places]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_record_names_files_of_its_own_folder(tmp_path, outside):
    write_folder(tmp_path / "own", make_results(), {"a.md": b"1"})
    record = tmp_path / "own" / "record.json"
    record.write_text(record.read_text().replace("a.md", "../outside/file"))
    with pytest.raises(LamdError, match=r"files\.0: .* cannot name"):
        read_results(record)
    with pytest.raises(LamdError, match="cannot name"):
        write_folder(tmp_path / "own", make_results(), {"../outside/file": b"1"})
    assert untouched(outside)


def test_cells_name_files_of_their_own_folder(tmp_path):
    value = MetricValue("../outside", 1.0, None, 1, 1, None, None, "", False)
    dump_json(tmp_path / VALUES, [value.as_dict()])
    with pytest.raises(LamdError, match=r"protocol '\.\./outside' is not known"):
        read_per_clip(tmp_path)
    dump_json(tmp_path / DATA, {"train": "packed/../../outside", "test": "packed"})
    with pytest.raises(LamdError, match="cannot name"):
        open_split(tmp_path, "train")


@pytest.mark.parametrize("suffix", ["", PARTIAL, FAILED])
@pytest.mark.parametrize("target", ["outside", "nowhere"])
def test_a_link_in_the_place_of_a_cell_is_refused(runs, outside, suffix, target):
    store, one = Store(runs), cell("vae", writer(fail=ValueError("x")))
    place = store.folder(one, suffix)
    place.parent.mkdir(parents=True)
    place.symlink_to(outside.with_name(target))
    with pytest.raises((LamdError, CellFailed), match="a link, which is not followed"):
        Runner(store, "cpu").run(one)
    assert untouched(outside)
    assert not outside.with_name("nowhere").exists()


@pytest.mark.parametrize("name", [ATTEMPTS, "error.log", "log.jsonl", "checkpoints"])
def test_a_begun_cell_with_a_link_in_it_is_not_resumed(runs, outside, name):
    store, one = Store(runs), cell("vae")
    partial = store.folder(one, PARTIAL)
    partial.mkdir(parents=True)
    (partial / name).symlink_to(outside / "file")
    with pytest.raises(CellFailed, match=f"{name}: a link; delete .*partial") as failure:
        Runner(store, "cpu").run(one)
    assert failure.value.user_error
    assert untouched(outside)


def test_the_log_of_a_failure_replaces_a_link(runs, outside):
    def build(folder, inputs):
        (folder / "error.log").symlink_to(outside / "file")
        raise ValueError("x")

    with pytest.raises(CellFailed, match="traceback in"):
        Runner(Store(runs), "cpu").run(cell("vae", build))
    assert untouched(outside)


@pytest.mark.skipif(os.geteuid() != 0, reason="chown needs root")
def test_a_cell_begun_by_another_user_is_not_resumed(tmp_path):
    (tmp_path / "cell").mkdir()
    (tmp_path / "cell" / "file").write_text("")
    check_own(tmp_path / "cell")
    os.chown(tmp_path / "cell" / "file", 1234, 1234)
    with pytest.raises(LamdError, match="file: belongs to another user; delete"):
        check_own(tmp_path / "cell")


def test_links_below_the_named_folders_are_refused(runs, tmp_path, outside):
    runs.mkdir()
    (runs / "cells").symlink_to(outside)
    (tmp_path / "table_x").symlink_to(outside)
    with pytest.raises(LamdError, match="cells: a link"):
        Store(runs)
    with pytest.raises(LamdError, match="table_x: a link"):
        choose_folder(tmp_path, make_results())
    assert untouched(outside)


def test_the_named_folders_themselves_may_be_links(tmp_path):
    for name in ("runs", "results"):
        (tmp_path / f"real_{name}").mkdir()
        (tmp_path / name).symlink_to(tmp_path / f"real_{name}")
    assert Runner(Store(tmp_path / "runs"), "cpu").run(cell("vae")).is_dir()
    folder, _ = choose_folder(tmp_path / "results", make_results())
    write_folder(folder, make_results(), {})
    assert (tmp_path / "real_results" / "table_x" / "quick" / "record.json").is_file()


def test_a_lock_is_no_link(runs, outside):
    store, one = Store(runs), cell("vae")
    store.root.mkdir(parents=True)
    store.lock_file(one).symlink_to(outside / "new")
    with pytest.raises((LamdError, CellFailed), match="lock: a link"):
        Runner(store, "cpu").run(one)
    assert untouched(outside)


def test_write_atomically_replaces_a_link(tmp_path, outside):
    (tmp_path / "file").symlink_to(outside / "file")
    write_atomically(tmp_path / "file", "mine")
    assert (tmp_path / "file").read_text() == "mine"
    assert untouched(outside)


def test_packs_are_not_written_or_deleted_through_links(tmp_path, outside):
    class Listing:
        dataset, split, variant, fingerprint, notes = "bair", "test", None, "0" * 64, ()

    def store(cache):
        videos = [Packable("bair/test/0", np.zeros((2, 4, 4, 3), np.uint8))]
        return pack(Listing(), videos, cache, size=4, identity=("x",))

    name = store(tmp_path / "good").path.name
    stem = name.rpartition("-")[0]
    for planted in (name, f"{stem}-1111111111", f".{stem}.lock"):
        cache = tmp_path / planted / "cache"
        cache.mkdir(parents=True)
        (cache / planted).symlink_to(outside)
        with pytest.raises(LamdError, match="a link"):
            store(cache)
    assert untouched(outside)


def test_weights_are_not_kept_through_a_link(tmp_path, outside, monkeypatch):
    monkeypatch.setenv("LAMD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "weights").symlink_to(outside)
    with pytest.raises(LamdError, match="weights: a link"):
        weights.fetch("lpips-alexnet", tmp_path / "none.tar.gz")
    assert untouched(outside)


def test_pickles_are_in_a_private_folder(runs, outside):
    folder = make_private(runs / "mine")
    assert make_private(folder).stat().st_mode & 0o777 == 0o700
    (runs / "link").symlink_to(folder)
    (runs / "open").mkdir(0o755)
    for name in ("link", "open"):
        with pytest.raises(LamdError, match=f"{name}: not a folder of yours with mode 0700"):
            make_private(runs / name)


def test_slurm_refuses_a_folder_that_others_can_enter(runs):
    pytest.importorskip("submitit")
    (runs / f"slurm-{os.geteuid()}").mkdir(0o755, parents=True)
    with pytest.raises(LamdError, match="mode 0700"):
        Slurm(runs, (), 9, threads=1, gpus=0)


READERS = {
    "yaml": lambda path: load_target(str(path), "quick"),
    "json": lambda path: cli._run(["evaluate-captions", "--true", str(path), "--generated", "x"]),
    "record": load_results,
    "clips": load_clips,
    "picture": read_picture,
    "weights": lambda path: weights.fetch("lpips-alexnet", path),
    "stand-in": lambda path: read_stand_in(path.parent),
    "pack": lambda path: open_packed(path.parent),
}
FILES = {"yaml": "a.yaml", "stand-in": "stand_in.json", "pack": "index.json", "picture": "a.png"}


@pytest.mark.parametrize("kind", READERS)
def test_a_fifo_given_as_a_file_is_refused(tmp_path, monkeypatch, capsys, kind, alarm):
    monkeypatch.setenv("LAMD_CACHE", str(tmp_path / "cache"))
    path = tmp_path / FILES.get(kind, "a.npy")
    os.mkfifo(path)
    if kind == "json":
        assert READERS[kind](path) == 2
        reason = capsys.readouterr().err
    else:
        with pytest.raises(LamdError) as error:
            READERS[kind](path)
        reason = str(error.value)
    assert str(path) in reason
    assert "a FIFO" in reason or kind == "yaml"
    assert len(reason.splitlines()) == 1


@pytest.mark.parametrize(("path", "kind"), [("/dev/zero", "a device"), ("/dev", "a folder")])
def test_input_file_refuses_devices_and_folders(path, kind):
    with pytest.raises(LamdError, match=f"{path}: {kind}, not a file; give a file"):
        input_file(Path(path))


def test_a_target_may_not_be_a_path_in_a_source(tmp_path):
    tree = tiny_target().model_dump(mode="json")
    with pytest.raises(ValueError, match="cannot name"):
        Target.model_validate(tree | {"target": "a/b"})


def test_waiting_for_a_lock_is_said(tmp_path, capfd):
    waits = threading.Thread(target=lambda: locked(tmp_path / "lock", "the pack").__enter__())
    with FileLock(tmp_path / "lock"):
        waits.start()
        deadline = time.monotonic() + 20
        while "waiting for the pack" not in (line := capfd.readouterr().err):
            assert time.monotonic() < deadline
            waits.join(0.01)
        assert f"holds {tmp_path / 'lock'}" in line
    waits.join(10)
    assert not waits.is_alive()


def test_waiting_for_a_stopped_process_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "WAIT_LIMIT", 0.5)
    store, one = Store(tmp_path), cell("vae")
    store.root.mkdir()
    with FileLock(store.lock_file(one)):  # as a process does that is stopped: no heartbeat
        with pytest.raises(CellFailed, match="vae: no progress for"):
            Runner(store, "cpu").run(one)
        said = []
        with pytest.raises(LamdError, match=r"cells of another run \(vae\): no progress for"):
            Schedule({"a": [one]}, store, Processes(1), say=said.append).run()
        assert said == ["vae: another run is making it, waiting"]


@pytest.mark.parametrize("name", ["softmotion30_44k", "softmotion30_44k/train"])
def test_a_stand_in_is_not_written_through_a_link(tmp_path, outside, name):
    dataset, root = find_dataset("bair"), tmp_path / "data"
    dataset.simulate(root, num_train=1, num_test=1, seed=0, num_workers=1)
    shutil.rmtree(root / name)
    (root / name).symlink_to(outside)
    with pytest.raises(LamdError, match=f"{name}: a link; delete"):
        dataset.simulate(root, num_train=1, num_test=1, seed=0, num_workers=1)
    assert untouched(outside)


def test_a_relative_cache_is_one_of_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAMD_CACHE", "cache")
    assert weights.cache_root() == tmp_path / "cache"
