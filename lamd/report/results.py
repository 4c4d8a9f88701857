"""The results of one target: a header, its sources, and values in long form; one `record.json`.

Everything shown is rendered from a `Results` alone. Values measured here are `Value`s and values
taken from papers are `PublishedRow`s: two types, so that a stand-in value cannot reach a published
column.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, field_validator, model_validator

from lamd.base.files import load_json, readable_json
from lamd.base.origin import CellInfo
from lamd.base.terminal import printable
from lamd.config.strict import Many, Name
from lamd.config.sweep import Column

RECORD = "record.json"
DIAGNOSED = "diagnostics"  # the row of what a sweep measures on z_m
_MOST_SOURCES = 10_000
VerdictKind = Literal[
    "reproduced", "deviates", "undecided", "one seed", "not comparable", "not run"
]


class Frozen(BaseModel):
    """Base of the models: immutable, unknown fields and numbers that are not finite refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Source(Frozen):
    """A configured target whose cells were measured; `content_hash` is None before its data."""

    dataset: str
    data: Literal["real", "stand-in"]
    scale: Literal["full", "reduced"]
    content_hash: str | None
    seeds: dict[str, int]
    config_hash: str


class RowInfo(Frozen):
    """A row: its name, its label, and how it was made; `budget` is the training of a baseline."""

    name: str
    label: str
    description: str
    budget: dict[str, float] | None = None


class Value(Frozen):
    """A metric of a row at a point, and what is needed to make it again.

    `point` is a key of `Results.points`, "" without one; `part` is a share of the row (a channel, a
    stage of a sampling run), "" for all of it; `cells` are the keys of all cells behind the value.
    """

    source: str
    row: str
    point: str = ""
    part: str = ""
    metric: str
    protocol: str | None = None
    value: float
    low: float | None = None
    high: float | None = None
    extrapolated: float | None = None  # to infinitely many clips
    n_real: int | None = None
    n_fake: int | None = None
    verdict: VerdictKind | None = None
    reason: str = ""  # of the verdict
    note: str = ""  # how to read the value
    deviations: Many[str] = ()  # from the protocol
    weights: str | None = None  # SHA-256 of the network that measured
    cells: Many[str] = ()


class MissingValue(Frozen):
    """A row, or one metric of it, that could not be measured, and why."""

    source: str
    row: str
    point: str = ""
    metric: str | None = None  # None: the whole row
    reason: Annotated[str, AfterValidator(printable)]  # may name a file


class Difference(Frozen):
    """A metric less that of the reference, over the same clips and, at a sweep, seeds.

    The reference is another row at the same point, or the same row at another point. Over several
    seeds the value is the mean, and `point` that of the first.
    """

    source: str
    row: str
    point: str = ""
    metric: str
    reference: str
    value: float
    low: float | None = None
    high: float | None = None
    num_seeds: int | None = None  # None: recorded before this field


class PublishedValue(Frozen):
    """A number printed in a paper; `protocol` and `backbone` are None where it does not say."""

    value: float
    protocol: str | None
    backbone: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, cell: Any) -> Any:
        return {"value": cell, "protocol": None} if isinstance(cell, int | float) else cell


class PublishedRow(Frozen):
    """A row of numbers printed in a paper, never measured here."""

    method: str
    metrics: dict[str, PublishedValue]
    source: str
    verified: bool
    note: str


class Picture(Frozen):
    """A picture of clips from one source: its caption, and the labels of its rows."""

    source: str
    caption: str
    labels: Many[str] = ()


class Results(Frozen):
    """All of one target for one profile.

    `points` holds the coordinates of each point by its name: config keys of a sweep; sampler and
    num_steps; frames and size; chunk or clip. `files` are those written next to `record.json`.
    """

    format: Literal["lamd.results.v1"] = "lamd.results.v1"
    kind: str
    target: Name
    title: str
    profile: Name
    config: dict[str, Any]
    config_hash: str
    overrides: Many[str] = ()
    sources: dict[str, Source]
    points: dict[str, dict[str, Any]] = {}
    rows: Many[RowInfo] = ()
    columns: Many[Column] = ()  # with row "" where the rows of the table are the rows
    protocols: dict[str, str] = {}  # name -> its rules in words
    values: Many[Value] = ()
    missing: Many[MissingValue] = ()
    differences: Many[Difference] = ()
    published: Many[PublishedRow] = ()
    notes: Many[str] = ()  # on the data: counts, what was left out
    pictures: Many[Picture] = ()
    cells: Many[CellInfo] = ()
    measured: dict[str, str] = {}  # times: device, dtype, threads, date
    files: Many[Name] = ()

    @field_validator("sources", mode="before")
    @classmethod
    def _bound_sources(cls, sources: Any) -> Any:
        if isinstance(sources, dict) and len(sources) > _MOST_SOURCES:
            raise ValueError(f"more than {_MOST_SOURCES:,} sources")
        return sources

    @model_validator(mode="after")
    def _check_references(self) -> Self:
        for value in self.values:
            if value.source not in self.sources:
                raise ValueError(f"row {value.row}: no source {value.source!r}")
            if value.point and value.point not in self.points:
                raise ValueError(f"row {value.row}: no point {value.point!r}")
            if value.verdict not in ("reproduced", "deviates"):
                continue
            source = self.sources[value.source]
            comparable = source.data == "real" and source.scale == "full" and not value.deviations
            if not comparable:
                raise ValueError(
                    f"row {value.row}: verdict {value.verdict!r} needs real data, full scale and "
                    "the protocol unchanged"
                )
            same = value.row, value.metric, value.verdict
            seeds = {v.cells for v in self.values if (v.row, v.metric, v.verdict) == same}
            if value.low is None or len(seeds) < 2:
                raise ValueError(
                    f"row {value.row}: verdict {value.verdict!r} needs an interval and two seeds"
                )
        accounted = {v.row for v in self.values} | {m.row for m in self.missing}
        silent = [row.name for row in self.rows if row.name not in accounted]
        if silent:
            raise ValueError(f"rows with neither a value nor a reason: {', '.join(silent)}")
        return self

    @model_validator(mode="after")
    def _check_config(self) -> Self:
        """Refuse real data and full scale that the config of the source does not have.

        Real data may turn out to be a stand-in, so the config is no proof of it.
        """
        for name, source in self.sources.items():
            data, scale = (self._configured(name, key) for key in ("data.source", "scale"))
            if source.data == "real" and data != "real":
                raise ValueError(f"source {name!r}: real data, but its config says {data}")
            if source.scale == "full" and scale != "full":
                raise ValueError(f"source {name!r}: full scale, but its config says {scale}")
        return self

    def _configured(self, source: str, key: str) -> Any:
        """Return what the config of a source says under a key; None where it says nothing."""
        tables = self.config.get("sources")
        tables = tables if isinstance(tables, dict) else {}
        table: Any = self.config
        if self.kind == "sweep":  # of one table, a source for each point
            if key in self.points.get(source, {}):
                return self.points[source][key]
            table = next(iter(tables.values()), table)
        stated = tables.get(source, table)
        for part in key.split("."):
            stated = stated.get(part) if isinstance(stated, dict) else None
        return stated

    def to_json(self) -> str:
        """Return the text of `record.json`; fields at their default are left out."""
        content = {"format": self.format} | self.model_dump(mode="json", exclude_defaults=True)
        return readable_json(content)


def read_results(path: Path) -> Results:
    """Read the `record.json` of any target.

    Raises:
        LamdError: when the file is not a record, naming its first wrong field.
    """
    fix = "delete it and run `lamd reproduce` again" if path.exists() else "fix the name"
    return load_json(path, Results, fix)
