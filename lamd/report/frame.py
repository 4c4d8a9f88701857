"""Results as tidy pandas frames, summaries over seeds, and the one CSV, Markdown and LaTeX writer.

pandas is imported inside the functions, so that reading the command line stays quick.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamd.base.errors import LamdError
from lamd.report.results import Results, read_results

if TYPE_CHECKING:
    import pandas as pd

RECORD = "record.json"
CONFIDENCE = 0.95  # of an interval over seeds
PER_CLIP_COLUMNS = ("source", "row", "point", "metric", "protocol", "clip", "value")
_SOURCE_FIELDS = ("dataset", "data", "scale", "content_hash", "config_hash")
_PLACE = {"source", "row", "point", "part"}
_SYMBOLS = {"↓": r"$\downarrow$", "↑": r"$\uparrow$", "→": r"$\to$", "∞": r"$\infty$",
            "β": r"$\beta$", "²": "$^2$"}  # fmt: skip


def to_frame(results: Results) -> "pd.DataFrame":
    """Return one line per value; source fields, seeds and point coordinates are columns."""
    import pandas as pd

    lines = []
    for value in results.values:
        source = results.sources[value.source]
        lines.append(
            {"target": results.target, "profile": results.profile}
            | value.model_dump(include=_PLACE)
            | results.points.get(value.point, {})
            | value.model_dump(exclude=_PLACE)
            | {field: getattr(source, field) for field in _SOURCE_FIELDS}
            | {f"seed.{name}": seed for name, seed in source.seeds.items()}
            | {"deviations": "; ".join(value.deviations), "cells": " ".join(value.cells)}
        )
    columns = None if lines else ["target", "profile", "source", "row", "point", "part", "metric",
                                  "protocol", "value", "low", "high", "cells"]  # fmt: skip
    return pd.DataFrame(lines, columns=columns)


def load_results(paths: str | Path | Iterable[str | Path]) -> "pd.DataFrame":
    """Return the values of all records, one line per value.

    Args:
        paths: files, or folders that are searched for `record.json`.

    Raises:
        LamdError: when a path holds no record, or a record is damaged.
    """
    import pandas as pd

    records: list[Path] = []
    for path in map(Path, [paths] if isinstance(paths, str | Path) else paths):
        nested = sorted(path.rglob(RECORD)) if path.is_dir() else [path]
        if not nested:
            raise LamdError(f"{path}: no {RECORD} in it; run `lamd reproduce` first")
        records += nested
    frames = [to_frame(read_results(path)) for path in records]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def seed_summary(frame: "pd.DataFrame", by: Sequence[str]) -> "pd.DataFrame":
    """Return mean and 95 % interval over the seeds, one line per group, in the order of the frame.

    Values with equal `cells` are the same measurement, at seeds that it does not depend on. Several
    measurements: their mean, and the interval of the mean by Student's t. A single one: the
    value's own interval, over clips.

    Args:
        frame: of `to_frame`.
        by: the columns of a group, without seeds.

    Returns:
        The columns of the group's first value, `value`, `low` and `high`, and `num_seeds`.
    """
    import numpy as np
    import pandas as pd
    from scipy import stats

    lines = []
    for _, group in frame.groupby(list(by), sort=False, dropna=False):
        distinct = group.drop_duplicates("cells") if group["cells"].any() else group
        line = distinct.iloc[0].to_dict() | {"num_seeds": len(distinct)}
        if len(distinct) > 1:
            mean, error = float(np.mean(distinct["value"])), float(stats.sem(distinct["value"]))
            half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(distinct) - 1)) * error
            line |= {"value": mean, "low": mean - half, "high": mean + half, "extrapolated": None}
        lines.append(line)
    return pd.DataFrame(lines, columns=[*frame.columns, "num_seeds"])


def write_per_clip(lines: Sequence[dict[str, Any]]) -> bytes:
    """Return `per_clip.parquet` of lines with `PER_CLIP_COLUMNS`: one per clip, row and metric."""
    import pandas as pd

    return pd.DataFrame(lines, columns=list(PER_CLIP_COLUMNS)).to_parquet(index=False)


def csv(results: Results) -> bytes:
    """Return `values.csv`: measured, missing and published values, `block` says which."""
    import pandas as pd

    missing = [entry.model_dump() for entry in results.missing]
    published = [
        {"row": row.method, "metric": metric, **entry.model_dump(), "data": "real",
         "verified": row.verified, "origin": row.source, "note": row.note}
        for row in results.published
        for metric, entry in row.metrics.items()
    ]  # fmt: skip
    blocks = {
        "measured": to_frame(results).drop(columns=["cells"]),
        "missing": pd.DataFrame(missing),
        "published": pd.DataFrame(published),
    }
    filled = {name: frame for name, frame in blocks.items() if len(frame)}
    table = pd.concat(filled, names=["block"]).reset_index(level="block")
    table = table.dropna(axis="columns", how="all").convert_dtypes()
    return table.to_csv(index=False, lineterminator="\n").encode()


def markdown(table: "pd.DataFrame") -> str:
    """Return a Markdown table of text cells."""
    escaped = table.map(lambda cell: cell.replace("|", r"\|"))
    return escaped.to_markdown(index=False, disable_numparse=True)


def latex(target: str, blocks: dict[str, "pd.DataFrame"]) -> bytes:
    """Return one booktabs `tabular` per heading and table of text cells."""
    text = f"% made by `lamd reproduce {target}`; needs \\usepackage{{booktabs}}\n"
    for heading, table in blocks.items():
        shape = "l" + "r" * (len(table.columns) - 2) + "l"
        text += f"% {heading}\n{table.to_latex(index=False, escape=True, column_format=shape)}"
    for symbol, command in _SYMBOLS.items():
        text = text.replace(symbol, command)
    return text.encode()
