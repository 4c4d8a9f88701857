"""Tables, figure and moving pictures: content, determinism, and where results go."""

import csv
import io
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from reports import PUBLISHED, make_record, make_report

from lamd.config import experiments_dir
from lamd.report import sweep_tables
from lamd.report.folder import TABLES, choose_folder, write_results
from lamd.report.media import comparison_grid, encode_gif, encode_mp4, tile_clips
from lamd.report.plots import render_figure
from lamd.report.results import read_report
from lamd.report.tables import (
    format_value,
    measured_table,
    published_table,
    render_csv,
    render_latex,
    render_markdown,
)
from lamd.targets import cost

RENDERED = {"table": TABLES, "sweep": sweep_tables.TABLES, "cost": cost.TABLES}  # by kind
COMMITTED = sorted((experiments_dir().parent / "results").glob("*/**/record.json"))


def clips(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 4, 16, 16, 3), np.uint8)


def test_a_value_shows_interval_and_limit():
    assert format_value(make_record()) == "123.5 [110.0, 140.3], N→∞ 80.1"
    plain = make_record(metric="psnr", interval=None, extrapolated=None, value=20.0)
    assert format_value(plain) == "20.00"


def test_measured_and_published_stand_in_separate_blocks():
    text = render_markdown(make_report())
    ours, published = text.split("\n## Published")
    assert "123.5" in ours
    assert "36.05" not in ours
    assert "36.05" in published
    assert "123.5" not in published
    assert "simulated stand-in for BAIR, reduced scale" in ours
    assert "not comparable (simulated stand-in data)" in ours
    assert "| A_B & C | 36.05 | fvd.bair.v1 | no | a paper |" in published


def test_no_stand_in_value_reaches_a_published_cell():
    report = make_report(records=(make_record(value=987.654),))
    assert not any("987" in cell for row in published_table(report) for cell in row)
    lines = list(csv.DictReader(io.StringIO(render_csv(report))))
    for line in lines:
        assert (line["block"] == "published") == (line["data"] == "real")
        assert line["block"] == "measured" or line["value"] == "36.05"


def test_a_hole_shows_its_reason():
    row = measured_table(make_report())[2]
    assert row[:4] == ["MCD-VAE", "-", "-", "-"]
    assert row[-1] == "not run (needs vae, which failed: OutOfMemoryError: no memory)"
    assert "OutOfMemoryError" in render_csv(make_report())


def test_latex_is_escaped_and_rectangular():
    text = render_latex(make_report())
    assert r"A\_B \& C" in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    columns = [line.replace(r"\&", "").count("&") for line in rows]
    assert columns == [columns[0]] * 3 + [columns[3]] * 2


def test_markdown_tables_are_rectangular():
    for block in render_markdown(make_report()).split("\n\n"):
        if block.startswith("|"):
            assert len({line.replace(r"\|", "").count("|") for line in block.splitlines()}) == 1


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: str(path.parent.name))
def test_committed_tables_are_remade_from_their_record(path):
    report = read_report(path)
    assert path.read_text(encoding="utf-8") == report.to_json()
    for name, render in RENDERED.get(report.config["kind"], {}).items():
        assert (path.parent / name).read_bytes() == render(report).encode()


@pytest.mark.skipif(not COMMITTED, reason="no results are committed yet")
def test_committed_results_are_whole():
    for path in COMMITTED:
        names, report = {p.name for p in path.parent.iterdir()}, read_report(path)
        kind = report.config["kind"]
        expected = set(RENDERED.get(kind, {}))
        if kind in ("table", "sweep", "cost_figure", "quality"):
            expected |= {"figure.png", "figure.svg"}
        elif kind == "figure":
            media = ("png", "svg", "gif", "mp4")
            expected = {f"{one.dataset}.{suffix}" for one in report.pictures for suffix in media}
        assert expected and expected <= names


def test_the_figure_is_deterministic_and_keeps_panels_apart():
    first, second = (render_figure(make_report()) for _ in range(2))
    assert first["figure.svg"] == second["figure.svg"]
    assert b"<dc:date>" not in first["figure.svg"]
    assert Image.open(io.BytesIO(first["figure.png"])).size[0] > 1000


def test_results_are_written_whole_and_only_when_changed(tmp_path):
    grid = comparison_grid({"real": clips(1)}, "caption")
    files = write_results(tmp_path, make_report(), grid)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in files}
    assert len(files) == 8
    before = {path: path.stat().st_mtime_ns for path in files}
    write_results(tmp_path, make_report(), grid)
    assert {path: path.stat().st_mtime_ns for path in files} == before


def place(root: Path, **changes) -> str:
    return str(choose_folder(root, make_report(**changes)).relative_to(root))


def test_smaller_or_broken_tables_do_not_replace_larger_ones(tmp_path):
    whole = {"holes": (), "rows": make_report().rows[:1]}
    assert place(tmp_path) == "table_x"
    write_results(tmp_path / "table_x", make_report(profile="standard", **whole), None)
    assert place(tmp_path, profile="quick") == "table_x/quick"
    assert place(tmp_path, profile="standard", **whole) == "table_x"
    assert place(tmp_path, profile="paper", **whole) == "table_x"
    assert place(tmp_path, profile="standard") == "table_x/incomplete"
    (tmp_path / "table_x" / "record.json").write_text("{}")
    assert place(tmp_path, profile="standard") == "table_x/standard"


def test_the_grid_shows_the_clips_it_is_given():
    red = np.zeros((2, 4, 16, 16, 3), np.uint8)
    red[..., 0] = 255
    grid = comparison_grid({"real": red, "fake": 255 - red}, "caption")
    assert grid.shape[0] == 4
    assert grid.shape[1] % 2 == grid.shape[2] % 2 == 0
    assert (grid[0, 30, 10] == (255, 0, 0)).all()
    assert (grid[0, 30, 142] == (0, 255, 255)).all()
    with pytest.raises(ValueError, match="differ in shape"):
        comparison_grid({"a": clips(1), "b": clips(2)}, "")


def test_gif_and_mp4_play_back():
    sheet = tile_clips(np.repeat(clips(3)[:, :, :1, :1], 16, 2).repeat(16, 3))
    assert sheet.shape == (4, 32, 32, 3)
    assert (sheet[:, 16:, 16:] == 255).all()
    gif = Image.open(io.BytesIO(encode_gif(sheet)))
    assert (gif.n_frames, gif.size) == (4, (32, 32))
    assert np.abs(np.asarray(gif.convert("RGB")).astype(int) - sheet[0]).max() < 16
    with av.open(io.BytesIO(encode_mp4(sheet))) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == 4
    assert np.abs(frames[2].astype(int) - sheet[2]).mean() < 12


def test_the_published_row_prints_as_it_was_published():
    exact = PUBLISHED.model_copy(update={"metrics": {"fvd": 57.0, "ssim": 0.969}})
    row = published_table(make_report(published=(exact,)))[1]
    assert row[1:3] == ["57", "0.969"]
