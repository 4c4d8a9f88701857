"""`lamd plan`: counts, times, kept predictions, and the reasons where there is no time."""

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import TinyVideos, table_cells, tiny_target

from lamd import cli
from lamd.base.errors import LamdError
from lamd.config import load_target
from lamd.diffusion import num_passes
from lamd.flops import Cost
from lamd.forecast import predict, probe, step, work
from lamd.forecast.predict import CellCost, accuracy, forecast, forecast_table
from lamd.forecast.probe import time_unit
from lamd.forecast.work import Unit, Work, work_of
from lamd.models.dmg import DMG
from lamd.paradigms import costs
from lamd.paradigms.budget import row_budget
from lamd.pipeline.cell import Cell, Step
from lamd.pipeline.graph import TablePlan
from lamd.pipeline.runner import Runner
from lamd.pipeline.store import Store, describe
from lamd.targets import KINDS
from lamd.training.stages import training_windows

ROWS = "rows=[copy_first_frame,reconstruction,lamd]"


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs")


@pytest.fixture
def clock(monkeypatch):
    """Stand in for the probe: `seconds` per unit, `asked` are the units it was asked for."""
    clock = SimpleNamespace(seconds=0.1, asked=[])

    def measure(wanted, device, limit):
        clock.asked.extend(wanted)
        return dict.fromkeys(wanted, clock.seconds)

    monkeypatch.setattr(probe, "probe", measure)
    return clock


def works(target, store):
    cells = table_cells(target)
    return {cell.name: work_of(cell, target, cells[0], store) for cell in cells}


def counts(work):
    return {f"{unit.subject} {unit.kind}": number for unit, number in work.units}


def do_nothing(folder, inputs):
    return {"content_hash": "x"}


def finish(store, cells, seconds):
    """Make cells that do nothing, in the given time."""
    for cell in cells:
        folder = Runner(store, "cpu").run(replace(cell, step=Step(f"{__name__}:do_nothing")))
        content = json.loads((folder / "cell.json").read_text())
        content["info"]["seconds"] = seconds
        describe(folder, content)


def test_every_cell_is_counted(store):
    target = tiny_target(ROWS, "evaluate.protocols=[psnr.v1,lpips-alex.v1]", "data.size=32",
                         "evaluate.samples_per_clip=3")  # fmt: skip
    found = works(target, store)
    assert counts(found["data"]) == {"bair simulation": 12 + 4}
    assert counts(found["vae"]) == {"vae step": 3, "vae step, adversary": 7}
    assert counts(found["dmg"]) == {"dmg step": 10}
    windows = 4 * 7  # test clips: 30 frames in pieces of 4
    assert counts(found["clips reconstruction"]) == {"vae reconstruction": windows}
    assert counts(found["clips lamd"]) == {"latent_motion sampling": 3 * windows}
    compared = {"psnr comparison": 3 * windows, "lpips-alex comparison": 3 * windows}
    assert counts(found["values lamd"]) == compared
    compared = dict.fromkeys(compared, windows)
    assert counts(found["values copy_first_frame"]) == compared
    assert found["clips lamd"].disk == 3 * windows * 4 * 32 * 32 * 3
    assert found["clips copy_first_frame"].disk == windows * 32 * 32 * 3  # one frame of each
    assert found["data"].disk == 16 * 30 * 32 * 32 * 3


def test_captions_are_counted(store):
    found = works(load_target("table_cater_v1", "quick", ["data.num_test=3"]), store)
    captions = [name for name in found if name.startswith("captions")]
    assert len(captions) == 6
    for name in captions:
        ((unit, number),) = found[name].units
        assert (unit.kind, number) == ("captioning", 3)
        # a training step is three passes over 16 clips; here words follow one by one
        assert unit.flops > found["captioner"].units[0][0].flops / 16 / 3


def test_the_other_paradigms_are_counted(store):
    target = tiny_target("rows=[lamd,pixel_flops,latent_video_clips]")
    found = works(target, store)
    assert all(work.units is not None for work in found.values())
    pixel, video = (row_budget(target, row) for row in ("pixel_flops", "latent_video_clips"))
    assert counts(found["pixel flops"]) == {"pixel step": pixel.steps}
    assert found["pixel flops"].flops / 1e12 == pixel.tflops
    assert counts(found["latent_video clips"]) == {"latent_video step": video.steps}
    assert found["latent_video clips"].flops / 1e12 == video.tflops
    encoded = 2 * found["video_latents"].flops  # for the statistics, and for stage II
    assert (found["video_vae"].flops + encoded) / 1e12 == video.autoencoder_tflops
    lamd = found["vae"].flops + 2 * found["latents"].flops + found["dmg"].flops
    assert lamd / 1e12 == video.lamd_tflops
    assert counts(found["video_vae"]) == {"video_vae step": 3, "video_vae step, adversary": 7}
    assert found["video_latents"].disk > found["latents"].disk
    for row in ("pixel", "latent_video"):
        (name,) = (name for name in found if name.startswith(f"clips {row}"))
        assert list(counts(found[name])) == [f"{row} sampling"]


def test_latents_are_counted_as_training_cuts_them(store):
    augment = "data.augment={variants: 3, flip: true, crop: 1.0, time_jitter: false}"
    target = tiny_target(ROWS, augment)
    videos = TinyVideos(count=12, num_frames=30)
    wanted = len(training_windows(videos, target.train_dmg, target.data))
    assert counts(works(target, store)["latents"]) == {"vae encoding": wanted}


def test_features_are_counted_from_the_first_frame_that_counts(store):
    target = load_target("table_landscape", "quick")
    ((unit, count),) = works(target, store)["features lamd from frame 1"].units
    assert unit.shape[0] == target.data.num_frames - 1
    assert count >= target.data.num_test


def test_a_row_whose_protocols_all_lack_weights_takes_no_time(store, monkeypatch, tmp_path):
    monkeypatch.setenv("LAMD_CACHE", str(tmp_path))
    target = tiny_target("rows=[real_train]", "evaluate.protocols=[fid.frames.v1]")
    assert counts(works(target, store)["values real_train"]) == {}


@pytest.mark.parametrize("target", ["table_landscape", "table_cater_v2"])
def test_the_paper_profile_needs_neither_data_nor_gpu(store, target):
    found = works(load_target(target, "paper"), store)
    for name in ("vae", "dmg"):
        assert found[name].flops > 5e17
        assert found[name].memory > 1e9
        assert found[name].disk > 1e8
    assert (found["latents"].disk is None) == (target == "table_cater_v2")


@pytest.mark.parametrize("target", ["fig_scaling", "table_reconstruction", "ablation_tradeoff"])
def test_figures_tables_of_models_and_sweeps_are_planned(store, clock, target):
    found = forecast(load_target(target, "quick"), store, "cpu", limit=1)
    assert any(cell.work.flops for cell in found)
    assert {cell.state for cell in found} == {"missing"}
    _, lines = forecast_table(found, store)
    assert lines[0].startswith(f"to be made: {len(found)} of {len(found)} cells")


def test_points_of_a_quality_figure_are_predicted_at_their_own_steps(store):
    costs = forecast(load_target("fig_quality_vs_cost", "quick"), store, "cpu")
    sampled = [cost.work.flops for cost in costs if "clips lamd" in cost.name]
    assert len(set(sampled)) > 3
    assert max(sampled) > 5 * min(sampled)


@pytest.mark.parametrize("target", ["table_sampling_cost", "fig_cost_vs_frames"])
def test_a_measurement_of_time_is_listed_without_one(store, target):
    _, lines = forecast_table(forecast(load_target(target, "quick"), store, "cpu", limit=1), store)
    assert lines[1] == "no time for latency: it is a measurement of time itself"


def test_points_of_a_sweep_share_what_they_share(store, clock):
    found = forecast(load_target("ablation_tradeoff", "quick"), store, "cpu", limit=1)
    names = [cell.name.rpartition(": ")[2] for cell in found]
    assert (names.count("data"), names.count("vae")) == (1, 6)
    steps = [unit for unit in clock.asked if unit[:2] == ("step", "dmg")]
    assert len(steps) == 2  # d = 3 and 4; beta changes no cost


def test_a_cell_of_a_kind_without_a_rule_is_listed(store, monkeypatch):
    target = tiny_target(ROWS)
    kind, oracle = KINDS["table"], Cell(kind="oracle", config={}, step=Step("toy:oracle"))
    graph = replace(kind.plan(target, "cpu"), extra={"": [oracle]})
    monkeypatch.setitem(KINDS, "table", SimpleNamespace(plan=lambda *_: graph))
    _, lines = forecast_table(forecast(target, store, "cpu"), store)
    assert "no time for oracle: no rule for cells of kind oracle" in lines


def test_prediction_is_kept_and_compared_with_the_actual_time(store, clock, monkeypatch):
    target = tiny_target(ROWS)
    assert accuracy(target, store, "cpu") is None
    before = forecast(target, store, "cpu", limit=1)
    vae = next(cell for cell in before if cell.name == "vae")
    assert vae.seconds == pytest.approx(10 * 0.1)
    plan = TablePlan(target, "cpu")
    finish(store, [plan.stages["data"], plan.stages["vae"]], 3.0)
    predicted = 16 * 0.1 + 10 * 0.1
    line = f"planned before and finished since: 2; predicted {predicted:.1f} s, took 6.0 s (2.31"
    assert line in accuracy(target, store, "cpu")
    # Planning again changes no prediction of a finished cell.
    clock.seconds = 9.0
    lengths = dict.fromkeys(("train", "test"), np.full(12, 30))
    monkeypatch.setattr(work, "frames_of", lambda *_: lengths)
    after = {cell.name: cell for cell in forecast(target, store, "cpu", limit=1)}
    assert (after["vae"].seconds, after["dmg"].seconds) == (pytest.approx(1.0), 90.0)
    assert after["vae"].made.seconds == 3.0
    assert after["vae"].work.flops == 0


def test_a_damaged_file_of_predictions_is_one_line(store):
    store.root.parent.mkdir()
    (store.root.parent / "predictions.json").write_text("[1]")
    with pytest.raises(LamdError, match=r"predictions\.json: Input should be.*delete it and plan"):
        forecast(tiny_target(ROWS), store, "cpu")
    assert "delete it and plan again" in accuracy(
        tiny_target(ROWS), store, "cpu"
    )  # after a finished run


def test_unit_that_was_not_timed_follows_the_nearest_by_flops():
    near, far, new = (Unit("step", "dmg", (), flops) for flops in (100, 1000, 150))
    times = {near: 1.0, far: 4.0, new: "not reached"}
    assert predict._by_flops(new, times) == pytest.approx(1.5)
    assert predict._by_flops(Unit("step", "vae", (), 100), times) is None
    assert predict._by_flops(Unit("step", "dmg", ()), times) is None


def test_no_probe_asks_for_nothing_and_keeps_nothing(store, clock):
    found = forecast(tiny_target(ROWS), store, "cpu")
    assert not clock.asked
    assert not (store.root.parent / "predictions.json").exists()
    assert not any(cell.seconds for cell in found)
    assert "no times" in forecast_table(found, store)[1][0]


def test_a_run_that_its_disk_does_not_hold_is_said(store, monkeypatch):
    found = forecast(tiny_target(ROWS), store, "cpu")
    assert not [line for line in forecast_table(found, store)[1] if "are free" in line]
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    assert (
        f"{store.runs.parent}: 0.0 MB of disk are free; choose another with --runs"
        in (forecast_table(found, store)[1])
    )


def test_packs_of_real_data_need_room_in_the_cache(store, monkeypatch, tmp_path):
    monkeypatch.setenv("LAMD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    costs = [
        CellCost(name, "missing", Work(None, 600, cached=cached), None, None)
        for name, cached in (("data", True), ("vae", False))
    ]
    assert not [line for line in forecast_table(costs[:1], store)[1] if "are free" in line]
    # on one disk, both together
    assert [line for line in forecast_table(costs, store)[1] if "are free" in line] == [
        f"{store.runs.parent}: 0.0 MB of disk are free; choose another with --runs"
    ]

    class Disk(str):
        def stat(self):
            return SimpleNamespace(st_dev=self)

    monkeypatch.setattr(
        predict, "free_disk", lambda path: (1000, Disk("cache" if path.name == "cache" else "runs"))
    )
    costs[0] = costs[0]._replace(work=Work(None, 2000, cached=True))
    (line,) = [line for line in forecast_table(costs, store)[1] if "are free" in line]
    assert line == "cache: 0.0 MB of disk are free; choose another with LAMD_CACHE"


@pytest.mark.parametrize(
    ("overrides", "memory", "expected"),
    [
        (["train_vae.precision=fp16"], 0, "precision: fp16 needs a GPU"),
        ([], 10**18, "GB of memory"),
        (["loss.lpips_weight=1"], 0, "lamd weights fetch"),
    ],
)
def test_unit_that_cannot_be_timed_here_states_the_reason(
    overrides, memory, expected, monkeypatch, tmp_path
):
    monkeypatch.setenv("LAMD_CACHE", str(tmp_path))
    unit = Unit("step", "vae", (4, 4, 16), memory=memory)
    with pytest.raises(LamdError, match=expected):
        time_unit(unit, tiny_target(*overrides), "cpu")


@pytest.mark.parametrize(
    ("kind", "subject"),
    [("encoding", "vae"), ("reconstruction", "vae"),
     ("sampling", "pixel"), ("sampling", "latent_video"),
     ("comparison", "psnr"), pytest.param("comparison", "i3d", marks=pytest.mark.slow),
     ("step", "pixel"), ("step, adversary", "video_vae")],
)  # fmt: skip
def test_a_unit_takes_time(kind, subject):
    shape = {"psnr": (4, 16), "i3d": (9, 16)}.get(subject, (2, 4, 16))
    assert 0 <= time_unit(Unit(kind, subject, shape), tiny_target(), "cpu") < 30


@pytest.fixture
def virtual(monkeypatch):
    """Replace the clock of the probe; the caller moves it."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(probe, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_a_further_unit_takes_what_it_adds(virtual):
    def run(count: int) -> None:
        virtual.now += 5 + 3 * count

    assert probe._timed(run, "cpu", further=4) == (8, 3)


@pytest.mark.parametrize("steps", ["[0, 99]", "[30, 70]"])
def test_a_guided_run_takes_time_for_the_passes_that_guide(monkeypatch, virtual, steps):
    guided = f'{{"scale": 3.0, "snapshot": 2, "steps": {steps}}}'
    target = tiny_target("train_dmg.ema_snapshots=8", f"sampler.autoguidance={guided}")
    predict_eps = DMG.predict

    def predict_a_second(self, *inputs):
        virtual.now += 1
        return predict_eps(self, *inputs)

    monkeypatch.setattr(DMG, "predict", predict_a_second)
    unit = Unit("sampling", "latent_motion", (1, 4, 16))
    expected = num_passes(target.sampler, target.dmg.num_train_steps)
    assert target.sampler.num_steps < expected
    assert time_unit(unit, target, "cpu") == pytest.approx(expected)


@pytest.mark.parametrize(
    ("kind", "subject", "shape"),
    [
        ("captioning", "captioner", (2, 16, 32)),
        pytest.param("simulation", "cater_v1", (32, 16), marks=pytest.mark.slow),
    ],
)
def test_a_unit_of_a_table_with_captions_takes_time(kind, subject, shape):
    target = load_target("table_cater_v1", "quick")
    assert 0 <= time_unit(Unit(kind, subject, shape), target, "cpu") < 30


def test_noise_has_what_training_reads():
    videos = step.NoiseVideos(tiny_target(), 3)
    assert len(training_windows(videos, tiny_target().train_vae, tiny_target().data)) == 9
    assert videos.clip(2, 1, 2).shape == (2, 16, 16, 3)
    assert np.array_equal(videos.clip(0, 0, 4), videos.clip(5, 0, 4))


def test_plan_without_a_probe_prints_every_cell(tmp_path, capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(["plan", "table_bair", "--no-probe", "--runs", str(tmp_path)])
    assert not done.value.code
    cells = works(load_target("table_bair", "quick"), Store(tmp_path)).values()
    flops = sum(unit.flops * number for work in cells for unit, number in work.units)
    line = f"to be made: {len(cells)} of {len(cells)} cells; {flops / 1e12:.1f} TFLOP, no times"
    assert line in capsys.readouterr().out


def test_small_clips_are_units_of_their_own(store):
    target = tiny_target(ROWS, "train_vae.small_clips={size: 8, num_steps: 3}")
    units = works(target, store)["vae"].units
    assert [(unit.shape[-1], unit.kind, number) for unit, number in units] == [
        (8, "step", 3),
        (16, "step, adversary", 7),
    ]
    assert units[0][0].flops < units[1][0].flops
    for unit, _ in units:
        assert time_unit(unit, target, "cpu") > 0


def test_planning_counts_each_network_once(monkeypatch):
    counted = []
    monkeypatch.setattr(costs, "count", lambda *_: counted.append(1) or Cost(1, 1, 1))
    monkeypatch.setattr(costs, "_counted", {})
    target = tiny_target("rows=[lamd,pixel_flops,latent_video_flops]")
    numbers = []
    for beta in (0.1, 0.2):
        loss = target.loss.model_copy(update={"kl_weight": beta})
        TablePlan(target.model_copy(update={"loss": loss}), "cpu")
        numbers.append(len(counted))
    assert numbers[0] == numbers[1] > 0


def test_show_imports_no_torch_without_rows_of_equal_flops():
    code = (
        "import sys, lamd.cli\n"
        "rows = 'rows=[lamd,pixel_clips,latent_video_clips]'\n"
        "try: lamd.cli.main(['show', 'table_bair', '--set', rows])\n"
        "finally: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False"


def test_units_behind_the_limit_are_not_timed(monkeypatch, virtual):
    def take_six_seconds(unit, target, device):
        virtual.now += 6
        return 6.0

    sent = []
    monkeypatch.setattr(probe, "time_unit", take_six_seconds)
    monkeypatch.setattr(probe, "leave_with_parent", lambda: None)
    units = [(Unit("step", name, (4, 16)), tiny_target()) for name in ("vae", "dmg", "pixel")]
    probe._work(units, "cpu", 10, SimpleNamespace(send=sent.append))
    assert sent == [6.0, 6.0]


@pytest.mark.slow
def test_a_real_probe_names_the_units_that_it_did_not_reach():
    units = [Unit("step", name, (4, 16)) for name in ("vae", "dmg")]
    times = probe.probe(dict.fromkeys(units, tiny_target()), "cpu", 0)
    assert times == dict.fromkeys(units, "not reached in 0 s")


@pytest.mark.slow
def test_a_real_probe_times_all_but_what_it_cannot(store):
    target = tiny_target(ROWS)
    found = works(target, store)
    wanted = {unit: target for work in found.values() for unit, _ in work.units}
    impossible = Unit("step", "dmg", (4, 16), memory=10**18)
    times = probe.probe({**wanted, impossible: target}, "cpu", 200)
    assert "GB of memory" in times.pop(impossible)
    assert {unit for unit, seconds in times.items() if isinstance(seconds, float)} == set(wanted)
