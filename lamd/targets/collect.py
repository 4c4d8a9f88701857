"""From finished cells to `Results`: sources, values, missing values and notes."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from lamd.base.files import load_json
from lamd.config import AnyTarget, Target, config_hash
from lamd.data.dataset import DATASETS
from lamd.metrics.protocols import PROTOCOLS
from lamd.pipeline.cell import Cell
from lamd.pipeline.contents import VALUES, read_per_clip
from lamd.pipeline.graph import TablePlan, missing_weights
from lamd.pipeline.rows import ROWS
from lamd.report.published import judge
from lamd.report.results import Column, MissingValue, PublishedRow, Results, RowInfo, Source, Value
from lamd.report.tables import capitalized, data_words
from lamd.targets.kind import Failed, Graph, Run

BAIR_CAMERA = "image_aux1"  # of every published BAIR value


class Collector:
    """Gathers the results of a target source by source; failed cells become missing values.

    Attributes:
        data: the outputs of each source's data cell, of those that are made.
        per_clip: values per clip, as lines of a table.
    """

    def __init__(self, run: Run, failed: Failed) -> None:
        self.run, self.store, self.failed = run, run.store, failed
        self.targets: dict[str, Target] = {}
        self.sources: dict[str, Source] = {}
        self.data: dict[str, dict[str, Any]] = {}
        self.values: list[Value] = []
        self.missing: list[MissingValue] = []
        self.per_clip: list[dict[str, Any]] = []
        self.notes: dict[str, None] = {}  # in order, each once

    def add_source(self, name: str, plan: TablePlan) -> None:
        """Add a source, and the notes on its data where they are made."""
        cell, self.targets[name] = plan.stages["data"], plan.target
        if self.store.is_complete(cell):
            self.data[name] = self.store.outputs(cell)
            self.notes |= dict.fromkeys(_data_notes(self.data[name], plan.target))
        self.sources[name] = _source(plan.target, self.data.get(name))

    def is_lost(self, source: str, row: str, cell: Cell, point: str = "") -> bool:
        """Return whether the cell of a row failed; then the row is missing."""
        failure = self.failed.get(cell.plan_hash)
        if failure is None:
            return False
        reason = failure.reason
        if failure.name != cell.name:
            reason = f"needs {failure.name}, which failed: {reason}"
        self.missing.append(MissingValue(source=source, row=row, point=point, reason=reason))
        return True

    def add_row(
        self,
        source: str,
        row: str,
        cell: Cell,
        protocols: Sequence[str],
        published: PublishedRow | None = None,
        point: str = "",
    ) -> None:
        """Add the values of a values cell, or why they are missing.

        Args:
            protocols: of the row, those without weights among them.
            published: the paper's row to judge the values by.
        """
        if self.is_lost(source, row, cell, point):
            return
        folder = self.store.folder(cell)
        where: dict[str, Any] = {"source": source, "row": row, "point": point}
        keys = tuple(info.key for info in self.store.infos(cell))
        values = load_json(folder / VALUES)
        for measured in values:
            name = measured["protocol"]
            metric = PROTOCOLS[name].column
            deviations = (*measured["deviations"], *_deviations(self.targets[source]))
            verdict, reason = judge(
                metric, measured["value"], name, self.sources[source], deviations, published
            )
            low, high = measured["interval"] or (None, None)
            same = ("protocol", "value", "extrapolated", "n_real", "n_fake", "note")
            self.values.append(
                Value(
                    **where,
                    **{key: measured[key] for key in same},
                    metric=metric,
                    low=low,
                    high=high,
                    verdict=verdict,
                    reason=reason,
                    deviations=deviations,
                    weights=measured["weight_hash"],
                    cells=keys,
                )
            )
        for name, numbers in read_per_clip(folder).items():
            line = where | {"metric": PROTOCOLS[name].column, "protocol": name}
            self.per_clip += [
                line | {"clip": clip, "value": value} for clip, value in enumerate(numbers.tolist())
            ]
        left_out = [name for name in protocols if name not in {v["protocol"] for v in values}]
        reasons = missing_weights(left_out)
        self.missing += [
            MissingValue(
                **where,
                metric=PROTOCOLS[name].column,
                reason=reasons.get(name, "weights were missing when the run began; run it again"),
            )
            for name in left_out
        ]

    def results(self, config: AnyTarget, graph: Graph, **fields: Any) -> Results:
        """Return what was gathered, the entries of all finished cells, and further fields."""
        cells = {cell.plan_hash: cell for own in graph.cells().values() for cell in own}
        return Results(
            **self.run.header(config),
            sources=self.sources,
            values=tuple(self.values),
            missing=tuple(self.missing),
            notes=tuple(self.notes),
            cells=tuple(
                self.store.info(cell) for cell in cells.values() if self.store.is_complete(cell)
            ),
            **fields,
        )


def columns(protocols: Iterable[str]) -> tuple[Column, ...]:
    """Return the metric columns of protocols, in their order."""
    names = dict.fromkeys(PROTOCOLS[name].column for name in protocols)
    return tuple(Column(row="", metric=name) for name in names)


def described(protocols: Iterable[str]) -> dict[str, str]:
    """Return the rules of each protocol in words."""
    return {name: PROTOCOLS[name].describe().removeprefix(f"{name}: ") for name in protocols}


def row_info(target: Target, row: str) -> RowInfo:
    """Return label and description of a row."""
    info = ROWS[row]
    return RowInfo(
        name=row,
        label=info.label(target),
        description=info.description(target),
        budget=info.budget(target) if info.budget else None,
    )


def _source(target: Target, data: dict[str, Any] | None) -> Source:
    stand_in = data["stand_in"] is not None if data else target.data.source == "simulated"
    return Source(
        dataset=target.data.name,
        data="stand-in" if stand_in else "real",
        scale=target.scale,
        content_hash=data["content"]["test"] if data else None,
        seeds=seeds_of(target),
        config_hash=config_hash(target),
    )


def seeds_of(target: Target) -> dict[str, int]:
    """Return the seeds that a target's results depend on."""
    seeds = {
        "train_vae": target.train_vae.seed,
        "train_dmg": target.train_dmg.seed,
        "sampler": target.sampler.seed,
        "simulation": target.data.simulation_seed,
    }
    return {name: seed for name, seed in seeds.items() if seed is not None}


def tested_words(target: Target, data: dict[str, Any]) -> str:
    """Return e.g. `Real BAIR (0123456789ab)`: the data and the hash of its test clips."""
    words = capitalized(data_words(_source(target, data)))
    return f"{words} ({data['content']['test'][:12]})"


def _data_notes(data: dict[str, Any], target: Target) -> Iterator[str]:
    """Yield the counts of clips, and which videos were left out and why."""
    name = DATASETS[target.data.name].label
    counts = ", ".join(
        f"{split}: {data['clips'][split]:,} clips of {target.data.num_frames} frames from "
        f"{videos:,} videos"
        for split, videos in data["videos"].items()
    )
    yield f"{name} data: {counts}"
    for split, left_out in data["left_out"].items():
        if left_out:
            first = "; ".join(f"{key} ({reason})" for key, reason in left_out[:3])
            more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
            yield f"{name} {split}, left out: {first}{more}"


def _deviations(target: Target) -> tuple[str, ...]:
    """Return where the data departs from what the published values are measured on."""
    data, deviations = target.data, []
    camera = data.own.get("camera", BAIR_CAMERA)
    if camera != BAIR_CAMERA:
        deviations.append(f"camera {camera}")
    if data.size != DATASETS[data.name].published_size:
        deviations.append(f"{data.size}x{data.size} pixels")
    return tuple(deviations)
