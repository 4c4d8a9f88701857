"""The page and figure of a sweep's diagnostics, from its report alone."""

import csv
import io

import pytest
from test_sweep_tables import make_sweep

from lamd.report.diagnostics import COLUMNS, SHOWN, channel_means, render_csv, render_page
from lamd.report.results import Diagnostics, Hole, SweepReport, Verdict, read_report
from lamd.report.sweep_plots import render_diagnostics_figure
from lamd.report.sweep_tables import rows_of


def make_diagnostics(kl: tuple[float, ...], **values: float) -> Diagnostics:
    fields = dict.fromkeys(COLUMNS, 0.5) | {"kl": sum(kl)} | values
    channels = {"kl": kl, "active_units": tuple(4.0 for _ in kl)}
    return Diagnostics(
        values=fields, channels=channels, probe_strength=0.1, clips=16, cells=(str(kl),)
    )


@pytest.fixture
def report() -> SweepReport:
    """Return a sweep with three MCD-VAEs at the first row, one at the second, none at the third."""
    points = list(make_sweep().points)
    for i, kl in enumerate([(1.0, 4.0), (5.0, 2.0), (3.0, 6.0), *[(2.0, 1.0)] * 3]):
        points[i] = points[i].model_copy(update={"diagnostics": make_diagnostics(kl)})
    verdict = Verdict(kind="not run", reason="needs vae, which failed: no memory")
    hole = Hole(row="diagnostics", reason=verdict.reason, verdict=verdict)
    for i in (6, 7, 8):
        points[i] = points[i].model_copy(update={"holes": (hole,)})
    return make_sweep(points=tuple(points))


def test_the_page_gives_mean_and_interval_over_mcd_vaes(report):
    text = render_page(report)
    # 5, 7, 9: standard error 2 / sqrt(3), t(0.975, 2) = 4.30265
    assert "| 1 | 0.01 | 7.00 [2.03, 11.97] |" in text
    assert "| 1 | 0.1 | 3.00 | 0.5 |" in text  # one MCD-VAE of three sampling seeds: no interval
    assert "not run (needs vae, which failed: no memory)" in text
    assert "simulated stand-in for BAIR" in text
    assert "On 16 test clips" in text


def test_channels_are_matched_across_seeds_by_their_kl(report):
    first, *_ = rows_of(report)
    assert channel_means(first, "kl") == pytest.approx([(4 + 5 + 6) / 3, (1 + 2 + 3) / 3])


def test_the_csv_names_seeds_data_and_reasons(report):
    lines = list(csv.DictReader(io.StringIO(render_csv(report))))
    first = lines[0]
    assert (first["diagnostic"], first["channel"], first["value"], first["seeds"]) == (
        "kl", "", "7", "3")  # fmt: skip
    assert {line["data"] for line in lines} == {"stand-in"}
    assert [line["value"] for line in lines[: len(COLUMNS) + 2] if line["channel"]] == ["5", "2"]
    assert any(line["reason"].endswith("no memory") and not line["value"] for line in lines)


def test_the_figure_has_a_panel_a_diagnostic(report):
    svg = render_diagnostics_figure(report)["diagnostics.svg"].decode()
    assert svg.count("<!-- vae.motion_channels -->") == len(SHOWN)


def test_a_record_keeps_the_diagnostics_and_one_without_them_is_read(report, tmp_path):
    path = tmp_path / "record.json"
    path.write_text(report.to_json(), encoding="utf-8")
    assert read_report(path) == report
    older = make_sweep().to_json().replace(',\n   "diagnostics": null', "")
    assert "diagnostics" not in older
    path.write_text(older, encoding="utf-8")
    assert read_report(path) == make_sweep()
