"""The cells of the baselines: trained once for each budget, their clips beside LaMD's."""

from functools import partial

from lamd.config import Target, baseline_sampler, denoiser_config, is_baseline, split_row
from lamd.cost import row_budget
from lamd.pipeline.cells import Cell
from lamd.pipeline.kinds import build_by_name, make_cell


def plan_stages(target: Target, device: str, data: Cell) -> dict[str, Cell]:
    """Plan what the baseline rows of a target train, by name; nothing for a target without any."""
    rows = [row for row in target.rows if is_baseline(row)]
    shape = {"num_frames": target.data.num_frames, "size": target.data.size}
    stage = partial(partial, build_by_name, "train", target=target, device=device)
    parents, cells = {"pixel": (data,)}, []
    if any(split_row(row)[0] == "latent_video" for row in rows):
        video_vae, latents = _autoencoder(target, shape, data, stage)
        parents["latent_video"] = (data, video_vae, latents)
        cells += [video_vae, latents]
    for row in rows:
        name, budget = split_row(row)
        options = row_budget(target, row).train
        config = {
            "data": shape,
            "train": options.model_dump(mode="json"),
            **denoiser_config(target, name),
        }
        build = stage(f"build_{name}", options=options)
        cells.append(make_cell(f"{name} {budget}", config, parents[name], build, collective=True))
    return {cell.name: cell for cell in cells}


def _autoencoder(target: Target, shape: dict[str, int], data: Cell, stage) -> tuple[Cell, Cell]:
    dump = target.model_dump(mode="json")
    config = {
        "data": shape,
        "autoencoder": dump["baselines"]["latent_video"]["autoencoder"],
        "loss": dump["loss"],
        "train": dump["train_vae"],
    }
    video_vae = make_cell("video_vae", config, (data,), stage("build_video_vae"), collective=True)
    windows = {key: dump["train_dmg"][key] for key in ("window_stride", "num_validation_clips")}
    latents = make_cell("video_latents", windows, (data, video_vae), stage("build_video_latents"))
    return video_vae, latents


def plan_clips(target: Target, device: str, test: Cell, stages: dict[str, Cell]) -> dict[str, Cell]:
    """Plan the clip set of each baseline row, by row; `test` are the real clips."""
    samples, cells = target.evaluate.samples_per_clip, {}
    for row in filter(is_baseline, target.rows):
        name, budget = split_row(row)
        sampler = baseline_sampler(target, name)
        config = {
            "generated": sampler.model_dump(mode="json", exclude_none=True),
            "samples": samples,
        }
        models = (stages[f"{name} {budget}"],)
        if name == "latent_video":
            models = (stages["video_vae"], *models)
        build = partial(
            build_by_name, "clips", "baseline_clips",
            target=target, row=row, samples=range(samples), device=device,
        )  # fmt: skip
        cells[row] = make_cell(f"clips {row}", config, (test, *models), build)
    return cells
