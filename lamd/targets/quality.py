"""`reproduce` of a quality figure: tables' models under other samplers, FVD beside their cost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lamd.base.machine import timing_place
from lamd.config import Point, QualityFigure, Target, config_hash, is_baseline
from lamd.cost import row_parts
from lamd.execute.schedule import identity
from lamd.pipeline.cells import Cell, CellFailed, Store, run_sources
from lamd.pipeline.graph import Plan, make_plan, values_cell
from lamd.pipeline.kinds import build_by_name, make_cell
from lamd.pipeline.steps.latency import read_latency, spread
from lamd.pipeline.steps.values import read_values
from lamd.report.folder import choose_folder, write_files
from lamd.report.quality_plots import point_name, render_quality_figure
from lamd.report.results import FigureReport, Hole, Picture, Verdict
from lamd.report.tables import data_words
from lamd.targets.reporting import data_kind, seeds_of
from lamd.targets.request import Request


@dataclass(frozen=True)
class QualityPlan:
    """By source: the plan of its table, a `values` cell a point, and the cell of all times."""

    plans: dict[str, Plan]
    points: dict[str, dict[Point, Cell]]
    latency: dict[str, Cell]

    def cells(self) -> dict[str, list[Cell]]:
        """Return the cells of each source, parents first, each once."""
        return {
            source: list(
                {
                    identity(one): one
                    for last in (*points.values(), self.latency[source])
                    for one in (*last.ancestors(), last)
                }.values()
            )
            for source, points in self.points.items()
        }


def plan_quality(figure: QualityFigure, device: str) -> QualityPlan:
    """Plan a figure over the cells of its sources' tables: a point is the table with a sampler."""
    plans = {source: make_plan(target, device) for source, target in figure.sources.items()}
    return QualityPlan(
        plans,
        {
            source: {point: _values(figure, source, point, device) for point in figure.points}
            for source in figure.sources
        },
        {source: _latency(figure, source, plan, device) for source, plan in plans.items()},
    )


def _values(figure: QualityFigure, source: str, point: Point, device: str) -> Cell:
    target = figure.at(source, point)
    return values_cell(
        point.row,
        [_protocol(target)],
        make_plan(target, device).clips,
        device,
        num_frames=target.data.num_frames,
        samples=target.evaluate.samples_per_clip,
    )


def _latency(figure: QualityFigure, source: str, plan: Plan, device: str) -> Cell:
    timed = ("series", "rounds", "batch_size", "threads")
    config = figure.model_dump(mode="json", include=set(timed)) | timing_place(device)
    build = partial(
        build_by_name, "timing", "time_samplers", figure=figure, source=source, device=device
    )
    models = {name: plan.stages[name] for name in ("vae", "dmg")}
    for point in figure.points:
        if is_baseline(point.row):
            clips = make_plan(figure.at(source, point), device).clips
            models |= {cell.name: cell for cell in clips[point.row].parents if cell.kind != "clips"}
    return make_cell("latency by sampler", config, tuple(models.values()), build)


def _protocol(target: Target) -> str:
    return next(name for name in target.evaluate.protocols if name.startswith("fvd."))


def reproduce_quality(
    figure: QualityFigure, request: Request
) -> tuple[FigureReport, Path, list[Path], list[CellFailed]] | None:
    """Make what is missing of a figure and write it; a failed point is a hole.

    Returns:
        The report, its folder and files, and what failed; None in the other processes of a
        multi-process launch.

    Raises:
        CellFailed: when nothing could be measured.
    """
    plan = plan_quality(figure, request.device)
    # The models first: where they fail, no point is tried.
    models = {source: one.stages["dmg"] for source, one in plan.plans.items()}
    failed = run_sources(models, request.runner)
    if failed is None:
        return None
    wanted = {
        (source, what): cell
        for source in models.keys() - failed.keys()
        for what, cell in (*plan.points[source].items(), ("seconds", plan.latency[source]))
    }
    holes = {(source, "all"): failure for source, failure in failed.items()}
    holes |= run_sources(wanted, request.runner)
    report = _report(figure, request, plan, holes)
    folder = choose_folder(request.results, report)
    files = write_files(folder, report, render_quality_figure(report))
    return report, folder, files, list(holes.values())


def _report(
    figure: QualityFigure,
    request: Request,
    plan: QualityPlan,
    failed: dict[tuple[str, Point | str], CellFailed],
) -> FigureReport:
    shown = {
        source: [point for point in points if (source, point) not in failed]
        for source, points in plan.points.items()
        if not {(source, "all"), (source, "seconds")} & failed.keys()
    }
    return FigureReport(
        **request.written(figure),
        pictures=tuple(
            _picture(figure, source, points, plan, request)
            for source, points in shown.items()
            if points
        ),
        holes=tuple(
            Hole(
                row=f"{source}, {what}",
                reason=str(failure),
                verdict=Verdict(kind="not run", reason=str(failure)),
            )
            for (source, what), failure in failed.items()
        ),
    )


def _picture(
    figure: QualityFigure,
    source: str,
    points: Sequence[Point],
    plan: QualityPlan,
    request: Request,
) -> Picture:
    target, store = figure.sources[source], request.store
    facts = store.facts(plan.plans[source].stages["data"])
    numbers = _numbers(figure, source, points, plan, store)
    conditions = _conditions(figure, source, plan, request, int(numbers["n"][0]))
    behind = {
        store.info(one).key: store.info(one)
        for last in (*(plan.points[source][point] for point in points), plan.latency[source])
        for one in (*last.ancestors(), last)
    }
    return Picture(
        source=source,
        dataset=target.data.name,
        data=data_kind(facts),
        scale=target.scale,
        content_hash=facts["content"]["test"],
        seeds=seeds_of(target),
        config_hash=config_hash(target),
        caption=" ".join((*claims(figure, points, numbers), conditions)),
        labels=tuple(map(str, points)),
        numbers=numbers,
        cells=tuple(behind.values()),
    )


def _numbers(
    figure: QualityFigure, source: str, points: Sequence[Point], plan: QualityPlan, store: Store
) -> dict[str, list[float]]:
    """Return the figure's numbers by name, one a point; seconds and TFLOPs are a clip's."""
    seconds = read_latency(store.folder(plan.latency[source]))
    costs = {row: row_parts(figure.sources[source], row) for row in figure.series}
    rows: list[dict[str, float]] = []
    for point in points:
        (value,) = read_values(store.folder(plan.points[source][point]))
        low, high = value["interval"] or (value["value"], value["value"])
        cost = costs[point.row]
        flops = cost["encode"].flops + point.num_steps * cost["step"].flops
        names = (f"{point.row} encode", str(point), f"{point.row} decode")
        none = [0.0] * figure.rounds  # pixel space neither encodes nor decodes
        parts = zip(*(seconds.get(name, none) for name in names), strict=True)
        run = spread([sum(one) / figure.batch_size for one in parts])
        rows.append(
            {
                "fvd": value["value"],
                "fvd_low": low,
                "fvd_high": high,
                "n": value["n_fake"],
                "tflops": (flops + cost["decode"].flops) / 1e12,
                "seconds": run.median,
                "seconds_low": run.low,
                "seconds_high": run.high,
                "denoise_seconds": spread(seconds[str(point)]).median / figure.batch_size,
            }
        )
    return {name: [row[name] for row in rows] for name in rows[0]}


def claims(
    figure: QualityFigure, points: Sequence[Point], numbers: dict[str, list[float]]
) -> Iterator[str]:
    """Yield for each row whether `fast` lies within the interval of `reference`, and its time."""
    for row in figure.series:
        fast, reference = (
            Point(row, one.sampler, one.num_steps) for one in (figure.fast, figure.reference)
        )
        if not {fast, reference} <= set(figure.points):
            continue
        names = point_name(fast), point_name(reference)
        if not {fast, reference} <= set(points):
            yield f"{names[0]} against {names[1]}: not run."
            continue
        i, j = points.index(fast), points.index(reference)
        low, high = numbers["fvd_low"][j], numbers["fvd_high"][j]
        fvd = numbers["fvd"][i]
        place = "within" if low <= fvd <= high else "below" if fvd < low else "above"
        share = numbers["denoise_seconds"][i] / numbers["denoise_seconds"][j]
        yield (
            f"{names[0]}: FVD {fvd:.1f}, {place} the interval [{low:.1f}, {high:.1f}] of "
            f"{names[1]} ({numbers['fvd'][j]:.1f}), at {share:.1%} of its denoising time."
        )


def _conditions(
    figure: QualityFigure, source: str, plan: QualityPlan, request: Request, n: int
) -> str:
    target, stages, store = figure.sources[source], plan.plans[source].stages, request.store
    facts, timed = store.facts(stages["data"]), store.facts(plan.latency[source])
    words = data_words(data_kind(facts), target.data.name)
    local = "; indicative: this machine" if timed["device"].startswith("cpu") else ""
    return (
        f"{words[0].upper()}{words[1:]} ({facts['content']['test'][:12]}), "
        f"profile {request.profile}, "
        f"{target.data.num_frames} frames of {target.data.size}x{target.data.size}, n = {n} clips, "
        f"`{_protocol(target)}`; MCD-VAE {store.key(stages['vae'])}, DMG "
        f"{store.key(stages['dmg'])}. TFLOPs in closed form; seconds: median over {figure.rounds} "
        f"rounds that time each run once, {figure.batch_size} clips at a time, on "
        f"{timed['device']}, {timed['threads']} CPU thread{'s' * (timed['threads'] != '1')}, "
        f"PyTorch {timed['torch']}, {timed['dtype']}, {timed['date']}{local}."
    )
