"""Configs: strictness, errors that name file, line and key, overrides, hashes."""

import contextlib
import re
import shutil
from typing import Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lamd.base.errors import LamdError
from lamd.config import (
    KINDS,
    ROW_RULES,
    AnyTarget,
    RowRule,
    config_hash,
    describe_target,
    experiments_dir,
    load_experiment,
    load_target,
)
from lamd.config.loading import _read_with_base


@pytest.fixture
def folder(tmp_path):
    """Copy the shipped YAMLs to a folder that a test may spoil."""
    shutil.copytree(experiments_dir(), tmp_path / "experiments")
    return tmp_path / "experiments"


def spoil(folder, old: str, new: str, name: str = "table_bair.yaml"):
    """Replace the first `old` and return the path and its line."""
    path = folder / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    line = text[: text.index(old)].count("\n") + 1
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return folder / "table_bair.yaml", path, line


def refused(path, *overrides) -> str:
    with pytest.raises(LamdError) as error:
        load_target(str(path), "quick", overrides)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_load_reports_mistyped_key_with_line_and_hint(folder):
    path, where, line = spoil(folder, "num_test:", "num_tset:")
    message = refused(path)
    assert message.startswith(f"{where}:{line}: unknown key 'data.num_tset'")
    assert "did you mean 'num_test'?" in message


def test_load_reports_mistyped_key_of_base_with_its_line(folder):
    path, where, line = spoil(folder, "num_skip_scales:", "num_skip_scale:", "_base.yaml")
    assert refused(path).startswith(f"{where}:{line}: unknown key 'vae.num_skip_scale'")


def test_load_reports_mistyped_key_of_base_profile(folder):
    path, where, line = spoil(folder, "checkpoint_every: 300", "chekpoint: 300", "_base.yaml")
    assert refused(path).startswith(f"{where}:{line}: unknown key 'train_vae.chekpoint'")


def test_base_chain_is_merged_in_order(folder):
    files = {
        "a": "kind: figure\nprofiles: {quick: {title: a profile, x: {p: a}}}\nx: {q: a, r: a}",
        "b": "base: a.yaml\ntitle: b\nx: {r: b}\nprofiles: {paper: {title: b paper}}",
        "c": "base: b.yaml\ntitle: c\nprofiles: {quick: {x: {p: c}}}",
    }
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    tree = _read_with_base(folder / "c.yaml")
    profiles = tree.data.pop("profiles")
    assert tree.data == {"kind": "figure", "title": "c", "x": {"q": "a", "r": "b"}}
    assert profiles == {
        "quick": {"title": "a profile", "x": {"p": "c"}},
        "paper": {"title": "b paper"},
    }
    assert tree.at("x", "r") == f"{folder / 'b.yaml'}:3"
    assert tree.at("profiles", "quick", "title") == f"{folder / 'a.yaml'}:2"
    assert tree.at("profiles", "quick", "x", "p") == f"{folder / 'c.yaml'}:3"


def test_base_that_leads_back_is_refused(folder):
    path, where, line = spoil(folder, "kind: table", "base: table_bair.yaml", "_base.yaml")
    assert refused(path).startswith(f"{where}:{line}: base 'table_bair.yaml' leads back")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("num_test: 64", "num_test: 0", "data.num_test"),
        ("num_test: 64", "num_test: many", "data.num_test"),
        ("num_test: 64", "num_test: 64, simulation_seed: null", "simulation_seed"),
        ("num_test: 64", "num_test: 64, source: simulatd", "data.source"),
        ("\nprofiles:", "\nrows: [lmad]\nprofiles:", "did you mean 'lamd'?"),
        ("\nprofiles:", "\nsampler: {name: dim}\nprofiles:", "did you mean 'ddim'?"),
        ("\nprofiles:", "\nrows: [lamd, lamd]\nprofiles:", "none of which may appear twice"),
        ("\nprofiles:", "\nprofiles: 3\nx:", "needs a mapping"),
        ("\n  standard:", "\n  paper: 3\n  standard:", "paper"),
        ("base: _image_to_video.yaml", "base: ../_base.yaml", "not a file next to"),
        ("base: _image_to_video.yaml", "base: nothing.yaml", "not a file next to"),
        ("profiles:", "profiles: {quick: [", "not valid YAML"),
        ("profiles:", "profiles: !!python/object:os.system", "YAML"),
        ("title:", "title: a\ntitle:", "appears twice"),
        ("title:", f"title: {'a ' * 101}#", "at most 200 characters"),
        ("\n  quick:", "\n  quickk:", "did you mean 'quick'?"),
        ("\nprofiles:", "\nscale: 2020-13-45\nprofiles:", "month must be in"),
    ],
)
def test_load_reports_each_mistake_in_one_line(folder, old, new, reason):
    path, _, _ = spoil(folder, old, new)
    message = refused(path)
    assert reason in message
    assert "table_bair.yaml" in message


@pytest.mark.parametrize("content", [b"", b"- a\n", b"\xff\xfe\x00", b"just words\n"])
def test_load_refuses_file_without_mapping(folder, content):
    path = folder / "table_bair.yaml"
    path.write_bytes(content)
    assert str(path) in refused(path)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("data.num_test", "expected key.subkey=value"),
        ("=3", "expected key.subkey=value"),
        ("data..num_test=3", "expected key.subkey=value"),
        ("data.num_test=[", "not valid YAML"),
        ("data.num_tests=3", "did you mean 'num_test'?"),
        ("data.num_test=-1", "data.num_test"),
        ("dtaa.num_test=3", "did you mean 'data'?"),
    ],
)
def test_load_reports_wrong_override(override, reason):
    message = refused("table_bair", override)
    assert reason in message
    assert override in message


def test_load_refuses_option_without_effect():
    assert "eta" in refused("table_bair", "sampler.name=ddpm")
    assert "lpips_frames" in refused("table_bair", "loss.lpips_frames=16")


@pytest.mark.parametrize(
    ("target", "override", "words"),
    [
        ("table_bair", "dmg.beta_start=0.03", "0 < beta_start <= beta_end < 1"),
        ("table_bair", "evaluate.grid_clips=128", "121 clips of 32 pixels fit into a picture"),
        ("table_bair", "dmg.beta_end=1.5", "0 < beta_start <= beta_end < 1"),
        ("table_bair", "baselines.pixel.unet.base_channels=15", "base_channels must be even"),
        ("table_cater_v1", "dmg.context_channels=100", "100 channels cannot be split into heads"),
        (
            "table_cater_v1",
            "captioner.head_channels=18",
            "96 channels cannot be split into heads of 18",
        ),
    ],
)
def test_networks_that_cannot_be_built_are_refused_before_any_training(target, override, words):
    assert words in refused(target, override)


def test_overrides_apply_in_order_and_change_the_hash():
    plain = load_target("table_bair", "quick")
    same = load_target("table_bair", "quick", ["data.num_test=9", "data.num_test=64"])
    other = load_target("table_bair", "quick", ["data.num_test=9"])
    assert same == plain
    assert config_hash(same) == config_hash(plain) != config_hash(other)
    assert config_hash(other) == config_hash(other.model_dump(mode="json"))


def test_config_is_frozen_and_survives_yaml():
    target = load_target("table_bair", "quick")
    with pytest.raises(ValidationError, match="frozen"):
        target.target = "other"
    text = yaml.safe_dump(target.model_dump(mode="json"))
    assert type(target).model_validate(yaml.safe_load(text)) == target


def test_load_hints_at_nearest_name():
    with pytest.raises(LamdError, match="did you mean 'table_bair'"):
        load_target("table_bari", "quick")
    with pytest.raises(LamdError, match="no profile 'quik'"):
        load_target("table_bair", "quik")
    with pytest.raises(LamdError, match="no such experiment file"):
        load_target("nowhere/x.yaml", "quick")


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=20))
def test_override_of_any_text_raises_only_lamd_error(text):
    with contextlib.suppress(LamdError):
        load_target("table_bair", "quick", [text])


def test_overrides_reach_the_sources_of_a_figure():
    changes = ["sources=[table_bair]", "sources.table_bair.data.num_test=8", "figure.clips=2"]
    figure = load_target("fig_reconstruction", "quick", changes)
    assert list(figure.sources) == ["table_bair"]
    assert (figure.sources["table_bair"].data.num_test, figure.figure.clips) == (8, 2)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("figure.clip=2", "unknown key 'figure.clip', did you mean 'clips'"),
        ("sources.table_bar.seed=1", "no such source, did you mean 'table_bair'"),
        (
            "sources.table_bair.data.num_tst=3",
            "--set sources.table_bair.data.num_tst=3: unknown key 'data.num_tst'",
        ),
        ("figure.frames=99", "table_bair has 16 frames"),
        ("figure.clips=128", "figure.clips: 121 clips of table_bair fit into a picture"),
        ("sources=[table_bai]", "no table_bai.yaml next to it, did you mean 'table_bair'"),
        ("sources=[]", "needs a list of the targets"),
        ("sources=[fig_scaling]", "trains nothing itself"),
    ],
)
def test_load_reports_mistake_in_figure(override, reason):
    with pytest.raises(LamdError, match=re.escape(reason)) as error:
        load_target("fig_reconstruction", "quick", [override])
    assert "\n" not in str(error.value)


def test_an_interpolation_without_weights_is_refused():
    with pytest.raises(LamdError, match=r"figure\.\S*weights: .*at least 1 item"):
        load_target("fig_interpolation", "quick", ["figure.weights=[]"])


def test_reconstruction_table_can_show_one_source():
    table = load_target("table_reconstruction", "quick", ["sources=[table_landscape]"])
    assert list(table.sources) == ["table_landscape"]
    with pytest.raises(LamdError, match="needs one list for each of table_bair"):
        load_target("table_reconstruction", "quick", ["protocols=null", "protocols={}"])


def test_registered_row_can_be_named(monkeypatch):
    with pytest.raises(LamdError, match="no row 'noise'"):
        load_target("table_bair", "quick", ["rows=[noise]"])
    monkeypatch.setitem(ROW_RULES, "noise", RowRule(needs_prompt=True))
    with pytest.raises(LamdError, match=r"row noise needs dmg\.prompt"):
        load_target("table_bair", "quick", ["rows=[noise]"])
    assert load_target("table_mug", "quick", ["rows=[noise]"]).rows == ("noise",)


class Note(AnyTarget):
    kind: Literal["note"]
    text: str


def test_registered_kind_is_loaded(folder, monkeypatch):
    path = folder / "note.yaml"
    path.write_text("kind: note\ntitle: a\ntext: b\nprofiles: {quick: {text: c}}\n")
    assert "kind 'note'" in refused(path)
    monkeypatch.setitem(KINDS, "note", Note)
    assert load_target(str(path), "quick").text == "c"
    with pytest.raises(LamdError, match="kind note trains nothing"):
        load_experiment(str(path), "quick")
    assert describe_target(path) == ("a", ("quick",))


def test_an_installed_package_reads_its_own_experiments(tmp_path, monkeypatch):
    module = tmp_path / "lamd" / "config" / "loading.py"
    monkeypatch.setattr("lamd.config.loading.__file__", str(module))
    (tmp_path / "experiments").mkdir()  # of a checkout, or of any other package
    assert experiments_dir() == tmp_path / "experiments"
    (tmp_path / "lamd" / "_experiments").mkdir(parents=True)
    assert experiments_dir() == tmp_path / "lamd" / "_experiments"
