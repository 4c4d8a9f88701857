"""Other futures: the stand-ins simulated again from the same states, and the row made of them."""

import json
from pathlib import Path

import numpy as np
import pytest
from golden_stand_ins import GOLDEN, SIZES, brightness, own_options
from tiny import tiny_target

from lamd.base.errors import LamdError
from lamd.base.rng import numpy_generator
from lamd.config import load_target
from lamd.data.cater.captions import MODES, scene_caption
from lamd.data.dataset import DATASETS
from lamd.data.stand_in import Future
from lamd.pipeline import contents
from lamd.pipeline.graph import TablePlan
from lamd.pipeline.steps.clips import future_clips, real_clips
from lamd.pipeline.steps.data import build_data
from lamd.standins.blocks.scene import MIN_DISTANCE, draw_future, draw_plan, scene_json
from lamd.standins.robot.motion import branch_path, draw_path, draw_start, roll_out
from lamd.standins.sky import write
from lamd.targets import KINDS

NUM_FRAMES, NUM_TEST = 8, 3


@pytest.fixture(scope="module", autouse=True)
def short_skies():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "LONGEST", 36)
        yield


@pytest.fixture(scope="module", params=SIZES)
def packed(request, tmp_path_factory):
    """Return the test split of a stand-in, and two other futures of it."""
    name, root = request.param, tmp_path_factory.mktemp(request.param)
    data, own = DATASETS[name], own_options(name)
    asked = {"num_test": NUM_TEST, "seed": 3, "num_workers": 1, "frame_size": SIZES[name]}
    data.simulate(root / "data", num_train=1, **asked)
    for number in range(2):
        data.simulate_future(root / str(number), Future(number, NUM_FRAMES, own), **asked)
    return [
        data.pack(
            root / path,
            root / f"packed {path}",
            split="test",
            **{"size": 32, "num_frames": NUM_FRAMES, **own},
        )
        for path in ("data", "0", "1")
    ]


def test_another_future_begins_as_the_data_and_goes_on_differently(packed):
    data, *futures = packed
    windows = data.windows(NUM_FRAMES, NUM_FRAMES)
    assert len(windows) >= NUM_TEST
    real = np.stack([data.clip(i, start, NUM_FRAMES) for i, start in windows]).astype(int)
    others = []
    for future in futures:
        assert future.keys == data.keys
        assert future.conditions == data.conditions
        assert (future.lengths == data.lengths).all()
        clips = np.stack([future.clip(i, start, NUM_FRAMES) for i, start in windows]).astype(int)
        np.testing.assert_array_equal(clips[:, 0], real[:, 0])
        others.append(clips)
    moved = np.abs(real[:, 1:] - real[:, :1]).mean()
    for one, two in ((real, others[0]), (real, others[1]), others):
        assert np.abs(one - two)[:, 1:].mean() > 0.15 * moved
        per_clip = np.abs(one - two).mean(axis=(1, 2, 3, 4))
        assert (per_clip > 0).all()
    for clips in others:
        assert 0.5 < np.abs(clips[:, 1:] - clips[:, :1]).mean() / moved < 2


@pytest.mark.parametrize("name", SIZES)
def test_stand_ins_look_as_they_always_did(name, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "LONGEST", 96)
    measured = brightness(name, tmp_path)
    expected = {split: json.loads(GOLDEN.read_text())[name][split] for split in measured}
    for split, values in measured.items():  # kinds of CPU differ by rounding
        np.testing.assert_allclose(values, expected[split], atol=0.02)


def test_segments_cover_a_video_from_the_first_frame_of_each_clip():
    future = Future(0, 16, {})
    assert list(future.segments(53)) == [(0, 16), (16, 32), (32, 53)]
    assert list(future.segments(16)) == [(0, 16)]
    assert list(future.segments(5)) == [(0, 5)]


@pytest.mark.parametrize("frame", [0, 10])
def test_robot_leaves_its_path_at_a_frame_and_not_before(frame):
    for i in range(4):
        first = roll_out(numpy_generator("data", i))
        other = roll_out(numpy_generator("data", i), frame, numpy_generator("other", i))
        np.testing.assert_array_equal(other.qpos[: frame + 1], first.qpos[: frame + 1])
        assert np.linalg.norm(other.qpos[-1, :3] - first.qpos[-1, :3]) > 0.02


def test_robot_leaves_its_path_at_its_speed():
    rng, targets = numpy_generator("path"), np.zeros((0, 2))
    path = draw_path(rng, draw_start(rng), targets, 30)
    before, here, after = branch_path(path, 10, rng, targets)(np.array([9.99, 10, 10.01]))
    np.testing.assert_allclose(after - here, here - before, atol=2e-5)
    assert np.abs(here - before).max() > 1e-4


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_other_moves_of_a_scene_have_its_captions(version, mode):
    moved = 0
    for seed in range(60):
        plan = draw_plan(np.random.default_rng(seed), version)
        future = draw_future(np.random.default_rng([seed, 1]), plan, mode)
        first, second = (
            scene_caption(
                scene_json(p, "test", 0, "a.avi", (64, 48)), version, mode, np.random.default_rng(0)
            )
            for p in (plan, future)
        )
        assert first == second
        np.testing.assert_array_equal(future.places[:, 0], plan.places[:, 0])
        moved += (future.places != plan.places).any() or (future.tilts != plan.tilts).any()
        for i, thing in enumerate(plan.things):
            for j, other in enumerate(plan.things[:i]):
                gap = np.linalg.norm(future.places[i] - future.places[j], axis=1).min()
                contained = {m.other for m in plan.moves.values()} & {
                    thing.instance,
                    other.instance,
                }
                assert contained or gap >= thing.sized + other.sized + MIN_DISTANCE - 1e-9
    assert moved >= 55


@pytest.fixture(scope="module")
def tiny_sets(tmp_path_factory):
    target = tiny_target("evaluate.samples_per_clip=2")
    folders = {role: tmp_path_factory.mktemp(role) for role in ("data", "test")}
    build_data(folders["data"], {}, target)
    real_clips(folders["test"], {"data": folders["data"]}, target, "test")
    return target, folders


def test_row_has_the_first_frames_and_as_many_futures_as_samples(tiny_sets, tmp_path):
    target, inputs = tiny_sets
    assert future_clips(tmp_path, inputs, target, range(2)) == {"clips": 56}
    real, fake = (np.array(contents.read_clips(path), int) for path in (inputs["test"], tmp_path))
    keys = json.loads((tmp_path / contents.KEYS).read_text())
    assert keys[:3] == ["bair/test/0@0#0", "bair/test/0@0#1", "bair/test/0@4#0"]
    np.testing.assert_array_equal(fake[:, 0], real[:, 0].repeat(2, axis=0))
    assert np.abs(fake[::2, 1:] - fake[1::2, 1:]).mean() > 1
    assert not list(tmp_path.glob("future*"))


def test_row_refuses_data_that_begin_otherwise(tiny_sets, tmp_path):
    target, inputs = tiny_sets
    other = target.model_copy(
        update={"data": target.data.model_copy(update={"simulation_seed": 1})}
    )
    with pytest.raises(LamdError, match="bair/test/0@0 begins with another frame"):
        future_clips(tmp_path, inputs, other, range(1))


def row_cell(*overrides: str):
    plan = TablePlan(
        load_target("table_bair", "quick", ["rows=[another_future]", *overrides]), "cpu"
    )
    return plan.clips("another_future")


def test_row_depends_on_test_clips_and_not_on_the_number_of_train_clips():
    first = row_cell()
    assert row_cell("data.num_train=7").config == first.config
    assert row_cell("data.simulation_seed=1").config != first.config
    assert row_cell("evaluate.samples_per_clip=3").config["samples"] == [0, 3]


def test_row_needs_a_simulator_that_draws_futures(monkeypatch):
    real = ["data.source=real", "data.simulation_seed=null"]
    with pytest.raises(LamdError, match=r"row another_future needs data\.source: simulated"):
        load_target("table_bair", "quick", ["rows=[another_future]", *real])
    with pytest.raises(LamdError, match="row another_future is not sampled in steps"):
        load_target("fig_quality_vs_cost", "quick", ["series={another_future: {ddim: [200]}}"])
    monkeypatch.setitem(vars(DATASETS["bair"]), "has_futures", False)
    with pytest.raises(LamdError, match="simulator of bair draws no other future; take it out"):
        row_cell()
    with pytest.raises(LamdError, match="draws no other future"):
        DATASETS["bair"].simulate_future(Path("x"), Future(0, 4, {}), num_test=1, seed=0)


@pytest.mark.parametrize("name", ["bair", "landscape", "cater_v1", "cater_v2", "mug", "natops"])
def test_simulated_tables_have_the_row_and_real_ones_do_not(name):
    for profile, has in (("quick", True), ("standard", True), ("paper", False)):
        target = load_target(f"table_{name}", profile)
        assert ("another_future" in target.rows) == has
        KINDS["table"].plan(target, "cpu")
