"""`table_sampling_cost` and `fig_cost_vs_frames`: one measurement, closed forms, what is drawn."""

import csv
import io
from typing import get_args

import pytest

from lamd import cli
from lamd.base.errors import LamdError
from lamd.config import load_target
from lamd.config.costs import Paradigm
from lamd.cost import dmg_step, unet3d_step
from lamd.cost.paradigms import PARADIGMS, Widths, dmg_options, unet_widths
from lamd.execute.schedule import identity
from lamd.pipeline.steps.latency import interleaved, spread
from lamd.report.cost_plots import cost_lines
from lamd.report.cost_tables import growth, render_cost_csv, render_cost_markdown, step_table
from lamd.report.results import CostReport, CostRow, PublishedRow, read_report
from lamd.targets import cost
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


def reproduce(root, name: str, options: list[str]) -> CostReport:
    return run.reproduce(name, "quick", options, runs=root / "runs", results=root / "results",
                         device="cpu").report  # fmt: skip


def made(root) -> dict[str, int]:
    return {p.parent.name: p.stat().st_mtime_ns for p in (root / "runs").rglob("cell.json")}


def make_report(**changes) -> CostReport:
    """Return 16 and 128 frames of two paradigms, with times of our choosing."""
    step = {(MOTION, 16): 1.0, (MOTION, 128): 1.0, (PIXEL, 16): 300.0, (PIXEL, 128): 2400.0}
    names = {MOTION: "latent-motion", PIXEL: "pixel-factorised"}
    rows = tuple(
        CostRow(
            paradigm=names[label],
            frames=frames,
            size=64,
            flops={"encode": 2e9, "step": 1e9 * cost, "decode": 1e9 * frames},
            activations={"encode": 1.0, "step": 1e6, "decode": 1.0},
            parameters={"encode": 1, "step": 2_000_000, "decode": 1},
            seconds={"encode": (0.0, 0.0, 0.0), "step": (0.01, 0.01 * cost**0.5, 0.1 * cost),
                     "decode": (0.1 * frames,) * 3},
        )
        for (label, frames), cost in step.items()
    )  # fmt: skip
    paper = PublishedRow(method="P", metrics={"frames16": 2.0, "frames128": 5.0}, protocol=None,
                         source="a paper", verified=False, note="")  # fmt: skip
    fields = {"target": "table_x", "title": "T", "profile": "quick", "config": {},
              "config_hash": "0", "overrides": (), "num_steps": 10, "rows": rows,
              "measured": {"device": "cpu: x", "torch": "2", "dtype": "float32", "threads": "1",
                           "date": "2026-01-01"},
              "published": (paper,), "cells": load_cells()}  # fmt: skip
    return CostReport(**(fields | changes))


def load_cells():
    from reports import make_report

    return make_report().cells


def test_the_config_names_the_paradigms_of_the_cost_model():
    assert get_args(Paradigm) == PARADIGMS


def test_rounds_alternate_after_one_that_is_not_timed():
    called = []
    runs = {name: (lambda name=name: called.append(name)) for name in "ab"}
    seconds = interleaved(runs, 3, lambda: called.append("|"))
    assert "".join(called) == "|a||b|" * 4
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}


def test_a_spread_is_median_and_quartiles():
    assert spread([5.0, 1.0, 3.0, 2.0, 4.0]) == (3.0, 2.0, 4.0)


def test_closed_form_columns_are_the_cost_models(place):
    table = load_target("table_sampling_cost", "quick", TINY)
    widths = Widths(**table.widths.model_dump())
    lines = csv.DictReader(
        io.StringIO((place / "results/table_sampling_cost/table.csv").read_text())
    )
    found = {(x["paradigm"], int(x["frames"]), x["part"]): x for x in lines}
    for frames in (4, 8):
        motion = dmg_step(batch=1, size=4, **dmg_options(widths))
        pixel = unet3d_step(batch=1, frames=frames, size=16, channels=3, conv3d="factorised",
                            **unet_widths(widths))  # fmt: skip
        for name, one in (("latent-motion", motion), ("pixel-factorised", pixel)):
            line = found[name, frames, "step"]
            assert float(line["flops"]) == pytest.approx(one.flops, rel=1e-5)
            assert float(line["activations"]) == pytest.approx(one.activations, rel=1e-5)
            assert int(line["parameters"]) == one.parameters
            assert float(line["seconds_low"]) <= float(line["seconds"])
    whole = found["pixel-factorised", 8, "run"]
    assert float(whole["flops"]) == pytest.approx(200 * pixel.flops, rel=1e-5)


def test_a_second_run_and_the_figure_measure_nothing(place):
    before = made(place)
    table = read_report(place / "results/table_sampling_cost/record.json")
    assert reproduce(place, "table_sampling_cost", TINY) == table
    figure = reproduce(place, "fig_cost_vs_frames", SOURCE)
    assert made(place) == before and len(before) == 1
    assert figure.rows == table.rows
    assert {path.name for path in (place / "results/fig_cost_vs_frames").iterdir()} == {
        "figure.png", "figure.svg", "record.json"}  # fmt: skip


def test_another_machine_measures_anew(monkeypatch):
    table = load_target("table_sampling_cost", "quick", TINY)
    here = identity(cost.plan_cost(table, "cpu"))
    assert identity(cost.plan_cost(table.model_copy(update={"num_steps": 50}), "cpu")) == here
    other = table.model_copy(update={"threads": 3})
    assert identity(cost.plan_cost(other, "cpu")) != here
    monkeypatch.setattr(cost, "timing_place", lambda device: {"device": "gpu", "torch": "3"})
    assert identity(cost.plan_cost(table, "cpu")) != here


def test_the_caption_says_what_was_measured_on(place):
    text = (place / "results/table_sampling_cost/table.md").read_text(encoding="utf-8")
    for word in ("cpu: ", "PyTorch", "float32", "1 CPU thread,", "indicative: this machine", "20"):
        assert word in text.splitlines()[2]
    assert "Published: seconds a video" in text and "| LaMD | 9.7 | 9.8 | 10.7 | no |" in text
    tex = (place / "results/table_sampling_cost/table.tex").read_text(encoding="utf-8")
    assert tex.count(r"\begin{tabular}") == 3


def test_ratios_stand_beside_lamd_and_only_its_step_is_flat():
    report = make_report()
    header, *rows = step_table(report)
    flops, ours = header.index("FLOPs / LaMD"), header.index("time / LaMD")
    assert [row[flops] for row in rows] == ["1", "1", "300", "2400"]
    assert float(rows[2][ours]) == pytest.approx(300**0.5, rel=1e-3)  # the median, not the mean
    told = list(growth(report))
    assert told[0].startswith(f"{MOTION}, 16 to 128 frames of 64x64: a step x1.00 in FLOPs, x1.00")
    assert "a step x8.00 in FLOPs" in told[1]
    assert told[2] == "Published, 16 to 128 frames, the whole run in time: P x2.50."
    # 10 steps of 0.01 s and decoding of 0.1 s a frame
    assert f"the whole run x{(2 + 10 + 128) / (2 + 10 + 16):.2f} in FLOPs, x7.59" in told[0]
    assert render_cost_csv(report).count("\n") == 1 + 4 * 4
    assert "x7.59" in render_cost_markdown(report)


def test_the_figure_shows_lamd_flat_and_the_lines_of_theory():
    step, timed, run_cost, run_time = cost_lines(make_report()).values()
    for lines in (step, timed):
        first, last = lines[MOTION]
        assert (first.x, last.x) == (16, 128)
        assert first.value == last.value
        assert lines["LaMD x L f_s² (f_s = 4)"][0].value == pytest.approx(256 * first.value)
        assert lines["LaMD x L/f_t (f_t = 4)"][1].value == pytest.approx(32 * first.value)
    assert step[PIXEL][1].value / step[PIXEL][0].value == pytest.approx(8)
    assert timed[MOTION][0].value == pytest.approx(10.0)  # ms
    assert run_time[MOTION][0].value == pytest.approx(1.7)  # 10 steps and 16 frames to decode
    assert run_cost[MOTION][0].value == pytest.approx(0.028)  # TFLOPs
    assert run_time[MOTION][1].value > run_time[MOTION][0].value


@pytest.mark.parametrize(
    ("name", "option", "words"),
    [
        ("table_sampling_cost", "num_steps=1001", "num_steps (K) <= num_train_steps (T)"),
        ("table_sampling_cost", "paradigms=[latent-motion, pixels]", "'pixels'"),
        ("table_sampling_cost", "paradigms=[pixel-full]", "needs latent-motion"),
        ("table_sampling_cost", "shapes=[[12, 32]]", "power of two"),
        ("table_sampling_cost", "shapes=[[16, 30]]", "multiple of 16"),
        ("table_sampling_cost", "shapes=[]", "each once"),
        ("table_sampling_cost", "rounds=1", "rounds"),
        ("fig_cost_vs_frames", "sources=[table_bair]", "no table of costs"),
        ("fig_cost_vs_frames", "sources.table_sampling_cost.shapes=[[16, 32]]", "two or more"),
        ("fig_reconstruction", "sources=[table_sampling_cost]", "untrained networks"),
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
