"""Configs: strictness, errors that name file, line and key, overrides, hashes."""

import contextlib
import re
import shutil

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lamd.base.errors import LamdError
from lamd.config import config_hash, experiments_dir, load_target


@pytest.fixture
def folder(tmp_path):
    """Copy the shipped YAMLs to a folder that a test may spoil."""
    shutil.copytree(experiments_dir(), tmp_path / "experiments")
    return tmp_path / "experiments"


def spoil(folder, old: str, new: str, name: str = "table_bair.yaml"):
    """Replace the first `old` and return the path and the line it stood in."""
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


def test_a_mistyped_key_is_named_with_line_and_neighbour(folder):
    path, where, line = spoil(folder, "num_test:", "num_tset:")
    message = refused(path)
    assert message.startswith(f"{where}:{line}: unknown key 'data.num_tset'")
    assert "did you mean 'num_test'?" in message


def test_a_mistyped_key_of_the_base_names_the_base(folder):
    path, where, line = spoil(folder, "camera:", "camrea:", "_bair.yaml")
    assert refused(path).startswith(f"{where}:{line}: unknown key 'data.camrea'")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("source: simulated", "source: simulatd", "data.source"),
        ("num_test: 64", "num_test: 0", "data.num_test"),
        ("num_test: 64", "num_test: many", "data.num_test"),
        ("simulation_seed: 0", "simulation_seed: null", "simulation_seed"),
        ("base: _bair.yaml", "base: ../_bair.yaml", "not a file beside"),
        ("base: _bair.yaml", "base: nothing.yaml", "not a file beside"),
        ("profiles:", "profiles: {quick: [", "not valid YAML"),
        ("profiles:", "profiles: !!python/object:os.system", "YAML"),
        ("title:", "title: a\ntitle:", "stands twice"),
        ("\n  quick:", "\n  quickk:", "did you mean 'quick'?"),
    ],
)
def test_what_is_wrong_is_one_line(folder, old, new, reason):
    path, _, _ = spoil(folder, old, new)
    message = refused(path)
    assert reason in message
    assert "table_bair.yaml" in message


@pytest.mark.parametrize("content", [b"", b"- a\n", b"\xff\xfe\x00", b"just words\n"])
def test_a_file_that_is_no_experiment(folder, content):
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
def test_a_wrong_override_is_named(override, reason):
    message = refused("table_bair", override)
    assert reason in message
    assert override in message


def test_an_option_without_effect_is_an_error():
    assert "eta" in refused("table_bair", "sampler.name=ddpm")
    assert "lpips_frames" in refused("table_bair", "loss.lpips_frames=16")


def test_overrides_apply_in_order_and_change_the_hash():
    plain = load_target("table_bair", "quick")
    same = load_target("table_bair", "quick", ["data.num_test=9", "data.num_test=64"])
    other = load_target("table_bair", "quick", ["data.num_test=9"])
    assert same == plain
    assert config_hash(same) == config_hash(plain) != config_hash(other)
    assert config_hash(other) == config_hash(other.model_dump(mode="json"))


def test_a_config_is_frozen_and_survives_yaml():
    target = load_target("table_bair", "quick")
    with pytest.raises(ValidationError, match="frozen"):
        target.target = "other"
    text = yaml.safe_dump(target.model_dump(mode="json"))
    assert type(target).model_validate(yaml.safe_load(text)) == target


def test_unknown_names_are_told_the_nearest():
    with pytest.raises(LamdError, match="did you mean 'table_bair'"):
        load_target("table_bari", "quick")
    with pytest.raises(LamdError, match="no profile 'quik'"):
        load_target("table_bair", "quik")
    with pytest.raises(LamdError, match="no such experiment file"):
        load_target("nowhere/x.yaml", "quick")


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=20))
def test_no_override_text_crashes(text):
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
        ("sources.table_bair.data.num_tst=3", "unknown key 'data.num_tst'"),
        ("figure.frames=99", "table_bair has 16 frames"),
        ("sources=[table_bai]", "no table_bai.yaml beside it, did you mean 'table_bair'"),
        ("sources=[]", "needs a list of the targets"),
        ("sources=[fig_scaling]", "trains nothing itself"),
    ],
)
def test_a_mistake_in_a_figure_is_told(override, reason):
    with pytest.raises(LamdError, match=re.escape(reason)) as error:
        load_target("fig_reconstruction", "quick", [override])
    assert "\n" not in str(error.value)


def test_one_source_of_a_table_can_stand_alone():
    table = load_target("table_reconstruction", "quick", ["sources=[table_landscape]"])
    assert list(table.sources) == ["table_landscape"]
    with pytest.raises(LamdError, match="needs one list for each of table_bair"):
        load_target("table_reconstruction", "quick", ["protocols=null", "protocols={}"])
