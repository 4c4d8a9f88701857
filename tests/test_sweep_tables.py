"""A sweep's table and figure: means over seeds, holes, labels, published values apart."""

import csv
import io

import pytest
from reports import PUBLISHED, make_record, make_report

from lamd.report.folder import choose_folder, write_files
from lamd.report.results import Hole, SweepPoint, SweepReport, Verdict, read_report
from lamd.report.sweep_plots import _curve_panels, render_sweep_figure
from lamd.report.sweep_tables import (
    TABLES,
    render_csv,
    render_markdown,
    rows_of,
    summarise,
    sweep_table,
)

COLUMNS = ("reconstruction fvd", "lamd fvd")
CURVES = {"name": "curves", "columns": list(COLUMNS)}
TRADEOFF = {"name": "tradeoff", "x": COLUMNS[0], "y": COLUMNS[1]}


def make_point(d: int, beta: float, seed: int, value: float, **changes) -> SweepPoint:
    """Return a point whose reconstruction does not depend on the seed."""
    values = {"vae.motion_channels": d, "loss.kl_weight": beta, "sampler.seed": seed}
    records = (
        make_record(row="reconstruction", value=10.0 * d, cells=(f"{d} {beta}",)),
        make_record(row="lamd", value=value, cells=(f"{d} {beta} {seed}",)),
    )
    fields = {"name": str(values), "values": values, "records": records, "holes": ()}
    return SweepPoint(**(fields | changes))


def make_sweep(**changes) -> SweepReport:
    """Return a sweep of 2 x 2 points and three seeds."""
    report = make_report()
    fields = {name: getattr(report, name) for name in SweepReport.model_fields if name not in
              ("format", "axes", "columns", "points")}  # fmt: skip
    fields |= {
        "config": {"figure": CURVES},
        "axes": ("vae.motion_channels", "loss.kl_weight"),
        "columns": COLUMNS,
        "points": tuple(
            make_point(d, beta, seed, value=100.0 * d + seed)
            for d in (1, 2) for beta in (0.01, 0.1) for seed in (1, 2, 3)
        ),
    }  # fmt: skip
    return SweepReport(**(fields | changes))


def failed(point: SweepPoint) -> SweepPoint:
    verdict = Verdict(kind="not run", reason="no memory")
    hole = Hole(row="lamd", reason="no memory", verdict=verdict)
    return point.model_copy(update={"records": point.records[:1], "holes": (hole,)})


def test_the_interval_over_seeds_is_students():
    # t(0.975, 2) = 4.30265, from printed tables; the standard error of 1, 2, 3 is 1 / sqrt(3)
    found = summarise([make_record(value=v) for v in (1.0, 2.0, 3.0)])
    assert found.value == 2.0
    assert found.interval == pytest.approx((2 - 4.30265 / 3**0.5, 2 + 4.30265 / 3**0.5), abs=1e-4)


def test_seeds_are_one_row_and_what_ignores_them_one_value():
    header, *rows = sweep_table(make_sweep())
    assert header[:4] == ["vae.motion_channels", "loss.kl_weight", "reconstruction FVD ↓",
                          "LaMD FVD ↓"]  # fmt: skip
    assert [row[:2] for row in rows] == [["1", "0.01"], ["1", "0.1"], ["2", "0.01"], ["2", "0.1"]]
    assert rows[0][2] == "10.0 [110.0, 140.3], N→∞ 80.1"  # the metric's own interval, over clips
    assert rows[0][3] == "102.0 [99.5, 104.5]"
    assert rows[0][4:] == ["3", "stand-in", "reduced"]


def test_a_failed_seed_or_point_is_named():
    points = list(make_sweep().points)
    points[0] = failed(points[0])
    points[3:6] = map(failed, points[3:6])
    report = make_sweep(points=tuple(points))
    _, first, second, *_ = sweep_table(report)
    assert first[3] == "102.5 [96.1, 108.9], 2 of 3 seeds (no memory)"
    assert second[3] == "not run (no memory)"
    assert len(report.holes) == 4
    assert render_sweep_figure(report.model_copy(update={"config": {"figure": TRADEOFF}}))


def test_measured_and_published_stand_apart():
    text = render_markdown(make_sweep())
    measured, published = text.split("## Published: real BAIR")
    assert "simulated stand-in for BAIR, reduced scale" in measured
    assert "36.05" not in measured and "36.05" in published
    assert "Published" not in render_markdown(make_sweep(published=()))


def test_the_csv_has_one_line_a_column_of_a_point():
    lines = list(csv.DictReader(io.StringIO(render_csv(make_sweep()))))
    ours = [line for line in lines if line["block"] == "measured"]
    assert len(ours) == 4 * 2
    assert {line["data"] for line in ours} == {"stand-in"}
    assert (ours[1]["column"], ours[1]["value"], ours[1]["seeds"]) == ("lamd fvd", "102", "3")
    (theirs,) = (line for line in lines if line["block"] == "published")
    assert (theirs["vae.motion_channels"], theirs["value"]) == (PUBLISHED.method, "36.05")


def test_stand_in_values_cannot_be_called_real():
    with pytest.raises(ValueError, match="not every record"):
        make_sweep(data="real")


@pytest.mark.parametrize("figure", [CURVES, TRADEOFF], ids=["curves", "tradeoff"])
def test_the_same_report_gives_the_same_files(tmp_path, figure):
    report = make_sweep(config={"figure": figure})
    contents = {name: make(report).encode() for name, make in TABLES.items()}
    contents |= render_sweep_figure(report)
    write_files(tmp_path / "table_x", report, contents)
    again = read_report(tmp_path / "table_x" / "record.json")
    assert again == report
    assert render_sweep_figure(again)["figure.svg"] == contents["figure.svg"]


@pytest.mark.parametrize(
    ("values", "joined"), [((1, 0.5), True), (("a", "b"), False), ((True, False), False)]
)
def test_only_numbers_are_joined_by_a_line(values, joined):
    from matplotlib.figure import Figure

    points = tuple(
        make_point(d, 0.01, 1, 100.0, values={"vae.motion_channels": value})
        for d, value in enumerate(values)
    )
    report = make_sweep(axes=("vae.motion_channels",), points=points)
    place = Figure().subplots()
    (draw,) = _curve_panels(report, rows_of(report), {"": lambda row: row.summary("lamd fvd")})
    draw(place)
    assert (place.lines[0].get_linestyle() != "None") == joined


def test_holes_do_not_overwrite_a_whole_sweep(tmp_path):
    whole = make_sweep()
    write_files(tmp_path / "table_x", whole, {})
    holed = make_sweep(points=tuple(map(failed, whole.points)))
    assert choose_folder(tmp_path, holed) == tmp_path / "table_x" / "incomplete"


def test_rows_keep_their_order():
    values = [tuple(row.values.values()) for row in rows_of(make_sweep())]
    assert values == [(1, 0.01), (1, 0.1), (2, 0.01), (2, 0.1)]
