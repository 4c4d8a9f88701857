"""Result records: what was measured, on what, by which code; one `record.json` per table.

`Report` is everything a table shows, so tables are remade from `record.json` alone. Values
measured here are `Record`s and values taken from papers are `PublishedRow`s: two types, so that
a stand-in number cannot reach a published column.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
    model_validator,
)

from lamd.base.errors import LamdError
from lamd.base.origin import CellInfo, Origin

_FORMATS = ("lamd.report.v1", "lamd.figure.v1", "lamd.sweep.v1", "lamd.cost.v1")

DataKind = Literal["real", "stand-in"]
VerdictKind = Literal["reproduced", "off", "not comparable", "not run"]


class Frozen(BaseModel):
    """Base of the record models: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Verdict(Frozen):
    """How a measured value stands to the published one."""

    kind: VerdictKind
    reason: str  # empty only for `reproduced`

    def __str__(self) -> str:
        return f"{self.kind} ({self.reason})" if self.reason else self.kind


class Record(Frozen):
    """One row x metric: a value under a protocol with all that is needed to make it again."""

    target: str
    profile: str
    row: str
    metric: str
    protocol: str
    value: float
    interval: tuple[float, float] | None
    extrapolated: float | None
    n_real: int
    n_fake: int
    unit: str
    higher_is_better: bool
    deviations: tuple[str, ...]  # where this run departs from the protocol
    note: str  # how to read the value
    weight_hash: str | None
    data: DataKind
    scale: Literal["full", "reduced"]
    dataset: str
    split: str
    content_hash: str
    clips_asked: int
    clips_used: int
    seeds: dict[str, int]
    config_hash: str
    origin: Origin
    cells: tuple[str, ...]  # keys of all cells behind the value
    seconds: float  # over those cells
    peak_memory_mb: float
    verdict: Verdict

    @model_validator(mode="after")
    def _stand_ins_reproduce_nothing(self) -> Self:
        if self.verdict.kind in ("reproduced", "off") and (
            self.data != "real" or self.scale != "full" or self.deviations
        ):
            raise ValueError(
                f"row {self.row}: verdict {self.verdict.kind!r} needs real data, full scale and "
                "the protocol unchanged"
            )
        return self


class Hole(Frozen):
    """A row, or one metric of it, that could not be measured, and why."""

    row: str
    metric: str | None = None  # None: the whole row
    reason: str
    verdict: Verdict


class RowInfo(Frozen):
    """A row of the table: its name, label and what was compared."""

    name: str
    label: str
    description: str
    budget: dict[str, float] | None = None  # what a baseline trained: steps, clips, tflops, ...

    @model_serializer(mode="wrap")
    def _dump(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {field: value for field, value in dump(self).items() if value is not None}


class PublishedRow(Frozen):
    """A row of numbers printed in a paper, never measured here."""

    method: str
    metrics: dict[str, float]
    protocol: str | None  # of the FVD; None when the source does not say
    source: str
    verified: bool
    note: str


class Written(Frozen):
    """Base of what stands in a `record.json`."""

    format: str
    target: str
    title: str
    profile: str

    def to_json(self) -> str:
        """Return the text of `record.json`."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"


class Report(Written):
    """All of one table for one profile."""

    format: Literal["lamd.report.v1"] = "lamd.report.v1"
    data: DataKind
    scale: Literal["full", "reduced"]
    dataset: str
    config: dict[str, Any]
    config_hash: str
    overrides: tuple[str, ...]
    metrics: tuple[str, ...]  # column order
    protocols: dict[str, str]  # name -> its rules in words
    rows: tuple[RowInfo, ...]
    records: tuple[Record, ...]
    holes: tuple[Hole, ...]
    published: tuple[PublishedRow, ...]
    notes: tuple[str, ...] = ()  # on the data: counts, what was left out
    cells: tuple[CellInfo, ...]

    @model_validator(mode="after")
    def _every_row_has_a_value_or_a_reason(self) -> Self:
        told = {record.row for record in self.records} | {hole.row for hole in self.holes}
        silent = [row.name for row in self.rows if row.name not in told]
        if silent:
            raise ValueError(f"rows with neither a value nor a reason: {', '.join(silent)}")
        return self

    def find(self, row: str, metric: str) -> Record | None:
        """Return the record of `row` and `metric`, or None."""
        return next((r for r in self.records if (r.row, r.metric) == (row, metric)), None)


class Picture(Frozen):
    """One picture of a figure: what made it, and the numbers that its caption tells."""

    source: str  # the target whose cells it shows
    dataset: str
    data: DataKind
    scale: Literal["full", "reduced"]
    content_hash: str
    seeds: dict[str, int]
    config_hash: str
    caption: str
    labels: tuple[str, ...]  # of its rows
    numbers: dict[str, list[float]]
    cells: tuple[CellInfo, ...]


class FigureReport(Written):
    """All of one figure for one profile; `holes` are the sources that failed."""

    format: Literal["lamd.figure.v1"] = "lamd.figure.v1"
    config: dict[str, Any]
    config_hash: str
    overrides: tuple[str, ...]
    pictures: tuple[Picture, ...]
    holes: tuple[Hole, ...]


class Diagnostics(Frozen):
    """What z_m of one MCD-VAE carries, measured on test clips."""

    values: dict[str, float]  # name -> value
    channels: dict[str, tuple[float, ...]]  # name -> one value a channel
    probe_strength: float  # of the ridge regression, as chosen
    clips: int
    cells: tuple[str, ...]  # keys of all cells behind them


class SweepPoint(Frozen):
    """One point of a sweep: where it lies, its values and what could not be measured."""

    name: str
    values: dict[str, Any]  # config key -> value, seeds among them
    records: tuple[Record, ...]
    holes: tuple[Hole, ...]
    diagnostics: Diagnostics | None = None


class SweepReport(Written):
    """All of one sweep for one profile; a column is a row of its table and a metric."""

    format: Literal["lamd.sweep.v1"] = "lamd.sweep.v1"
    data: DataKind
    scale: Literal["full", "reduced"]
    dataset: str
    config: dict[str, Any]
    config_hash: str
    overrides: tuple[str, ...]
    axes: tuple[str, ...]  # config keys, without the seeds
    columns: tuple[str, ...]  # `<row> <metric>`, in order
    protocols: dict[str, str]  # name -> its rules in words
    points: tuple[SweepPoint, ...]
    published: tuple[PublishedRow, ...]
    notes: tuple[str, ...]
    cells: tuple[CellInfo, ...]

    @model_validator(mode="after")
    def _stand_ins_stay_stand_ins(self) -> Self:
        kinds = {record.data for point in self.points for record in point.records}
        if self.data == "real" and kinds != {"real"}:
            raise ValueError("data is real, but not every record's is")
        return self

    @property
    def holes(self) -> tuple[Hole, ...]:
        """What could not be measured, at any point."""
        return tuple(hole for point in self.points for hole in point.holes)


class CostRow(Frozen):
    """One paradigm at one shape; a clip's share, by part of a sampling run."""

    paradigm: str
    frames: int
    size: int  # pixels
    flops: dict[str, float]  # encode, one step, decode
    activations: dict[str, float]  # elements written, likewise
    parameters: dict[str, int]  # likewise
    seconds: dict[str, tuple[float, ...]]  # encode, one step, decode: one value a round


class CostReport(Written):
    """All of one target about cost for one profile; FLOPs and the like in closed form."""

    format: Literal["lamd.cost.v1"] = "lamd.cost.v1"
    config: dict[str, Any]
    config_hash: str
    overrides: tuple[str, ...]
    num_steps: int  # K of a sampling run
    measured: dict[str, str]  # device, dtype, threads, date
    rows: tuple[CostRow, ...]
    published: tuple[PublishedRow, ...]
    holes: tuple[Hole, ...] = ()
    cells: tuple[CellInfo, ...]


AnyReport = Report | FigureReport | SweepReport | CostReport
_ANY = TypeAdapter(Annotated[AnyReport, Field(discriminator="format")])


def read_report(path: Path) -> AnyReport:
    """Read the `record.json` of any target.

    Raises:
        LamdError: when the file is none, naming the first wrong field.
    """
    try:
        return _ANY.validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"] if part not in _FORMATS) or "file"
        raise LamdError(
            f"{path}: not a record of {', '.join(_FORMATS)} ({at}: {first['msg']}); "
            "delete it and run `lamd reproduce` again"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise LamdError(f"{path}: not readable ({error}); run `lamd reproduce` again") from None
