"""Results as tidy pandas frames, summaries over seeds, and the CSV and Parquet writers."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype
from scipy import stats

from lamd.base.errors import LamdError
from lamd.base.terminal import printable
from lamd.config.sweep import coordinates, is_seed
from lamd.report.results import (
    RECORD,
    Column,
    Difference,
    MissingValue,
    Results,
    Source,
    Value,
    read_results,
)

CONFIDENCE = 0.95  # of an interval over seeds
PER_CLIP_COLUMNS = (
    "target", "profile", "source", "data", "scale", "row", "point", "metric", "protocol", "clip",
    "value",
)  # fmt: skip
Position = tuple  # the coordinates of a point, without seeds
# A signed number is none; spreadsheets take the full-width signs for the others.
_FORMULA = re.compile(r"^(?:[=@＝＠＋－]|[+-](?!(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$))")
_PLACE = {"source", "row", "point", "part"}


def to_frame(results: Results) -> pd.DataFrame:
    """Return one line per value; source fields, seeds and point coordinates are columns."""
    lines = []
    for value in results.values:
        source = results.sources[value.source]
        lines.append(
            {"target": results.target, "profile": results.profile}
            | value.model_dump(include=_PLACE)
            | results.points.get(value.point, {})
            | value.model_dump(exclude=_PLACE)
            | source.model_dump(exclude={"seeds"})
            | {f"seed.{name}": seed for name, seed in source.seeds.items()}
            | {"deviations": "; ".join(value.deviations), "cells": " ".join(value.cells)}
            # a note says that the clips are too few: then the limit is a guess
            | ({"extrapolated": None} if value.note else {})
        )
    known = ["target", "profile", *Value.model_fields, *Source.model_fields]
    return pd.DataFrame(lines, columns=None if lines else known)


def load_results(paths: str | Path | Iterable[str | Path]) -> pd.DataFrame:
    """Return one line per value of all records, in files or in folders searched for `record.json`.

    Raises:
        LamdError: when a path holds no record, or a record is damaged.
    """
    records: list[Path] = []
    for path in map(Path, [paths] if isinstance(paths, str | Path) else paths):
        nested = sorted(path.rglob(RECORD)) if path.is_dir() else [path]
        if not nested:
            raise LamdError(f"{path}: no {RECORD} in it; run `lamd reproduce` first")
        records += nested
    frames = [to_frame(read_results(path)) for path in records]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


class Summaries:
    """Mean and interval over the seeds of each position and column; of a table, at position ().

    Values with equal `cells` are the same measurement, at seeds that it does not depend on.

    Attributes:
        axes: the config keys of a position's coordinates, `VARIANT` for those of named values.
        points: the names of the points of each position.
        position: that of each point, by name.
        frame: all values, with `position` and `seeds` as columns.
    """

    def __init__(self, results: Results) -> None:
        variants = results.config.get("variants", {})
        points = {name: coordinates(point, variants) for name, point in results.points.items()}
        keys = dict.fromkeys(key for point in points.values() for key in point)
        self._missing = results.missing
        self.axes = [key for key in keys if not is_seed(key)]
        self.points: dict[Position, list[str]] = {}
        self.position: dict[str, Position] = {}
        seeds = {}
        for name, point in (points or {"": {}}).items():
            self.position[name] = tuple(_hashable(point.get(axis)) for axis in self.axes)
            seeds[name] = tuple(value for key, value in point.items() if is_seed(key))
            self.points.setdefault(self.position[name], []).append(name)
        self.frame = to_frame(results)
        self.frame["position"] = self.frame["point"].map(self.position)
        self.frame["seeds"] = self.frame["point"].map(seeds)
        cell = ["position", "row", "metric"]
        distinct = self.frame[self.frame["part"] == ""].drop_duplicates([*cell, "cells"])
        self._measurements = dict(list(distinct.groupby(cell, sort=False)))

    def at(self, position: Position, column: Column) -> dict | None:
        """Return value, low, high and num_seeds of a column; None when it was not measured.

        A single measurement: the value's own interval, over clips. Two: their mean alone, since
        Student's t of two is 12.7. More: the 95 % interval of the mean by Student's t. Other
        entries are those of the first.
        """
        group = self._measurements.get((position, column.row, column.metric))
        if group is None:
            return None
        line, values = group.iloc[0].to_dict() | {"num_seeds": len(group)}, group["value"]
        if len(group) > 1:
            mean = float(np.mean(values))
            line |= {"value": mean, "low": None, "high": None, "extrapolated": None}
        if len(group) > 2:
            error = float(stats.sem(values))
            half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(group) - 1)) * error
            line |= {"low": mean - half, "high": mean + half}
        return line

    def by_seed(self, position: Position, column: Column) -> pd.Series:
        """Return the distinct measurements of a column by their seeds."""
        group = self._measurements.get((position, column.row, column.metric))
        return pd.Series(dtype=float) if group is None else group.set_index("seeds")["value"]

    def changes(self, position: Position, column: Column) -> pd.Series:
        """Return the changes from the first position by the seeds of both; of itself none."""
        first = next(iter(self.points))
        changes = self.by_seed(position, column) - self.by_seed(first, column)
        return changes.dropna() if position != first else changes[:0]

    def reasons(self, position: Position, column: Column) -> list[str]:
        """Return why a column was not measured at some seeds."""
        return [
            entry.reason
            for entry in self._missing
            if entry.point in self.points[position]
            and entry.row == column.row
            and entry.metric in (None, column.metric)
        ]


def _hashable(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


def write_per_clip(lines: Sequence[dict[str, Any]]) -> bytes:
    """Return `per_clip.parquet` of lines with `PER_CLIP_COLUMNS`: one per clip, row and metric."""
    return pd.DataFrame(lines, columns=list(PER_CLIP_COLUMNS)).to_parquet(index=False)


def csv(results: Results) -> bytes:
    """Return `values.csv`: measured, missing and published values and differences, by `block`."""
    published = [
        {"row": row.method, "metric": metric, **entry.model_dump(), "data": "real",
         "verified": row.verified, "origin": row.source, "note": row.note}
        for row in results.published
        for metric, entry in row.metrics.items()
    ]  # fmt: skip
    blocks = {
        "measured": to_frame(results).drop(columns=["cells"]),
        "missing": _labelled(results, results.missing),
        "difference": _labelled(results, results.differences),
        "published": pd.DataFrame(published),
    }
    filled = {name: frame for name, frame in blocks.items() if len(frame)}
    table = pd.concat(filled, names=["block"]).reset_index(level="block")
    return to_csv(table.dropna(axis="columns", how="all").convert_dtypes())


def _labelled(results: Results, entries: Sequence[MissingValue | Difference]) -> pd.DataFrame:
    labels = {name: {"data": s.data, "scale": s.scale} for name, s in results.sources.items()}
    own = {"target": results.target, "profile": results.profile}
    return pd.DataFrame([own | entry.model_dump() | labels[entry.source] for entry in entries])


def to_csv(table: pd.DataFrame) -> bytes:
    """Return a table as CSV; a text that a spreadsheet would take for a formula follows a `'`."""
    texts = table.select_dtypes(include=["object", "string"])
    table = table.assign(**{name: column.map(_no_formula) for name, column in texts.items()})
    return table.rename(columns=_no_formula).to_csv(index=False, lineterminator="\n").encode()


def to_parquet(table: pd.DataFrame) -> bytes:
    """Return a table as Parquet; a column of numbers and texts, as of a sweep, becomes text."""
    mixed = [name for name, column in table.items() if infer_dtype(column).startswith("mixed")]
    texts = {name: table[name].map(str, na_action="ignore") for name in mixed}
    return table.assign(**texts).to_parquet(index=False)


def _no_formula(cell: Any) -> Any:
    return _FORMULA.sub(r"'\g<0>", printable(cell)) if isinstance(cell, str) else cell
