"""The windows of test videos that are measured, and the protocols that ask for them."""

import numpy as np
import pytest
from tiny import HERE, tiny_target

from lamd import weights
from lamd.base.errors import LamdError
from lamd.config import config_hash, load_target
from lamd.data.packed import windows_by_rule
from lamd.forecast.work import frames_of, work_of
from lamd.metrics import i3d
from lamd.pipeline.graph import TablePlan
from lamd.pipeline.store import Store
from lamd.targets import KINDS
from lamd.targets.kind import _changes
from lamd.targets.reproduce import reproduce

BAIR = ("data.num_frames=16", "vae.temporal_downsampling=16", "data.num_test=3", "rows=[lamd]")


def options(protocol, windows, samples):
    return [
        *BAIR, f"evaluate.protocols=[{protocol}]", f"evaluate.windows={windows}",
        f"evaluate.samples_per_clip={samples}",
    ]  # fmt: skip


@pytest.fixture
def features(monkeypatch):
    """Put a random projection of the pixels in the place of I3D."""
    projection = np.random.default_rng(0).normal(size=(16 * 16 * 16 * 3, 400)) / 1000

    def project(clips, *_, **__):
        return (clips.reshape(len(clips), -1) / 255 @ projection).astype(np.float32)

    monkeypatch.setattr(i3d, "features", project)
    monkeypatch.setattr(i3d, "load_i3d", lambda *_: None)
    monkeypatch.setattr(weights, "load", lambda *_: {})


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The folder of all runs, which share their data and models."""
    return tmp_path_factory.mktemp("windows")


def measured(root, protocol, windows, samples):
    """Return the value of LaMD and the notes of a run on three videos."""
    outcome = reproduce(
        str(HERE / "tiny.yaml"), "quick", options(protocol, windows, samples),
        runs=root / "runs", results=root / "results", device="cpu", say=lambda _: None,
    )  # fmt: skip
    (value,) = outcome.results.values
    return value, outcome.results.notes


@pytest.mark.parametrize(
    ("protocol", "windows", "samples", "real", "fake"),
    [
        ("fvd.bair.v1", "disjoint", 1, 3, 3),
        pytest.param("fvd.bair.x100.v1", "first", 100, 3, 300, marks=pytest.mark.slow),
        ("fvd.bair.windows.v1", "all", 1, 45, 45),
    ],
)
def test_reproduce_measures_each_protocol_of_bair(
    features, root, protocol, windows, samples, real, fake
):
    value, notes = measured(root, protocol, windows, samples)
    assert (value.protocol, value.n_real, value.n_fake) == (protocol, real, fake)
    # the published number of clips apart
    assert all(" clips, the protocol asks for " in line or "pixels" in line
               for line in value.deviations)  # fmt: skip
    # clips of one video are drawn together, and three videos have no interval
    assert value.low is None
    assert any("all windows of each video" in note for note in notes) == (windows == "all")


def test_reproduce_names_windows_that_the_protocol_does_not_ask_for(features, root):
    value, _ = measured(root, "fvd.bair.windows.v1", "first", 1)
    assert "1 windows of a video, the protocol asks for 15" in value.deviations


def test_windows_by_rule_choose_starts():
    def starts(rule):
        return [tuple(pair) for pair in windows_by_rule([9, 3, 4], 4, rule)]

    assert starts("disjoint") == [(0, 0), (0, 4), (2, 0)]
    assert starts("first") == [(0, 0), (2, 0)]
    assert starts("all") == [*((0, start) for start in range(6)), (2, 0)]
    assert windows_by_rule([], 4, "first").shape == (0, 2)


def test_config_of_disjoint_windows_keeps_its_hash_and_cells():
    rows = "rows=[lamd]"
    plain, same = tiny_target(rows), tiny_target(rows, "evaluate.windows=disjoint")
    other = tiny_target(rows, "evaluate.windows=all")
    assert config_hash(plain) == config_hash(same) != config_hash(other)
    test, moved = (TablePlan(target, "cpu").test for target in (plain, other))
    assert test.config == {"real": "test", "num_frames": 4}
    assert moved.config == {"real": "test", "num_frames": 4, "windows": "all"}


def test_forecast_counts_the_windows_of_the_rule(tmp_path):
    work, store = {}, Store(tmp_path)
    for rule in ("disjoint", "all"):
        plan = TablePlan(tiny_target(*options("fvd.bair.v1", rule, 1)), "cpu")
        lengths = frames_of(plan.target, plan.stages["data"], store)["test"]
        work[rule] = work_of(plan.clips("lamd"), plan.target, plan.stages["data"], store)
    assert lengths.tolist() == [30, 30, 30]
    assert [work[rule].units[0][1] for rule in ("disjoint", "all")] == [3, 45]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data.num_frames=8", "vae.temporal_downsampling=8"], "fvd.bair.v1 needs 9; raise it"),
        (["data.num_test=1"], "data.num_test 1: fvd.bair.v1 needs 2; raise it"),
        (["evaluate.protocols=[psnr.v1,psnr.given1.v1]"], "psnr.v1 and psnr.given1.v1 are one"),
        (["evaluate.protocols=[psnr.v1,psnr.v1]"], "psnr.v1 and psnr.v1 are one column"),
        (["evaluate.windows=all"], "another_future: it begins at disjoint windows"),
    ],
)
def test_needs_of_metrics_and_rows_are_checked_before_any_training(overrides, words):
    with pytest.raises(LamdError, match=words):
        TablePlan(load_target("table_bair", "quick", overrides), "cpu")


def test_overrides_of_a_run_at_full_scale_depart_from_its_profile():
    harmless = ("evaluate.grid_clips=2", "rows=[lamd]", "title=x", "train_vae.seed=1")
    overrides = ("train_vae.num_steps=9", *harmless)
    full = tiny_target("scale=full")
    assert list(_changes(full, "", overrides)) == ["changed by --set train_vae.num_steps=9"]
    assert list(_changes(tiny_target(), "", overrides)) == []
    there = ("sources.tiny.evaluate.grid_clips=2", "sources.tiny.sampler.num_steps=2")
    assert list(_changes(full, "tiny", there)) == [f"changed by --set {there[1]}"]
    assert list(_changes(full, "other", ("sources.elsewhere.sampler.num_steps=2",))) == []


def test_protocols_of_reconstructions_are_checked_like_those_of_tables():
    for names, words in (
        ("[action_precision.mage.v1]", "protocols.table_bair: captions need a captioner"),
        ("[cfvd.gestures.v1]", "protocols.table_bair: cfvd needs classes"),
    ):
        config = load_target("table_reconstruction", "quick", [f"protocols.table_bair={names}"])
        with pytest.raises(LamdError, match=words):
            KINDS[config.kind].plan(config, "cpu")
