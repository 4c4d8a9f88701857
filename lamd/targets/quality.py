"""Quality against cost: tables' models under other samplers, FVD next to seconds and FLOPs."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lamd.base.errors import LamdError
from lamd.base.origin import timing_place
from lamd.config import Point, QualityFigure, Target
from lamd.metrics.protocols import PROTOCOLS
from lamd.pipeline.cell import Cell, step_of
from lamd.pipeline.contents import Counted, Timing, read_latency
from lamd.pipeline.graph import TablePlan
from lamd.report.results import Difference, Picture, Results, Value
from lamd.report.wording import machine_words, point_name
from lamd.targets.cost import timed_value
from lamd.targets.kind import Collector, Graph, plan_tables, register, row_info


class Quality:
    """FVD over seconds and FLOPs per clip, by sampler and number of steps.

    The wanted cells of a source: the values of each point, and last the times of all.
    """

    def plan(self, config: QualityFigure, device: str) -> Graph:
        fingerprints: dict[str, Any] = {}
        plans, wanted = plan_tables(config.sources, device, fingerprints), {}
        for source in plans:
            targets = {str(point): config.at(source, point) for point in config.points}
            at = plan_tables(targets, device, fingerprints)
            values = [_values_cell(at[str(point)], point.row) for point in config.points]
            wanted[source] = [*values, _latency_cell(config, source, at, device)]
        extra = {source: [plan.test] for source, plan in plans.items()}  # counted and compared
        return Graph(wanted=wanted, extra=extra, plans=plans)

    def collect(self, config: QualityFigure, graph: Graph, collector: Collector) -> Results:
        pictures = []
        reference = f"{config.reference.sampler} {config.reference.num_steps}"
        for source, (*cells, latency) in graph.wanted.items():
            timed, made = latency.plan_hash not in collector.failed, []
            for point, cell in zip(config.points, cells, strict=True):
                name, row = _point(point), point.row
                if not collector.is_lost(source, row, cell if timed else latency, name):
                    protocols = [_protocol(config.sources[source])]
                    collector.add_row(source, row, cell, protocols, point=name)
                    collector.values += _costs(config, source, point, latency, collector)
                    at = source, row, name, "fvd"
                    if any((v.source, v.row, v.point, v.metric) == at for v in collector.values):
                        made.append(point)
            if made:
                for point in config.points:  # with the reference point of its row
                    if (name := _point(point)) != reference:
                        here, there = ([(source, point.row, own)] for own in (name, reference))
                        collector.compare(graph.plans[source], here, there, reference)
                words = [
                    *claims(config, source, made, collector.values, collector.differences),
                    _conditions(config, source, graph, collector),
                ]
                pictures.append(Picture(source=source, caption=" ".join(words)))
        first = next(iter(config.sources.values()))
        return collector.results(
            map(_protocol, config.sources.values()),
            points={
                _point(p): {"sampler": p.sampler, "num_steps": p.num_steps} for p in config.points
            },
            rows=[row_info(first, row) for row in config.series],
            pictures=pictures,
        )

    def render(self, results: Results, drawn: Mapping[str, Any]) -> dict[str, bytes]:
        from lamd.report.quality import render_quality

        return render_quality(results)


def claims(
    config: QualityFigure,
    source: str,
    points: Sequence[Point],
    values: Sequence[Value],
    differences: Sequence[Difference],
) -> Iterator[str]:
    """Yield for each row how `fast` compares with `reference`, in FVD and in time."""
    measured = {
        (value.row, value.point, value.metric): value.value
        for value in values
        if value.source == source
    }
    changes = {(d.row, d.point): d for d in differences if d.source == source}
    for row in config.series:
        pair = [Point(row, c.sampler, c.num_steps) for c in (config.fast, config.reference)]
        if not set(pair) <= set(config.points):
            continue
        names = [point_name(*point) for point in pair]
        if not set(pair) <= set(points):
            yield f"{names[0]} against {names[1]}: not run."
            continue
        fast, reference = (measured[row, _point(point), "fvd"] for point in pair)
        times = [measured[row, _point(point), "denoise_seconds"] for point in pair]
        change = changes.get((row, _point(pair[0])))
        paired = ""
        if change is not None and change.low is not None and change.high is not None:
            paired = f" ({change.value:+.1f} [{change.low:+.1f}, {change.high:+.1f}])"
        yield (
            f"{names[0]}: FVD {fast:.1f} against {reference:.1f} of {names[1]}{paired}, at "
            f"{times[0] / times[1]:.1%} of its denoising time."
        )


def _point(point: Point) -> str:
    return f"{point.sampler} {point.num_steps}"


def _protocol(target: Target) -> str:
    names = [name for name in target.evaluate.protocols if PROTOCOLS[name].column == "fvd"]
    if not names:
        raise LamdError(f"{target.target}: evaluate.protocols: the figure needs FVD; add it")
    return names[0]


def _values_cell(plan: TablePlan, row: str) -> Cell:
    return plan.values_cell(row, plan.clips(row), [_protocol(plan.target)])


def _latency_cell(
    config: QualityFigure, source: str, at: Mapping[str, TablePlan], device: str
) -> Cell:
    timed = {"series", "rounds", "batch_size", "threads"}
    samplers = {
        str(point): config.at(source, point).sampler.model_dump(mode="json")
        for point in config.points
    }
    compiled = {"compiled": True} if config.sources[source].runtime.compile else {}
    parents = {
        f"{point.row} {role}": cell
        for point in config.points
        for role, cell in at[str(point)].clips(point.row).parents.items()
        if role != "test"
    }
    return Cell(
        kind="latency",
        detail="by sampler",
        config=config.model_dump(mode="json", include=timed)
        | {"samplers": samplers}
        | timing_place(device)
        | compiled,
        parents=parents,
        step=step_of("timing:time_samplers", figure=config, source=source, device=device),
    )


def _costs(
    config: QualityFigure, source: str, point: Point, latency: Cell, collector: Collector
) -> Iterator[Value]:
    """Yield TFLOPs, seconds and denoising seconds of a point, per clip."""
    from lamd.paradigms.costs import sampling_flops

    folder = collector.store.finished(latency)
    seconds = read_latency(folder, [str(point)], config.rounds)
    flops = sampling_flops(config.at(source, point), point.row)
    names = (f"{point.row} encode", str(point), f"{point.row} decode")
    none = [0.0] * config.rounds  # pixel space neither encodes nor decodes
    parts = zip(*(seconds.get(name, none) for name in names), strict=True)
    where = {"source": source, "row": point.row, "point": _point(point)}
    yield Value(**where, metric="tflops", value=flops / 1e12)
    yield timed_value(where, [sum(part) / config.batch_size for part in parts])
    denoise = statistics.median(seconds[str(point)]) / config.batch_size
    yield Value(**where, metric="denoise_seconds", value=denoise)


def _conditions(config: QualityFigure, source: str, graph: Graph, collector: Collector) -> str:
    target, stages, store = config.sources[source], graph.plans[source].stages, collector.store
    clips = store.outputs(graph.plans[source].test, Counted).clips
    timed = store.outputs(graph.wanted[source][-1], Timing).model_dump()
    local = "; indicative: this machine" if timed["device"].startswith("cpu") else ""
    return (
        f"{collector.tested_words(source)}, profile {collector.profile}, "
        f"{target.data.num_frames} frames of {target.data.size}x{target.data.size}, "
        f"n = {clips} clips, `{_protocol(target)}`; MCD-VAE "
        f"{store.key(stages['vae'])}, DMG {store.key(stages['dmg'])}. FLOPs are counted; seconds: "
        f"median over {config.rounds} rounds that time each run once, {config.batch_size} clips at "
        f"a time, on {machine_words(timed)}{local}."
    )


register("quality", Quality(), QualityFigure)
