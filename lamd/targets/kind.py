"""Every kind of target: it plans cells, collects the values of finished ones, and renders files."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from lamd.base.errors import LamdError
from lamd.config import KINDS as CONFIG_KINDS
from lamd.config import AnyTarget, Target, closest, config_hash
from lamd.config.sweep import is_seed
from lamd.config.training import BOOKKEEPING
from lamd.data.dataset import DATASETS
from lamd.metrics.protocols import PROTOCOLS
from lamd.metrics.registry import METRICS
from lamd.metrics.values import difference
from lamd.paradigms.budget import ACCOUNT
from lamd.pipeline.cell import Cell, with_ancestors
from lamd.pipeline.contents import DataFacts, read_per_clip, read_values, read_videos
from lamd.pipeline.graph import TablePlan, missing_weights
from lamd.pipeline.rows import ROWS
from lamd.pipeline.store import CellFailed, Store
from lamd.report.published import judge
from lamd.report.results import (
    Column,
    Difference,
    MissingValue,
    PublishedRow,
    Results,
    RowInfo,
    Source,
    Value,
)
from lamd.report.wording import capitalized, data_words

Place = tuple[str, str, str]  # source, row and point of values
Config = TypeVar("Config", bound=AnyTarget, contravariant=True)
T = TypeVar("T")
# keys of no training
_HARMLESS = {
    "title", "rows", "evaluate", "runtime", "sources", "series", "figure", "diagnostics",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The cells of a target by source: the sources of a figure, the points of a sweep, else ""."""

    wanted: Mapping[str, Sequence[Cell]]  # that the results are collected from
    # without which the rest is reported
    extra: Mapping[str, Sequence[Cell]] = field(default_factory=dict)
    plans: Mapping[str, TablePlan] = field(default_factory=dict)  # of the sources that train models

    def requested(self) -> dict[str, list[Cell]]:
        """Return the wanted and the further cells of each source, without their ancestors."""
        return {name: [*cells, *self.extra.get(name, ())] for name, cells in self.wanted.items()}

    def cells(self) -> dict[str, list[Cell]]:
        """Return all cells of each source, parents first, equal ones of a source once."""
        return {name: with_ancestors(cells) for name, cells in self.requested().items()}

    def distinct(self) -> list[Cell]:
        """Return all cells, parents first, equal ones once."""
        return with_ancestors(cell for cells in self.requested().values() for cell in cells)


@dataclass
class Collector:
    """Gathers the results of a run of a target; failed cells become missing values."""

    config: AnyTarget
    graph: Graph
    store: Store
    profile: str
    overrides: tuple[str, ...]
    failed: Mapping[str, CellFailed]  # by plan hash, dependants among them
    sources: dict[str, Source] = field(default_factory=dict)  # a table's is named by its data set
    values: list[Value] = field(default_factory=list)
    missing: list[MissingValue] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    per_clip: list[dict[str, Any]] = field(default_factory=list)  # values per clip, as table lines
    # the same, float64 (N,), by source, row, point and metric
    numbers: dict[tuple[str, str, str, str], np.ndarray] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    drawn: dict[str, Any] = field(default_factory=dict)  # arrays to draw: a grid, panels

    def __post_init__(self) -> None:
        self._deviations: dict[str, tuple[str, ...]] = {}
        self._published: dict[str, PublishedRow] = {}  # by row
        for own, plan in self.graph.plans.items():
            target, cell = plan.target, plan.stages["data"]
            name = own or target.data.name
            data = self.store.outputs(cell, DataFacts) if self.store.is_complete(cell) else None
            if data is not None:
                self.notes += _data_notes(target, data)
            self.sources[name] = _source(target, data)
            self._deviations[name] = (
                *_deviations(target, data), *_changes(target, own, self.overrides)
            )  # fmt: skip

    def is_lost(self, source: str, row: str, cell: Cell, point: str = "") -> bool:
        """Return whether the cell of a row failed; then the row is missing."""
        failure = self.failed.get(cell.plan_hash)
        if failure is None:
            return False
        needs = "" if failure.name == cell.name else f"needs {failure.name}, which failed: "
        reason = f"{needs}{failure.reason}"
        self.missing.append(MissingValue(source=source, row=row, point=point, reason=reason))
        return True

    def add_row(
        self,
        source: str,
        row: str,
        cell: Cell,
        protocols: Sequence[str],  # of the row, those without weights among them
        published: PublishedRow | None = None,  # the paper's row to judge the values by
        point: str = "",
    ) -> None:
        """Add the values of a values cell, or why they are missing."""
        if published is not None:
            self._published[row] = published
        if self.is_lost(source, row, cell, point):
            return
        folder, keys = self.store.finished(cell), self.keys(cell)
        where: dict[str, Any] = {"source": source, "row": row, "point": point}
        values = {measured.protocol: measured for measured in read_values(folder)}
        same = ("protocol", "value", "extrapolated", "n_real", "n_fake", "note")
        for name, measured in values.items():
            metric = PROTOCOLS[name].column
            if not math.isfinite(measured.value):
                reason = f"its value is {measured.value}"
                self.missing.append(MissingValue(**where, metric=metric, reason=reason))
                continue
            deviations = (*measured.deviations, *self._deviations[source])
            low, high = measured.interval or (None, None)
            self.values.append(
                Value(
                    **where,
                    **{key: getattr(measured, key) for key in same},
                    metric=metric,
                    low=low,
                    high=high,
                    deviations=deviations,
                    weights=measured.weight_hash,
                    cells=keys,
                )
            )
        for name, numbers in read_per_clip(folder).items():
            if not np.isfinite(numbers).all():
                continue
            self.numbers[source, row, point, PROTOCOLS[name].column] = numbers
            line = {"target": self.config.target, "profile": self.profile, **where}
            line |= {"data": self.sources[source].data, "scale": self.sources[source].scale}
            line |= {"metric": PROTOCOLS[name].column, "protocol": name}
            self.per_clip += [
                line | {"clip": clip, "value": value} for clip, value in enumerate(numbers.tolist())
            ]
        left_out = [name for name in protocols if name not in values]
        reasons = missing_weights(left_out)
        for name in left_out:
            reason = reasons.get(name, "weights were missing when the run began; run it again")
            entry = MissingValue(**where, metric=PROTOCOLS[name].column, reason=reason)
            self.missing.append(entry)

    def compare(
        self, plan: TablePlan, where: Iterable[Place], reference: Iterable[Place], name: str
    ) -> None:
        """Add the differences between two sets of values in each metric that both have.

        There is none where both are of the same cells.

        Args:
            plan: whose test clips all of them were measured on.
            where, reference: source, row and point; of several, such as seeds in one order, the
                mean of those counts that both sides measured.
            name: of the reference.
        """
        where, reference = [*where], [*reference]
        measured = {key[:3] for key in self.numbers}  # a seed may have failed
        pairs = [p for p in zip(where, reference, strict=True) if measured.issuperset(p)]
        if not pairs:
            return
        source, row, point = pairs[0][0]
        sides = [*zip(*pairs, strict=True)]
        spots = [spot for side in sides for spot in side]
        metrics = [key[3] for key in self.numbers if key[:3] == spots[0]]
        of = {(v.source, v.row, v.point, v.metric): v for v in self.values}
        metrics = [m for m in metrics if all((*spot, m) in of for spot in spots)]
        metrics = [m for m in metrics if all((*spot, m) in self.numbers for spot in spots)]
        cells = {tuple(of[*spot, m].cells for spot in pair) for pair in pairs for m in metrics}
        if all(a == b for a, b in cells):
            return
        for metric in [m for m in metrics if METRICS[m].from_features and not METRICS[m].unbiased]:
            if len({of[*spot, metric].n_fake for spot in spots}) > 1:
                metrics.remove(metric)
        videos = read_videos(self.store.finished(plan.test)) if metrics else []
        for metric in metrics:
            # A train split with fewer clips than the test split has no counterpart for each.
            if any(len(self.numbers[*spot, metric]) % len(videos) for spot in spots):
                continue
            a, b = (
                np.mean([self.numbers[*spot, metric] for spot in side], axis=0) for side in sides
            )
            value, interval = difference(a, b, videos)
            low, high = interval or (None, None)
            self.differences.append(
                Difference(
                    source=source, row=row, point=point, metric=metric, reference=name,
                    value=value, low=low, high=high, num_seeds=len(cells),
                )
            )  # fmt: skip

    def _judged(self) -> Iterator[Value]:
        """Yield all values; those under a protocol with the verdict over their seeds."""
        seeds: dict[tuple[str, str], dict[tuple[str, ...], Value]] = {}
        for value in self.values:
            if value.protocol is not None:  # equal cells: a seed that it does not depend on
                seeds.setdefault((value.row, value.protocol), {}).setdefault(value.cells, value)
        for value in self.values:
            if value.protocol is None:
                yield value
                continue
            measured = [*seeds[value.row, value.protocol].values()]
            published = self._published.get(value.row)
            verdict, reason = judge(measured, self.sources[value.source], published)
            yield value.model_copy(update={"verdict": verdict, "reason": reason})

    def keys(self, cell: Cell) -> tuple[str, ...]:
        """Return the keys of all cells behind a value."""
        return tuple(self.store.key(ancestor) or "" for ancestor in with_ancestors([cell]))

    def tested_words(self, source: str) -> str:
        """Return e.g. `Real BAIR (0123456789ab)`: the data and the hash of its test clips."""
        tested = self.sources[source]
        return f"{capitalized(data_words(tested))} ({(tested.content_hash or '')[:12]})"

    def results(self, protocols: Iterable[str] = (), **fields: Any) -> Results:
        """Return what was gathered, the rules of `protocols` in words, and further fields."""
        config = self.config
        if any(row.budget for row in fields.get("rows", ())):
            self.notes.append(ACCOUNT)
        return Results(
            kind=config.kind,
            target=config.target,
            title=config.title,
            profile=self.profile,
            config=config.model_dump(mode="json"),
            config_hash=config_hash(config),
            overrides=self.overrides,
            sources=self.sources,
            protocols={n: PROTOCOLS[n].describe().removeprefix(f"{n}: ") for n in protocols},
            values=tuple(self._judged()),
            missing=tuple(self.missing),
            differences=tuple(self.differences),
            notes=tuple(dict.fromkeys(self.notes)),
            cells=tuple(
                map(self.store.info, filter(self.store.is_complete, self.graph.distinct()))
            ),
            **fields,
        )


class Kind(Protocol[Config]):
    """One kind of target."""

    def plan(self, config: Config, device: str) -> Graph:
        """Return the cells; LamdError on a config that names something unknown."""

    def collect(self, config: Config, graph: Graph, collector: Collector) -> Results:
        """Return the results of the finished cells; a failed cell becomes a missing value."""

    def render(self, results: Results, drawn: Mapping[str, Any]) -> dict[str, bytes]:
        """Return files by name, without record and per-clip values; `drawn` is the collector's."""


KINDS: dict[str, Kind] = {}


def register(name: str, kind: Kind, config: type[AnyTarget]) -> None:
    """Add a kind of target, with the config class that its YAMLs are checked by."""
    KINDS[name], CONFIG_KINDS[name] = kind, config


def plan_tables(
    targets: Mapping[str, Target], device: str, fingerprints: dict[str, Any] | None = None
) -> dict[str, TablePlan]:
    """Plan several tables; `fingerprints` keeps those of real data sets for further ones."""
    known = {} if fingerprints is None else fingerprints
    return {name: TablePlan(target, device, known) for name, target in targets.items()}


def choose(options: Mapping[str, T], name: str, lacking: str) -> T:
    """Return `options[name]`; else LamdError, which begins with `lacking`: `rows: no row`."""
    if name not in options:
        hint, known = closest(name, options), ", ".join(options)
        raise LamdError(f"{lacking} {name!r}{hint}; it has: {known}")
    return options[name]


def columns(protocols: Iterable[str], row: str = "") -> list[Column]:
    """Return the metric columns of protocols, in their order."""
    names = dict.fromkeys(PROTOCOLS[name].column for name in protocols)
    return [Column(row=row, metric=name) for name in names]


def row_info(target: Target, row: str) -> RowInfo:
    """Return label, description and, of a baseline, the training budget of a row."""
    info = ROWS[row]
    return RowInfo(
        name=row,
        label=info.label(target),
        description=info.description(target),
        budget=info.budget(target) if info.budget else None,
    )


def _source(target: Target, data: DataFacts | None) -> Source:
    stand_in = target.data.source == "simulated" or bool(data and data.stand_in)
    seeds = {
        "train_vae": target.train_vae.seed,
        "train_dmg": target.train_dmg.seed,
        "sampler": target.sampler.seed,
        "simulation": target.data.simulation_seed,
    }
    return Source(
        dataset=target.data.name,
        data="stand-in" if stand_in else "real",
        scale=target.scale,
        content_hash=data.content["test"] if data else None,
        seeds={name: seed for name, seed in seeds.items() if seed is not None},
        config_hash=config_hash(target),
    )


def _changes(target: Target, own: str, overrides: Sequence[str]) -> Iterator[str]:
    """Yield the overrides by which a target at full scale departs from its profile.

    `own` is its name among the sources.
    """
    for override in overrides if target.scale == "full" else ():
        keys = override.partition("=")[0].split(".")
        if keys[0] == "sources" and keys[1:]:
            _, name, *keys = keys
            keys = keys if name in (own, target.target) else []
        if not keys or keys[0] in _HARMLESS or keys[-1] in BOOKKEEPING:
            continue
        if not is_seed(".".join(keys)):
            yield f"changed by --set {override}"


def _data_notes(target: Target, data: DataFacts) -> Iterator[str]:
    """Yield the counts of clips, and which videos were left out and why."""
    name = DATASETS[target.data.name].label
    counts = ", ".join(
        f"{split}: {data.clips[split]:,} clips of {target.data.num_frames} frames from "
        f"{videos:,} videos"
        for split, videos in data.videos.items()
    )
    if (windows := target.evaluate.windows) != "disjoint":
        yield f"{name} test clips: {windows} windows of each video, not the disjoint ones"
    stated, own = DATASETS[target.data.name].published_options, target.data.own
    options = "".join(f"; {key} {own[key]}" for key in stated if key in own)
    yield f"{name} data: {counts}{options}"
    for split, left_out in data.left_out.items():
        if left_out:
            first = "; ".join(f"{key} ({reason})" for key, reason in left_out[:3])
            more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
            yield f"{name} {split}, left out: {first}{more}"
    for part, frames in data.truncated.items():
        if frames:
            yield f"{name} {part}: {frames:,} frames loaded from files that end early"


def _deviations(target: Target, facts: DataFacts | None = None) -> tuple[str, ...]:
    """Return where the data departs from what the published values are measured on."""
    data, dataset, deviations = target.data, DATASETS[target.data.name], []
    if data.size != dataset.published_size:
        deviations.append(f"{data.size}x{data.size} pixels")
    for key, published in dataset.published_options.items():
        if published is not None and (own := data.own.get(key, published)) != published:
            deviations.append(f"data.{key} {own}, not {published}")
    if facts is not None and data.source == "real" and facts.stand_in is None:
        for split, count in facts.videos.items():
            if lacking := dataset.lacking(split, count, len(facts.left_out[split])):
                deviations.append(lacking)
    return tuple(deviations)
