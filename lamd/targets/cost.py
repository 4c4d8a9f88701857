"""`reproduce` of the targets about cost: a cell of measured times, closed forms, what is drawn."""

from functools import partial
from pathlib import Path

from lamd.base.machine import timing_place
from lamd.config import CostFigure, SamplingCost
from lamd.cost.paradigms import Widths, sampling_costs
from lamd.pipeline.cells import Cell, CellFailed
from lamd.pipeline.kinds import build_by_name, make_cell
from lamd.pipeline.steps.latency import read_latency
from lamd.report.cost_tables import render_cost_csv, render_cost_latex, render_cost_markdown
from lamd.report.folder import choose_folder, write_files
from lamd.report.published import load_published
from lamd.report.results import CostReport, CostRow
from lamd.targets.request import Request

PUBLISHED = "sampling_seconds_per_video"
TABLES = {
    "table.md": render_cost_markdown,
    "table.csv": render_cost_csv,
    "table.tex": render_cost_latex,
}
_NOT_MEASURED = {"target", "title", "kind", "num_steps", "num_train_steps"}


def plan_cost(target: SamplingCost | CostFigure, device: str) -> Cell:
    """Plan the measurement: a table and a figure of one config share it.

    Its key holds the device and PyTorch's version, so that another machine measures anew and a
    second run on this one does not.
    """
    table = target.source if isinstance(target, CostFigure) else target
    config = table.model_dump(mode="json", exclude=_NOT_MEASURED)
    build = partial(build_by_name, "timing", "time_paradigms", config=table, device=device)
    return make_cell("latency", config | timing_place(device), (), build)


def reproduce_cost(
    target: SamplingCost | CostFigure, request: Request
) -> tuple[CostReport, Path, list[Path], list[CellFailed]] | None:
    """Measure where it has not been done, and write the table or the figure.

    Returns:
        The report, its folder and files, and no failures; None in the other processes of a
        multi-process launch.

    Raises:
        CellFailed: when the measurement fails.
    """
    cell, runner = plan_cost(target, request.device), request.runner()
    runner.run(cell)
    if runner.rank:
        return None
    report = _report(target, request, cell)
    if isinstance(target, CostFigure):
        from lamd.report.cost_plots import render_cost_figure

        contents = render_cost_figure(report)
    else:
        contents = {name: render(report).encode() for name, render in TABLES.items()}
    folder = choose_folder(request.results, report)
    return report, folder, write_files(folder, report, contents), []


def _report(
    target: SamplingCost | CostFigure,
    request: Request,
    cell: Cell,
) -> CostReport:
    table = target.source if isinstance(target, CostFigure) else target
    seconds = read_latency(request.store.folder(cell))
    return CostReport(
        **request.written(target),
        num_steps=table.num_steps,
        measured=request.store.facts(cell),
        rows=tuple(
            _row(table, paradigm, frames, size, seconds)
            for frames, size in table.shapes
            for paradigm in table.paradigms
        ),
        published=tuple(load_published()[PUBLISHED].values()),
        cells=(request.store.info(cell),),
    )


def _row(
    table: SamplingCost, paradigm: str, frames: int, size: int, seconds: dict[str, list[float]]
) -> CostRow:
    widths, clips = Widths(**table.widths.model_dump()), table.batch_size
    costs = sampling_costs(paradigm, widths, batch=clips, frames=frames, size=size)
    none = [0.0] * table.rounds  # pixel space neither encodes nor decodes
    measured = {
        part: seconds.get(f"{paradigm} {frames}x{size} {name}", none)
        for part, name in (("encode", "encode"), ("step", "denoise"), ("decode", "decode"))
    }
    repeats = {"encode": 1, "step": table.timed_steps, "decode": 1}
    return CostRow(
        paradigm=paradigm,
        frames=frames,
        size=size,
        flops={part: cost.flops / clips for part, cost in costs.items()},
        activations={part: cost.activations / clips for part, cost in costs.items()},
        parameters={part: cost.parameters for part, cost in costs.items()},
        seconds={
            part: tuple(value / clips / repeats[part] for value in values)
            for part, values in measured.items()
        },
    )
