"""Figures of clips: one cell of panels per source, then strips, an animation and a caption."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from lamd.base.origin import CellInfo
from lamd.config import Figure, Target
from lamd.pipeline.cell import Cell, step_of
from lamd.pipeline.contents import Panels, read_panels
from lamd.pipeline.graph import TablePlan
from lamd.report.results import Picture, Value
from lamd.report.tables import capitalized
from lamd.targets.collect import Collector, seeds_of, tested_words
from lamd.targets.kind import Collected, Failed, Graph, Run, register

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

    name: ClassVar[str] = "figure"

    def plan(self, config: Figure, device: str) -> Graph:
        fingerprints: dict[str, Any] = {}
        plans = {
            name: TablePlan(target, device, fingerprints) for name, target in config.sources.items()
        }
        wanted = {name: [_panels(config, name, plan, device)] for name, plan in plans.items()}
        return Graph(targets=config.sources, wanted=wanted, plans=plans)

    def collect(self, config: Figure, graph: Graph, run: Run, failed: Failed) -> Collected:
        collector = Collector(run, failed)
        pictures: list[Picture] = []
        drawn: dict[str, Panels] = {}
        points: dict[str, dict[str, Any]] = {}
        for source, (cell,) in graph.wanted.items():
            collector.add_source(source, graph.plans[source])
            if collector.is_lost(source, config.figure.name, cell):
                continue
            panels = drawn[source] = read_panels(run.store.folder(cell))
            infos = run.store.infos(cell)
            for point, value in _values(source, config.figure.name, panels, infos):
                points[value.point] = point
                collector.values.append(value)
            words = _provenance(config.sources[source], collector.data[source], infos, run)
            caption = f"{_explain(config, panels)} {words}"
            pictures.append(Picture(source=source, caption=caption, labels=panels.labels))
        results = collector.results(config, graph, points=points, pictures=tuple(pictures))
        return Collected(results, drawn)

    def render(self, collected: Collected) -> dict[str, bytes]:
        from lamd.report.strips import render_clip_figure

        return render_clip_figure(collected.results, collected.pictures)


def _panels(config: Figure, source: str, plan: TablePlan, device: str) -> Cell:
    figure, target = config.figure, config.sources[source]
    cell_config = {"figure": figure.model_dump(mode="json", exclude={"frames"})}  # only drawn
    parents = {"test": plan.test, "autoencoder": plan.stages["vae"]}
    if figure.name not in _WITHOUT_DMG:
        parents["denoiser"] = plan.stages["dmg"]
        cell_config["sampler"] = target.sampler.model_dump(mode="json")
    if figure.name == "rollout":
        parents["features"] = plan.features(plan.test, 0)
    return Cell(
        kind="figure",
        row=figure.name,
        config=cell_config,
        parents=parents,
        step=step_of("figures:build_panels", figure=config, source=source, device=device),
    )


def _values(
    source: str, figure: str, panels: Panels, infos: Sequence[CellInfo]
) -> Iterator[tuple[dict[str, Any], Value]]:
    """Yield the numbers of the panels as values, a point per entry of a list."""
    keys = tuple(info.key for info in infos)
    for metric, numbers in panels.numbers.items():
        if metric.endswith(("_low", "_high")):
            continue
        none = [None] * len(numbers)
        bounds = (panels.numbers.get(f"{metric}_{end}", none) for end in ("low", "high"))
        for i, (value, low, high) in enumerate(zip(numbers, *bounds, strict=True)):
            yield {"metric": metric, "index": i}, Value(
                source=source, row=figure, point=f"{metric} {i}", metric=metric, value=value,
                low=low, high=high, cells=keys,
            )  # fmt: skip


def _provenance(target: Target, data: dict[str, Any], infos: Sequence[CellInfo], run: Run) -> str:
    keys = {info.kind: info.key for info in infos}
    models = f"MCD-VAE {keys['vae']} ({target.train_vae.num_steps} steps)"
    if "dmg" in keys:
        models += f", DMG {keys['dmg']} ({target.train_dmg.num_steps} steps)"
    seeds = ", ".join(f"{name} {seed}" for name, seed in seeds_of(target).items())
    return (
        f"{tested_words(target, data)}, first test clips, not "
        f"chosen; profile {run.profile}, {target.data.size}x{target.data.size}; {models}; "
        f"seeds: {seeds}."
    )


def _explain(config: Figure, panels: Panels) -> str:
    words = _EXPLAINED[config.figure.name]
    for name, (what, form) in _NUMBERS.items():
        if name in panels.numbers:
            listed = ", ".join(form.format(value) for value in panels.numbers[name])
            words += f" {capitalized(what)}: {listed}."
    return words


register(ClipFigure(), Figure)
