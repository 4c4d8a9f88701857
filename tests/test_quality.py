"""`fig_quality_vs_cost`: the tables' cells under other samplers, and what is told of them."""

import pytest
import torch
from test_cost import counted
from test_reproduce import TINY

from lamd.base.errors import LamdError
from lamd.config import Point, load_target
from lamd.cost import row_parts
from lamd.execute.schedule import identity
from lamd.models.dmg import build_dmg
from lamd.models.mcd_vae import build_vae
from lamd.pipeline.graph import make_plan
from lamd.pipeline.steps import clips
from lamd.report.quality_plots import quality_lines, render_quality_figure
from lamd.report.results import FigureReport, Picture
from lamd.targets import reproduce as run
from lamd.targets.quality import claims, plan_quality

FIGURE = "fig_quality_vs_cost"
POINTS = (Point("lamd", "ddim", 200), Point("lamd", "dpmpp_2m", 5), Point("lamd", "dpmpp_2m", 20))
NUMBERS = {
    "fvd": [100.0, 150.0, 104.0],
    "fvd_low": [90.0, 140.0, 95.0],
    "fvd_high": [110.0, 160.0, 114.0],
    "n": [64.0] * 3,
    "tflops": [2.0, 0.1, 0.3],
    "seconds": [20.0, 1.0, 3.0],
    "seconds_low": [19.0, 0.9, 2.9],
    "seconds_high": [21.0, 1.1, 3.1],
    "denoise_seconds": [19.0, 0.5, 1.9],
}


def make_picture() -> Picture:
    return Picture(source="table_bair", dataset="bair", data="stand-in", scale="reduced",
                   content_hash="0", seeds={}, config_hash="0", caption="what is told",
                   labels=tuple(map(str, POINTS)), numbers=NUMBERS, cells=())  # fmt: skip


def test_points_use_the_tables_models_and_its_own_clips():
    figure = load_target(FIGURE, "quick")
    plan = plan_quality(figure, "cpu")
    for source, target in figure.sources.items():
        table = make_plan(target, "cpu")
        known = {identity(cell) for cell in table.cells()}
        own = plan.points[source][Point("lamd", "ddim", 200)]  # the table's sampler
        assert {identity(cell) for cell in own.ancestors()} <= known
        made = [cell for cell in plan.cells()[source] if identity(cell) not in known]
        kinds = [cell.kind for cell in made]
        others = len(figure.points) - 1
        assert {kind: kinds.count(kind) for kind in set(kinds)} == {
            "clips": others, "features": others, "values": others + 1, "latency": 1}  # fmt: skip


def test_another_paradigm_is_a_series_of_its_own():
    figure = load_target(
        FIGURE, "quick", ["sources=[table_bair]", "series.latent_video_flops.dpmpp_2m=[5]",
                          "series.pixel_flops.ddim=[50]"])  # fmt: skip
    plan = plan_quality(figure, "cpu")
    latency = plan.latency["table_bair"]
    assert {cell.name for cell in latency.parents} == {
        "vae", "dmg", "pixel flops", "video_vae", "latent_video flops"}  # fmt: skip
    own = figure.sources["table_bair"].model_copy(update={"rows": ("pixel_flops",)})
    assert own.baselines.pixel.num_sampling_steps == 25
    table = {identity(cell): cell.name for cell in make_plan(own, "cpu").cells()}
    (point,) = (p for p in figure.points if p.row == "pixel_flops")
    known = [table.get(identity(c)) for c in plan.points["table_bair"][point].ancestors()]
    assert "pixel flops" in known and "clips pixel_flops" not in known  # K = 50
    quarter = load_target(FIGURE, "quick", ["sources=[table_bair]", "series.pixel_flops.ddim=[25]"])
    own_k = plan_quality(quarter, "cpu").points["table_bair"][Point("pixel_flops", "ddim", 25)]
    assert {identity(cell) for cell in own_k.ancestors()} <= set(table)


def test_ddim_keeps_the_tables_eta_and_the_others_have_none():
    figure = load_target(FIGURE, "quick", ["sources.table_bair.sampler.eta=0.5"])
    found = {p: figure.at("table_bair", p).sampler for p in figure.points}
    assert {one.eta for p, one in found.items() if p.sampler == "ddim"} == {0.5}
    assert {one.eta for p, one in found.items() if p.sampler != "ddim"} == {None}
    assert all((one.name, one.num_steps) == p[1:] for p, one in found.items())


def test_the_closed_form_is_what_the_networks_of_the_table_do():
    target = load_target(FIGURE, "quick", ["sources=[table_bair]"]).sources["table_bair"]
    with torch.device("meta"):
        vae, dmg = build_vae(target.vae, target.data), build_dmg(target)
        x0 = torch.empty(2, 3, target.data.size, target.data.size)
        z, t = torch.empty(2, *vae.latent_shape), torch.zeros(2, dtype=torch.int64)
    f_x0, skips = vae.encode_image(x0)
    told = dmg.condition(f_x0)
    runs = {
        "encode": lambda: dmg.condition(vae.encode_image(x0)[0]),
        "step": lambda: dmg.denoise(z, t, told),
        "decode": lambda: vae.decode(z, f_x0, skips),
    }
    costs = row_parts(target, "lamd")
    assert {name: counted(one)[0] for name, one in runs.items()} == {
        name: 2 * cost.flops for name, cost in costs.items()}  # fmt: skip


def test_the_claim_compares_with_the_interval_and_the_time_of_the_reference():
    figure = load_target(FIGURE, "quick", ["sources=[table_bair]"])
    (told,) = claims(figure, POINTS, NUMBERS)
    assert "K = 20: FVD 104.0, within the interval [90.0, 110.0] of LaMD, DDIM, K = 200" in told
    assert told.endswith("at 10.0% of its denoising time.")
    (told,) = claims(figure, POINTS, NUMBERS | {"fvd": [100.0, 150.0, 111.0]})
    assert "above the interval" in told
    (told,) = claims(figure, POINTS[1:], NUMBERS)
    assert told.endswith("not run.")


def make_report(picture: Picture) -> FigureReport:
    config = load_target(FIGURE, "quick").model_dump(mode="json")
    return FigureReport(target=FIGURE, title="T", profile="quick", overrides=(), holes=(),
                        config=config, config_hash="0", pictures=(picture,))  # fmt: skip


def test_the_figure_shows_each_point_with_its_k_and_interval():
    lines = quality_lines(make_picture(), "seconds")
    assert list(lines) == ["LaMD, DDIM", "LaMD, DPM-Solver++ (2M)"]
    assert [k for k, _ in lines["LaMD, DPM-Solver++ (2M)"]] == [5, 20]
    assert tuple(lines["LaMD, DDIM"][0].dot) == (20.0, 100.0, 90.0, 110.0)
    assert quality_lines(make_picture(), "tflops")["LaMD, DDIM"][0].dot.x == 2.0
    report = make_report(make_picture())
    files = render_quality_figure(report)
    assert files == render_quality_figure(report) and set(files) == {"figure.png", "figure.svg"}
    assert b"interval of LaMD, DDIM, K = 200" in files["figure.svg"]
    for tick in ("0.2", "0.5", "1", "2", "5", "10"):  # plain numbers, few enough to stand apart
        assert f"<!-- {tick} -->".encode() in files["figure.svg"]
    assert b"\\times" not in files["figure.svg"]


def test_a_series_far_above_the_others_leaves_them_room_and_names_stay_on_the_page():
    labels = ("lamd ddim 200", "lamd dpmpp_2m 20", "pixel_flops dpmpp_2m 20")
    fvd = {name: [600.0, 620.0, 2900.0] for name in ("fvd", "fvd_low", "fvd_high")}
    picture = make_picture().model_copy(update={"labels": labels, "numbers": NUMBERS | fvd})
    svg = render_quality_figure(make_report(picture))["figure.svg"]
    for tick in ("1000", "2000"):  # logarithmic
        assert f"<!-- {tick} -->".encode() in svg
    assert b"<!-- 1500 -->" not in svg
    # once, in the legend: beside the lines of both panels it ran off the page
    assert svg.count(b"<!-- pixel space, equal training FLOPs, DPM-Solver++ (2M) -->") == 1


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("series.lamd.ddim=[200, 2000]", "K = 2000 exceeds T = 1000 of table_bair"),
        ("series.lamd.dimm=[20]", "'ddim', 'ddpm' or 'dpmpp_2m'"),
        ("series.lamd.ddim=[20]", "reference: ddim 200"),
        ("series.lamd.ddim=[200, 200]", "stands twice"),
        ("series.pixel.ddim=[20]", "'lamd'"),
        ("sources=[table_cater_v1]", "prompts of table_cater_v1"),
        ("sources=[table_bair, table_bare]", "did you mean 'table_bair'"),
        ("sources.table_bair.evaluate.protocols=[psnr.v1]", "table_bair measures no FVD"),
    ],
)
def test_bad_input_is_one_line(option, words):
    with pytest.raises(LamdError) as error:
        load_target(FIGURE, "quick", [option])
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.slow
def test_the_whole_figure_a_second_run_and_a_failed_point(tmp_path, monkeypatch):
    tiny = [f"sources.table_bair.{option}" for option in TINY]
    small = ["sources=[table_bair]", "series.lamd={ddim: [2, 4], ddpm: [3], dpmpp_2m: [2]}", "rounds=2",
             "fast.num_steps=2", "reference.num_steps=4", "series.pixel_clips.ddim=[2]",
             "series.latent_video_clips.dpmpp_2m=[2]"]  # fmt: skip
    unet = ("{base_channels: 8, channel_multipliers: [1, 2], num_res_blocks: 1, "
            "attention_factors: [2], head_channels: 8}")  # fmt: skip
    tiny += [f"sources.table_bair.baselines.{one}.unet={unet}" for one in ("pixel", "latent_video")]

    def reproduce(*more: str) -> run.Outcome:
        return run.reproduce(FIGURE, "quick", [*tiny, *small, *more], runs=tmp_path / "runs",
                             results=tmp_path / "results", device="cpu")  # fmt: skip

    outcome = reproduce()
    (picture,) = outcome.report.pictures
    assert picture.labels == (
        "lamd ddim 2", "lamd ddim 4", "lamd ddpm 3", "lamd dpmpp_2m 2", "pixel_clips ddim 2",
        "latent_video_clips dpmpp_2m 2",
    )  # fmt: skip
    assert all(value > 0 for values in picture.numbers.values() for value in values)
    assert picture.numbers["tflops"][0] == picture.numbers["tflops"][3]  # by K alone
    for word in ("Simulated stand-in for BAIR", "fvd.bair.v1", "indicative", "denoising time"):
        assert word in picture.caption
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("cell.json")}
    assert reproduce().report == outcome.report
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("cell.json")} == before

    def fails(*_, **__):
        raise LamdError("no memory; get some")

    monkeypatch.setattr(clips, "generated_clips", fails)
    outcome = reproduce("series.lamd.ddim=[2, 3, 4]")
    assert [hole.row for hole in outcome.report.holes] == ["table_bair, lamd ddim 3"]
    assert outcome.report.pictures[0].labels == picture.labels
    assert outcome.folder.name == "incomplete" and len(outcome.failed) == 1
