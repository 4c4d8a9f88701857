"""Records: round trip, refusals, verdicts, and that stand-ins never count as reproduced."""

import json
import os

import pytest
from pydantic import ValidationError
from reports import PUBLISHED, make_record, make_report

from lamd.base.errors import LamdError
from lamd.base.files import write_atomically
from lamd.base.origin import current_origin
from lamd.report.published import TOLERANCE, load_published, parse_published, verdict
from lamd.report.results import Report, Verdict, read_report

REAL = {
    "metric": "fvd",
    "value": 36.05,
    "protocol": "fvd.bair.v1",
    "data": "real",
    "scale": "full",
    "deviations": (),
    "published": PUBLISHED,
}


def test_round_trip(tmp_path):
    report = make_report()
    path = tmp_path / "record.json"
    write_atomically(path, report.to_json())
    assert read_report(path) == report
    assert read_report(path).to_json() == path.read_text(encoding="utf-8")


def test_record_json_fits_its_json_schema():
    schema = Report.model_json_schema()
    content = json.loads(make_report().to_json())
    assert set(schema["required"]) <= set(content) <= set(schema["properties"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a record of lamd.report.v1"),
        ("{}", "Unable to extract tag"),
        ("[1]", "not a record of lamd.report.v1"),
        ('{"format": "lamd.report.v0"}', "not a record of lamd.report.v1"),
        ('{"format": "lamd.figure.v1"}', "target: Field required"),
        (b"\xff\xfe", "record.json"),
    ],
)
def test_a_broken_record_is_one_line(tmp_path, text, reason):
    path = tmp_path / "record.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(LamdError, match=reason) as error:
        read_report(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_no_row_is_left_out_silently():
    with pytest.raises(ValidationError, match="neither a value nor a reason: reconstruction"):
        make_report(holes=())


def test_unknown_fields_are_refused():
    content = json.loads(make_report().to_json()) | {"surprise": 1}
    with pytest.raises(ValidationError, match="surprise"):
        Report.model_validate(content)


@pytest.mark.parametrize("kind", ["reproduced", "off"])
@pytest.mark.parametrize(
    "changes",
    [
        {"data": "stand-in", "scale": "full", "deviations": ()},
        {"data": "real", "scale": "reduced", "deviations": ()},
        {"data": "real", "scale": "full", "deviations": ("other camera",)},
    ],
)
def test_a_record_cannot_claim_what_it_is_not(kind, changes):
    with pytest.raises(ValidationError, match="needs real data"):
        make_record(verdict=Verdict(kind=kind, reason=""), **changes)


def test_verdicts():
    edge = 36.05 * (1 + TOLERANCE["fvd"])
    assert verdict(**REAL) == Verdict(kind="reproduced", reason="")
    assert verdict(**REAL | {"value": edge - 0.01}).kind == "reproduced"
    off = verdict(**REAL | {"value": edge + 0.01})
    assert (off.kind, off.reason) == ("off", "+10% of 36.05, tolerance 10%")
    assert verdict(**REAL | {"value": 20.0}).kind == "off"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data": "stand-in"}, "simulated stand-in data"),
        ({"scale": "reduced"}, "reduced scale"),
        ({"deviations": ("64 real clips",)}, "64 real clips"),
        ({"protocol": "fvd.bair.x100.v1"}, "published under fvd.bair.v1"),
        ({"published": None}, "no published value"),
        ({"metric": "psnr"}, "no published value"),
        ({"published": PUBLISHED.model_copy(update={"protocol": None})}, "not stated"),
        ({"data": "stand-in", "scale": "reduced"}, "simulated stand-in data; reduced scale"),
    ],
)
def test_what_is_not_comparable(change, reason):
    found = verdict(**REAL | change)
    assert found.kind == "not comparable"
    assert reason in found.reason


def test_published_rows_all_have_source_and_flag():
    groups = load_published()
    assert groups["paper"]["bair_i2v"].metrics["fvd"] == 57.0
    assert groups["reconstruction"]["bair_i2v"].metrics["psnr"] == 31.64
    assert len(groups["others_bair_fvd"]) == 18
    for group in groups.values():
        for row in group.values():
            assert row.source
            assert row.metrics
    with pytest.raises(LamdError, match=r"g\.k\.source: Field required"):
        parse_published(
            "g: {k: {method: m, metrics: {fvd: 1}, protocol: null, verified: no, note: ''}}"
        )


def test_write_atomically_keeps_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "a" / "file"
    write_atomically(path, "old")

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_origin_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    origin = current_origin("cpu")
    assert origin.commit is None
    assert origin.dirty is None
    assert origin.versions["python"].startswith("3.")
