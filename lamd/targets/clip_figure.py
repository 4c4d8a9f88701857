"""Figures of clips: one cell of panels per source, then strips, an animation and a caption."""

from collections.abc import Iterator, Mapping
from typing import Any

from lamd.config import Figure
from lamd.metrics.registry import METRICS
from lamd.pipeline.cell import Cell, step_of, with_ancestors
from lamd.pipeline.contents import Panels, read_panels, read_videos
from lamd.pipeline.graph import TablePlan
from lamd.report.results import Picture, Results, Value
from lamd.report.wording import capitalized
from lamd.targets.kind import Collector, Graph, plan_tables, register

# Figures that need no DMG: they decode what E_M found in real clips.
_WITHOUT_DMG = ("reconstruction", "motion_transfer", "scaling")
_EXPLAINED = {
    "reconstruction": "Real clips and D_V(E_M's mean, content of frame 0).",
    "motion_transfer": "Each block: frame 0 of a test clip A, the next test clip B, and the motion "
    "latent of B decoded with the content of A.",
    "samples": "A real clip and samples of its frame 0; last row: standard deviation over the "
    "samples, mean of RGB, black 0 to yellow 64 grey levels and more.",
    "prompts": "One frame 0 and one noise under several prompts; then the first prompt again with "
    "other noise.",
    "timesteps": "The motion latent along one sampling run, decoded with the content of frame 0 at "
    "each step t shown.",
    "interpolation": "Two sampled motion latents a and b of one frame 0 and the arc between.",
    "scaling": "z_0 + s (z_m - z_0) decoded: z_m is the real clip's motion latent, z_0 that of its "
    "frame 0 held still.",
    "rollout": "Each chunk continues from the last frame of the one before.",
}
_NUMBERS = {
    "psnr": ("PSNR over frames 1 on, dB per clip", "{:.1f}"),
    "std": ("mean standard deviation, grey levels per clip", "{:.1f}"),
    "change": ("mean change from frame to frame, grey levels per factor", "{:.2f}"),
    "fvd": ("FVD of each chunk against the real test clips", "{:.0f}"),
    "seam": ("change at the seams over change inside chunks", "{:.2f}"),
}


class ClipFigure:
    """One picture and one animation per source."""

    def plan(self, config: Figure, device: str) -> Graph:
        plans = plan_tables(config.sources, device)
        wanted = {name: [_panels(config, name, plan)] for name, plan in plans.items()}
        return Graph(wanted=wanted, plans=plans)

    def collect(self, config: Figure, graph: Graph, collector: Collector) -> Results:
        name, pictures = config.figure.name, []
        points: dict[str, dict[str, Any]] = {}
        for source, (cell,) in graph.wanted.items():
            if collector.is_lost(source, name, cell):
                continue
            panels = collector.drawn[source] = read_panels(collector.store.finished(cell))
            where: dict[str, Any] = {"source": source, "row": name, "cells": collector.keys(cell)}
            if name == "rollout":
                test = collector.store.finished(graph.plans[source].test)
                where["n_real"] = where["n_fake"] = len(read_videos(test))
            for value, index in _values(panels, where):
                points[value.point] = {"metric": value.metric, "index": index}
                collector.values.append(value)
            caption = f"{_explain(name, panels)} {_provenance(config, source, cell, collector)}"
            pictures.append(Picture(source=source, caption=caption, labels=panels.labels))
        return collector.results(points=points, pictures=pictures)

    def render(self, results: Results, drawn: Mapping[str, Any]) -> dict[str, bytes]:
        from lamd.report.media import render_clip_figure

        return render_clip_figure(results, drawn)


def _panels(config: Figure, source: str, plan: TablePlan) -> Cell:
    figure = config.figure
    cell_config = {"figure": figure.model_dump(mode="json", exclude={"frames"})}  # only drawn
    parents = {"test": plan.test, "autoencoder": plan.stages["vae"]}
    if figure.name not in _WITHOUT_DMG:
        parents["denoiser"] = plan.stages["dmg"]
        cell_config["sampler"] = plan.target.sampler.model_dump(mode="json")
    if figure.name == "rollout":
        parents["features"] = plan.features(plan.test, 0)
    return Cell(
        kind="figure",
        row=figure.name,
        config=cell_config,
        parents=parents,
        weights=METRICS["fvd"].weights if figure.name == "rollout" else (),
        step=step_of("figures:build_panels", figure=config, source=source, device=plan.device),
    )


def _values(panels: Panels, where: Mapping[str, Any]) -> Iterator[tuple[Value, int]]:
    """Yield the numbers of the panels as values, and the index of each in its list."""
    for metric, numbers in panels.numbers.items():
        if metric.endswith(("_low", "_high")):
            continue
        none = [None] * len(numbers)
        bounds = (panels.numbers.get(f"{metric}_{end}", none) for end in ("low", "high"))
        for i, (value, low, high) in enumerate(zip(numbers, *bounds, strict=True)):
            point = f"{metric} {i}"
            yield Value(**where, point=point, metric=metric, value=value, low=low, high=high), i


def _explain(name: str, panels: Panels) -> str:
    words = _EXPLAINED[name]
    for metric, (label, form) in _NUMBERS.items():
        if metric in panels.numbers:
            listed = ", ".join(form.format(value) for value in panels.numbers[metric])
            words += f" {capitalized(label)}: {listed}."
    return words


def _provenance(config: Figure, source: str, cell: Cell, collector: Collector) -> str:
    target = config.sources[source]
    keys = {own.kind: collector.store.key(own) for own in with_ancestors([cell])}
    models = f"MCD-VAE {keys['vae']} ({target.train_vae.num_steps} steps)"
    if "dmg" in keys:
        models += f", DMG {keys['dmg']} ({target.train_dmg.num_steps} steps)"
    seeds = ", ".join(f"{name} {seed}" for name, seed in collector.sources[source].seeds.items())
    return (
        f"{collector.tested_words(source)}, first test clips, not cherry-picked; profile "
        f"{collector.profile}, {target.data.size}x{target.data.size}; {models}; seeds: {seeds}."
    )


register("figure", ClipFigure(), Figure)
