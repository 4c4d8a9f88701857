"""Grids: ranges, products, lists of points, and errors before any training."""

import pickle
import shutil
import time
from pathlib import Path

import pytest
import yaml
from tiny import HERE

from lamd.base.errors import LamdError
from lamd.config import load_experiment, load_target
from lamd.execute.executors import Job
from lamd.pipeline.graph import TablePlan
from lamd.targets.kind import Graph
from lamd.targets.sweep import SweepKind
from lamd.targets.table import Table

SWEEP = yaml.safe_load((HERE / "sweep_tiny.yaml").read_text(encoding="utf-8"))
SWEEP |= {"sweep": {"vae.motion_channels": [1, 2],
                    "sampler.seed": {"from": 0, "to": 1, "step": 1}}}  # fmt: skip

PSNR = {"row": "lamd", "metric": "psnr"}


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a changed sweep next to its table and returns its path."""
    shutil.copy(HERE / "tiny.yaml", tmp_path)

    def write(**changes) -> str:
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump(SWEEP | changes, sort_keys=False), encoding="utf-8")
        return str(path)

    return write


def plan(path: str) -> Graph:
    return SweepKind().plan(load_target(path, "quick"), "cpu")


def points(path: str, *overrides: str) -> list[dict]:
    return list(load_target(path, "quick", overrides).points)


def refused(path: str, *overrides: str) -> str:
    with pytest.raises(LamdError) as error:
        SweepKind().plan(load_target(path, "quick", overrides), "cpu")
    assert "\n" not in str(error.value)
    return str(error.value)


def line_of(path: str, text: str) -> int:
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return next(n for n, line in enumerate(lines, 1) if text in line)


def test_axes_make_their_product(write):
    values = points(write())
    assert [tuple(point.values()) for point in values] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert load_target(write(), "quick").axes == ("vae.motion_channels",)


def test_range_of_floats_has_the_values_written_by_hand(write):
    grid = {"loss.kl_weight": {"from": 0.1, "to": 0.5, "step": 0.1}}
    assert [p["loss.kl_weight"] for p in points(write(sweep=grid))] == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_keys_of_one_axis_move_together(write):
    grid = {"train_vae.seed, train_dmg.seed": [0, 7]}
    sweep = load_target(write(sweep=grid), "quick")
    seeds = [(point.train_vae.seed, point.train_dmg.seed) for point in sweep.targets().values()]
    assert seeds == [(0, 0), (7, 7)]
    assert sweep.axes == ()


def test_keys_of_one_axis_may_differ_in_value(write):
    grid = {
        "vae.motion_channels, vae.temporal_downsampling": [[1, 4], [3, 2]],
        "train_vae.seed": [0, 1],
    }
    values = [tuple(point.values()) for point in points(write(sweep=grid))]
    assert values == [(1, 4, 0), (1, 4, 1), (3, 2, 0), (3, 2, 1)]


def test_names_of_values_stand_for_their_keys(write):
    keys = "vae.motion_channels, vae.temporal_downsampling"
    grid = {keys: {"flat": [1, 4], "long": [3, 2]}, "train_vae.seed": [0, 1]}
    sweep = load_target(write(sweep=grid), "quick")
    assert [tuple(point.values()) for point in sweep.points] == [
        (1, 4, 0), (1, 4, 1), (3, 2, 0), (3, 2, 1)]  # fmt: skip
    assert sweep.axes == ("variant",)
    latents = {n: (t.vae.motion_channels, t.train_vae.seed) for n, t in sweep.targets().items()}
    assert latents == {
        "variant=flat, train_vae.seed=0": (1, 0), "variant=flat, train_vae.seed=1": (1, 1),
        "variant=long, train_vae.seed=0": (3, 0), "variant=long, train_vae.seed=1": (3, 1),
    }  # fmt: skip
    assert "two axes have names" in refused(write(sweep=grid | {"loss.kl_weight": {"a": [1.0]}}))


def test_rows_are_no_axis(write):
    with pytest.raises(LamdError, match="rows is no axis; name all rows in overrides"):
        load_target(write(sweep={"rows": [["lamd"], ["lamd", "reconstruction"]]}), "quick")
    with pytest.raises(LamdError, match="rows is no axis"):
        load_target(write(sweep={"rows": {"one": ["lamd"], "two": ["lamd", "real_test"]}}), "quick")


def test_a_list_names_its_own_points(write):
    grid = [{"vae.motion_channels": 4, "loss.kl_weight": 1e-5},
            {"loss.kl_weight": 1e-2, "vae.motion_channels": 3}]  # fmt: skip
    config = load_target(write(sweep=grid), "quick")
    assert [[*point] for point in config.points] == [[*grid[0]]] * 2
    targets = config.targets()
    assert [(t.vae.motion_channels, t.loss.kl_weight) for t in targets.values()] == [
        (4, 1e-5), (3, 1e-2)]  # fmt: skip


def test_changes_reach_the_table_and_overrides_come_last(write):
    path = write()
    assert load_target(path, "quick").source.train_vae.num_steps == 120
    changed = load_target(path, "quick", ["sources.tiny.train_vae.num_steps=150"])
    assert {point.train_vae.num_steps for point in changed.targets().values()} == {150}
    assert len(points(path, "sweep={sampler.seed: [0, 1, 2]}")) == 6


def test_point_has_the_cells_of_the_table_with_its_values(write):
    stages = [f"{stage}.{key}={value}" for stage in ("train_vae", "train_dmg")
              for key, value in SWEEP["overrides"][stage].items()]  # fmt: skip
    options = ["rows=[reconstruction, lamd]", "loss.gan=null", *stages]
    table = TablePlan(load_experiment(str(HERE / "tiny.yaml"), "quick", options), "cpu")
    (same,) = plan(write(sweep={"vae.motion_channels": [2]})).plans.values()
    assert table.values["lamd"].plan_hash == same.values["lamd"].plan_hash
    trained = {point.stages["vae"].plan_hash for point in plan(write()).plans.values()}
    assert same.stages["vae"].plan_hash in trained


def test_points_that_differ_in_the_sampler_share_the_training(write):
    grid = {"sampler.num_steps": [2, 5, 10], "sampler.seed": [0, 1]}
    cells = [cell for point in plan(write(sweep=grid)).cells().values() for cell in point]
    hashes = {kind: {cell.plan_hash for cell in cells if cell.kind == kind}
              for kind in ("data", "vae", "latents", "dmg", "values")}  # fmt: skip
    assert {kind: len(distinct) for kind, distinct in hashes.items()} == {
        "data": 1, "vae": 1, "latents": 1, "dmg": 1, "values": 1 + 6}  # fmt: skip


def test_load_reports_mistyped_key_with_line_and_hint(write):
    path = write(sweep={"vae.motion_chanels": [1, 2]})
    message = refused(path)
    assert message.startswith(f"{path}:{line_of(path, 'chanels')}: unknown key")
    assert "did you mean 'motion_channels'?" in message


def test_load_reports_line_of_value_that_table_refuses(write):
    path = write(sweep={"sampler.seed": [0], "vae.motion_channels": [1, 0]})
    message = refused(path)
    line = line_of(path, "vae.motion_channels")
    assert message.startswith(f"{path}:{line}: vae.motion_channels: ")
    assert "got 0" in message


def test_load_reports_line_of_sweep_for_conflicting_values(write):
    path = write(sweep={"sampler.num_steps": [10, 200]})
    assert refused(path).startswith(f"{path}:{line_of(path, 'sweep:')}: sampler.num_steps")


def test_load_reports_line_of_wrong_change(write):
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
        ({"sweep": {"sampler.seed": {"from": 0, "to": 1000, "step": 1}}}, "1001 points, at most"),
        ({"sweep": {"sampler.seed": {"from": 0, "to": ".inf", "step": 1}}}, "are numbers"),
        ({"sweep": {"sampler.seed": [1, 1]}}, "appears twice"),
        ({"sweep": [{"sampler.seed": 1}, {"train_vae.seed": 1}]}, "same keys"),
        ({"sweep": {"runtime.sampling_batch_size": [4, 8]}}, "measure the same"),
        ({"sweep": {"train_vae.seed, train_dmg.seed": [[1, 2, 3]]}}, "one value per key; give 2"),
        ({"diagnostics": "perhaps"}, "diagnostics"),
        ({"sources": ["tiny", "tiny2"]}, "tiny2.yaml"),
        ({"published": "motion_capacity"}, "did you mean 'motion_capacity_bair'?"),
        ({"figure": {"name": "curves", "columns": [PSNR | {"metric": "pnsr"}]}},
         "did you mean 'lamd psnr'?"),
        ({"figure": {"name": "curves", "columns": [PSNR], "reference": PSNR | {"row": "lmd"}}},
         "did you mean 'lamd psnr'?"),
        ({"figure": {"name": "curves", "columns": ["lamd psnr"]}}, "figure.columns.0"),
        ({"figure": {"name": "curves", "columns": [PSNR | {"metrik": "psnr"}]}},
         "unknown key 'figure.columns.0.metrik', did you mean 'metric'?"),
        ({"figure": {"name": "tradeoff", "x": PSNR, "y": PSNR}}, "two axes"),
        ({"threads": 0}, "threads"),
        ({"overrides": 3}, "overrides: needs keys"),
        ({"sets": {}}, "unknown key 'sets'"),
    ],
)  # fmt: skip
def test_plan_reports_each_mistake_in_one_line(write, changes, reason):
    assert reason in refused(write(**changes))


def grid(count: int) -> dict[str, list[int]]:
    return {"vae.motion_channels": [1, 2, 3, 4, 5], "sampler.seed": [*range(count // 5)]}


def test_planning_time_is_linear_in_the_points(write):
    def seconds(count: int) -> float:
        path = write(sweep=grid(count), figure={"name": "curves", "columns": [PSNR]})
        plan(path)
        times = []
        for _ in range(2):
            started = time.process_time()
            assert len(plan(path).cells()) == count
            times.append(time.process_time() - started)
        return min(times)

    few, many = map(seconds, (50, 200))
    assert many < 5
    assert many / few < 6


def test_job_pickles_small_and_is_not_planned_again(write, monkeypatch, tmp_path):
    graph = plan(write(sweep=grid(10)))
    table = Table().plan(load_target("table_cater_v1", "quick"), "cpu")
    cells = [cell for graph in (graph, table) for own in graph.cells().values() for cell in own]
    assert "values permuted_prompts" in {cell.name for cell in cells}
    monkeypatch.setattr(TablePlan, "__init__", lambda *_: pytest.fail("planned again"))
    for cell in cells:
        pickled = pickle.dumps(cell)  # with all ancestors
        assert len(pickled) <= 7_200, cell.name
        job = pickle.loads(pickle.dumps(Job(cell, "", tmp_path, "cpu", 1)))
        assert job.cell.plan_hash == cell.plan_hash
