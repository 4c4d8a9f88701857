"""Cost of sampling by paradigm: a cell of measured times, counted FLOPs, a table or a figure."""

import statistics
from collections.abc import Sequence
from typing import ClassVar

from lamd.base.files import load_json
from lamd.base.origin import timing_place
from lamd.config import CostFigure, SamplingCost, config_hash
from lamd.config.costs import Paradigm
from lamd.pipeline.cell import Cell, step_of
from lamd.pipeline.contents import LATENCY
from lamd.report.published import load_published
from lamd.report.results import Results, RowInfo, Source, Value
from lamd.targets.kind import Collected, Failed, Graph, Run, register

PUBLISHED = "sampling_seconds_per_video"
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
    """The cost of a sampling run by paradigm, frames and pixels; nothing is trained."""

    name: ClassVar[str] = "cost"

    def plan(self, config: SamplingCost | CostFigure, device: str) -> Graph:
        """Plan the measurement.

        Its key holds the device and PyTorch's version, so that another machine measures again and a
        second run on this one does not.
        """
        table = _measurement(config)
        cell = Cell(
            kind="latency",
            config=table.model_dump(mode="json", exclude=_NOT_MEASURED) | timing_place(device),
            step=step_of("timing:time_paradigms", config=table, device=device),
        )
        return Graph(targets={"": table}, wanted={"": [cell]})

    def collect(
        self, config: SamplingCost | CostFigure, graph: Graph, run: Run, failed: Failed
    ) -> Collected:
        table, (latency,) = _measurement(config), graph.wanted[""]
        seconds = load_json(run.store.folder(latency) / LATENCY)
        source = Source(
            dataset="random frames",
            data="stand-in",
            scale="reduced",
            content_hash=None,
            seeds={},
            config_hash=config_hash(table),
        )
        results = Results(
            **run.header(config),
            sources={"untrained": source},
            points={
                f"{frames}x{size}": {"frames": frames, "size": size}
                for frames, size in table.shapes
            },
            rows=tuple(
                RowInfo(name=paradigm, label=label, description="untrained, of equal width")
                for paradigm, label in LABELS.items()
                if paradigm in table.paradigms
            ),
            values=tuple(
                value
                for frames, size in table.shapes
                for paradigm in table.paradigms
                for value in _values(table, paradigm, frames, size, seconds)
            ),
            published=tuple(load_published()[PUBLISHED].values()),
            measured=run.store.outputs(latency) | {"num_steps": str(table.num_steps)},
            cells=(run.store.info(latency),),
        )
        return Collected(results)

    def render(self, collected: Collected) -> dict[str, bytes]:
        from lamd.report.cost import render_cost_table

        return render_cost_table(collected.results)


class CostOverFrames(CostTable):
    """Cost over frames, from the very measurement that the table shows."""

    name: ClassVar[str] = "cost_figure"

    def render(self, collected: Collected) -> dict[str, bytes]:
        from lamd.report.cost import render_cost_figure

        return render_cost_figure(collected.results)


def _measurement(config: SamplingCost | CostFigure) -> SamplingCost:
    return config.source if isinstance(config, CostFigure) else config


def _values(
    table: SamplingCost, paradigm: Paradigm, frames: int, size: int, seconds: dict[str, list[float]]
) -> list[Value]:
    """Return FLOPs, activations, parameters and seconds of one clip, by part of a run."""
    from lamd.paradigms.untrained import sampling_costs

    costs = sampling_costs(paradigm, table.widths, batch=table.batch_size, frames=frames, size=size)
    repeats = {"encode": 1, "step": table.num_steps, "decode": 1}
    counts = {
        metric: {part: getattr(costs[part], metric) for part in PARTS}
        for metric in ("flops", "activations", "parameters")
    }
    counts["flops"]["run"] = sum(n * counts["flops"][part] for part, n in repeats.items())
    counts["parameters"]["run"] = sum(counts["parameters"].values())
    times = {}
    for part, timed in PARTS.items():
        clips = table.batch_size * (table.timed_steps if part == "step" else 1)
        rounds = seconds.get(f"{paradigm} {frames}x{size} {timed}", [0.0] * table.rounds)
        times[part] = [value / clips for value in rounds]
    times["run"] = [
        sum(n * value for n, value in zip(repeats.values(), parts, strict=True))
        for parts in zip(*times.values(), strict=True)
    ]
    where = {"source": "untrained", "row": paradigm, "point": f"{frames}x{size}"}
    return [
        *(
            Value(**where, part=part, metric=metric, value=value)
            for metric, parts in counts.items()
            for part, value in parts.items()
        ),
        *(timed_value(where, "seconds", part, values) for part, values in times.items()),
    ]


def timed_value(where: dict[str, str], metric: str, part: str, seconds: Sequence[float]) -> Value:
    """Return the median of two or more values, with its quartiles."""
    low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return Value(**where, part=part, metric=metric, value=median, low=low, high=high)


register(CostTable(), SamplingCost)
register(CostOverFrames(), CostFigure)
