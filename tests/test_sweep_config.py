"""Grids: ranges, products, lists of points, and errors before any training."""

import shutil
from pathlib import Path

import pytest
import yaml
from tiny import HERE

from lamd.base.errors import LamdError
from lamd.config import load_experiment, load_target
from lamd.execute.schedule import identity
from lamd.pipeline.graph import make_plan
from lamd.targets.sweep import plan_sweep

SWEEP = yaml.safe_load((HERE / "sweep_tiny.yaml").read_text(encoding="utf-8"))
SWEEP |= {"sweep": {"vae.motion_channels": [1, 2],
                    "sampler.seed": {"from": 0, "to": 1, "step": 1}}}  # fmt: skip


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a changed sweep beside its table and returns its path."""
    shutil.copy(HERE / "tiny.yaml", tmp_path)

    def write(**changes) -> str:
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump(SWEEP | changes, sort_keys=False), encoding="utf-8")
        return str(path)

    return write


def points(path: str, *overrides: str) -> list[dict]:
    return list(load_target(path, "quick", overrides).points)


def refused(path: str, *overrides: str) -> str:
    with pytest.raises(LamdError) as error:
        plan_sweep(load_target(path, "quick", overrides), "cpu")
    assert "\n" not in str(error.value)
    return str(error.value)


def line_of(path: str, text: str) -> int:
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return next(n for n, line in enumerate(lines, 1) if text in line)


def test_axes_stand_for_their_product(write):
    found = points(write())
    assert [tuple(point.values()) for point in found] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert load_target(write(), "quick").axes == ("vae.motion_channels",)


def test_a_range_of_floats_is_as_written_by_hand(write):
    grid = {"loss.kl_weight": {"from": 0.1, "to": 0.5, "step": 0.1}}
    assert [p["loss.kl_weight"] for p in points(write(sweep=grid))] == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_keys_of_one_axis_move_together(write):
    grid = {"train_vae.seed, train_dmg.seed": [0, 7]}
    sweep = load_target(write(sweep=grid), "quick")
    seeds = [(one.train_vae.seed, one.train_dmg.seed) for one in sweep.targets().values()]
    assert seeds == [(0, 0), (7, 7)]
    assert sweep.axes == ()


def test_keys_of_one_axis_may_have_a_value_each(write):
    grid = {
        "vae.motion_channels, vae.temporal_downsampling": [[1, 4], [3, 2]],
        "train_vae.seed": [0, 1],
    }
    found = [tuple(point.values()) for point in points(write(sweep=grid))]
    assert found == [(1, 4, 0), (1, 4, 1), (3, 2, 0), (3, 2, 1)]


def test_a_list_names_its_own_points(write):
    grid = [{"vae.motion_channels": 4, "loss.kl_weight": 1e-5},
            {"vae.motion_channels": 3, "loss.kl_weight": 1e-2}]  # fmt: skip
    targets = load_target(write(sweep=grid), "quick").targets()
    assert [(t.vae.motion_channels, t.loss.kl_weight) for t in targets.values()] == [
        (4, 1e-5), (3, 1e-2)]  # fmt: skip


def test_changes_reach_the_table_and_overrides_come_last(write):
    path = write()
    assert load_target(path, "quick").source.train_vae.num_steps == 4
    changed = load_target(path, "quick", ["sources.tiny.train_vae.num_steps=6"])
    assert {one.train_vae.num_steps for one in changed.targets().values()} == {6}
    assert len(points(path, "sweep={sampler.seed: [0, 1, 2]}")) == 6


def test_the_cells_of_a_point_are_those_of_the_table_with_its_values(write):
    plan = plan_sweep(load_target(write(), "quick"), "cpu")
    stages = [f"{stage}.{key}={value}" for stage in ("train_vae", "train_dmg")
              for key, value in SWEEP["overrides"][stage].items()]  # fmt: skip
    options = ["rows=[reconstruction, lamd]", "loss.gan=null", *stages]
    table = load_experiment(str(HERE / "tiny.yaml"), "quick", options)
    other = plan_sweep(load_target(write(sweep={"vae.motion_channels": [2]}), "quick"), "cpu")
    (same,) = other.plans.values()
    assert identity(make_plan(table, "cpu").rows["lamd"]) == identity(same.rows["lamd"])
    assert identity(same.stages["vae"]) in {
        identity(one.stages["vae"]) for one in plan.plans.values()
    }


def test_points_that_differ_in_the_sampler_share_the_training(write):
    grid = {"sampler.num_steps": [2, 5, 10], "sampler.seed": [0, 1]}
    cells = plan_sweep(load_target(write(sweep=grid), "quick"), "cpu").cells()
    kinds = {kind: {identity(c) for one in cells.values() for c in one if c.kind == kind}
             for kind in ("data", "vae", "latents", "dmg", "values")}  # fmt: skip
    assert {kind: len(found) for kind, found in kinds.items()} == {
        "data": 1, "vae": 1, "latents": 1, "dmg": 1, "values": 1 + 6}  # fmt: skip


def test_a_mistyped_key_is_named_with_line_and_neighbour(write):
    path = write(sweep={"vae.motion_chanels": [1, 2]})
    message = refused(path)
    assert message.startswith(f"{path}:{line_of(path, 'chanels')}: unknown key")
    assert "did you mean 'motion_channels'?" in message


def test_a_value_that_the_table_refuses_names_the_line(write):
    path = write(sweep={"sampler.seed": [0], "vae.motion_channels": [1, 0]})
    message = refused(path)
    line = line_of(path, "vae.motion_channels")
    assert message.startswith(f"{path}:{line}: vae.motion_channels: ")
    assert "got 0" in message


def test_values_that_do_not_go_together_name_the_sweep(write):
    path = write(sweep={"sampler.num_steps": [10, 200]})
    assert refused(path).startswith(f"{path}:{line_of(path, 'sweep:')}: sampler.num_steps")


def test_a_wrong_change_names_its_line(write):
    path = write(overrides={"vae": {"motion_channels": 0}})
    assert refused(path).startswith(f"{path}:{line_of(path, 'motion_channels: 0')}: vae.motion")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sweep": {}}, "needs axes"),
        ({"sweep": 3}, "needs axes"),
        ({"sweep": {"sampler.seed": []}}, "needs a list"),
        ({"sweep": {"sampler.seed": {"from": 0, "to": 2}}}, "from, to and step"),
        ({"sweep": {"sampler.seed": {"from": 0, "to": 2, "step": 0}}}, "step above 0"),
        ({"sweep": {"sampler.seed": {"from": 0, "to": 9**9, "step": 1}}}, "at most 1000"),
        ({"sweep": {"sampler.seed": {"from": 0, "to": ".inf", "step": 1}}}, "are numbers"),
        ({"sweep": {"sampler.seed": [1, 1]}}, "stands twice"),
        ({"sweep": [{"sampler.seed": 1}, {"train_vae.seed": 1}]}, "same keys"),
        ({"sweep": {"runtime.sampling_batch_size": [4, 8]}}, "measure the same"),
        ({"sweep": {"train_vae.seed, train_dmg.seed": [[1, 2, 3]]}}, "not one value a key; give 2"),
        ({"diagnostics": "perhaps"}, "diagnostics"),
        ({"sources": ["tiny", "tiny2"]}, "tiny2.yaml"),
        ({"published": "motion_capacity"}, "did you mean 'motion_capacity_bair'?"),
        ({"figure": {"name": "curves", "columns": ["lamd pnsr"]}}, "did you mean 'lamd psnr'?"),
        ({"figure": {"name": "tradeoff", "x": "lamd psnr", "y": "lamd psnr"}}, "two axes"),
        ({"threads": 0}, "threads"),
        ({"overrides": 3}, "overrides: needs keys"),
        ({"sets": {}}, "unknown key 'sets'"),
    ],
)  # fmt: skip
def test_what_is_no_sweep_is_one_line(write, changes, reason):
    assert reason in refused(write(**changes))
