"""Tables: the rows of one data set, or the MCD-VAEs of several."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from lamd.base.errors import LamdError
from lamd.base.files import load_json
from lamd.config import ReconstructionTable, Target, closest
from lamd.data.dataset import DATASETS
from lamd.metrics.protocols import PROTOCOLS
from lamd.metrics.registry import METRICS
from lamd.pipeline.cell import Cell
from lamd.pipeline.contents import PROMPTS, read_clips
from lamd.pipeline.graph import TablePlan, check_protocols
from lamd.pipeline.rows import ROWS, reconstructed
from lamd.pipeline.store import Store
from lamd.report.published import load_published
from lamd.report.results import PublishedRow, RowInfo
from lamd.targets.collect import Collector, columns, described, row_info
from lamd.targets.kind import Collected, Failed, Graph, Run, register


class Table:
    """The rows of one data set against the published methods."""

    name: ClassVar[str] = "table"

    def plan(self, config: Target, device: str) -> Graph:
        published_rows(config)
        plan = TablePlan(config, device)
        return Graph(
            targets={"": config},
            wanted={"": list(plan.values.values())},
            extra={"": [cell for cell, _ in plan.grid().values()]},
            plans={"": plan},
        )

    def collect(self, config: Target, graph: Graph, run: Run, failed: Failed) -> Collected:
        plan, source, published = graph.plans[""], config.data.name, published_rows(config)
        collector = Collector(run, failed)
        collector.add_source(source, plan)
        for row, cell in plan.values.items():
            collector.add_row(source, row, cell, plan.row_protocols(row), published.get(row))
            if row == "permuted_prompts" and cell.plan_hash not in failed:
                collector.notes |= dict.fromkeys(prompt_notes(config, plan, run.store))
        results = collector.results(
            config,
            graph,
            rows=tuple(row_info(config, row) for row in plan.values),
            columns=columns(config.evaluate.protocols),
            protocols=described(config.evaluate.protocols),
            published=tuple(published.values()),
        )
        return Collected(results, _grid(config, plan, run.store), collector.per_clip)

    def render(self, collected: Collected) -> dict[str, bytes]:
        from lamd.report.tables import render_table

        return render_table(collected.results, collected.pictures) | collected.per_clip_file()


class Reconstruction:
    """Reconstruction by the MCD-VAEs of several tables, one row per table."""

    name: ClassVar[str] = "reconstruction_table"

    def plan(self, config: ReconstructionTable, device: str) -> Graph:
        for source, names in config.protocols.items():
            check_protocols(names, f"protocols.{source}")
        fingerprints: dict[str, Any] = {}
        plans = {
            source: TablePlan(target, device, fingerprints)
            for source, target in config.sources.items()
        }
        wanted = {
            source: [_decoded_values(plan, config.protocols[source])]
            for source, plan in plans.items()
        }
        return Graph(targets=config.sources, wanted=wanted, plans=plans)

    def collect(
        self, config: ReconstructionTable, graph: Graph, run: Run, failed: Failed
    ) -> Collected:
        names = [name for names in config.protocols.values() for name in names]
        published = {
            source: row
            for source, target in config.sources.items()
            if (row := _published_reconstruction(target)) is not None
        }
        collector = Collector(run, failed)
        for source, (cell,) in graph.wanted.items():
            collector.add_source(source, graph.plans[source])
            collector.add_row(source, source, cell, config.protocols[source], published.get(source))
        results = collector.results(
            config,
            graph,
            rows=tuple(_reconstruction_info(config, source) for source in config.sources),
            columns=columns(names),
            protocols=described(names),
            published=tuple(published.values()),
        )
        return Collected(results, None, collector.per_clip)

    render = Table.render


def _decoded_values(plan: TablePlan, protocols: Sequence[str]) -> Cell:
    clips = reconstructed(plan, "decoded", given_kept=False)
    return plan.values_cell("decoded", clips, protocols)


def _reconstruction_info(config: ReconstructionTable, source: str) -> RowInfo:
    target = config.sources[source]
    vae, data = target.vae, target.data
    fvd = next((n for n in config.protocols[source] if PROTOCOLS[n].metric == "fvd"), None)
    return RowInfo(
        name=source,
        label=f"{DATASETS[data.name].label}, MCD-VAE (d = {vae.motion_channels})",
        description=f"{data.num_frames} frames of {data.size}x{data.size}, every one decoded "
        f"from the posterior mean; kl_weight {target.loss.kl_weight:g} "
        f"({target.loss.kl_reduction})" + (f"; FVD is `{fvd}`" if fvd else ""),
    )


def prompt_notes(target: Target, plan: TablePlan, store: Store) -> Iterator[str]:
    """Yield the score of the permuted captions themselves, a floor without any clips."""
    from lamd.metrics.precision import precisions
    from lamd.pipeline.steps.clips import other_prompts

    names = [c.metric for c in columns(target.evaluate.protocols)]
    scored = [name for name in names if METRICS[name].needs == "captions"]
    if scored:
        prompts = load_json(store.folder(plan.test) / PROMPTS)
        values = precisions(prompts, other_prompts(prompts))
        scores = ", ".join(f"{METRICS[name].label} {values[name].mean():.3f}" for name in scored)
        label = ROWS["permuted_prompts"].label(target)
        yield f"{label}: the permuted captions themselves score {scores}"


def published_rows(target: Target) -> dict[str, PublishedRow]:
    """Return the published rows of a table: the paper's own under the rows that they judge.

    Raises:
        LamdError: when the target names a cell or group that published.yaml does not have.
    """
    groups = load_published()
    rows: dict[str, PublishedRow] = {}
    if target.published is not None:
        if target.published not in groups["paper"]:
            known = ", ".join(groups["paper"])
            raise LamdError(
                f"published: no cell {target.published!r}"
                f"{closest(target.published, groups['paper'])}; it has: {known}"
            )
        for row in ROWS.values():
            cells = groups.get(row.published, {})
            if target.published in cells:
                rows[row.name] = cells[target.published]
    if target.compare_with is not None:
        if target.compare_with not in groups:
            raise LamdError(
                f"compare_with: no group {target.compare_with!r}; it has: {', '.join(groups)}"
            )
        rows |= {f"published {key}": row for key, row in groups[target.compare_with].items()}
    return rows


def _published_reconstruction(target: Target) -> PublishedRow | None:
    groups = load_published()["reconstruction"]
    if target.published is None or target.published not in groups:
        return None
    row = groups[target.published]
    label = DATASETS[target.data.name].label
    return row.model_copy(update={"method": f"{row.method}, {label}"})


def _grid(config: Target, plan: TablePlan, store: Store) -> dict[str, Any] | None:
    """Return the first test clips of each set of the grid by heading; None if any is missing."""
    sets = plan.grid()
    if not all(store.is_complete(cell) for cell, _ in sets.values()):
        return None
    count = config.evaluate.grid_clips
    return {
        heading: read_clips(store.folder(cell))[::samples][:count]
        for heading, (cell, samples) in sets.items()
    }


register(Table(), Target)
register(Reconstruction(), ReconstructionTable)
