"""A data set, a metric, a row, a sampler and a target kind from outside the package."""

import shutil
import subprocess
import sys

import pytest
from tiny import HERE
from toy_extension import page_yaml, recipes, registered, write_data

from lamd import cli
from lamd.base.errors import LamdError
from lamd.config import experiments_dir, load_target
from lamd.forecast.probe import probe
from lamd.forecast.work import sampling
from lamd.pipeline.graph import TablePlan
from lamd.report.results import read_results
from lamd.targets.reproduce import reproduce
from lamd.targets.table import published_rows

TABLE = """
base: tiny.yaml
title: toy
published: null
rows: [copy_first_frame, last_frame, lamd]
profiles:
  quick:
    data: {name: my_data, source: real, simulation_seed: null, camera: null}
    loss: {gan: null}
    train_vae: {num_steps: 2, warmup_steps: 1, validate_every: 2, checkpoint_every: 2}
    train_dmg: {num_steps: 2, warmup_steps: 1, validate_every: 2, checkpoint_every: 2}
    sampler: {name: clipped_ddim, num_steps: 2, eta: 0}
    evaluate: {protocols: [psnr.v1, mae.given1.v1]}
"""
CENSUS = "{kind: census, title: Test clips, sources: [toy]}"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder with the YAMLs of a table and a census that name the five extensions."""
    shutil.copy(HERE / "tiny.yaml", tmp_path)
    (tmp_path / "toy.yaml").write_text(TABLE, encoding="utf-8")
    (tmp_path / "census.yaml").write_text(CENSUS, encoding="utf-8")
    write_data(tmp_path / "data", num_train=12, num_test=4, num_frames=5, size=24)
    monkeypatch.setenv("LAMD_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LAMD_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_page_has_the_five_recipes():
    assert list(recipes()) == ["my_data", "my_metric", "my_row", "my_sampler", "my_kind"]


@pytest.mark.parametrize("profile", ["quick", "standard"])
def test_yaml_of_the_page_reads_the_data_set(folder, profile):
    for path in experiments_dir().glob("*.yaml"):
        shutil.copy(path, folder)
    (folder / "table_my_data.yaml").write_text(page_yaml(), encoding="utf-8")
    with registered(folder):
        target = load_target(str(folder / "table_my_data.yaml"), profile)
        assert published_rows(target) == {}
        plan = TablePlan(target, "cpu")
    assert (target.data.source, target.data.own, target.data.num_train) == ("real", {}, None)
    assert list(plan.values) == ["real_train", "copy_first_frame", "reconstruction", "lamd"]


def test_extensions_run_from_end_to_end(folder):
    places = {"runs": folder / "runs", "results": folder / "results", "device": "cpu"}
    with registered(folder):
        outcome = reproduce(str(folder / "toy.yaml"), "quick", **places)
        census = reproduce(str(folder / "census.yaml"), "quick", **places)
    assert not outcome.failed and not outcome.results.missing
    results = read_results(outcome.folder / "record.json")
    assert {source.data for source in results.sources.values()} == {"real"}
    mae = {value.row: value for value in results.values if value.metric == "mae"}
    assert list(mae) == ["copy_first_frame", "last_frame", "lamd"]
    assert all(0 < value.value < 255 and value.n_fake == 4 for value in mae.values())
    table = (outcome.folder / "table.md").read_text(encoding="utf-8")
    for words in ("MAE ↓", "Last frame repeated", "clipped DDIM, 2 of 100 steps", "real My data"):
        assert words in table
    assert (census.folder / "census.md").read_text(encoding="utf-8") == "toy: 4 clips"


@pytest.mark.slow
def test_probe_imports_extensions(folder, monkeypatch):
    monkeypatch.setenv("LAMD_EXTENSIONS", ",".join(recipes()))
    with registered(folder):
        target = load_target(str(folder / "toy.yaml"), "quick")
        unit = sampling(target, "lamd", "latent_motion", batch=2)
        (time,) = probe({unit: target}, "cpu", limit=60).values()
    assert isinstance(time, float) and time > 0


@pytest.mark.slow
def test_commands_and_workers_import_extensions(folder, monkeypatch):
    with registered(folder):
        modules = ",".join(recipes())
    monkeypatch.setenv("LAMD_EXTENSIONS", modules)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    command = ("reproduce", folder / "toy.yaml", "--jobs", "2", "--device", "cpu",
               "--runs", folder / "runs", "--results", folder / "results")  # fmt: skip
    subprocess.run([sys.executable, "-m", "lamd", *map(str, command)], check=True)
    results = read_results(folder / "results" / "toy" / "quick" / "record.json")
    assert {value.row for value in results.values if value.metric == "mae"} == {
        "copy_first_frame", "last_frame", "lamd"}  # fmt: skip
    assert not results.missing


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (None, "No module named 'my_extension'; add its folder to PYTHONPATH"),
        ("1 / 0", "my_extension: ZeroDivisionError: division by zero; fix the module"),
    ],
)
def test_extension_that_cannot_be_imported_is_one_line(tmp_path, monkeypatch, capsys, code, words):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("LAMD_EXTENSIONS", "my_extension")
    if code:
        (tmp_path / "my_extension.py").write_text(code, encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        cli.main(["list"])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_extension_is_unknown_unless_it_is_imported(folder):
    with pytest.raises(LamdError, match="no row 'last_frame'"):
        load_target(str(folder / "toy.yaml"), "quick")
    with pytest.raises(LamdError, match="kind 'census'"):
        load_target(str(folder / "census.yaml"), "quick")
