"""Cost of sampling by paradigm: a cell of measured times, counted FLOPs, a table or a figure."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lamd.base.origin import timing_place
from lamd.config import CostFigure, SamplingCost, config_hash
from lamd.config.kinds import Paradigm
from lamd.pipeline.cell import Cell, step_of
from lamd.pipeline.contents import Timing, read_latency
from lamd.report.published import load_published
from lamd.report.results import Results, RowInfo, Source, Value
from lamd.targets.kind import Collector, Graph, register

LABELS = {
    "latent-motion": "latent-motion (LaMD)",
    "latent-video-full": "latent-video, full 3-D",
    "latent-video-factorised": "latent-video, factorised",
    "pixel-full": "pixel-space, full 3-D",
    "pixel-factorised": "pixel-space, factorised",
}
PARTS = {"encode": "encode", "step": "denoise", "decode": "decode"}  # -> name of the timed run
_NOT_MEASURED = {"target", "title", "kind", "num_steps", "num_train_steps"}


class CostTable:
    """The cost of a sampling run by paradigm, frames and pixels; nothing is trained.

    The figure shows the very measurement of the table.
    """

    def plan(self, config: SamplingCost | CostFigure, device: str) -> Graph:
        """Plan the measurement.

        Its key holds the device and PyTorch's version, so that another machine measures again and a
        second run on this one does not.
        """
        table = _measured_table(config)
        cell = Cell(
            kind="latency",
            config=table.model_dump(mode="json", exclude=_NOT_MEASURED) | timing_place(device),
            step=step_of("timing:time_paradigms", config=table, device=device),
        )
        return Graph(wanted={"": [cell]})

    def collect(
        self, config: SamplingCost | CostFigure, graph: Graph, collector: Collector
    ) -> Results:
        table, (latency,), store = _measured_table(config), graph.wanted[""], collector.store
        collector.sources["untrained"] = Source(
            dataset="random frames",
            data="stand-in",
            scale="reduced",
            content_hash=None,
            seeds={},
            config_hash=config_hash(table),
        )
        runs = [f"{p} {f}x{s} denoise" for p in table.paradigms for f, s in table.shapes]
        seconds = read_latency(store.finished(latency), runs, table.rounds)
        timed = store.outputs(latency, Timing)
        points: dict[str, dict[str, Any]] = {}
        for frames, size in table.shapes:
            points[f"{frames}x{size}"] = {"frames": frames, "size": size}
            for paradigm in table.paradigms:
                collector.values += _values(table, paradigm, frames, size, seconds)
        return collector.results(
            points=points,
            rows=[
                RowInfo(name=paradigm, label=label, description="untrained, of equal width")
                for paradigm, label in LABELS.items()
                if paradigm in table.paradigms
            ],
            published=[*load_published()["sampling_seconds_per_video"].values()],
            measured=timed.model_dump() | {"num_steps": str(table.num_steps)},
        )

    def render(self, results: Results, drawn: Mapping[str, Any]) -> dict[str, bytes]:
        from lamd.report.cost import render_cost_figure, render_cost_table

        render = render_cost_figure if results.kind == "cost_figure" else render_cost_table
        return render(results)


def _measured_table(config: SamplingCost | CostFigure) -> SamplingCost:
    return config.source if isinstance(config, CostFigure) else config


def _values(
    table: SamplingCost, paradigm: Paradigm, frames: int, size: int, seconds: dict[str, list[float]]
) -> Iterator[Value]:
    """Yield FLOPs, activations, parameters and seconds of one clip, by part of a run."""
    from lamd.paradigms.untrained import sampling_costs

    where = {"source": "untrained", "row": paradigm, "point": f"{frames}x{size}"}
    costs = sampling_costs(paradigm, table.widths, batch=table.batch_size, frames=frames, size=size)
    repeats = {"encode": 1, "step": table.num_steps, "decode": 1}
    counts = {
        metric: {part: getattr(costs[part], metric) for part in PARTS}
        for metric in ("flops", "activations", "parameters")
    }
    counts["flops"]["run"] = sum(n * counts["flops"][part] for part, n in repeats.items())
    counts["parameters"]["run"] = sum(counts["parameters"].values())
    for metric, parts in counts.items():
        for part, value in parts.items():
            yield Value(**where, part=part, metric=metric, value=value)
    times = {}
    for part, timed in PARTS.items():
        clips = table.batch_size * (table.timed_steps if part == "step" else 1)
        rounds = seconds.get(f"{paradigm} {frames}x{size} {timed}", [0.0] * table.rounds)
        times[part] = [value / clips for value in rounds]
    times["run"] = [
        sum(n * value for n, value in zip(repeats.values(), parts, strict=True))
        for parts in zip(*times.values(), strict=True)
    ]
    for part, values in times.items():
        yield timed_value(where | {"part": part}, values)


def timed_value(where: Mapping[str, str], seconds: Sequence[float]) -> Value:
    """Return the median of two or more times, with its quartiles."""
    low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return Value(**where, metric="seconds", value=median, low=low, high=high)


register("cost", CostTable(), SamplingCost)
register("cost_figure", CostTable(), CostFigure)
