"""`lamd generate`: clips from first frames, with the finished checkpoints of a target."""

import io
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lamd.base.errors import LamdError
from lamd.base.files import check_output, clip_key, is_system_file, write_output
from lamd.base.terminal import say
from lamd.cli.options import RUNS, Device, Profile, Runs, Set, TargetArg
from lamd.cli.output import print_lines

if TYPE_CHECKING:
    import numpy as np

    from lamd.pipeline.graph import TablePlan
    from lamd.pipeline.store import Store


def generate(
    target: TargetArg,
    out: Annotated[Path, typer.Option(help="samples.npy, .webp, .mp4 or .gif")],
    frames: Annotated[
        str, typer.Option(help="An image, a folder of images, or `test` for the test split.")
    ] = "test",
    count: Annotated[int, typer.Option(min=1, help="At most this many first frames.")] = 16,
    samples: Annotated[int, typer.Option(min=1, max=10_000, help="Clips per first frame.")] = 1,
    prompt: Annotated[
        str | None, typer.Option(help="Caption or class; of `test` frames their own by default.")
    ] = None,
    rollout: Annotated[
        int,
        typer.Option(
            min=1, max=10_000, help="Chunks per clip, each from the last frame of the previous."
        ),
    ] = 1,
    seed: Annotated[int | None, typer.Option(help="Of the noise; the config's by default.")] = None,
    vae: Annotated[Path | None, typer.Option(help="Folder of a trained MCD-VAE.")] = None,
    dmg: Annotated[Path | None, typer.Option(help="Folder of the DMG trained on it.")] = None,
    profile: Profile = "quick",
    set_: Set = None,
    runs: Runs = RUNS,
    device: Device = "auto",
) -> None:
    """Generate clips from first frames with a finished pair of checkpoints."""
    import numpy as np

    from lamd.data.dataset import DATASETS
    from lamd.evaluate import resolve_device
    from lamd.generate import generate_clips, roll_out
    from lamd.pipeline.steps.figures import seam_ratio
    from lamd.report.media import ENCODERS, tile_clips
    from lamd.targets.reproduce import open_target
    from lamd.training import load_paradigm

    if out.suffix not in (".npy", *ENCODERS):
        raise LamdError(f"{out}: unknown format; use one of .npy, {', '.join(ENCODERS)}")
    check_output(out)
    overrides = [*(set_ or ()), *([f"sampler.seed={seed}"] if seed is not None else [])]
    plan, store = open_target(target, profile, overrides, runs, device)
    config = plan.target
    if prompt is not None and config.dmg.prompt is None:
        raise LamdError(f"--prompt: {target} is not conditioned on text or class; leave it out")
    if prompt is None and config.dmg.prompt is not None and frames != "test":
        raise LamdError(f"--prompt: {target} needs a caption or class for your images; add it")
    if config.data.source == "real" and None in (vae, dmg):
        try:
            DATASETS[config.data.name].locate()  # cells of real data are found by its files
        except LamdError as error:
            raise LamdError(f"{error}; or give --vae and --dmg, folders of cells") from None
    folders = {}
    for role, stage, own in (("autoencoder", "vae", vae), ("denoiser", "dmg", dmg)):
        cell = plan.stages[stage]
        if own is None and not store.is_complete(cell):
            raise LamdError(
                f"{store.runs}: no trained {stage} of this config; run `lamd train {target} "
                f"--profile {profile} --stage dmg` with the same options"
            )
        folders[role] = own or store.finished(cell)
    first, keys, own_prompts = _first_frames(plan, store, frames, count)
    prompts = own_prompts if prompt is None else [prompt] * len(first)
    if prompts is not None:
        prompts = [text for text in prompts for _ in range(samples)]
    paradigm = load_paradigm("latent_motion", config, folders, resolve_device(device))
    extend = partial(
        generate_clips, paradigm, config.sampler, prompts=prompts,
        batch_size=config.runtime.sampling_batch_size,
        decoding_batch_size=config.runtime.decoding_batch_size,
    )  # fmt: skip
    keys = [f"{key}#{sample}" for key in keys for sample in range(samples)]
    clips = roll_out(extend, np.repeat(first, samples, axis=0), keys, rollout)
    if out.suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, clips, allow_pickle=False)
        write_output(out, buffer.getvalue())
    else:
        write_output(out, ENCODERS[out.suffix](tile_clips(clips)))
    count, length, height, width = clips.shape[:4]
    print_lines(f"{out}: {count} clips of {length} frames, {height}x{width}")
    if rollout > 1:
        ratio = seam_ratio(clips, config.data.num_frames)
        print_lines(
            f"change from frame to frame at the seams: {ratio:.2f} times that inside chunks"
        )


def _first_frames(
    plan: "TablePlan", store: "Store", frames: str, count: int
) -> tuple["np.ndarray", list[str], list[str] | None]:
    """Return first frames uint8 (N, H, W, 3), their keys, and the prompts of test frames."""
    import numpy as np

    from lamd.data.dataset import DATASETS
    from lamd.pipeline.steps.data import open_split

    data = plan.target.data
    if frames != "test":
        images = _image_paths(Path(frames))
        paths = images[:count]
        if len(paths) < len(images):
            say(f"{frames}: the first {count} of {len(images)} images; --count takes more")
        read_image: Any = DATASETS[data.name].read_image
        first = np.stack([read_image(path, data.size, **data.own) for path in paths])
        return first, [path.name for path in paths], None
    if not store.is_complete(plan.stages["data"]):
        raise LamdError(f"--frames test: the data is not made in {store.runs}; give images instead")
    videos = open_split(store.finished(plan.stages["data"]), "test")
    keys = [f"{key}@0" for key in videos.keys[:count]]
    first = np.stack([videos.clip(i, 0, 1)[0] for i in range(len(keys))])
    prompts = videos.conditions if plan.target.dmg.prompt else None
    return first, keys, list(prompts[:count]) if prompts else None


def _image_paths(path: Path) -> list[Path]:
    from lamd.io.pictures import FORMATS

    if path.is_dir():
        files = [p for p in path.iterdir() if not is_system_file(p.name)]
        images = [p for p in files if p.suffix.lower() in FORMATS]
        if not images:
            raise LamdError(f"{path}: no images there; give files ending in {', '.join(FORMATS)}")
        if len(images) < len(files):
            other = next(p.name for p in files if p not in images)
            say(f"{path}: left out, not images: {len(files) - len(images)}, such as {other}")
        return sorted(images, key=clip_key)
    if not path.is_file():
        raise LamdError(f"{path}: no such image or folder; give one, or `test`")
    return [path]
