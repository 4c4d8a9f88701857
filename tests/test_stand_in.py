"""A stand-in is named one wherever its files go: with its manifest, without it, and packed."""

import json
import shutil
from dataclasses import replace

import av
import pytest
from golden_stand_ins import SIZES
from PIL import Image

from lamd.base.errors import LamdError
from lamd.config import load_target
from lamd.data.bair.tfrecord import index_records, parse_example, read_record
from lamd.data.dataset import DATASETS
from lamd.data.stand_in import MANIFEST, parse_mark, read_stand_in
from lamd.pipeline.contents import DataFacts
from lamd.pipeline.graph import TablePlan
from lamd.pipeline.runner import Runner
from lamd.pipeline.store import Store
from lamd.report.wording import data_words
from lamd.targets.kind import Collector, Graph

ASKED = {"num_train": 1, "num_test": 1, "seed": 3, "num_workers": 1}


def copy_without_manifest(name, folder):
    """Simulate two videos and copy their files alone, as `cp -r` of the data set's folders does."""
    DATASETS[name].simulate(folder / "made", frame_size=SIZES[name], **ASKED)
    for made in (folder / "made").iterdir():
        if made.is_dir():
            shutil.copytree(made, folder / "data" / made.name)
    return folder / "data"


def source_of(target, store):
    plan = TablePlan(target, "cpu")
    Runner(store, "cpu").run(plan.stages["data"])
    graph = Graph(wanted={}, plans={"": plan})
    (source,) = Collector(target, graph, store, "quick", (), {}).sources.values()
    return source


@pytest.mark.parametrize("name", SIZES)
def test_stand_in_copied_without_its_manifest_is_still_named_one(name, tmp_path, monkeypatch):
    root = copy_without_manifest(name, tmp_path)
    monkeypatch.setenv("LAMD_DATA", str(root))
    monkeypatch.setenv("LAMD_CACHE", str(tmp_path / "cache"))
    # one caption does not have the words of another
    monkeypatch.setattr("lamd.pipeline.steps.data._check_prompts", lambda target, splits: None)
    changes = ["source=real", "simulation_seed=null", "num_train=1", "num_test=1", "size=32"]
    changes += ["resize=lanczos"] * (name != "bair")
    overrides = ["rows=[copy_first_frame]", "evaluate.protocols=[psnr.given1.v1]"]
    target = load_target(
        f"table_{name}", "quick", [*overrides, *(f"data.{change}" for change in changes)]
    )
    assert not (root / MANIFEST).exists()
    generator = DATASETS[name].generator
    assert f"(stand-in {generator}" in DATASETS[name].verify(root).title
    store = Store(tmp_path / "runs")
    assert data_words(source_of(target, store)) == f"simulated stand-in for {DATASETS[name].label}"
    outputs = store.outputs(TablePlan(target, "cpu").stages["data"], DataFacts)
    assert outputs.stand_in.startswith(generator)
    (packed,) = (tmp_path / "cache" / "packed").glob(f"{name}-test-*/index.json")
    assert json.loads(packed.read_text())["stand_in"] == outputs.stand_in


def test_mark_is_where_other_programs_look_for_comments(tmp_path):
    marks = {name: set() for name in ("bair", "cater_v1", "natops", "mug")}
    for name in marks:
        root = copy_without_manifest(name, tmp_path / name)
        for path in root.rglob("*.*"):
            if path.suffix in (".jpg", ".png"):
                with Image.open(path) as image:
                    marks[name].add(parse_mark(image.info["comment"]))
            elif path.suffix == ".avi":
                with av.open(str(path)) as video:
                    marks[name].add(parse_mark(video.metadata["comment"]))
            elif path.suffix == ".json":
                entries = json.loads(path.read_text())
                entries = entries.values() if "0" in entries else [entries]
                marks[name] |= {parse_mark(entry["stand_in"]) for entry in entries}
            elif path.suffix == ".tfrecords":
                (span,) = index_records(path)
                (mark,) = parse_example(read_record(path, span))["stand_in"]
                marks[name].add(parse_mark(mark))
    assert marks == {
        "bair": {"bair_sim.v1, seed 3"},
        "cater_v1": {"cater_v1_sim.v2.64x48, seed 3"},
        "natops": {"natops_sim.v1.64x48, seed 3"},
        "mug": {"mug_sim.v1.48x48, seed 3"},
    }


def test_cater_video_under_other_captions_is_still_marked(tmp_path):
    root = copy_without_manifest("cater_v1", tmp_path)
    (video,) = DATASETS["cater_v1"].list_split(root, "test", captions="explicit").videos
    assert replace(video, stand_in=None).mark() == "cater_v1_sim.v2.64x48, seed 3"


@pytest.mark.parametrize("text", [None, 7, b"\xff", "AppleMark\n", b"", "by simulated by lamd: "])
def test_parse_mark_leaves_other_comments_alone(text):
    assert parse_mark(text) is None


def test_parse_mark_keeps_one_printable_line():
    assert parse_mark("simulated by lamd: a\n\x1b[31m" + "b" * 1000).isprintable()
    assert len(parse_mark("simulated by lamd: " + "b" * 1000)) == 80


def test_dangling_manifest_is_one_line(tmp_path):
    (tmp_path / MANIFEST).symlink_to(tmp_path / "gone")
    with pytest.raises(LamdError, match=r"stand_in\.json: No such file or directory; delete"):
        read_stand_in(tmp_path)


def test_simulated_config_is_a_stand_in_whatever_its_cell_says(tmp_path, monkeypatch):
    changes = ["data.num_train=1", "data.num_test=2", "data.size=32"]
    target = load_target("table_bair", "quick", ["rows=[copy_first_frame]", *changes])
    store = Store(tmp_path)
    assert source_of(target, store).data == "stand-in"
    outputs = store.outputs(TablePlan(target, "cpu").stages["data"], DataFacts)
    real = outputs.model_copy(update={"stand_in": None})
    monkeypatch.setattr(store, "outputs", lambda cell, kind: real)
    assert source_of(target, store).data == "stand-in"
