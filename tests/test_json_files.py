"""Every reader of JSON passes one door: whatever a file holds is one line with its name."""

import json
import os
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from pydantic import FiniteFloat

from lamd.base.arrays import load_array
from lamd.base.batched import fill_batches
from lamd.base.errors import LamdError
from lamd.base.files import load_json, parse_json
from lamd.base.processes import rank_and_world
from lamd.config.sweep import MOST_POINTS
from lamd.data.cater import CATER_V2, list_split
from lamd.data.packed import open_packed
from lamd.data.stand_in import read_stand_in
from lamd.data.vocabulary import Vocabulary
from lamd.evaluate import evaluate_captions
from lamd.forecast.predict import read_predictions
from lamd.pipeline import contents
from lamd.pipeline.cell import Cell, step_of
from lamd.pipeline.store import Store
from lamd.report.results import read_results
from lamd.training.latents import open_latents
from lamd.training.log import truncate_log
from lamd.training.networks import read_info

ROOT = Path(__file__).parent.parent
DEEP, LONG = b"[" * 100_000 + b"]" * 100_000, b"1" + b"0" * 5000
BROKEN = [
    b"", b"null", b"1", b'"text"', b"[[]]", b"[null]", b'{"a": []}', b"{", b"\xff\xfe", b"NaN",
    b'{"a": NaN}', b'{"a": ' + DEEP + b"}", b"[" + LONG + b"]", b'"\\ud800"', DEEP,
]  # fmt: skip
CELL = Cell(kind="data", config={}, step=step_of("data:build_data"), states_content=True)
# The file of each reader, and how it is read.
READERS = {
    "record.json": read_results,
    "stand_in.json": lambda path: read_stand_in(path.parent),
    "index.json": lambda path: open_packed(path.parent),
    "captions.json": lambda path: evaluate_captions(path, path),
    "cater_gen_v2/train_explicit.json": lambda path: list_split(
        CATER_V2, path.parent.parent, "train", captions="explicit"
    ),
    "keys.json": lambda path: contents.read_keys(path.parent),
    "values.json": lambda path: contents.read_values(path.parent),
    "data.json": lambda path: contents.split_path(path.parent, "train"),
    "repeated.json": lambda path: contents.read_clips(path.parent),
    "panels.json": lambda path: contents.read_panels(path.parent),
    "latency.json": lambda path: contents.read_latency(path.parent, ["encode"], 2),
    "predictions.json": lambda path: read_predictions(Store(path.parent)),
    "model.json": lambda path: read_info(path.parent, stage="vae"),
    "latents.json": lambda path: open_latents(path.parent),
}


def refused(call, *words: str) -> None:
    """Check that a call ends in one printable line with `words`."""
    with pytest.raises(LamdError) as error:
        call()
    text = str(error.value)
    assert text.isprintable() and len(text) < 1000
    assert all(word in text for word in words), text
    assert "; " in text


@pytest.mark.parametrize("content", BROKEN, ids=lambda content: repr(content[:12]))
@pytest.mark.parametrize("name", READERS)
def test_readers_refuse_what_is_not_theirs_in_one_line(tmp_path, name, content):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    refused(lambda: READERS[name](path), path.name)


@pytest.mark.parametrize("content", BROKEN, ids=lambda content: repr(content[:12]))
def test_a_cell_that_describes_itself_wrongly_is_one_line(tmp_path, content):
    store = Store(tmp_path)
    store.folder(CELL).mkdir(parents=True)
    path = store.folder(CELL) / "cell.json"
    path.write_bytes(content)
    for read in (store.info, lambda cell: store.outputs(cell, contents.DataFacts)):
        refused(lambda read=read: read(CELL), str(path), "delete its folder")
    with pytest.raises(LamdError):
        store.key(Cell(kind="vae", config={}, step=CELL.step, parents={"data": CELL}))
    store.folder(CELL, ".failed").write_bytes(content)
    path.unlink()
    assert store.failure(CELL) is None


@pytest.mark.parametrize("content", BROKEN, ids=lambda content: repr(content[:12]))
def test_a_damaged_vocabulary_names_itself(content):
    refused(lambda: Vocabulary.from_json(content.decode("utf-8", "replace")), "vocabulary: ")


@pytest.mark.parametrize(
    ("facts", "key"),
    [
        ({"stand_in": 1}, "outputs.stand_in"),
        ({"clips": {"train": 1}}, "outputs.clips"),
        ({"clips": {"train": 1, "test": 10**400}}, "outputs.clips.test"),
        ({"content": None}, "outputs.content"),
        ({"left_out": {"train": [1], "test": []}}, "outputs.left_out.train.0"),
    ],
)
def test_facts_of_data_have_their_shape(tmp_path, facts, key):
    store = Store(tmp_path)
    store.folder(CELL).mkdir(parents=True)
    good = {
        "content": {"train": "a", "test": "b"}, "videos": {"train": 2, "test": 1},
        "clips": {"train": 2, "test": 1}, "left_out": {"train": [["v", "short"]], "test": []},
        "stand_in": None,
    }  # fmt: skip
    origin = {"commit": None, "dirty": None, "versions": {}, "device": "cpu"}
    info = {
        "name": "data", "kind": "data", "key": store.key(CELL), "seconds": 1.0, "resumed": False,
        "peak_memory_mb": 1.0, "peak_device_memory_mb": None, "origin": origin,
    }  # fmt: skip
    path = store.folder(CELL) / "cell.json"
    own = {"version": CELL.version, "config": CELL.config, "parents": {}, "info": info}
    path.write_text(json.dumps(own | {"outputs": good}))
    assert store.outputs(CELL, contents.DataFacts).left_out["train"] == (("v", "short"),)
    path.write_text(json.dumps(own | {"outputs": good | facts}))
    store = Store(tmp_path)
    refused(lambda: store.outputs(CELL, contents.DataFacts), f"cell.json: {key}: ")
    timed = info | {"seconds": float("nan")}
    path.write_text(json.dumps(own | {"info": timed, "outputs": good}))
    refused(lambda: Store(tmp_path).info(CELL), "cell.json: info.seconds: ")


@pytest.mark.parametrize(
    "values", [{"encode": [1.0]}, {}, {"encode": [1.0, 2.0], "x": [1.0]}, {"encode": [1.0, "inf"]}]
)
def test_latency_has_a_time_per_round(tmp_path, values):
    path = tmp_path / "latency.json"
    path.write_text(json.dumps({"encode": [1.0, 2.0], "decode": [3.0, 4.0]}))
    assert contents.read_latency(tmp_path, ["encode"], 2)["decode"] == [3.0, 4.0]
    path.write_text(json.dumps(values))
    refused(lambda: contents.read_latency(tmp_path, ["encode"], 2), str(path))


def test_values_of_an_unknown_protocol_name_no_file(tmp_path):
    value = {
        "protocol": "../psnr.given1.v1", "value": 1.0, "interval": None, "n_real": 1, "n_fake": 1,
        "extrapolated": None, "weight_hash": None, "unit": "dB", "higher_is_better": True,
    }  # fmt: skip
    (tmp_path / "values.json").write_text(json.dumps([value]))
    refused(lambda: contents.read_per_clip(tmp_path), "protocol '../psnr.given1.v1' is not known")


@pytest.mark.parametrize("text", ["1e400", "NaN", "-Infinity", "1" + "0" * 400])
def test_numbers_are_finite_where_they_have_to_be(text):
    refused(lambda: parse_json(text, FiniteFloat, "x.json", "delete it"), "x.json: ")


def test_door_reads_a_byte_order_mark_and_the_last_of_equal_keys(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1, "a": 2}')
    assert load_json(path, dict[str, int], "delete it") == {"a": 2}


def test_door_names_missing_special_and_large_files(tmp_path):
    path = tmp_path / "a"
    refused(lambda: load_json(path, list[str], "give it"), "a: No such file or directory; give it")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        refused(lambda path=path: load_json(path, list[str], "give it"), "not a file; give a file")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)
    refused(lambda: load_json(tmp_path / "large", list[str], "give it"), "more than 33,554,432 b")


@pytest.mark.parametrize(
    ("name", "part", "reason"),
    [
        ("keys.json", b"0", "0: Input should be a valid string"),
        ("keys.json", b"[]", "more than 800,000 keys or lists"),
        ("index.json", b"0,0,0", "more than 2,000,000 entries"),
        ("record.json", b'"":{}', "more than 800,000 keys or lists"),
        ("latency.json", b'"":[1]', "more than 800,000 keys or lists"),
    ],
)
def test_a_million_wrong_parts_are_one_problem(tmp_path, name, part, reason):
    path, ends = tmp_path / name, (b"{}" if b":" in part else b"[]")
    path.write_bytes(ends[:1] + b",".join([part] * 1_000_000) + ends[1:])
    tracemalloc.start()
    refused(lambda: READERS[name](path), f"{name}: {reason}")
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_record_of_the_largest_sweep_is_read_back(tmp_path):
    committed = ROOT / "results" / "ablation_motion_capacity" / "standard" / "record.json"
    record = json.loads(committed.read_text())
    copies = -(-MOST_POINTS // len(record["points"]))

    for key in ("values", "cells"):
        record[key] *= copies
    points = record["points"].items()
    record["points"] |= {f"{name} {i}": point for name, point in points for i in range(copies)}
    (tmp_path / "record.json").write_text(json.dumps(record))
    assert len(read_results(tmp_path / "record.json").points) > MOST_POINTS


def test_log_keeps_records_up_to_a_step_and_nothing_else(tmp_path):
    good = b'{"step": 1, "group": "train", "grad_norm": Infinity}'
    lines = [good, b'{"step": "2"}', b'{"step": null}', b"[1]", b'{"step": 9}', DEEP, b"\xff", b"{"]
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\n".join(lines))
    truncate_log(path, 5)
    assert path.read_bytes() == good + b"\n"


def npy(shape: str, dtype: str = "<f4") -> bytes:
    """Return an `.npy` whose header has a shape of its own."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(64)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x93NUMPY", npy("(16,)"), npy("(4, 4)", "<f8"), npy("(99999999999, 4)"),
        npy(f"({'9' * 30}, 4)"), npy("(-4, 4)"), npy("(4, 4)", "|O"), npy("(" * 80),
    ],
    ids=range(9),
)  # fmt: skip
def test_arrays_are_of_their_kind_and_no_larger_than_their_file(tmp_path, content):
    path = tmp_path / "a.npy"
    path.write_bytes(npy("(4, 4)"))
    assert load_array(path, np.float32, 2, "delete it").shape == (4, 4)
    path.write_bytes(content)
    refused(lambda: load_array(path, np.float32, 2, "delete it"), str(path), "; delete it")


@pytest.mark.parametrize("name", ["rows.npy", "done.npy"])
def test_arrays_of_a_killed_run_are_checked(tmp_path, name):
    np.save(tmp_path / "rows.npy", np.zeros((4, 2), np.float32))
    np.save(tmp_path / "done.npy", np.zeros(4, bool))

    def fill() -> None:
        fill_batches(tmp_path / "rows.npy", (4, 2), np.float32, 2, lambda at: np.ones(2), "rows")

    for content in (b"", npy("(4, 4)", "|b1")):
        (tmp_path / name).write_bytes(content)
        refused(fill, name, "delete its folder")


@pytest.mark.parametrize("value", ["x", "-1", "", "1.5", "9" * 5000, "2"])
def test_numbers_of_a_launch_are_checked(monkeypatch, value):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", value)
    refused(rank_and_world, "RANK")


def test_this_file_covers_every_call_of_the_json_module():
    readers = {"json.load(", "json.loads(", "model_validate_json(", "validate_json("}
    package = Path(sys.modules["lamd"].__file__).parent
    using = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if any(name in path.read_text(encoding="utf-8") for name in readers)
    }
    assert using == {"base/files.py"}
