"""`table_sampling_cost` and `fig_cost_vs_frames`: one measurement, counted costs, plots."""

import pandas as pd
import pytest
from small_results import make_results, make_source

from lamd import cli
from lamd.base.errors import LamdError
from lamd.config import load_target
from lamd.paradigms.untrained import sampling_costs
from lamd.pipeline.steps import timing
from lamd.report import plots
from lamd.report.cost import growth, render_cost_figure, render_cost_table, step_table
from lamd.report.results import (
    PublishedRow,
    PublishedValue,
    Results,
    RowInfo,
    Value,
    read_results,
)
from lamd.targets import KINDS, cost
from lamd.targets import reproduce as run

TINY = ["shapes=[[4,16],[8,16]]", "rounds=2", "paradigms=[latent-motion,pixel-factorised]"]
SOURCE = [f"sources.table_sampling_cost.{option}" for option in TINY]
MOTION, PIXEL = "latent-motion (LaMD)", "pixel-space, factorised"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Make the table once, tiny; return the folder with its `runs` and `results`."""
    root = tmp_path_factory.mktemp("cost")
    reproduce(root, "table_sampling_cost", TINY)
    return root


def reproduce(root, name: str, options: list[str]) -> Results:
    return run.reproduce(name, "quick", options, runs=root / "runs", results=root / "results",
                         device="cpu").results  # fmt: skip


def made(root) -> dict[str, int]:
    return {p.parent.name: p.stat().st_mtime_ns for p in (root / "runs").rglob("cell.json")}


def make_costs() -> Results:
    """Return 16 and 128 frames of two paradigms, with times of our choosing, K = 10."""
    relative = {
        ("latent-motion", 16): 1.0,
        ("latent-motion", 128): 1.0,
        ("pixel-factorised", 16): 300.0,
        ("pixel-factorised", 128): 2400.0,
    }
    values = []
    for (row, frames), step in relative.items():
        flops = {"encode": 2e9, "step": 1e9 * step, "decode": 1e9 * frames}
        seconds = {"encode": 0.0, "step": 0.01 * step**0.5, "decode": 0.1 * frames}
        for parts in (flops, seconds):
            parts["run"] = parts["encode"] + 10 * parts["step"] + parts["decode"]
        metrics = {"flops": flops, "seconds": seconds,
                   "activations": {"encode": 1.0, "step": 1e6, "decode": 1.0},
                   "parameters": {"encode": 1, "step": 2e6, "decode": 1, "run": 2e6}}  # fmt: skip
        where = {"source": "untrained", "row": row, "point": f"{frames}x64"}
        for metric, parts in metrics.items():
            for part, value in parts.items():
                bounds = {"low": value, "high": 2 * value} if metric == "seconds" else {}
                values.append(Value(**where, part=part, metric=metric, value=value, **bounds))
    seconds = {name: PublishedValue(value=value, protocol=None)
               for name, value in (("frames16", 2.0), ("frames128", 5.0))}  # fmt: skip
    return make_results(
        kind="cost", sources={"untrained": make_source()}, columns=(), missing=(),
        rows=(
            RowInfo(name="latent-motion", label=MOTION, description=""),
            RowInfo(name="pixel-factorised", label=PIXEL, description=""),
        ),
        points={f"{n}x64": {"frames": n, "size": 64} for n in (16, 128)}, values=tuple(values),
        measured={"device": "cpu: x", "torch": "2", "dtype": "float32", "threads": "1",
                  "date": "2026-01-01", "num_steps": "10"},
        published=(
            PublishedRow(method="P", metrics=seconds, source="a paper", verified=False, note=""),
        ),
    )  # fmt: skip


def test_rounds_alternate_after_one_that_is_not_timed(monkeypatch):
    called = []
    monkeypatch.setattr(timing, "_synchronise", lambda device: called.append("|"))
    runs = {name: (lambda name=name: called.append(name)) for name in "ab"}
    seconds = timing.interleaved(runs, 3)
    assert "".join(called) == "|a||b|" * 4
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}


def test_a_timed_value_is_median_and_quartiles():
    where = {"source": "untrained", "row": "pixel-full", "point": "4x16"}
    value = cost.timed_value(where | {"part": "run"}, [5.0, 1.0, 3.0, 2.0, 4.0])
    assert (value.value, value.low, value.high) == (3.0, 2.0, 4.0)


def test_cost_columns_are_counted_per_clip(place):
    table = load_target("table_sampling_cost", "quick", TINY)
    written = pd.read_csv(place / "results/table_sampling_cost/quick/values.csv")
    lines = (
        written[written["block"] == "measured"]
        .set_index(["row", "frames", "part", "metric"])
        .sort_index()
    )
    for frames in (4, 8):
        for name in ("latent-motion", "pixel-factorised"):
            costs = sampling_costs(name, table.widths, batch=2, frames=frames, size=16)
            step, line = costs["step"], lines.loc[name, frames, "step"]
            assert line.loc["flops", "value"] == pytest.approx(step.flops, rel=1e-5)
            assert line.loc["activations", "value"] == pytest.approx(step.activations, rel=1e-5)
            assert line.loc["parameters", "value"] == step.parameters
            assert line.loc["seconds", "low"] <= line.loc["seconds", "value"]
    whole = lines.loc["pixel-factorised", 8, "run"]
    assert whole.loc["flops", "value"] == pytest.approx(200 * step.flops, rel=1e-5)


def test_second_run_and_the_figure_measure_nothing(place):
    before = made(place)
    table = read_results(place / "results/table_sampling_cost/quick/record.json")
    again = reproduce(place, "table_sampling_cost", TINY)
    assert again.values == table.values
    figure = reproduce(place, "fig_cost_vs_frames", SOURCE)
    assert made(place) == before and len(before) == 1
    assert figure.values == table.values
    assert {path.name for path in (place / "results/fig_cost_vs_frames/quick").iterdir()} == {
        "cost_over_frames.png", "values.csv", "record.json"}  # fmt: skip


def test_another_machine_measures_again(monkeypatch):
    table = load_target("table_sampling_cost", "quick", TINY)

    def key(config) -> str:
        return KINDS["cost"].plan(config, "cpu").wanted[""][0].plan_hash

    here = key(table)
    assert key(table.model_copy(update={"num_steps": 50})) == here
    assert key(table.model_copy(update={"threads": 3})) != here
    monkeypatch.setattr(cost, "timing_place", lambda device: {"device": "gpu", "torch": "3"})
    assert key(table) != here


def test_caption_states_where_it_was_measured(place):
    text = (place / "results/table_sampling_cost/quick/table.md").read_text(encoding="utf-8")
    for word in ("cpu: ", "PyTorch", "float32", "1 CPU thread,", "indicative: this machine", "20"):
        assert word in text.splitlines()[2]
    assert "Published: seconds per video" in text
    (paper,) = [line for line in text.splitlines() if line.startswith("| LaMD ")]
    assert [cell.strip() for cell in paper.split("|")][2:5] == ["9.7", "9.8", "10.7"]
    tex = (place / "results/table_sampling_cost/quick/table.tex").read_text(encoding="utf-8")
    assert tex.count(r"\begin{tabular}") == 3


def test_ratios_are_next_to_the_values_and_only_the_step_of_lamd_is_flat():
    results = make_costs()
    table = step_table(results)
    assert list(table["FLOPs / LaMD"]) == ["1", "300", "1", "2400"]
    assert float(table["time / LaMD"][1]) == pytest.approx(300**0.5, rel=1e-3)
    motion, pixel, published = growth(results)
    assert motion.startswith(f"{MOTION}, 16 to 128 frames of 64x64: a step x1.00 in FLOPs, x1.00")
    assert "a step x8.00 in FLOPs" in pixel
    assert published == "Published, 16 to 128 frames, the whole run in time: P x2.50."
    # 10 steps of 0.01 s and decoding of 0.1 s per frame
    assert f"the whole run x{(2 + 10 + 128) / (2 + 10 + 16):.2f} in FLOPs, x7.59" in motion
    assert "x7.59" in render_cost_table(results)["table.md"].decode()


def test_figure_shows_lamd_flat_and_the_lines_of_theory(monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "save", lambda figure: drawn.append(figure) or b"")
    render_cost_figure(make_costs())
    panels = [{line.get_label(): line for line in ax.lines} for ax in drawn[0].axes]
    step, timed, run_cost, run_time = (
        {name: list(line.get_ydata()) for name, line in panel.items()} for panel in panels
    )
    assert list(panels[0][MOTION].get_xdata()) == [16, 128]
    for lines in (step, timed):
        assert lines[MOTION][0] == lines[MOTION][1]
    assert step["LaMD x $L f_s^2$ ($f_s$ = 4)"][0] == pytest.approx(256 * step[MOTION][0])
    assert step["LaMD x $L / f_t$ ($f_t$ = 4)"][1] == pytest.approx(32 * step[MOTION][0])
    assert not any("x $L" in name for lines in (timed, run_cost, run_time) for name in lines)
    assert step[PIXEL][1] / step[PIXEL][0] == pytest.approx(8)
    assert timed[MOTION][0] == pytest.approx(10.0)  # ms
    assert run_time[MOTION][0] == pytest.approx(1.7)  # 10 steps and 16 frames to decode
    assert run_cost[MOTION][0] == pytest.approx(0.028)  # TFLOPs
    assert run_time[MOTION][1] > run_time[MOTION][0]


@pytest.mark.parametrize(
    ("name", "option", "words"),
    [
        ("table_sampling_cost", "num_steps=1001", "num_steps (K) <= num_train_steps (T)"),
        ("table_sampling_cost", "paradigms=[latent-motion, pixels]", "'pixels'"),
        ("table_sampling_cost", "paradigms=[pixel-full]", "needs latent-motion"),
        ("table_sampling_cost", "shapes=[[12, 32]]", "power of two"),
        ("table_sampling_cost", "shapes=[[16, 30]]", "multiple of 8 here"),
        ("table_sampling_cost", "shapes=[]", "appear twice"),
        ("table_sampling_cost", "rounds=1", "rounds"),
        ("fig_cost_vs_frames", "sources=[table_bair]", "table_bair is of kind table"),
        ("fig_cost_vs_frames", "sources.table_sampling_cost.shapes=[[16, 32]]", "two or more"),
        ("fig_reconstruction", "sources=[table_sampling_cost]", "kind cost trains nothing"),
    ],
)
def test_bad_input_is_one_line(name, option, words):
    with pytest.raises(LamdError) as error:
        load_target(name, "quick", [option])
    assert words in str(error.value) and "\n" not in str(error.value)


def test_show_and_the_exit_code(capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(["show", "fig_cost_vs_frames"])
    assert not done.value.code
    assert "latency" in capsys.readouterr().out
    with pytest.raises(SystemExit) as done:
        cli.main(["reproduce", "table_sampling_cost", "--set", "num_steps=2000"])
    assert done.value.code == 2


def test_seconds_are_per_clip_and_a_run_has_all_steps():
    table, name = load_target("table_sampling_cost", "quick", TINY), "latent-motion 4x16"
    rounds = {"encode": [2.0, 2.0], "denoise": [3.0, 3.0], "decode": [4.0, 4.0]}
    seconds = {f"{name} {part}": values for part, values in rounds.items()}
    values = cost._values(table, "latent-motion", 4, 16, seconds)
    found = {value.part: value.value for value in values if value.metric == "seconds"}
    batch = table.batch_size
    step = 3.0 / (batch * table.timed_steps)
    run = 6.0 / batch + table.num_steps * step
    assert found == pytest.approx(
        {"encode": 2 / batch, "step": step, "decode": 4 / batch, "run": run}
    )
