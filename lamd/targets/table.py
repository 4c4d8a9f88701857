"""Tables: the rows of one data set, or the MCD-VAEs of several."""

from collections.abc import Iterator, Mapping
from typing import Any

from lamd.config import ReconstructionTable, Target
from lamd.data.dataset import DATASETS
from lamd.metrics.measure import measure
from lamd.metrics.protocols import PROTOCOLS, metric_for
from lamd.metrics.values import Inputs
from lamd.pipeline.contents import PROMPTS, read_clips, read_texts
from lamd.pipeline.graph import TablePlan, check_metrics, check_protocols
from lamd.pipeline.rows import ROWS, reconstructed
from lamd.pipeline.store import Store
from lamd.report.published import load_published
from lamd.report.results import PublishedRow, Results, RowInfo
from lamd.targets.kind import Collector, Graph, choose, columns, plan_tables, register, row_info

REFERENCE = "lamd"  # the row that the others are compared with


class Table:
    """The rows of one data set against the published methods."""

    def plan(self, config: Target, device: str) -> Graph:
        published_rows(config)
        plan = TablePlan(config, device)
        grid = [cell for cell, _ in plan.grid().values()]
        return Graph(wanted={"": [*plan.values.values()]}, extra={"": grid}, plans={"": plan})

    def collect(self, config: Target, graph: Graph, collector: Collector) -> Results:
        plan, source, published = graph.plans[""], config.data.name, published_rows(config)
        for row, cell in plan.values.items():
            collector.add_row(source, row, cell, plan.row_protocols(row), published.get(row))
            if row == "permuted_prompts" and cell.plan_hash not in collector.failed:
                collector.notes += prompt_notes(config, plan, collector.store)
        for row in plan.values:
            if row != REFERENCE and ROWS[row].paired:
                collector.compare(plan, [(source, row, "")], [(source, REFERENCE, "")], REFERENCE)
        collector.drawn = _grid(config, plan, collector.store)
        protocols = config.evaluate.protocols
        return collector.results(
            protocols,
            rows=[row_info(config, row) for row in plan.values],
            columns=columns(protocols),
            published=[*published.values()],
        )

    def render(self, results: Results, drawn: Mapping[str, Any]) -> dict[str, bytes]:
        from lamd.report.tables import render_table

        return render_table(results, drawn)


class Reconstruction:
    """Reconstruction by the MCD-VAEs of several tables, one row per table."""

    def plan(self, config: ReconstructionTable, device: str) -> Graph:
        for source, target in config.sources.items():
            names = config.protocols[source]
            check_protocols(names, f"protocols.{source}")
            check_metrics(target, names, f"protocols.{source}")
        plans, wanted = plan_tables(config.sources, device), {}
        for source, plan in plans.items():
            clips = reconstructed(plan, "decoded", given_kept=False)
            wanted[source] = [plan.values_cell("decoded", clips, config.protocols[source])]
        return Graph(wanted=wanted, plans=plans)

    def collect(self, config: ReconstructionTable, graph: Graph, collector: Collector) -> Results:
        published = []
        for source, (cell,) in graph.wanted.items():
            row = _published_reconstruction(config.sources[source])
            collector.add_row(source, source, cell, config.protocols[source], row)
            published += [row] if row else []
        names = [name for source in config.sources for name in config.protocols[source]]
        return collector.results(
            names,
            rows=[_reconstruction_info(config, source) for source in config.sources],
            columns=columns(names),
            published=published,
        )

    render = Table.render


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
    """Yield the score of the permuted captions themselves, the chance level, without any clips."""
    from lamd.pipeline.steps.clips import other_prompts

    names = [name for name in target.evaluate.protocols if metric_for(name).needs == "captions"]
    if names:
        prompts = read_texts(store.finished(plan.test), PROMPTS)
        inputs = Inputs(captions=(prompts, other_prompts(prompts)))
        scores = ", ".join(
            f"{metric_for(name).label} {measure(name, inputs).value:.3f}" for name in names
        )
        label = ROWS["permuted_prompts"].label(target)
        yield f"{label}: the permuted captions themselves score {scores}"


def published_rows(target: Target) -> dict[str, PublishedRow]:
    """Return the published rows of a table: the paper's own under the rows that they judge.

    LamdError when the target names a cell or group that published.yaml does not have.
    """
    groups, rows = load_published(), dict[str, PublishedRow]()
    if target.published is not None:
        choose(groups["paper"], target.published, "published: no cell")
        for row in ROWS.values():
            cells = groups.get(row.published, {})
            if target.published in cells:
                rows[row.name] = cells[target.published]
    if target.compare_with is not None:
        others = choose(groups, target.compare_with, "compare_with: no group")
        rows |= {f"published {key}": row for key, row in others.items()}
    return rows


def _published_reconstruction(target: Target) -> PublishedRow | None:
    row = load_published()["reconstruction"].get(target.published or "")
    label = DATASETS[target.data.name].label
    return row and row.model_copy(update={"method": f"{row.method}, {label}"})


def _grid(config: Target, plan: TablePlan, store: Store) -> dict[str, Any]:
    """Return the first test clips of each set of the grid by heading; {} if any is missing."""
    sets, count = plan.grid(), config.evaluate.grid_clips
    if not all(store.is_complete(cell) for cell, _ in sets.values()):
        return {}
    return {
        heading: read_clips(store.finished(cell))[::samples][:count]
        for heading, (cell, samples) in sets.items()
    }


register("table", Table(), Target)
register("reconstruction_table", Reconstruction(), ReconstructionTable)
