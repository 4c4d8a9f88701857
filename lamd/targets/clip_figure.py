"""`reproduce` of a figure: one cell of panels a source, then pictures, animation and record."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lamd.config import Figure, config_hash
from lamd.pipeline.cells import Cell, CellFailed, Store, run_sources
from lamd.pipeline.graph import Plan, features_cell, make_plan
from lamd.pipeline.kinds import build_by_name, make_cell
from lamd.report.folder import choose_folder, encode_moving, write_files
from lamd.report.results import FigureReport, Hole, Picture, Verdict
from lamd.report.tables import data_words
from lamd.targets.reporting import data_kind, seeds_of
from lamd.targets.request import Request

# Figures that need no DMG: they decode what E_M found in real clips.
_WITHOUT_DMG = ("reconstruction", "motion_transfer", "scaling")


@dataclass(frozen=True)
class FigurePlan:
    """The panels' cell of each source, and the plan that its models come from."""

    cells: dict[str, Cell]
    plans: dict[str, Plan]


def plan_figure(figure: Figure, device: str) -> FigurePlan:
    """Plan a figure over the very cells that its sources' tables use."""
    plans = {name: make_plan(target, device) for name, target in figure.sources.items()}
    cells = {name: _panels_cell(figure, name, plan, device) for name, plan in plans.items()}
    return FigurePlan(cells, plans)


def _panels_cell(figure: Figure, source: str, plan: Plan, device: str) -> Cell:
    shown, target = figure.figure, figure.sources[source]
    config = {"figure": shown.model_dump(mode="json", exclude={"frames"})}  # how many are drawn
    parents = [plan.clips["test"], plan.stages["vae"]]
    if shown.name not in _WITHOUT_DMG:
        parents.append(plan.stages["dmg"])
        config["sampler"] = target.sampler.model_dump(mode="json")
    build = ("panels", "build_panels")
    if shown.name == "rollout":
        build = ("rollout", "build_rollout")
        parents.append(features_cell("test", plan.clips["test"], 0, device))
    build = partial(build_by_name, *build, figure=figure, source=source, device=device)
    return make_cell(f"figure {shown.name}", config, tuple(parents), build)


def reproduce_figure(
    figure: Figure, request: Request
) -> tuple[FigureReport, Path, list[Path], list[CellFailed]] | None:
    """Make what is missing of a figure and write it.

    Returns:
        The report, its folder and files, and what failed; None in the other processes of a
        multi-process launch.

    Raises:
        CellFailed: when no source could be shown.
    """
    plan = plan_figure(figure, request.device)
    failed = run_sources(plan.cells, request.runner)
    if failed is None:
        return None
    report = _report(figure, request, plan, failed)
    folder = choose_folder(request.results, report)
    files = write_files(folder, report, _contents(figure, report, plan, request.store, folder))
    return report, folder, files, list(failed.values())


def _report(
    figure: Figure,
    request: Request,
    plan: FigurePlan,
    failed: dict[str, CellFailed],
) -> FigureReport:
    made = [source for source in plan.cells if source not in failed]
    return FigureReport(
        **request.written(figure),
        pictures=tuple(_picture(figure, source, plan, request) for source in made),
        holes=tuple(
            Hole(row=source, reason=str(f), verdict=Verdict(kind="not run", reason=str(f)))
            for source, f in failed.items()
        ),
    )


def _picture(figure: Figure, source: str, plan: FigurePlan, request: Request) -> Picture:
    from lamd.pipeline.steps.panels import read_panels

    target, cell, store = figure.sources[source], plan.cells[source], request.store
    panels = read_panels(store.folder(cell))
    facts = store.facts(plan.plans[source].stages["data"])
    behind = [store.info(one) for one in (*cell.ancestors(), cell)]
    conditions = _provenance(target, facts, behind, request.profile)
    return Picture(
        source=source,
        dataset=target.data.name,
        data=data_kind(facts),
        scale=target.scale,
        content_hash=facts["content"]["test"],
        seeds=seeds_of(target),
        config_hash=config_hash(target),
        caption=f"{_explain(figure, panels)} {conditions}",
        labels=panels.labels,
        numbers=panels.numbers,
        cells=tuple(behind),
    )


def _provenance(target, facts: dict, behind: list, profile: str) -> str:
    keys = {info.kind: info.key for info in behind}
    models = f"MCD-VAE {keys['vae']} ({target.train_vae.num_steps} steps)"
    if "dmg" in keys:
        models += f", DMG {keys['dmg']} ({target.train_dmg.num_steps} steps)"
    seeds = ", ".join(f"{name} {seed}" for name, seed in seeds_of(target).items())
    words = data_words(data_kind(facts), target.data.name)
    return (
        f"{words[0].upper()}{words[1:]} ({facts['content']['test'][:12]}), first test clips, not "
        f"chosen; profile {profile}, {target.data.size}x{target.data.size}; {models}; "
        f"seeds: {seeds}."
    )


def _explain(figure: Figure, panels) -> str:
    numbers = panels.numbers
    words = {
        "reconstruction": "Real clips and D_V(E_M's mean, content of frame 0).",
        "motion_transfer": "Each block: frame 0 of a test clip A, the next test clip B, and the "
        "motion latent of B decoded with the content of A.",
        "samples": "A real clip and samples of its frame 0; last row: standard deviation over the "
        "samples, mean of RGB, black 0 to yellow 64 grey levels and more.",
        "prompts": "One frame 0 and one noise under several prompts; then the first prompt again "
        "with other noise.",
        "timesteps": "The motion latent along one sampling run, decoded with the content of frame "
        "0 at each step t shown.",
        "interpolation": "Two sampled motion latents a and b of one frame 0 and the arc between.",
        "scaling": "z_0 + s (z_m - z_0) decoded: z_m is the real clip's motion latent, z_0 that of "
        "its frame 0 held still.",
        "rollout": "Each chunk goes on from the last frame of the one before.",
    }[figure.figure.name]
    told = {
        "psnr": ("PSNR over frames 1 on, dB a clip", "{:.1f}"),
        "std": ("mean standard deviation, grey levels a clip", "{:.1f}"),
        "change": ("mean change from frame to frame, grey levels, a factor", "{:.2f}"),
        "fvd": ("FVD of each chunk against the real test clips", "{:.0f}"),
        "seam": ("change at the seams over change inside chunks", "{:.2f}"),
    }
    for name, (what, form) in told.items():
        if name in numbers:
            listed = ", ".join(form.format(value) for value in numbers[name])
            words += f" {what[0].upper()}{what[1:]}: {listed}."
    return words


def _contents(
    figure: Figure, report: FigureReport, plan: FigurePlan, store: Store, folder: Path
) -> dict[str, bytes]:
    from lamd.pipeline.steps.panels import read_panels
    from lamd.pipeline.steps.rollout import draw_distance
    from lamd.report.strips import draw_moving, draw_strips

    contents = {}
    for picture in report.pictures:
        panels = read_panels(store.folder(plan.cells[picture.source]))
        name, title = picture.dataset, f"{figure.title}: {picture.dataset.upper()}"
        contents |= draw_strips(
            panels, title=title, caption=picture.caption, frames=figure.figure.frames, name=name
        )
        if figure.figure.name == "rollout":
            length = figure.sources[picture.source].data.num_frames
            contents |= draw_distance(panels.numbers, length, name, title)
        short = f"{data_words(picture.data, picture.dataset)}, profile {report.profile}"
        contents |= encode_moving(draw_moving(panels, short), folder, name)
    return contents
