"""Quality against cost: tables' models under other samplers, FVD next to seconds and FLOPs."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from lamd.base.files import load_json
from lamd.base.origin import timing_place
from lamd.config import Point, QualityFigure, Target
from lamd.metrics.protocols import PROTOCOLS
from lamd.pipeline.cell import Cell, step_of
from lamd.pipeline.contents import LATENCY
from lamd.pipeline.graph import TablePlan
from lamd.pipeline.store import Store
from lamd.report.quality import point_name, render_quality
from lamd.report.results import Picture, Value
from lamd.report.tables import machine_words
from lamd.targets.collect import Collector, described, row_info, tested_words
from lamd.targets.cost import timed_value
from lamd.targets.kind import Collected, Failed, Graph, Run, register


@dataclass(frozen=True, kw_only=True)
class QualityGraph(Graph):
    """By source: a values cell per point, and the cell of all times."""

    points: dict[str, dict[Point, Cell]]
    latency: dict[str, Cell]


class Quality:
    """FVD over seconds and FLOPs per clip, by sampler and number of steps."""

    name: ClassVar[str] = "quality"

    def plan(self, config: QualityFigure, device: str) -> QualityGraph:
        plans, points, latency = {}, {}, {}
        fingerprints: dict[str, Any] = {}
        for source, target in config.sources.items():
            plans[source] = TablePlan(target, device, fingerprints)
            at = {
                point: TablePlan(config.at(source, point), device, fingerprints)
                for point in config.points
            }
            points[source] = {point: _values_cell(plan, point) for point, plan in at.items()}
            latency[source] = _latency(config, source, at, device)
        wanted = {source: [*points[source].values(), latency[source]] for source in plans}
        return QualityGraph(
            targets=config.sources, wanted=wanted, plans=plans, points=points, latency=latency
        )

    def collect(
        self, config: QualityFigure, graph: QualityGraph, run: Run, failed: Failed
    ) -> Collected:
        collector, pictures = Collector(run, failed), []
        for source, plan in graph.plans.items():
            collector.add_source(source, plan)
            latency = graph.latency[source]
            timed, made = latency.plan_hash not in failed, []
            for point, cell in graph.points[source].items():
                name = _point(point)
                if collector.is_lost(source, point.row, cell if timed else latency, name):
                    continue
                made.append(point)
                protocols = [_protocol(plan.target)]
                collector.add_row(source, point.row, cell, protocols, point=name)
                collector.values += _costs(config, source, point, latency, run.store)
            if made:
                words = [
                    *claims(config, source, made, collector.values),
                    _conditions(config, source, graph, run),
                ]
                pictures.append(Picture(source=source, caption=" ".join(words)))
        first = next(iter(config.sources.values()))
        results = collector.results(
            config,
            graph,
            points={
                _point(p): {"sampler": p.sampler, "num_steps": p.num_steps} for p in config.points
            },
            rows=tuple(row_info(first, row) for row in config.series),
            protocols=described(map(_protocol, config.sources.values())),
            pictures=tuple(pictures),
        )
        return Collected(results)

    def render(self, collected: Collected) -> dict[str, bytes]:
        return render_quality(collected.results)


def claims(
    config: QualityFigure, source: str, points: Sequence[Point], values: Sequence[Value]
) -> Iterator[str]:
    """Yield for each row whether `fast` is within the interval of `reference`, and its time."""
    measured = {
        (value.row, value.point, value.metric): value for value in values if value.source == source
    }
    for row in config.series:
        fast, reference = (
            Point(row, choice.sampler, choice.num_steps)
            for choice in (config.fast, config.reference)
        )
        if not {fast, reference} <= set(config.points):
            continue
        names = point_name(row, fast[1:]), point_name(row, reference[1:])
        if not {fast, reference} <= set(points):
            yield f"{names[0]} against {names[1]}: not run."
            continue
        a, b = (measured[row, _point(point), "fvd"] for point in (fast, reference))
        times = [measured[row, _point(p), "denoise_seconds"].value for p in (fast, reference)]
        low, high = (b.low, b.high) if b.low is not None and b.high is not None else (b.value,) * 2
        position = "within" if low <= a.value <= high else "below" if a.value < low else "above"
        yield (
            f"{names[0]}: FVD {a.value:.1f}, {position} the interval [{low:.1f}, {high:.1f}] of "
            f"{names[1]} ({b.value:.1f}), at {times[0] / times[1]:.1%} of its denoising time."
        )


def _point(point: Point) -> str:
    return f"{point.sampler} {point.num_steps}"


def _protocol(target: Target) -> str:
    return next(name for name in target.evaluate.protocols if PROTOCOLS[name].metric == "fvd")


def _values_cell(plan: TablePlan, point: Point) -> Cell:
    return plan.values_cell(point.row, plan.clips(point.row), [_protocol(plan.target)])


def _latency(config: QualityFigure, source: str, at: dict[Point, TablePlan], device: str) -> Cell:
    timed = {"series", "rounds", "batch_size", "threads"}
    compiled = {"compiled": True} if config.sources[source].runtime.compile else {}
    parents = {
        f"{point.row} {role}": cell
        for point, own in at.items()
        for role, cell in own.clips(point.row).parents.items()
        if role != "test"
    }
    return Cell(
        kind="latency",
        detail="by sampler",
        config=config.model_dump(mode="json", include=timed) | timing_place(device) | compiled,
        parents=parents,
        step=step_of("timing:time_samplers", figure=config, source=source, device=device),
    )


def _costs(
    config: QualityFigure, source: str, point: Point, latency: Cell, store: Store
) -> Iterator[Value]:
    """Yield TFLOPs, seconds and denoising seconds of a point, per clip."""
    from lamd.paradigms.costs import row_parts

    seconds = load_json(store.folder(latency) / LATENCY)
    cost = row_parts(config.sources[source], point.row)
    flops = cost["encode"].flops + point.num_steps * cost["step"].flops + cost["decode"].flops
    names = (f"{point.row} encode", str(point), f"{point.row} decode")
    none = [0.0] * config.rounds  # pixel space neither encodes nor decodes
    parts = zip(*(seconds.get(name, none) for name in names), strict=True)
    run = [sum(part) / config.batch_size for part in parts]
    where: dict[str, Any] = {"source": source, "row": point.row, "point": _point(point)}
    yield Value(**where, metric="tflops", value=flops / 1e12)
    yield timed_value(where, "seconds", "", run)
    denoise = statistics.median(seconds[str(point)]) / config.batch_size
    yield Value(**where, metric="denoise_seconds", value=denoise)


def _conditions(config: QualityFigure, source: str, graph: QualityGraph, run: Run) -> str:
    target, stages, store = config.sources[source], graph.plans[source].stages, run.store
    data, timed = store.outputs(stages["data"]), store.outputs(graph.latency[source])
    local = "; indicative: this machine" if timed["device"].startswith("cpu") else ""
    return (
        f"{tested_words(target, data)}, profile {run.profile}, "
        f"{target.data.num_frames} frames of {target.data.size}x{target.data.size}, "
        f"n = {data['clips']['test']} clips, `{_protocol(target)}`; MCD-VAE "
        f"{store.key(stages['vae'])}, DMG {store.key(stages['dmg'])}. FLOPs are counted; seconds: "
        f"median over {config.rounds} rounds that time each run once, {config.batch_size} clips at "
        f"a time, on {machine_words(timed)}{local}."
    )


register(Quality(), QualityFigure)
