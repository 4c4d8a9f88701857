"""The cell engine: keys, completeness, locks, failures, resumption."""

import gc
import json
import multiprocessing
import os
import pickle
import resource
import shutil
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lamd.base import origin
from lamd.base.errors import LamdError
from lamd.base.files import fingerprint
from lamd.pipeline import cell as cell_module
from lamd.pipeline import store as store_module
from lamd.pipeline.cell import Cell, Step, with_ancestors
from lamd.pipeline.runner import ATTEMPTS, Runner
from lamd.pipeline.store import PARTIAL, CellFailed, Store


def writer(text="x", calls=None, outputs=None, fail=None):
    """Return a step that writes one file."""

    def build(folder: Path, inputs: dict[str, Path]):
        if calls is not None:
            calls.append(sorted(inputs))
        if fail is not None:
            raise fail
        (folder / "out").write_text(text)
        return outputs

    return build


def cell(name, step=None, parents=(), config=None, **options) -> Cell:
    kind, _, row = name.partition(" ")
    roles = {parent.name: parent for parent in parents}
    step = step or writer()
    return Cell(kind=kind, row=row, config=config or {}, parents=roles, step=step, **options)


@pytest.fixture
def runner(tmp_path):
    return Runner(Store(tmp_path), "cpu")


def test_a_cell_is_made_once_and_described(runner):
    calls = []
    one = cell("vae", writer(calls=calls, outputs={"a": 1}), config={"width": 2})
    folder = runner.run(one)
    assert runner.run(one) == folder
    assert Runner(runner.store, "cpu").run(one) == folder
    assert calls == [[]]
    assert (folder / "out").read_text() == "x"
    assert folder.name == f"vae-{runner.store.key(one)}"
    info = runner.store.info(one)
    assert (info.name, info.kind, info.resumed) == ("vae", "vae", False)
    assert runner.store.outputs(one, dict) == {"a": 1}
    content = json.loads((folder / "cell.json").read_text())
    assert content["config"] == {"width": 2}


def test_key_depends_on_kind_version_config_and_parents(tmp_path, monkeypatch):
    store = Store(tmp_path)
    base = cell("a", config={"x": 1})
    others = [
        cell("b", config={"x": 1}),
        cell("a", config={"x": 2}),
        cell("a", config={"x": 1}, parents=(base,)),
        cell("a", config={"x": 1}, parents=(cell("a", config={"x": 2}),)),
    ]
    keys = [store.key(one) for one in (base, *others)]
    assert len(set(keys)) == len(keys)
    assert store.key(cell("a again", config={"x": 1})) == keys[0]
    monkeypatch.setitem(cell_module.CODE_VERSIONS, "a", 2)
    assert store.key(cell("a", config={"x": 1})) not in keys


def test_the_same_content_is_the_same_data(runner):
    def data(seed, content):
        build = writer(outputs={"content_hash": content})
        return cell("data", build, config={"seed": seed}, states_content=True)

    one, same, other = data(1, "aa"), data(2, "aa"), data(3, "bb")
    below = [cell("vae", parents=(parent,)) for parent in (one, same, other)]
    assert [runner.store.key(c) for c in below] == [None] * 3
    assert runner.store.state(below[0]) == "missing"
    folders = [runner.run(c) for c in below]
    assert folders[0] == folders[1] != folders[2]


def test_a_failure_stops_only_what_depends_on_it(runner):
    bad = cell("vae", writer(fail=ValueError("no\nmemory\udcff")))
    lost = cell("clips", parents=(cell("latents", parents=(bad,)),))
    fine = cell("real_train")
    failed = runner.run_all([lost, fine, bad])
    assert {c.plan_hash for c in with_ancestors([lost])} == set(failed)
    assert failed[lost.plan_hash] is failed[bad.plan_hash]
    assert failed[bad.plan_hash].reason.startswith("ValueError: no memory\udcff (traceback in ")
    assert not failed[bad.plan_hash].user_error
    assert runner.store.is_complete(fine)
    log = runner.store.folder(bad, PARTIAL) / "error.log"
    assert log.read_text().startswith("Traceback") and r"memory\udcff" in log.read_text()


def test_a_user_error_keeps_its_line(runner):
    line = "file: reason; fix"
    with pytest.raises(CellFailed) as failure:
        runner.run(cell("data", writer(fail=LamdError(line))))
    assert (failure.value.reason, failure.value.user_error) == (line, True)


def test_a_stopped_cell_goes_on_in_its_folder(runner):
    def build(folder, inputs):
        if not (folder / "half").exists():
            (folder / "half").write_text("1")
            (folder / ".half.npy.1.tmp").touch()
            (folder / "raw" / ".sim00000_1.tmp").mkdir(parents=True)  # as a simulator leaves it
            raise KeyboardInterrupt
        (folder / "out").write_text("2")

    one = cell("vae", build)
    with pytest.raises(KeyboardInterrupt):
        runner.run(one)
    assert runner.store.state(one) == "begun"
    assert not runner.store.is_complete(one)
    folder = runner.run(one)
    assert (folder / "half").exists()
    assert not (folder / ".half.npy.1.tmp").exists()
    assert runner.store.info(one).resumed
    assert runner.store.state(one) == "cached"


def test_the_remains_of_a_deleted_cell_are_named_before_the_work(runner):
    calls, folder = [], runner.run(cell("vae"))
    (folder / "cell.json").unlink()
    with pytest.raises(CellFailed, match=rf"{folder}: only part of the cell .*; delete the folder"):
        Runner(runner.store, "cpu").run(cell("vae", writer(calls=calls)))
    assert not calls
    shutil.rmtree(folder)
    assert Runner(runner.store, "cpu").run(cell("vae")) == folder


def test_a_failed_cell_is_tried_again_by_the_next_run(runner):
    with pytest.raises(CellFailed):
        runner.run(cell("vae", writer(fail=ValueError("x"))))
    Runner(runner.store, "cpu").run(cell("vae"))


def test_a_damaged_description_is_one_line(runner):
    one = cell("vae")
    (runner.run(one) / "cell.json").write_text("{")
    with pytest.raises(LamdError, match=r"cell\.json: Invalid JSON.*delete its folder"):
        runner.store.info(one)


def make_two_features(runner):
    """Return the finished features of two clip sets of the same data, and their folders."""
    data = cell("data", writer(outputs={"content_hash": "aa"}), states_content=True)
    sets = [cell("clips", config={"seed": seed}, parents=(data,)) for seed in (0, 1)]
    cells = [cell("features", parents=(own,)) for own in sets]
    return cells, [runner.run(own) for own in cells]


def swap_folders(first, second):
    kept = first.rename(first.with_name("kept"))
    second.rename(first)
    kept.rename(second)


def edit_description(folder, **changes):
    content = json.loads((folder / "cell.json").read_text())
    (folder / "cell.json").write_text(json.dumps(content | changes))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (swap_folders, r"cell\.json: describes another cell"),
        (lambda first, other: edit_description(first, config={"a": 1}), "describes another cell"),
        (lambda first, other: edit_description(first, parents={}), "describes another cell"),
        (lambda first, other: edit_description(first, version=9), "describes another cell"),
        (
            lambda first, other: edit_description(first, outputs={"clips": 9}),
            r"json: changed since",
        ),
        (lambda first, other: edit_description(first, files={}), r"cell\.json: changed since"),
        (lambda first, other: (first / "out").write_text("y"), "out: changed since"),
        (lambda first, other: (first / "out").write_text("xx"), "out: changed since"),
        (lambda first, other: (first / "out").unlink(), "out: missing"),
    ],
)
def test_a_changed_cell_is_refused_in_one_line(runner, damage, reason):
    (one, _), (first, other) = make_two_features(runner)
    damage(first, other)
    reading = Runner(Store(runner.store.runs), "cpu")
    with pytest.raises(LamdError, match=rf"{first}.*{reason}.*; delete its folder and run") as line:
        reading.store.finished(one)
    assert "\n" not in str(line.value)
    below = cell("values", parents=(one,))
    failed = reading.run_all([below])
    assert failed[below.plan_hash].user_error
    assert str(line.value) in str(failed[below.plan_hash])
    shutil.rmtree(first)
    assert Runner(Store(runner.store.runs), "cpu").run_all([below]) == {}


def test_a_cell_is_compared_once_until_its_description_changes(runner, monkeypatch):
    hashed = []
    monkeypatch.setattr(
        store_module, "fingerprint", lambda path: hashed.append(path) or fingerprint(path)
    )
    one = cell("vae")
    folder = runner.run(one)
    hashed.clear()
    for _ in range(3):
        runner.store.outputs(one, dict)
    assert hashed == [folder / "attempts.jsonl", folder / "out"]
    edit_description(folder, outputs={"a": 1})
    with pytest.raises(LamdError, match="changed since"):
        runner.store.outputs(one, dict)


def test_cells_older_than_fingerprints_are_compared_with_the_plan_alone(runner):
    (one, two), (first, second) = make_two_features(runner)
    for folder in (first, second):
        content = json.loads((folder / "cell.json").read_text())
        kept = {key: content[key] for key in content if key not in ("files", "digest")}
        (folder / "cell.json").write_text(json.dumps(kept))
    assert Store(runner.store.runs).finished(one) == first
    swap_folders(first, second)
    with pytest.raises(LamdError, match="describes another cell"):
        Store(runner.store.runs).finished(two)


def test_equal_data_under_another_key_is_the_same_parent(runner):
    outputs = {"content_hash": "aa"}
    data = [
        cell("data", writer(outputs=outputs), config={"n": n}, states_content=True) for n in (1, 2)
    ]
    vae, same = (cell("vae", parents=(parent,)) for parent in data)
    folder = runner.run(vae)
    runner.run(data[1])
    assert Store(runner.store.runs).finished(same) == folder


def test_a_training_depends_on_the_split_that_it_reads_alone(runner):
    def data(test):
        outputs = {"content_hash": f"train {test}", "content": {"train": "train", "test": test}}
        return cell("data", writer(outputs=outputs), config={"test": test}, states_content=True)

    folders = {}
    for split in ("train", "test", None):
        config = {"reads": str(split)}
        sets = [cell("vae", parents=(data(t),), config=config, split=split) for t in ("a", "b")]
        folders[split] = [runner.run(one).name for one in sets]
        assert Store(runner.store.runs).finished(sets[1]).name == folders[split][1]
    assert folders["train"][0] == folders["train"][1]
    assert folders["test"][0] != folders["test"][1]
    assert folders[None][0] != folders[None][1]


@pytest.mark.parametrize(("at", "seen"), [(0, True), (-1, True), (2**23, False)])
def test_fingerprint_reads_the_ends_of_a_large_file(tmp_path, at, seen):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(2**24)
    before = fingerprint(path)
    with path.open("r+b") as file:
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        file.write(b"x")
    assert (fingerprint(path) != before) == seen


def test_fingerprint_of_a_small_file_is_its_size_and_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    published = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    assert fingerprint(tmp_path / "abc") == f"3:{published}"


def _slow_run(root, out):
    def build(folder, inputs):
        time.sleep(0.3)
        with (root / "built").open("a") as file:
            file.write("once\n")

    out.put(str(Runner(Store(root), "cpu").run(cell("vae", build))))


def test_two_runs_side_by_side_share_the_work(tmp_path):
    context = multiprocessing.get_context("fork")
    out = context.Queue()
    runs = [context.Process(target=_slow_run, args=(tmp_path, out)) for _ in range(2)]
    for run in runs:
        run.start()
    folders = {out.get(timeout=30) for _ in runs}
    for run in runs:
        run.join()
    assert len(folders) == 1
    assert (tmp_path / "built").read_text() == "once\n"


def test_with_several_processes_a_failure_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    bad, fine = cell("vae", writer(fail=ValueError("x"))), cell("real_train")
    runner = Runner(Store(tmp_path), "cpu")
    with pytest.raises(CellFailed):
        runner.run_all([bad, fine])
    assert not runner.store.is_complete(fine)


@pytest.mark.parametrize("collective", [True, False])
def test_another_process_trains_along_or_waits(tmp_path, monkeypatch, collective):
    store, folders, joined = Store(tmp_path), [], threading.Event()

    def build(folder, inputs):
        folders.append(folder)
        if len(folders) > 1:
            joined.set()
        joined.wait(10 if collective else 0.5)

    one, started = cell("vae", build, collective=collective), Mock()
    monkeypatch.setattr(origin, "start_cell", started)
    first = Runner(store, "cpu")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    other = Runner(store, "cpu")
    with ThreadPoolExecutor(1) as pool:
        along = pool.submit(other.run, one)
        first.run(one)
        assert along.result(timeout=10) == store.folder(one)
    assert folders == [store.folder(one, PARTIAL)] * (2 if collective else 1)
    assert started.call_count == len(folders)


def test_a_process_of_a_launch_does_not_train_along_with_another_driver(tmp_path, monkeypatch):
    store, folders, started = Store(tmp_path), [], threading.Event()

    def build(folder, inputs):
        folders.append(folder)
        started.set()
        time.sleep(0.5)

    one, alone = cell("vae", build, collective=True), Runner(store, "cpu")
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    other = Runner(store, "cpu")
    with ThreadPoolExecutor(2) as pool:
        monkeypatch.delenv("MASTER_PORT", raising=False)
        made = pool.submit(alone.run, one)
        assert started.wait(10)
        monkeypatch.setenv("MASTER_PORT", "29500")
        assert other.run(one) == made.result(timeout=10) == store.folder(one)
    assert len(folders) == 1


def test_another_process_ends_with_the_failure_of_the_first(tmp_path, monkeypatch):
    first = Runner(Store(tmp_path), "cpu")
    bad = cell("vae", writer(fail=LamdError("disk is full")))
    first.store.is_being_made(bad)  # makes the folder of all cells
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    other = Runner(Store(tmp_path), "cpu")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(other.run, bad)
        time.sleep(0.3)
        assert not waiting.done()
        with pytest.raises(CellFailed):
            first.run(bad)
        with pytest.raises(CellFailed, match="disk is full"):
            waiting.result(timeout=10)


def test_cell_pickles_with_its_ancestors():
    step = Step("pkgutil:resolve_name", {"path": "x"})
    data = cell("data", step)
    last = cell("values a", step, parents=(data, cell("vae", step, parents=(data,))))
    copy = pickle.loads(pickle.dumps(last))
    assert copy.plan_hash == last.plan_hash
    assert [c.name for c in with_ancestors([copy])] == ["data", "vae", "values a"]


def test_a_lack_of_memory_says_what_needs_less_and_is_tried_again(runner):
    text = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 80 GiB."
    large = cell("vae", writer(fail=torch.OutOfMemoryError(text)))
    with pytest.raises(CellFailed, match=r"2\.00 GiB; to need less, set runtime\.") as failed:
        runner.run(large)
    assert failed.value.user_error
    assert runner.store.failure(large) is None
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**50)
    larger = cell("dmg", writer(fail=refused.value))
    with pytest.raises(CellFailed, match=r"4503599627370496 bytes.*; to need less") as failed:
        runner.run(larger)
    assert failed.value.user_error


def test_each_start_of_a_cell_names_commit_versions_and_device(runner):
    one = cell("vae", writer(fail=RuntimeError("killed")))
    for _ in range(2):
        with pytest.raises(CellFailed):
            Runner(runner.store, "cpu").run(one)
    lines = (runner.store.folder(one, PARTIAL) / ATTEMPTS).read_text().splitlines()
    assert len(lines) == 2
    for line in map(json.loads, lines):
        assert {"host", "pid", "time", "commit", "versions", "device"} <= line.keys()


def test_a_finished_cell_is_on_the_disk(runner, monkeypatch):
    synced = []
    monkeypatch.setattr(store_module, "sync", lambda path: synced.append(path.name))
    runner.run(cell("vae"))
    assert "out" in synced


def test_a_failed_cell_keeps_nothing_of_what_it_held(runner):
    held = []

    def build(folder: Path, inputs: dict[str, Path]):
        network = torch.nn.Linear(2, 2)
        held.append(weakref.ref(network))
        raise RuntimeError("loss is not finite")

    assert len(runner.run_all([cell("vae", build), cell("dmg", writer())])) == 1
    gc.collect()
    assert held[0]() is None


def test_a_failure_of_a_broken_gpu_is_not_remembered(runner, monkeypatch):
    monkeypatch.setattr(origin, "is_usable", lambda device: False)
    one = cell("vae", writer(fail=RuntimeError("CUDA error: an illegal memory access")))
    with pytest.raises(CellFailed, match="illegal memory access"):
        runner.run(one)
    assert runner.store.failure(one) is None


WRITERS = {
    "numpy": lambda path: np.save(path, np.zeros(9999)),
    "safetensors": lambda path: save_file({"a": torch.zeros(9999)}, path),
    "python": lambda path: path.write_bytes(bytes(9999)),
    "torch": lambda path: torch.save(torch.zeros(9999), path),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_full_disk_is_said_and_tried_again(runner, write):
    def build(folder: Path, inputs: dict[str, Path]):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
        try:
            write(folder / "array")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    one = cell("vae", build)
    words = r"([Nn]o space left|File too large).*; make room and run it again"
    with pytest.raises(CellFailed, match=words) as failed:
        runner.run(one)
    assert failed.value.user_error
    assert runner.store.failure(one) is None


def test_a_finished_training_needs_no_checkpoints(runner):
    def build(folder: Path, inputs: dict[str, Path]):
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "weights").write_text("x")
        (folder / "model").write_text("x")

    one = cell("vae", build)
    shutil.rmtree(runner.run(one) / "checkpoints")
    assert Store(runner.store.runs).finished(one) == runner.store.folder(one)
    (runner.store.folder(one) / "model").unlink()
    with pytest.raises(LamdError, match="model: missing"):
        Store(runner.store.runs).finished(one)
