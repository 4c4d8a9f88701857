"""A small, complete `Report` for the tests of records, tables, figures and results."""

from typing import Any

from lamd.base.origin import Origin
from lamd.report.results import (
    CellInfo,
    Hole,
    PublishedRow,
    Record,
    Report,
    RowInfo,
    Verdict,
)

ORIGIN = Origin(commit="0" * 40, dirty=False, versions={"python": "3.11.7"}, device="cpu")
PUBLISHED = PublishedRow(
    method="A_B & C",
    metrics={"fvd": 36.05},
    protocol="fvd.bair.v1",
    source="a paper",
    verified=False,
    note="",
)


def make_record(**changes: Any) -> Record:
    """Return a stand-in record of row `lamd`; `changes` replace fields."""
    fields: dict[str, Any] = {
        "target": "table_x",
        "profile": "quick",
        "row": "lamd",
        "metric": "fvd",
        "protocol": "fvd.bair.v1",
        "value": 123.456,
        "interval": (110.0, 140.26),
        "extrapolated": 80.12,
        "n_real": 16,
        "n_fake": 16,
        "unit": "",
        "higher_is_better": False,
        "deviations": ("16 real clips, the protocol asks for 256",),
        "note": "",
        "weight_hash": "ab" * 32,
        "data": "stand-in",
        "scale": "reduced",
        "dataset": "bair",
        "split": "test",
        "content_hash": "cd" * 32,
        "clips_asked": 16,
        "clips_used": 16,
        "seeds": {"sampler": 0},
        "config_hash": "0123456789ab",
        "origin": ORIGIN,
        "cells": ("1", "2"),
        "seconds": 3.5,
        "peak_memory_mb": 100.0,
        "verdict": Verdict(kind="not comparable", reason="simulated stand-in data"),
    }
    return Record(**(fields | changes))


def make_report(**changes: Any) -> Report:
    """Return a report of one measured row and one hole; `changes` replace fields."""
    reason = "needs vae, which failed: OutOfMemoryError: no memory"
    fields: dict[str, Any] = {
        "target": "table_x",
        "title": "A table",
        "profile": "quick",
        "data": "stand-in",
        "scale": "reduced",
        "dataset": "bair",
        "config": {"evaluate": {"grid_clips": 1}},
        "config_hash": "0123456789ab",
        "overrides": (),
        "metrics": ("fvd", "psnr"),
        "protocols": {"fvd.bair.v1": "its rules"},
        "rows": (
            RowInfo(name="lamd", label="LaMD", description="generated"),
            RowInfo(name="reconstruction", label="MCD-VAE", description="coded"),
        ),
        "records": (make_record(),),
        "holes": (
            Hole(
                row="reconstruction",
                reason=reason,
                verdict=Verdict(kind="not run", reason=reason),
            ),
        ),
        "published": (PUBLISHED,),
        "cells": (
            CellInfo(
                name="data",
                kind="data",
                key="1",
                seconds=1.0,
                resumed=False,
                peak_memory_mb=10.0,
                peak_device_memory_mb=None,
                origin=ORIGIN,
            ),
        ),
    }
    return Report(**(fields | changes))
