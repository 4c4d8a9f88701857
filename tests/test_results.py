"""Results: round trip, refusals, verdicts, frames, folders, and that no committed number moved."""

import csv
import io
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from small_results import PUBLISHED, make_results, make_source, make_sweep, make_value

import lamd
from lamd import cli
from lamd.base.errors import LamdError
from lamd.config import experiments_dir, load_target
from lamd.metrics.protocols import PROTOCOLS
from lamd.report import cost, curves, plots, quality, sweep, tables
from lamd.report.folder import choose_folder, write_folder
from lamd.report.frame import (
    PER_CLIP_COLUMNS,
    Summaries,
    load_results,
    to_frame,
    to_parquet,
    write_per_clip,
)
from lamd.report.published import judge, load_published
from lamd.report.results import Column, PublishedValue, Results, read_results
from lamd.targets.kind import Collector, Graph
from lamd.targets.sweep import published_of_sweep
from lamd.targets.table import published_rows

RECORDS = experiments_dir().parent / "results"
COMMITTED = sorted(RECORDS.glob("*/*/record.json"))
GOLDEN = Path(__file__).parent / "golden" / "committed_values.csv"
REAL = {"data": "real", "scale": "full"}


def test_results_survive_a_round_trip(tmp_path):
    for results in (make_results(), make_sweep()):
        path = tmp_path / "record.json"
        path.write_text(results.to_json(), encoding="utf-8")
        assert read_results(path) == results
        assert read_results(path).to_json() == path.read_text(encoding="utf-8")


def test_to_json_leaves_defaults_out():
    content = json.loads(make_results().to_json())
    assert content["format"] == "lamd.results.v1"
    assert "point" not in content["values"][0]
    assert "measured" not in content


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Invalid JSON: EOF"),
        ("{}", "kind: Field required"),
        ("[1]", "should be an object"),
        ('{"format": "lamd.report.v1"}', "format: Input should be 'lamd.results.v1'"),
        (b"\xff\xfe", "record.json"),
    ],
)
def test_read_results_explains_a_broken_record_in_one_line(tmp_path, text, reason):
    path = tmp_path / "record.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(LamdError, match=reason) as error:
        read_results(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"missing": ()}, "neither a value nor a reason: reconstruction"),
        ({"surprise": 1}, "surprise"),
        ({"values": (make_value(source="elsewhere"),)}, "no source 'elsewhere'"),
        ({"values": (make_value(point="elsewhere"),)}, "no point 'elsewhere'"),
    ],
)
def test_results_refuse_what_does_not_fit(changes, reason):
    with pytest.raises(ValidationError, match=reason):
        make_results(**changes)


@pytest.mark.parametrize("verdict", ["reproduced", "deviates"])
@pytest.mark.parametrize(
    ("source", "deviations"),
    [
        ({"data": "stand-in", "scale": "full"}, ()),
        ({"data": "real", "scale": "reduced"}, ()),
        (REAL, ("other camera",)),
    ],
)
def test_results_cannot_claim_a_verdict_without_the_published_conditions(
    verdict, source, deviations
):
    value = make_value(verdict=verdict, deviations=deviations)
    with pytest.raises(ValidationError, match="needs real data"):
        make_results(values=(value,), sources={"bair": make_source(**source)})


@pytest.mark.parametrize(
    ("record", "source"),
    [
        ("table_bair/quick", "bair"),
        ("fig_samples_bair/standard", "table_bair"),
        ("ablation_conditioning/quick", "dmg.condition=concat"),
        ("table_sampling_cost/quick", "untrained"),
    ],
)
@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        ({"data": "real"}, "real data, but its config says "),
        ({"scale": "full"}, "full scale, but its config says "),
        ({"data": "real", "scale": "full"}, "real data, but its config says "),
    ],
)
def test_a_record_edited_to_real_or_full_is_refused(record, source, edit, reason, tmp_path):
    path = tmp_path / "record.json"
    content = json.loads((RECORDS / record / "record.json").read_text(encoding="utf-8"))
    path.write_text(json.dumps(content), encoding="utf-8")
    assert read_results(path).sources[source].data == "stand-in"
    content["sources"][source] |= edit
    path.write_text(json.dumps(content), encoding="utf-8")
    reason = f"record.json: .*source {source!r}: {reason}.*; delete it"
    with pytest.raises(LamdError, match=reason) as line:
        read_results(path)
    assert "\n" not in str(line.value)
    with pytest.raises(SystemExit) as end:
        cli.main(["results", str(path)])
    assert end.value.code == 2


def test_a_record_edited_to_reproduced_is_refused(tmp_path):
    content = json.loads((RECORDS / "table_bair/quick/record.json").read_text(encoding="utf-8"))
    for value in content["values"]:
        value["verdict"] = "reproduced"
    (tmp_path / "record.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(LamdError, match="verdict 'reproduced' needs real data, full scale"):
        read_results(tmp_path / "record.json")


def test_a_point_of_a_sweep_may_be_of_another_scale_than_its_table():
    points = {scale: {"scale": scale} for scale in ("reduced", "full")}
    sources = {scale: make_source(scale=scale) for scale in points}
    values = [make_value(source=scale, point=scale) for scale in points]
    make_sweep(points=points, sources=sources, values=values, rows=())
    sources = {scale: make_source(scale="full") for scale in points}
    with pytest.raises(ValidationError, match="'reduced': full scale, but"):
        make_sweep(points=points, sources=sources, values=values, rows=())


def test_a_stand_in_under_a_config_for_real_data_is_a_stand_in():
    config = {"scale": "full", "data": {"source": "real"}}
    results = make_results(config=config, sources={"bair": make_source(scale="full")})
    assert results.sources["bair"].data == "stand-in"


@pytest.mark.parametrize("changes", [{"cells": ("1",)}, {"low": None}])
def test_results_cannot_claim_a_verdict_from_one_seed_or_without_interval(changes):
    def values(**changes):
        return tuple(
            make_value(**{"verdict": "reproduced", "deviations": (), "cells": (seed,)} | changes)
            for seed in ("1", "2")
        )

    sources = {"bair": make_source(**REAL)}
    assert len(make_results(values=values(), sources=sources).values) == 2
    with pytest.raises(ValidationError, match="needs an interval and two seeds"):
        make_results(values=values(**changes), sources=sources)


def judged(*numbers, source=REAL, published=PUBLISHED, **changes):
    """Judge values, one per seed, with intervals of one to either side."""
    values = [
        make_value(**{"value": n, "low": n - 1, "high": n + 1, "deviations": ()} | changes)
        for n in numbers or (36.05, 36.05)
    ]
    return judge(values, make_source(**source), published)


def test_judge_allows_the_tolerance():
    assert judged() == ("reproduced", "+0%, +0% of 36.05, tolerance 10%")
    assert judged(36.05, 36.05 * 1.0999)[0] == "reproduced"
    assert judged(30.0, 20.0) == ("deviates", "-17%, -45% of 36.05, tolerance 10%")
    assert judged(20.0, 50.0)[0] == "deviates"


def test_judge_is_undecided_where_the_intervals_reach_the_tolerance_or_are_missing():
    kind, reason = judged(36.05, 36.05 * 1.1001)
    assert kind == "undecided"
    assert reason == "+0%, +10% of 36.05, tolerance 10%; intervals reach it"
    assert judged(40.0, 50.0)[0] == judged(32.0, 30.0)[0] == "undecided"
    kind, reason = judged(low=None, high=None)
    assert kind == "undecided" and reason.endswith("no interval")


def test_judge_gives_no_verdict_on_one_seed():
    assert judged(36.05) == ("one seed", "+0% of 36.05, tolerance 10%; a verdict needs two seeds")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"source": {"data": "stand-in", "scale": "full"}}, "simulated stand-in data"),
        ({"source": {"data": "real"}}, "reduced scale"),
        ({"source": {}}, "simulated stand-in data; reduced scale"),
        ({"deviations": ("64 real clips",)}, "64 real clips"),
        ({"protocol": "fvd.bair.x100.v1"}, "published under fvd.bair.v1"),
        ({"published": None}, "no published value"),
        ({"metric": "ssim"}, "no published value"),
        ({"metric": "fvd-counted", "protocol": "fvd.bair.counted.v1"}, "under fvd.bair.v1"),
    ],
)
def test_judge_gives_the_reason_why_values_do_not_compare(changes, reason):
    kind, text = judged(**changes)
    assert kind == "not comparable"
    assert reason in text


def test_judge_holds_each_metric_against_its_own_protocol():
    psnr = {"metric": "psnr", "protocol": "psnr.given1.v1"}
    assert judged(31.64, **psnr) == ("not comparable", "published protocol not stated")


def test_judge_does_not_compare_lpips_of_an_unknown_backbone():
    lpips = {"metric": "lpips-alex", "protocol": "lpips-alex.given1.v1"}
    assert judged(0.02, 0.02, **lpips) == ("not comparable", "published LPIPS backbone not stated")
    for backbone, expected in (("alex", "reproduced"), ("vgg", "not comparable")):
        stated = PUBLISHED.metrics["lpips"].model_copy(update={"backbone": backbone})
        row = PUBLISHED.model_copy(update={"metrics": {"lpips": stated}})
        assert judged(0.02, 0.02, **lpips, published=row)[0] == expected


def test_judge_has_a_tolerance_for_each_network_of_lpips():
    for metric, expected in (("lpips-alex", "reproduced"), ("lpips-vgg", "deviates")):
        protocol = f"{metric}.given1.v1"
        stated = PublishedValue(value=50.0, protocol=protocol)
        row = PUBLISHED.model_copy(update={"metrics": {metric: stated}})
        verdict = judged(56.0, 57.0, metric=metric, protocol=protocol, published=row)
        assert verdict[0] == expected


def test_published_rows_have_source_and_flag():
    groups = load_published()
    assert groups["paper"]["bair_i2v"].metrics["fvd"].protocol is None  # the source states none
    assert groups["reconstruction"]["bair_i2v"].metrics["psnr"].value == 31.64
    assert len(groups["others_bair_fvd"]) == 18
    cells = [
        cell for rows in groups.values() for row in rows.values() for cell in row.metrics.items()
    ]
    stated = {metric: cell.protocol for metric, cell in cells if cell.protocol}
    assert {metric: PROTOCOLS[protocol].metric for metric, protocol in stated.items()} == {
        metric: metric for metric in ("fvd", "action_precision", "referring_expression_precision")
    }
    assert stated["action_precision"] == "action_precision.mage.v1"
    assert all(row.source and row.metrics for rows in groups.values() for row in rows.values())


def test_to_frame_has_one_line_per_value_with_source_and_coordinates():
    frame = to_frame(make_sweep())
    assert len(frame) == 24
    line = frame.iloc[1]
    assert (line["row"], line["value"], line["vae.motion_channels"]) == ("lamd", 101.0, 1)
    assert (line["data"], line["seed.sampler"], line["cells"]) == ("stand-in", 0, "1 0.01 1")
    assert to_frame(make_results(values=(), rows=())).empty


def test_load_results_searches_folders(tmp_path):
    for profile in ("quick", "standard"):
        write_folder(tmp_path / profile, make_results(profile=profile), {})
    frame = lamd.load_results([tmp_path])
    assert list(frame["profile"]) == ["quick", "standard"]
    assert len(load_results(tmp_path / "quick" / "record.json")) == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(LamdError, match=r"empty: no record.json in it"):
        load_results([tmp_path / "empty"])


def test_summary_is_the_mean_over_the_seeds_with_students_interval():
    first = Summaries(make_sweep()).at((1, 0.01), Column(row="lamd", metric="fvd"))
    # t(0.975, 2) = 4.30265, from printed tables; the standard error of 1, 2, 3 is 1 / sqrt(3)
    assert (first["value"], first["num_seeds"]) == (102.0, 3)
    assert (first["low"], first["high"]) == pytest.approx(
        (102 - 4.30265 / 3**0.5, 102 + 4.30265 / 3**0.5), abs=1e-4
    )


def test_summary_counts_a_measurement_that_ignores_the_seeds_once():
    first = Summaries(make_sweep()).at((1, 0.01), Column(row="reconstruction", metric="fvd"))
    assert (first["value"], first["low"], first["high"], first["num_seeds"]) == (
        10.0, 110.0, 140.26, 1)  # fmt: skip


def test_per_clip_values_survive_a_round_trip(tmp_path):
    line = dict.fromkeys(PER_CLIP_COLUMNS, "x") | {"clip": 0, "value": 0.1}
    path = tmp_path / "per_clip.parquet"
    path.write_bytes(write_per_clip([line, line | {"clip": 1}]))
    frame = pd.read_parquet(path)
    assert list(frame["clip"]) == [0, 1]
    assert list(frame.columns) == list(PER_CLIP_COLUMNS)


def test_parquet_takes_numbers_and_texts_in_one_column():
    table = pd.DataFrame({"kl": ["1e-4", 0.01, None], "n": [1, 2, 3]})
    read = pd.read_parquet(io.BytesIO(to_parquet(table)))
    assert read["kl"].tolist()[:2] == ["1e-4", "0.01"] and read["kl"].isna()[2]
    assert read["n"].tolist() == [1, 2, 3]


def placed(root: Path, **changes) -> tuple[str, str | None]:
    folder, notice = choose_folder(root, make_results(**changes))
    return str(folder.relative_to(root)), notice


def test_choose_folder_is_the_folder_of_target_and_profile(tmp_path):
    assert placed(tmp_path) == ("table_x/quick", None)
    write_folder(tmp_path / "table_x" / "quick", make_results(), {})
    assert placed(tmp_path) == ("table_x/quick", None)
    assert placed(tmp_path, profile="standard") == ("table_x/standard", None)
    same = {"overrides": ("runtime.gradient_checkpointing=true",)}
    assert placed(tmp_path, **same) == ("table_x/quick", None)


@pytest.mark.parametrize(
    ("kept", "new", "reason"),
    [
        ({}, {"rows": make_results().rows[:1]}, "it has 1 more: row reconstruction"),
        ({"missing": (), "rows": make_results().rows[:1]}, {"rows": make_results().rows[:1]},
         "it lacks only 0 values; these results lack 1"),
        ({"overrides": ("a=1",)}, {}, "its overrides are a=1"),
        ({}, {"overrides": ("a=1",)}, "its overrides are none"),
        ({"overrides": ("a=1",)}, {"overrides": ("a=2", "runtime.threads=1")}, "its overrides are"),
    ],
)  # fmt: skip
def test_choose_folder_keeps_what_a_record_has_more(tmp_path, kept, new, reason):
    write_folder(tmp_path / "table_x" / "quick", make_results(**kept), {})
    folder, notice = placed(tmp_path, **new)
    assert folder == "table_x/quick-0123456789ab"
    assert reason in notice
    assert "\n" not in notice


def test_choose_folder_keeps_real_data_and_full_scale(tmp_path):
    real = {"bair": make_source(data="real", scale="full")}
    write_folder(tmp_path / "table_x" / "quick", make_results(sources=real), {})
    folder, notice = placed(tmp_path)
    assert folder == "table_x/quick-0123456789ab" and "its bair is real data" in notice
    reduced = {"bair": make_source(data="real")}
    assert "at full scale" in placed(tmp_path, sources=reduced)[1]
    assert placed(tmp_path, sources=real) == ("table_x/quick", None)


def test_choose_folder_keeps_a_sweep_of_more_points_and_what_was_put_next_to_it(tmp_path):
    whole = make_sweep()
    one, name = next(iter(whole.points.items())), next(iter(whole.points))
    fewer = make_sweep(
        points=dict([one]), sources={name: whole.sources[name]},
        values=tuple(value for value in whole.values if value.point == name),
    )  # fmt: skip
    kept, next_to_it = tmp_path / "table_x" / "quick", "table_x/quick-0123456789ab"
    write_folder(kept, whole, {})
    assert choose_folder(tmp_path, fewer)[0] == tmp_path / next_to_it
    write_folder(tmp_path / next_to_it, whole, {})
    assert choose_folder(tmp_path, fewer)[0] == tmp_path / f"{next_to_it}-2"


def test_choose_folder_keeps_a_record_of_more_metrics(tmp_path):
    more = (*make_results().values, make_value(metric="psnr", protocol="psnr.v1"))
    write_folder(tmp_path / "table_x" / "quick", make_results(values=more), {})
    folder, notice = placed(tmp_path)
    assert folder == "table_x/quick-0123456789ab"
    assert "it has 1 more: value lamd psnr" in notice


def test_choose_folder_keeps_an_unreadable_record(tmp_path):
    (tmp_path / "table_x" / "quick").mkdir(parents=True)
    (tmp_path / "table_x" / "quick" / "record.json").write_text("{}")
    folder, notice = placed(tmp_path)
    assert folder == "table_x/quick-0123456789ab"
    assert "cannot be read" in notice


def test_write_folder_deletes_the_stale_files_of_the_record_before_and_no_others(tmp_path):
    (tmp_path / "mine.txt").write_text("the user's")
    write_folder(tmp_path, make_results(), {"a.png": b"1", "b.md": b"2"})
    paths = write_folder(tmp_path, make_results(), {"b.md": b"3", "c.csv": b"4"})
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"mine.txt", "b.md", "c.csv", "record.json"}
    assert paths[-1].name == "record.json"
    assert read_results(paths[-1]).files == ("b.md", "c.csv")


def test_write_folder_leaves_equal_files_untouched(tmp_path):
    files = write_folder(tmp_path, make_results(), {"a.md": b"1"})
    before = {path: path.stat().st_mtime_ns for path in files}
    write_folder(tmp_path, make_results(), {"a.md": b"1"})
    assert {path: path.stat().st_mtime_ns for path in files} == before


def text_files(results: Results) -> dict[str, bytes]:
    """Return the files of committed results that regenerate byte for byte."""
    renderers = {"table": tables.render_table, "sweep": sweep.render_sweep,
                 "cost": cost.render_cost_table, "cost_figure": cost.render_cost_figure,
                 "quality": quality.render_quality}  # fmt: skip
    files = renderers[results.kind](results) if results.kind in renderers else {}
    return {name: content for name, content in files.items() if not name.endswith(".png")}


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: "-".join(path.parts[-3:-1]))
def test_committed_results_regenerate_from_their_record(path, monkeypatch):
    monkeypatch.setattr(plots, "save", lambda figure: b"")  # slow
    results = read_results(path)
    assert path.read_text(encoding="utf-8") == results.to_json()
    assert path.parent.parts[-2:] == (results.target, results.profile)
    names = {entry.name for entry in path.parent.iterdir()}
    assert names == {*results.files, "record.json"}
    for name, content in text_files(results).items():
        assert (path.parent / name).read_bytes() == content


@pytest.mark.parametrize(
    ("name", "left_out", "words"),
    [
        (
            "ablation_decoder",
            {},
            "; bars: 95 % interval over clips; lower panels: change from compose",
        ),
        (
            "ablation_sampler",
            {},
            "; small dots: seeds; bars: 95 % interval over seeds; lower panels",
        ),
        (
            "ablation_normalisation",
            {"differences": ()},
            "; bars: 95 % interval over clips; normalisation: ",
        ),
    ],
)
def test_a_sweeps_figure_says_what_dots_and_bars_are(name, left_out, words, monkeypatch):
    captions, canvas = [], plots.canvas
    monkeypatch.setattr(plots, "save", lambda figure: b"")  # slow
    monkeypatch.setattr(plots, "canvas", lambda *args: captions.append(args[2]) or canvas(*args))
    results = read_results(RECORDS / name / "quick" / "record.json")
    sweep.render_sweep(results.model_copy(update=left_out))
    assert f"profile quick{words}" in captions[-1]
    assert ("seeds" in captions[-1]) == ("seeds" in words)
    assert all("; no intervals" in caption for caption in captions[:-1])  # diagnostics
    assert not any("None" in caption for caption in captions)


def committed_values() -> str:
    """Return all values of the committed records as CSV, sorted."""
    header = ("target", "profile", "source", "point", "row", "part", "metric", "protocol",
              "value", "low", "high", "extrapolated")  # fmt: skip
    lines = set()
    for path in COMMITTED:
        results = read_results(path)
        for value in results.values:
            texts = [str(getattr(value, name) or "") for name in header[2:8]]
            numbers = [getattr(value, name) for name in header[8:]]
            texts += ["" if number is None else repr(number) for number in numbers]
            lines.add((results.target, results.profile, *texts))
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([header, *sorted(lines)])
    return buffer.getvalue()


def test_committed_numbers_are_golden():
    assert committed_values() == GOLDEN.read_text(encoding="utf-8")


def test_committed_results_are_small():
    root = experiments_dir().parent / "results"
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    assert size < 25 * 2**20
    assert np.all([path.suffix in (".png", ".webp", ".md", ".tex", ".csv", ".json", ".parquet")
                   for path in root.rglob("*") if path.is_file()])  # fmt: skip


def test_results_command_prints_and_writes_values_of_all_kinds(tmp_path, capsys):
    folders = [experiments_dir().parent / "results" / name / "quick" for name in (
        "table_bair", "ablation_tradeoff", "table_sampling_cost")]  # fmt: skip
    csv, parquet = tmp_path / "v.csv", tmp_path / "v.parquet"
    for option in ((), ("--csv", str(csv)), ("--parquet", str(parquet))):
        with pytest.raises(SystemExit) as ended:
            cli.main(["results", *map(str, folders), *option])
        assert not ended.value.code
    assert "table_bair" in capsys.readouterr().out
    written = pd.read_parquet(parquet)
    assert set(written["target"]) == {"table_bair", "ablation_tradeoff", "table_sampling_cost"}
    assert len(pd.read_csv(csv)) == len(written) == len(lamd.load_results(folders))
    csv.unlink()
    with pytest.raises(SystemExit) as ended:
        cli.main(["results", str(folders[0]), "--csv", str(csv), "--parquet", str(tmp_path)])
    assert ended.value.code == 2 and not csv.exists()


def test_results_command_takes_a_record_without_values(tmp_path, capsys):
    write_folder(tmp_path, make_results(values=(), missing=(), rows=()), {})
    with pytest.raises(SystemExit) as ended:
        cli.main(["results", str(tmp_path)])
    assert not ended.value.code
    assert "Empty DataFrame" in capsys.readouterr().out


def test_results_command_reads_the_folder_results_by_default(tmp_path, monkeypatch, capsys):
    write_folder(tmp_path / "results" / "toy" / "quick", make_results(), {})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(["results"])
    assert not ended.value.code
    assert "123.456" in capsys.readouterr().out


@pytest.mark.parametrize("axis", ["dmg.channel_multipliers", "dmg.condition"])
@pytest.mark.parametrize("name", ["curves", "tradeoff"])
def test_sweep_over_lists_and_words_is_drawn(axis, name):
    coordinates = {1: [1, 2], 2: [1, 2, 2]} if "multipliers" in axis else {1: "none", 2: "both"}
    points = {
        point: {axis: coordinates[at["vae.motion_channels"]]} | at
        for point, at in make_sweep().points.items()
    }
    for at in points.values():
        del at["vae.motion_channels"]
    figure = make_sweep().config["figure"]
    if name == "tradeoff":
        figure = {"name": name} | dict(zip("xy", figure["columns"], strict=True))
    files = sweep.render_sweep(make_sweep(points=points, config={"figure": figure}))
    assert files[f"{name}.png"].startswith(b"\x89PNG")


def test_axes_that_end_in_the_same_word_have_their_own_columns():
    points = {
        name: {"train_vae.num_steps": at["vae.motion_channels"],
               "train_dmg.num_steps": at["loss.kl_weight"], "sampler.seed": at["sampler.seed"]}
        for name, at in make_sweep().points.items()
    }  # fmt: skip
    table = sweep.sweep_table(make_sweep(points=points))[0]
    assert list(table.columns[:2]) == ["train_vae.num_steps", "train_dmg.num_steps"]


def test_named_values_are_one_column_and_explained():
    names = {1: "narrow", 2: "wide, $5"}
    keys = ("vae.motion_channels", "loss.kl_weight")
    points = {name: at for name, at in make_sweep().points.items() if at["loss.kl_weight"] == 0.01}
    values = tuple(value for value in make_sweep().values if value.point in points)
    sources = {name: make_source() for name in points}
    variants = {names[d]: dict(zip(keys, (d, 0.01), strict=True)) for d in names}
    config = make_sweep().config | {"variants": variants}
    results = make_sweep(points=points, values=values, sources=sources, config=config)
    table, _, notes = sweep.sweep_table(results)
    assert list(table["variant"]) == [*names.values()]
    assert "narrow: `vae.motion_channels` = 1, `loss.kl_weight` = 0.01" in notes
    assert "wide, $5: as narrow, but `vae.motion_channels` = 2" in notes
    assert not any("`variant`" in line for line in notes)
    assert sweep.render_sweep(results)["curves.png"].startswith(b"\x89PNG")


MEASURED = {"protocol": "fvd.bair.v1", "interval": (35, 37), "deviations": [], "note": "",
            "n_real": 256, "n_fake": 256, "extrapolated": None, "weight_hash": None, "unit": "",
            "higher_is_better": False}  # fmt: skip


def collector_of_files(tmp_path):
    """Return a collector of cells that are folders of `tmp_path`."""
    config = load_target("seeds_bair", "paper")
    store = SimpleNamespace(
        finished=lambda cell: tmp_path / cell.name,
        key=lambda cell: cell.name,
        is_complete=lambda cell: False,
        info=None,
    )
    return Collector(config, Graph(wanted={}), store, "quick", (), {})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_value_that_is_not_finite_is_missing(tmp_path, value):
    collector, name = collector_of_files(tmp_path), "fvd.bair.v1"
    collector._deviations["seed=0"] = ()
    (tmp_path / "values.json").write_text(json.dumps([MEASURED | {"value": value}]))
    np.save(tmp_path / f"{name}.npy", np.full(3, value))
    cell = SimpleNamespace(name=".", plan_hash=".", parents={})
    collector.add_row("seed=0", "lamd", cell, [name])
    assert not collector.values and not collector.numbers and not collector.per_clip
    (missing,) = collector.missing
    assert (missing.row, missing.metric, missing.reason) == ("lamd", "fvd", f"its value is {value}")


def test_collector_judges_a_row_over_the_seeds_that_it_depends_on(tmp_path):
    collector = collector_of_files(tmp_path)
    for seed in (0, 1):
        name = f"seed={seed}"
        collector.sources[name] = make_source(**REAL)
        collector._deviations[name] = ()
        for row, cell in (("lamd", name), ("reconstruction", "decoded")):
            (tmp_path / cell).mkdir(exist_ok=True)
            content = json.dumps([MEASURED | {"value": 36.0 + seed}])
            (tmp_path / cell / "values.json").write_text(content, encoding="utf-8")
            step = SimpleNamespace(name=cell, plan_hash=cell, parents={})
            collector.add_row(name, row, step, ["fvd.bair.v1"], PUBLISHED, name)
    results = collector.results(points={f"seed={n}": {"sampler.seed": n} for n in (0, 1)})
    verdicts = {(value.row, value.verdict) for value in results.values}
    assert verdicts == {("lamd", "reproduced"), ("reconstruction", "one seed")}


def test_sweep_over_seeds_alone_has_the_published_rows_of_its_table():
    rows = published_of_sweep(load_target("seeds_bair", "quick"))
    assert rows == published_rows(load_target("table_bair", "quick"))
    assert rows["lamd"].metrics["fvd"].value == 57.0


def test_error_bars_and_grid_keep_their_sides_and_axes():
    assert plots.errors(5.0, 3.0, 9.0) == [[2.0], [4.0]]
    column = Column(row="lamd", metric="fvd")
    grid = curves._grid(Summaries(make_sweep()), column)  # d across, beta up
    np.testing.assert_allclose(grid, [[102, 202], [102, 202]])


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python tests/test_results.py --write")
    GOLDEN.write_text(committed_values(), encoding="utf-8")
