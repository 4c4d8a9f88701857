"""Small, complete `Results` for the tests of tables, figures and folders."""

from typing import Any

from lamd.base.origin import CellInfo, Origin
from lamd.report.results import (
    Column,
    MissingValue,
    PublishedRow,
    PublishedValue,
    Results,
    RowInfo,
    Source,
    Value,
)

ORIGIN = Origin(commit="0" * 40, dirty=False, versions={"python": "3.11.7"}, device="cpu")
CELL = CellInfo(
    name="data", kind="data", key="1", seconds=1.0, resumed=False, peak_memory_mb=10.0,
    peak_device_memory_mb=None, origin=ORIGIN,
)  # fmt: skip
PUBLISHED = PublishedRow(
    method="A_B & C",
    metrics={
        "fvd": PublishedValue(value=36.05, protocol="fvd.bair.v1"),
        "psnr": PublishedValue(value=31.64, protocol=None),
        "lpips": PublishedValue(value=0.02, protocol="lpips-alex.given1.v1"),
    },
    source="a paper",
    verified=False,
    note="",
)


def make_source(**changes: Any) -> Source:
    """Return a reduced stand-in for BAIR; `changes` replace fields."""
    fields = {"dataset": "bair", "data": "stand-in", "scale": "reduced", "content_hash": "cd" * 32,
              "seeds": {"sampler": 0}, "config_hash": "0123456789ab"}  # fmt: skip
    return Source(**fields | changes)


def make_value(**changes: Any) -> Value:
    """Return an FVD of row `lamd`; `changes` replace fields."""
    fields = {
        "source": "bair", "row": "lamd", "metric": "fvd", "protocol": "fvd.bair.v1",
        "value": 123.456, "low": 110.0, "high": 140.26, "extrapolated": 80.12, "n_real": 16,
        "n_fake": 16, "verdict": "not comparable", "reason": "simulated stand-in data",
        "deviations": ("16 real clips, the protocol asks for 256",), "cells": ("1", "2"),
    }  # fmt: skip
    return Value(**fields | changes)


def make_results(**changes: Any) -> Results:
    """Return a table of a measured and a missing row; `changes` replace fields."""
    reason = "needs vae, which failed: OutOfMemoryError: no memory"
    fields = {
        "kind": "table", "target": "table_x", "title": "A table", "profile": "quick",
        "config": {"evaluate": {"grid_clips": 1}}, "config_hash": "0123456789ab",
        "sources": {"bair": make_source()},
        "rows": (
            RowInfo(name="lamd", label="LaMD", description="generated"),
            RowInfo(name="reconstruction", label="MCD-VAE", description="decoded"),
        ),
        "columns": (Column(row="", metric="fvd"), Column(row="", metric="psnr")),
        "protocols": {"fvd.bair.v1": "its rules"},
        "values": (make_value(),),
        "missing": (MissingValue(source="bair", row="reconstruction", reason=reason),),
        "published": (PUBLISHED,),
        "cells": (CELL,),
    }  # fmt: skip
    fields |= changes
    source = next(iter(fields["sources"].values()), make_source())
    configured = {
        "scale": source.scale,
        "data": {"source": "real" if source.data == "real" else "simulated"},
    }
    return Results(**fields | {"config": configured | fields["config"]})


def make_sweep(**changes: Any) -> Results:
    """Return 2 x 2 positions and three seeds; the reconstruction does not depend on seeds."""
    points, values = {}, []
    for d in (1, 2):
        for beta in (0.01, 0.1):
            for seed in (1, 2, 3):
                name = f"d={d}, beta={beta}, seed={seed}"
                points[name] = {
                    "vae.motion_channels": d, "loss.kl_weight": beta, "sampler.seed": seed
                }  # fmt: skip
                where = {"source": name, "point": name}
                fixed = {"row": "reconstruction", "value": 10.0 * d, "cells": (f"{d} {beta}",)}
                values.append(make_value(**where | fixed))
                cells = (f"{d} {beta} {seed}",)
                values.append(make_value(**where, value=100.0 * d + seed, cells=cells))
    columns = (Column(row="reconstruction", metric="fvd"), Column(row="lamd", metric="fvd"))
    figure = {
        "name": "curves",
        "columns": [{"row": row, "metric": "fvd"} for row in ("reconstruction", "lamd")],
    }
    fields = {
        "kind": "sweep", "config": {"figure": figure}, "points": points, "columns": columns,
        "sources": {name: make_source() for name in points}, "values": tuple(values), "missing": (),
    }  # fmt: skip
    return make_results(**fields | changes)
