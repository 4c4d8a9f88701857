"""`fig_quality_vs_cost`: the tables' cells under other samplers, its claims and its figure."""

import pytest
from small_results import make_results, make_source, make_value
from test_reproduce import TINY
from tiny import table_cells

from lamd.base.errors import LamdError
from lamd.config import Point, QualityFigure, load_target
from lamd.diffusion import sampling_steps
from lamd.paradigms.costs import costs, sampling_flops
from lamd.pipeline.cell import Cell, with_ancestors
from lamd.pipeline.steps import clips
from lamd.report import plots
from lamd.report.quality import quality_lines, render_quality
from lamd.report.results import Difference, Picture, Results, Value
from lamd.targets import KINDS
from lamd.targets import reproduce as run
from lamd.targets.kind import Graph
from lamd.targets.quality import claims

FIGURE = "fig_quality_vs_cost"
POINTS = (Point("lamd", "ddim", 200), Point("lamd", "dpmpp_2m", 5), Point("lamd", "dpmpp_2m", 20))
INTERVALS = ((100.0, 90.0, 110.0), (150.0, 140.0, 160.0), (104.0, 95.0, 114.0))
COSTS = {
    "tflops": [2.0, 0.1, 0.3],
    "seconds": [20.0, 1.0, 3.0],
    "denoise_seconds": [19.0, 0.5, 1.9],
}


def make_values(points=POINTS, intervals=INTERVALS) -> tuple[Value, ...]:
    """Return FVD with its interval and the costs of each point."""
    values = []
    for number, (point, interval) in enumerate(zip(points, intervals, strict=True)):
        where = {"source": "table_bair", "row": point.row,
                 "point": f"{point.sampler} {point.num_steps}"}  # fmt: skip
        value, low, high = interval
        values.append(make_value(**where, value=value, low=low, high=high))
        values += [
            Value(**where, metric=name, value=costs[number]) for name, costs in COSTS.items()
        ]
    return tuple(values)


def make_figure(points=POINTS, intervals=INTERVALS) -> Results:
    picture = Picture(source="table_bair", caption="the claims", labels=())
    return make_results(
        kind="quality", target=FIGURE, config=load_target(FIGURE, "quick").model_dump(mode="json"),
        sources={"table_bair": make_source()}, rows=(), columns=(), missing=(), published=(),
        points={
            f"{p.sampler} {p.num_steps}": {"sampler": p.sampler, "num_steps": p.num_steps}
            for p in points
        },
        values=make_values(points, intervals), pictures=(picture,),
    )  # fmt: skip


def plan(*overrides: str) -> tuple[QualityFigure, Graph]:
    figure = load_target(FIGURE, "quick", overrides)
    return figure, KINDS["quality"].plan(figure, "cpu")


def values_cell(figure: QualityFigure, graph: Graph, source: str, point: Point) -> Cell:
    return graph.wanted[source][figure.points.index(point)]


def test_points_use_the_tables_models_and_their_own_clips():
    figure, graph = plan()
    for source, target in figure.sources.items():
        known = {cell.plan_hash for cell in table_cells(target)}
        own = values_cell(figure, graph, source, Point("lamd", "ddim", 200))  # the table's sampler
        assert {cell.plan_hash for cell in with_ancestors([own]) if cell is not own} <= known
        made = [cell for cell in graph.cells()[source] if cell.plan_hash not in known]
        kinds = [cell.kind for cell in made]
        others = len(figure.points) - 1
        assert {kind: kinds.count(kind) for kind in set(kinds)} == {
            "clips": others, "features": others, "values": others + 1, "latency": 1}  # fmt: skip


def test_times_are_those_of_the_samplers():
    figure, graph = plan("sources=[table_bair]")
    _, again = plan("sources=[table_bair]")
    without, unguided = plan("sources=[table_bair]", "sources.table_bair.sampler.autoguidance=null")
    latency = graph.wanted["table_bair"][-1].plan_hash
    assert again.wanted["table_bair"][-1].plan_hash == latency
    assert unguided.wanted["table_bair"][-1].plan_hash != latency
    point = figure.points[0]
    guided, plain = (config.at("table_bair", point) for config in (figure, without))
    parts, (low, high) = costs(guided), guided.sampler.autoguidance.steps
    visited = sampling_steps(guided.dmg.num_train_steps, point.num_steps)
    twice = sum(low <= t <= high for t in visited)
    extra = twice * parts["step"].flops + parts["condition"].flops
    assert sampling_flops(guided, "lamd") - sampling_flops(plain, "lamd") == extra


def test_another_paradigm_is_its_own_series():
    first, graph = plan("sources=[table_bair]", "series.latent_video_flops.dpmpp_2m=[5]",
                    "series.pixel_flops.ddim=[50]")  # fmt: skip
    assert {cell.name for cell in graph.wanted["table_bair"][-1].parents.values()} == {
        "vae", "dmg", "pixel flops", "video_vae", "latent_video flops"}  # fmt: skip
    second, quarter = plan("sources=[table_bair]", "series.pixel_flops.ddim=[25]")
    own = second.sources["table_bair"].model_copy(update={"rows": ("pixel_flops",)})
    assert own.baselines.pixel.num_sampling_steps == 25
    table = {cell.plan_hash: cell.name for cell in table_cells(own)}

    def parents(figure: QualityFigure, graph: Graph, num_steps: int) -> set[str | None]:
        point = Point("pixel_flops", "ddim", num_steps)
        values = values_cell(figure, graph, "table_bair", point)
        cells = [cell for cell in with_ancestors([values]) if cell is not values]
        return {table.get(cell.plan_hash) for cell in cells}

    assert "pixel flops" in parents(first, graph, 50)
    assert "clips pixel_flops" not in parents(first, graph, 50)
    assert "clips pixel_flops" in parents(second, quarter, 25)
    assert None not in parents(second, quarter, 25)


def test_ddim_keeps_the_tables_eta_and_the_others_have_none():
    figure = load_target(FIGURE, "quick", ["sources.table_bair.sampler.eta=0.5"])
    samplers = {p: figure.at("table_bair", p).sampler for p in figure.points}
    assert {own.eta for p, own in samplers.items() if p.sampler == "ddim"} == {0.5}
    assert {own.eta for p, own in samplers.items() if p.sampler != "ddim"} == {None}
    assert all((own.name, own.num_steps) == p[1:] for p, own in samplers.items())


def test_claim_is_the_paired_difference_and_the_time_of_the_reference():
    figure = load_target(FIGURE, "quick", ["sources=[table_bair]"])
    change = Difference(source="table_bair", row="lamd", point="dpmpp_2m 20", metric="fvd",
                        reference="ddim 200", value=4.0, low=-2.0, high=9.5)  # fmt: skip
    (claim,) = claims(figure, "table_bair", POINTS, make_values(), [change])
    assert "K = 20: FVD 104.0 against 100.0 of LaMD, DDIM, K = 200 (+4.0 [-2.0, +9.5])" in claim
    assert claim.endswith("at 10.0% of its denoising time.")
    (claim,) = claims(figure, "table_bair", POINTS, make_values(), [])
    assert "of LaMD, DDIM, K = 200, at 10.0% of its" in claim
    (claim,) = claims(figure, "table_bair", POINTS[1:], make_values(), [])
    assert claim.endswith("not run.")


@pytest.fixture
def drawn(monkeypatch):
    """Return a list of the figures that are drawn."""
    drawn = []
    monkeypatch.setattr(plots, "save", lambda figure: drawn.append(figure) or b"")
    return drawn


def test_figure_shows_each_point_with_its_k_and_interval(drawn):
    results = make_figure()
    lines = quality_lines(results, "table_bair")
    assert list(lines) == [("lamd", "ddim"), ("lamd", "dpmpp_2m")]
    fast = lines["lamd", "dpmpp_2m"]
    assert list(fast.index) == [5, 20]
    reference = lines["lamd", "ddim"]["value"].loc[200]
    assert (reference["seconds"], reference["tflops"]) == (20.0, 2.0)
    assert set(render_quality(results)) == {"fvd_over_cost.png", "values.csv"}
    seconds, tflops = drawn[0].axes
    caption = drawn[0].get_supxlabel().replace("\n", " ").replace("\u00a0", " ")
    assert "interval of LaMD, DDIM, K = 200" in caption
    assert {text.get_text() for text in seconds.texts} == {"200", "5", "20"}
    assert [list(line.get_xdata()) for line in tflops.lines[-1:]] == [[0.1, 0.3]]
    interval = [line.get_ydata()[0] for line in seconds.lines if line.get_marker() == "None"]
    assert interval == [90.0, 110.0]
    drawn[0].canvas.draw()
    labels = {label.get_text() for label in tflops.get_xticklabels()}
    assert {"0.2", "0.5", "1", "2"} <= labels  # plain numbers, few enough to be legible
    assert not any("times" in label for label in labels)


def test_figure_is_the_same_bytes_each_time():
    results = make_figure()
    assert render_quality(results) == render_quality(results)


def test_series_far_above_the_others_leaves_them_room(drawn):
    points = (*POINTS[::2], Point("pixel_flops", "dpmpp_2m", 20))
    render_quality(make_figure(points, tuple((fvd,) * 3 for fvd in (600.0, 620.0, 2900.0))))
    assert drawn[0].axes[0].get_yscale() == "log"
    (legend,) = drawn[0].legends  # one for both panels: next to the lines it ran off the page
    names = [text.get_text() for text in legend.get_texts()]
    assert names.count("pixel space, budget in FLOPs, DPM-Solver++ (2M)") == 1


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("series.lamd.ddim=[200, 2000]", "K = 2000 exceeds T = 1000 of table_bair"),
        ("series.lamd.dimm=[20]", "among ddim, ddpm, dpmpp_2m"),
        ("series.lamd.ddim=[20]", "reference: ddim 200"),
        ("series.lamd.ddim=[200, 200]", "appears twice"),
        ("series.pixel.ddim=[20]", "no row 'pixel' among"),
        ("series={real_train: {ddim: [200]}}", "is not sampled in steps"),
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
def test_whole_figure_a_second_run_and_a_failed_point(tmp_path, monkeypatch):
    tiny = [f"sources.table_bair.{option}" for option in TINY]
    small = [
        "sources=[table_bair]",
        "series.lamd={ddim: [2, 4], ddpm: [3], dpmpp_2m: [2]}",
        "series.pixel_clips.ddim=[2]",
        "series.latent_video_clips.dpmpp_2m=[2]",
        "fast.num_steps=2",
        "reference.num_steps=4",
        "rounds=2",
    ]
    unet = ("{base_channels: 8, channel_multipliers: [1, 2], num_res_blocks: 1, "
            "attention_factors: [2], head_channels: 8}")  # fmt: skip
    tiny += [
        f"sources.table_bair.baselines.{name}.unet={unet}" for name in ("pixel", "latent_video")
    ]

    def reproduce(*more: str) -> run.Outcome:
        return run.reproduce(FIGURE, "quick", [*tiny, *small, *more], runs=tmp_path / "runs",
                             results=tmp_path / "results", device="cpu")  # fmt: skip

    outcome = reproduce()
    measured = {(v.row, v.point, v.metric): v.value for v in outcome.results.values}
    points = [
        ("lamd", "ddim 2"), ("lamd", "ddim 4"), ("lamd", "ddpm 3"), ("lamd", "dpmpp_2m 2"),
        ("pixel_clips", "ddim 2"), ("latent_video_clips", "dpmpp_2m 2"),
    ]  # fmt: skip
    assert measured.keys() == {(*point, metric) for point in points for metric in ("fvd", *COSTS)}
    assert all(value > 0 for value in measured.values())
    by_steps = [measured["lamd", point, "tflops"] for point in ("ddim 2", "dpmpp_2m 2")]
    assert by_steps[0] == by_steps[1]
    (picture,) = outcome.results.pictures
    for word in ("Simulated stand-in for BAIR", "fvd.bair.v1", "indicative", "denoising time"):
        assert word in picture.caption
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("cell.json")}
    assert reproduce().results == outcome.results
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("cell.json")} == before

    def fails(*_, **__):
        raise LamdError("no memory; get some")

    monkeypatch.setattr(clips, "generated_clips", fails)
    failed = reproduce("series.lamd.ddim=[2, 3, 4]")
    assert [(entry.row, entry.point) for entry in failed.results.missing] == [("lamd", "ddim 3")]
    fvd = [v.point for v in failed.results.values if v.metric == "fvd"]
    assert len(fvd) == len(points)
    assert failed.folder.name == f"quick-{failed.results.config_hash}" and len(failed.failed) == 1
