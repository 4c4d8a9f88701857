"""Rendered results: the content of tables, figures and animations."""

import csv
import io
import re
from itertools import pairwise

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence
from small_results import PUBLISHED, make_results, make_source, make_sweep, make_value

from lamd.config import experiments_dir
from lamd.pipeline.contents import Panels
from lamd.report import media, plots
from lamd.report.cost import growth, render_cost_figure, render_cost_table, step_table
from lamd.report.curves import _math
from lamd.report.frame import Summaries
from lamd.report.media import render_clip_figure
from lamd.report.plots import color
from lamd.report.quality import quality_lines, render_quality
from lamd.report.results import (
    Column,
    Difference,
    MissingValue,
    Picture,
    PublishedValue,
    Results,
    RowInfo,
    Value,
    read_results,
)
from lamd.report.sweep import DIAGNOSTICS, channel_means, render_sweep, sweep_table
from lamd.report.tables import measured_table, published_table, render_table
from lamd.report.terminal import terminal_table
from lamd.report.wording import point_name

TRADEOFF = {
    "figure": {
        "name": "tradeoff",
        "x": {"row": "reconstruction", "metric": "fvd"},
        "y": {"row": "lamd", "metric": "fvd"},
    }
}
KL = Column(row="diagnostics", metric="kl")
RESULTS = experiments_dir().parent / "results"


def clips(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 4, 16, 16, 3), np.uint8)


def page(files: dict[str, bytes], name: str = "table.md") -> str:
    """Return a page with the padding of its tables taken out."""
    return re.sub(r" +", " ", files[name].decode())


def lines_of(files: dict[str, bytes]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(files["values.csv"].decode())))


def test_render_table_keeps_measured_and_published_values_apart():
    measured, published = page(render_table(make_results())).split("\n## Published")
    assert "123.5 [110.0, 140.3]" in measured
    assert "36.05" not in measured
    assert "123.5" not in published
    assert "simulated stand-in for BAIR, reduced scale" in measured
    assert "| A_B & C | 36.05 | 31.64 | 0.02 | FVD fvd.bair.v1" in published


def test_render_table_says_what_all_rows_share_once():
    table, common, notes = measured_table(make_results())
    assert list(table.columns) == ["row", "FVD ↓", "FVD, N→∞", "PSNR ↑", "verdict"]
    assert common == ["n = 16 clips"]
    assert "not comparable [1]" in set(table["verdict"])
    assert notes[0] == "[1] simulated stand-in data"
    text = page(render_table(make_results()))
    assert "Simulated stand-in for BAIR, reduced scale, n = 16 clips; profile `quick`" in text


def test_render_table_shows_differences_to_lamd():
    difference = Difference(source="bair", row="reconstruction", metric="fvd", reference="lamd",
                            value=-135.32, low=-150.0, high=-120.01)  # fmt: skip
    files = render_table(make_results(differences=(difference,)))
    block = page(files).split("## Difference to LaMD, on the same clips")[1]
    assert "| MCD-VAE | -135.3 [-150.0, -120.0] |" in block
    assert "resampled by source video" in page(files)
    assert "Difference" not in page(render_table(make_results()))
    assert "compare them with other rows by KVD" not in page(files)
    biased = make_value(note="biased upwards: no more independent clips than the 400 features")
    few = make_results(differences=(difference,), values=(biased,))
    assert "FVD: at this n the bias is smaller" in page(render_table(few))
    (line,) = (line for line in lines_of(files) if line["block"] == "difference")
    assert (line["reference"], line["value"]) == ("lamd", "-135.32")
    assert (line["data"], line["scale"], line["profile"]) == ("stand-in", "reduced", "quick")


def test_render_sweep_shows_differences_to_the_first_position(monkeypatch):
    results = make_sweep()
    first, *others = dict.fromkeys(name.partition(", seed")[0] for name in results.points)
    difference = Difference(source=next(iter(results.sources)), row="lamd", metric="fvd",
                            point=f"{others[-1]}, seed=1", reference=f"{first}, seed=1",
                            value=3.0, low=-1.0, high=7.0)  # fmt: skip
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure: figures.append(figure) or b"")
    files = render_sweep(results.model_copy(update={"differences": (difference,)}))
    block = page(files).split("## Difference to d = 1, β = 0.01, on the same clips")[1]
    assert "| 2 | 0.1 | +3.0 [-1.0, +7.0] |" in block
    lower = figures[0].axes[3]  # of LaMD
    bars = [tuple(bar[2][0].get_segments()[0][:, 1]) for bar in lower.containers]
    assert bars == [(-1.0, 7.0)]
    caption = figures[0].get_supxlabel()
    assert (
        "lower panels: change from d\u00a0=\u00a01, β\u00a0=\u00a00.01, on the same clips"
        in caption.replace("\n", " ")
    )
    assert figures[0].legends[0].get_title().get_text().endswith("(simulated stand-in)")


def test_numbers_of_a_sweep_are_drawn_at_their_distances_and_names_downwards(monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure: figures.append(figure) or b"")

    def drawn(values):
        points = {str(value): {"loss.kl_weight": value} for value in values}
        figures.clear()
        measured = [
            make_value(source=name, point=name, row=row, cells=(name,))
            for name in points
            for row in ("lamd", "reconstruction")
        ]
        sources = {name: make_source() for name in points}
        render_sweep(make_sweep(points=points, values=tuple(measured), sources=sources))
        return figures[0].axes[0]

    assert drawn([1e-5, 1e-3, 1e-2]).get_xticks() == pytest.approx([0, 4 / 3, 2])
    assert drawn([1.0, 2.0, 3.5]).get_xticks() == pytest.approx([0, 0.8, 2])
    assert drawn([200, 20, 50]).get_xticks() == pytest.approx([2, 0, 0.79588])
    assert drawn([0, 1e-5, 1e-2]).get_xticks() == pytest.approx([0, 1, 2])  # else labels meet
    names = drawn([None, 0.1, 0.2])
    assert [label.get_text() for label in names.get_yticklabels()] == ["null", "0.1", "0.2"]


def test_measured_table_extrapolates_only_where_the_clips_suffice():
    biased = make_value(note="biased upwards: no more clips than the 400 features")
    assert "FVD, N→∞" not in measured_table(make_results(values=(biased,)))[0].columns
    table, *_ = measured_table(make_results())
    assert list(table["FVD, N→∞"]) == ["80.1", "-"]


def test_measured_table_gives_each_metric_its_verdict():
    values = (
        make_value(verdict="one seed", reason="", deviations=()),
        make_value(metric="psnr", verdict="undecided", reason="+9% of 30", deviations=()),
    )
    results = make_results(values=values, sources={"bair": make_source(data="real", scale="full")})
    table, _, notes = measured_table(results)
    assert table["verdict"][0] == "one seed [1], undecided [2]"
    assert notes[:2] == ["[1] FVD: one seed", "[2] PSNR: +9% of 30"]


def over_seeds(count: int, **changes) -> Results:
    """Return a sweep over `count` seeds alone; its reconstruction does not depend on them."""
    names, values = [f"sampler.seed={seed}" for seed in range(count)], []
    for seed, name in enumerate(names):
        where = {"source": name, "point": name}
        values.append(make_value(**where, value=100.0 + 4 * seed, cells=(name,), **changes))
        values.append(make_value(**where, row="reconstruction", cells=("decoded",)))
    return make_sweep(
        points={name: {"sampler.seed": seed} for seed, name in enumerate(names)},
        sources={name: make_source(data="real", scale="full") for name in names},
        values=tuple(values),
        columns=[Column(row=row, metric="fvd") for row in ("lamd", "reconstruction")],
    )  # fmt: skip


def test_sweep_over_seeds_alone_has_a_line_and_a_verdict_per_row():
    verdict = {"deviations": (), "verdict": "deviates", "reason": "+9% of 92"}
    text = page(render_sweep(over_seeds(2, **verdict)))
    assert "| LaMD | 102.0 (100.0, 104.0) | - | deviates [1] |" in text
    assert "| MCD-VAE | 123.5 [110.0, 140.3] | 80.1 | not comparable [2] |" in text
    assert "n = 16 clips, 2 seeds" in text


def test_a_failed_seed_leaves_the_value_of_the_others_and_its_reason():
    results = over_seeds(3)
    lost, *_ = results.points
    entry = MissingValue(source=lost, row="lamd", point=lost, reason="CUDA out of memory")
    values = tuple(v for v in results.values if (v.row, v.point) != ("lamd", lost))
    text = page(render_sweep(results.model_copy(update={"values": values, "missing": (entry,)})))
    assert "| LaMD | 106.0 (104.0, 108.0), 2 of 3 seeds [1] |" in text
    assert "- [1] CUDA out of memory" in text


def test_two_seeds_are_shown_as_they_are_and_three_with_students_interval():
    cells = [measured_table(over_seeds(count))[0]["FVD ↓"][0] for count in (1, 2, 3)]
    # standard error of 100, 104, 108: 4 / sqrt(3); t(0.975, 2) = 4.30265
    assert cells == ["100.0 [110.0, 140.3]", "102.0 (100.0, 104.0)", "104.0 [94.1, 113.9]"]


def test_render_sweep_shows_the_change_of_each_seed_from_the_first_position():
    block = page(render_sweep(make_sweep())).split("## Change from d = 1, β = 0.01, seed by seed")
    assert "| 2 | 0.1 | +100.0, +100.0, +100.0 |" in block[1]
    assert "reconstruction" not in block[1].partition("##")[0]


def test_measured_table_shows_the_reason_of_a_missing_row_or_metric():
    entry = MissingValue(source="bair", row="lamd", metric="psnr", reason="weights missing")
    table, _, notes = measured_table(make_results(missing=(entry, *make_results().missing)))
    assert table["PSNR ↑"][0] == "not run [1]"
    assert table["verdict"][1] == "not run [3]"
    assert notes[0] == "[1] weights missing"
    assert "OutOfMemoryError" in notes[2]


def test_values_csv_never_calls_a_stand_in_real():
    lines = lines_of(render_table(make_results()))
    assert [line["block"] for line in lines] == ["measured", "missing", *["published"] * 3]
    for line in lines:
        assert (line["block"] == "published") == (line["data"] == "real")
    assert (lines[0]["value"], lines[0]["n_fake"]) == ("123.456", "16")
    assert "OutOfMemoryError" in lines[1]["reason"]


def test_latex_is_escaped_and_rectangular():
    text = render_table(make_results())["table.tex"].decode()
    assert r"A\_B \& C" in text
    shown = [line for line in text.splitlines() if not line.startswith("%")]
    assert any("simulated stand-in for BAIR" in line for line in shown)
    rows = [line.replace(r"\&", "") for line in text.splitlines() if line.endswith(r"\\")]
    counts = [line.count("&") for line in rows]
    assert counts == [counts[0]] * 3 + [counts[3]] * 2
    assert "↓" not in text


def test_published_table_prints_values_as_published():
    metrics = {"fvd": 57.0, "ssim": 0.969, "frames16": 9.7}
    row = PUBLISHED.model_copy(
        update={"metrics": {m: PublishedValue(value=v, protocol=None) for m, v in metrics.items()}}
    )
    table = published_table((row,))
    assert list(table.columns) == ["method", "FVD ↓", "SSIM ↑", "16 frames (s)", "protocol",
                                   "verified", "source"]  # fmt: skip
    assert list(table.iloc[0])[1:5] == ["57", "0.969", "9.7", "not stated"]


def test_render_table_draws_and_animates():
    files = render_table(make_results(), {"real": clips(2), "LaMD": clips(2, 1)})
    assert set(files) == {"table.md", "table.tex", "values.csv", "fvd_by_row.png", "clips.webp"}
    assert Image.open(io.BytesIO(files["fvd_by_row.png"])).size[0] == 1440
    assert Image.open(io.BytesIO(files["clips.webp"])).n_frames == 4
    again = render_table(make_results())
    assert again == {name: files[name] for name in again}


def test_sweep_table_averages_seeds():
    table, common, notes = sweep_table(make_sweep())
    assert list(table.columns) == ["d", "β", "reconstruction FVD ↓", "LaMD FVD ↓"]
    assert list(table.iloc[0]) == ["1", "0.01", "10.0 [110.0, 140.3]", "102.0 [99.5, 104.5]"]
    assert list(zip(table["d"], table["β"], strict=True)) == [
        ("1", "0.01"), ("1", "0.1"), ("2", "0.01"), ("2", "0.1")]  # fmt: skip
    assert common == ["n = 16 clips", "3 seeds (sampler.seed)"]
    assert notes[0] == "d: `vae.motion_channels`, β: `loss.kl_weight`"


def failing(seeds: int) -> Results:
    """Return a sweep without the LaMD of its first `seeds` points and of the next three."""
    sweep = make_sweep()
    lost = [*list(sweep.points)[:seeds], *list(sweep.points)[3:6]]
    return make_sweep(
        values=tuple(v for v in sweep.values if v.row != "lamd" or v.point not in lost),
        missing=tuple(
            MissingValue(source=p, point=p, row="lamd", reason="no memory") for p in lost
        ),
    )


def test_sweep_table_counts_the_seeds_that_were_measured():
    table, _, notes = sweep_table(failing(1))
    assert table["LaMD FVD ↓"][0] == "102.5 (102.0, 103.0), 2 of 3 seeds [1]"
    assert table["LaMD FVD ↓"][1] == "not run [1]"
    assert notes[0] == "[1] no memory"


@pytest.mark.parametrize("config", [{}, {"config": TRADEOFF}], ids=["curves", "tradeoff"])
def test_render_sweep_draws_the_figure_of_its_config(config):
    name = "tradeoff.png" if config else "curves.png"
    files = render_sweep(failing(1).model_copy(update=config))
    assert set(files) == {"table.md", "table.tex", "values.csv", name}
    assert render_sweep(failing(1).model_copy(update=config)) == files
    assert "Published" not in page(render_sweep(make_sweep(published=(), **config)))


@pytest.mark.parametrize(("metric", "count"), [("psnr", 0), ("fvd", 2)])
@pytest.mark.parametrize("names", [False, True])
def test_reference_is_a_line_in_the_panels_of_its_metric(monkeypatch, metric, count, names):
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure: figures.append(figure) or b"")
    sweep = make_sweep()
    points = {n: {"dmg.prediction": n.partition(",")[0]} for n in sweep.points}
    figure = sweep.config["figure"] | {"reference": {"row": "lamd", "metric": metric}}
    changes = {"config": {"figure": figure}} | ({"points": points} if names else {})
    render_sweep(sweep.model_copy(update=changes))
    means = [value.value for value in sweep.values if value.row == "lamd"]
    lines = [
        tuple(line.get_xdata() if names else line.get_ydata())
        for ax in figures[0].axes
        for line in ax.lines
        if line.get_linestyle() == "--" and len(line.get_xdata()) == 2
    ]
    assert lines.count((np.mean(means),) * 2) == count
    assert ("dashed: LaMD FVD" in figures[0].get_supxlabel()) == bool(count)


def test_a_sweep_over_seeds_alone_draws_no_changes(monkeypatch):
    figures, results = [], over_seeds(2)
    monkeypatch.setattr(plots, "save", lambda figure: figures.append(figure) or b"")
    name = next(iter(results.points))
    difference = Difference(source=name, row="reconstruction", metric="fvd", point=name,
                            reference="lamd", value=3.0, low=-1.0, high=7.0)  # fmt: skip
    render_sweep(results.model_copy(update={"differences": (difference,)}))
    assert not any("lower panels" in figure.get_supxlabel() for figure in figures)


def diagnosed() -> Results:
    """Return a sweep with three MCD-VAEs at the first position, one at the second, none after."""
    sweep, values, missing = make_sweep(), [], []
    kls = [(1.0, 4.0), (5.0, 2.0), (3.0, 6.0), *[(2.0, 1.0)] * 3]
    for name, kl in zip(sweep.points, [*kls, *[()] * 6], strict=True):
        where = {"source": name, "point": name, "row": "diagnostics"}
        if not kl:
            missing.append(MissingValue(**where, reason="needs vae, which failed: no memory"))
            continue
        where |= {"cells": (str(kl),), "low": None, "high": None, "protocol": None,
                  "extrapolated": None, "n_fake": None, "verdict": None,
                  "deviations": ()}  # fmt: skip
        for metric in DIAGNOSTICS:
            value = sum(kl) if metric == "kl" else 0.5
            values.append(make_value(**where, metric=metric, value=value))
        for number, share in enumerate(kl):
            for metric, value in (("kl", share), ("active_units", 4.0)):
                part = f"channel {number}"
                values.append(make_value(**where, metric=metric, value=value, part=part))
    return make_sweep(values=(*sweep.values, *values), missing=tuple(missing))


def test_diagnostics_page_gives_mean_and_interval_over_mcd_vaes():
    files = render_sweep(diagnosed())
    text = page(files, "diagnostics.md")
    assert files["diagnostics.png"].startswith(b"\x89PNG")
    # 5, 7, 9: standard error 2 / sqrt(3), t(0.975, 2) = 4.30265
    assert "| 1 | 0.01 | 7.00 [2.03, 11.97] |" in text
    assert "| 1 | 0.1 | 3.00 | 0.5 |" in text  # one MCD-VAE of three sampling seeds: no interval
    assert "| 2 | 0.01 | not run [1] |" in text
    assert "[1] needs vae, which failed: no memory" in text
    assert "16 test clips" in text
    assert "nats" not in page(files, "table.md")


def test_diagnostics_match_channels_across_seeds_by_their_kl():
    summary = Summaries(diagnosed())
    first = next(iter(summary.points))
    assert channel_means(summary, first, "kl") == pytest.approx([(4 + 5 + 6) / 3, 2.0])
    assert list(summary.by_seed(first, KL)) == [5.0, 7.0, 9.0]


def costs() -> Results:
    """Return 16 and 128 frames of two paradigms; a step of pixel space grows eightfold."""
    points, values = {}, []
    for row, steps in (("latent-motion", (1.0, 1.0)), ("pixel-factorised", (300.0, 2400.0))):
        for frames, step in zip((16, 128), steps, strict=True):
            point = f"{frames}x64"
            points[point] = {"frames": frames, "size": 64}
            parts = {"encode": 2.0, "step": step, "decode": frames, "run": 2 + 10 * step + frames}
            for part, cost in parts.items():
                where = {"source": "untrained", "row": row, "point": point, "part": part}
                for metric, unit in (("flops", 1e9), ("activations", 1e6), ("parameters", 2e6)):
                    values.append(Value(**where, metric=metric, value=unit * cost))
                seconds = {"value": cost**0.5, "low": 0.9 * cost**0.5, "high": 1.1 * cost**0.5}
                values.append(Value(**where, metric="seconds", **seconds))
    rows = (RowInfo(name="latent-motion", label="LaMD", description=""),
            RowInfo(name="pixel-factorised", label="pixel space", description=""))  # fmt: skip
    measured = {"device": "cpu: x", "torch": "2", "dtype": "float32", "threads": "1",
                "date": "2026-01-01", "num_steps": "10"}  # fmt: skip
    metrics = {f"frames{n}": PublishedValue(value=v, protocol=None) for n, v in ((16, 2), (128, 5))}
    return make_results(
        kind="cost", sources={"untrained": make_source()}, points=points, rows=rows, missing=(),
        columns=(), values=tuple(values), measured=measured,
        published=(PUBLISHED.model_copy(update={"method": "P", "metrics": metrics}),),
    )  # fmt: skip


def test_step_table_gives_ratios_to_lamd():
    table = step_table(costs())
    assert list(table["FLOPs / LaMD"]) == ["1", "300", "1", "2400"]
    assert float(table["time / LaMD"][1]) == pytest.approx(300**0.5, rel=1e-3)
    assert table["ms"][0] == "1000 [900, 1100]"
    assert terminal_table(costs())[1] == table.to_numpy().tolist()


def test_growth_compares_the_most_frames_with_16():
    first, second, published = growth(costs())
    assert first.startswith("LaMD, 16 to 128 frames of 64x64: a step x1.00 in FLOPs, x1.00 in time")
    assert f"the whole run x{(2 + 10 + 128) / (2 + 10 + 16):.2f} in FLOPs" in first
    assert "a step x8.00 in FLOPs" in second
    assert published == "Published, 16 to 128 frames, the whole run in time: P x2.50."


def test_render_cost_table_and_figure():
    files = render_cost_table(costs())
    text = page(files)
    assert "1 CPU thread, PyTorch 2, float32, 2026-01-01" in text
    assert "indicative: this machine" in text
    assert "## A sampling run, K = 10" in text
    assert files["table.tex"].count(rb"\begin{tabular}") == 3
    assert sum(line["block"] == "measured" for line in lines_of(files)) == 4 * 16
    assert set(render_cost_figure(costs())) == {"cost_over_frames.png", "values.csv"}


def quality() -> Results:
    points, values = {}, []
    series = (("lamd", "ddim", 200), ("lamd", "dpmpp_2m", 20), ("lamd", "dpmpp_2m", 5),
              ("pixel_flops", "dpmpp_2m", 20))  # fmt: skip
    for row, sampler, steps in series:
        point = f"{sampler} {steps}"
        points[point] = {"sampler": sampler, "num_steps": steps}
        where = {"source": "bair", "row": row, "point": point}
        values.append(make_value(**where, value=2900.0 if row == "pixel_flops" else 600.0))
        values += [Value(**where, metric=m, value=steps / 10) for m in ("seconds", "tflops")]
    config = {"reference": {"sampler": "ddim", "num_steps": 200}, "series": {"lamd": {}}}
    picture = Picture(source="bair", caption="A caption.", labels=())
    return make_results(kind="quality", config=config, points=points, values=tuple(values),
                        pictures=(picture,), missing=(), rows=(), columns=())  # fmt: skip


def test_quality_lines_are_in_the_order_of_rows_samplers_and_steps():
    lines = quality_lines(quality(), "bair")
    assert list(lines) == [("lamd", "ddim"), ("lamd", "dpmpp_2m"), ("pixel_flops", "dpmpp_2m")]
    assert list(lines["lamd", "dpmpp_2m"].index) == [5, 20]
    assert point_name("pixel_flops", "ddim", 20) == ("pixel space, budget in FLOPs, DDIM, K = 20")


def test_render_quality_draws_what_was_measured():
    files = render_quality(quality())
    assert set(files) == {"fvd_over_cost.png", "values.csv"}
    assert files == render_quality(quality())
    lost = MissingValue(source="bair", row="lamd", reason="no memory")
    assert render_quality(make_results(values=(), rows=(), missing=(lost,), published=())) == {}


def test_a_row_has_one_colour_in_every_figure():
    assert color("lamd") == color("latent-motion")
    assert color("pixel_flops") == color("pixel-full") != color("latent_video_flops")
    assert color("unknown") == color("copy_first_frame")


def test_render_clip_figure_enlarges_frames_by_a_whole_factor():
    still = np.repeat(clips(3)[:, :1], 8, axis=1)
    moving = np.concatenate([clips(3), clips(3, 1)], axis=1)
    numbers = {"fvd": [100.0, 200.0], "fvd_low": [90.0, 180.0], "fvd_high": [110.0, 230.0],
               "change_by_frame": [1.0] * 14, "real_change": [2.0], "seam": [1.5]}  # fmt: skip
    panels = Panels(("moves", "a row that does not move"), np.stack([moving, still]), numbers)
    picture = Picture(source="bair", caption="words " * 60, labels=panels.labels)
    results = make_results(
        kind="figure", config={"figure": {"name": "rollout", "frames": 4}}, pictures=(picture,)
    )
    files = render_clip_figure(results, {"bair": panels})
    assert set(files) == {"strips_bair.png", "clips_bair.webp", "rollout_bair.png"}
    strips = np.asarray(Image.open(io.BytesIO(files["strips_bair.png"])))
    top, left = 2 * media.LINE + media.PAD, media.LABEL
    tile = strips[top : top + 128, left : left + 128]
    assert (tile == moving[0, 0].repeat(8, 0).repeat(8, 1)).all()
    second = strips[top + 132 : top + 260, left + 132 : left + 260]
    assert (second == 255).all()  # a row that does not move shows its frame once
    assert files == render_clip_figure(results, {"bair": panels})


def test_terminal_table_of_each_kind():
    header, rows, lines = terminal_table(make_results())
    assert header[0] == "row"
    assert rows[0][:2] == ["LaMD", "123.5 [110.0, 140.3]"]
    assert lines[1].startswith("[1]")
    assert terminal_table(make_sweep())[0][:2] == ["d", "β"]
    header, rows, _ = terminal_table(over_seeds(2))
    assert (header[0], header[-1], len(rows)) == ("row", "verdict", 2)
    assert terminal_table(make_results(values=(), missing=(), rows=(), columns=()))[:2] == ([], [])
    picture = Picture(source="bair", caption="what it shows", labels=())
    assert terminal_table(make_results(pictures=(picture,)))[2] == ["A table: what it shows"]


def test_comparison_grid_shows_the_clips():
    red = np.zeros((2, 4, 16, 16, 3), np.uint8)
    red[..., 0] = 255
    grid = media.comparison_grid({"real": red, "fake": 255 - red}, "caption")
    assert grid.shape[0] == 4
    assert grid.shape[1] % 2 == grid.shape[2] % 2 == 0
    assert (grid[0, 30, 10] == (255, 0, 0)).all()
    assert (grid[0, 30, 142] == (0, 255, 255)).all()
    given = media.comparison_grid({"real": red, "fake": 255 - red}, "caption", given=True)
    assert [(a != b).any() for a, b in zip(grid, given, strict=True)] == [True, False, False, False]
    with pytest.raises(ValueError, match="same shape"):
        media.comparison_grid({"a": clips(1), "b": clips(2)}, "")


def test_encoders_play_back():
    sheet = media.tile_clips(np.repeat(clips(3)[:, :, :1, :1], 16, 2).repeat(16, 3))
    assert sheet.shape == (4, 32, 32, 3)
    assert (sheet[:, 16:, 16:] == 255).all()
    for suffix in (".gif", ".webp"):
        moving = Image.open(io.BytesIO(media.ENCODERS[suffix](sheet)))
        assert (moving.n_frames, moving.size) == (4, (32, 32))
        assert np.abs(np.asarray(moving.convert("RGB")).astype(int) - sheet[0]).mean() < 16
    with av.open(io.BytesIO(media.ENCODERS[".mp4"](sheet))) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == 4
    assert np.abs(frames[2].astype(int) - sheet[2]).mean() < 12


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_encoders_keep_the_time_of_equal_frames(suffix):
    sheet = np.repeat(clips(1)[0], 2, axis=0).repeat(16, 1).repeat(16, 2)  # frames merge
    with Image.open(io.BytesIO(media.ENCODERS[suffix](sheet))) as image:
        times = []
        for frame in ImageSequence.Iterator(image):
            frame.load()
            times.append(frame.info["duration"])
    assert len(times) == len(sheet) // 2
    assert sum(times) == pytest.approx((len(sheet) + 5) * 125, rel=0.05)  # the last is held


def test_axes_of_a_figure_that_share_a_symbol_are_named_in_full():
    axes = ["train_vae.num_steps", "train_dmg.num_steps", "loss.kl_weight"]
    labels = [_math(key, axes) for key in axes]
    assert len(set(labels)) == 3
    assert labels[2] == r"$\beta$"


@pytest.mark.parametrize("target", ["table_cater_v2", "table_bair", "table_mug"])
def test_titles_and_axis_labels_of_the_panels_do_not_meet(monkeypatch, target):
    shown = []

    def save(figure):
        figure.canvas.draw()
        for artists in ([ax.title for ax in figure.axes], [ax.xaxis.label for ax in figure.axes]):
            boxes = [artist.get_window_extent() for artist in artists]
            shown.append(boxes)
            assert all(a.x1 < b.x0 for a, b in pairwise(boxes))
            assert boxes[-1].x1 <= figure.bbox.x1
        return b""

    monkeypatch.setattr(plots, "save", save)
    plots.draw_rows(read_results(RESULTS / target / "standard" / "record.json"))
    assert len(shown) == 2 and len(shown[0]) >= 2
