"""`lamd generate`: clips from first frames, with the finished checkpoints of a target."""

import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from lamd.base.errors import LamdError
from lamd.base.files import write_atomically
from lamd.config import DataConfig
from lamd.generate import roll_out
from lamd.pipeline.steps.rollout import seam_ratio
from lamd.pipeline.steps.train import open_split
from lamd.pipeline.trained import Trained
from lamd.report.media import encode_gif, encode_mp4, tile_clips
from lamd.targets.reproduce import open_target

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
OUTPUTS = (".npy", ".mp4", ".gif")


def sample_to_file(
    name: str,
    profile: str,
    overrides: Sequence[str],
    *,
    runs: Path,
    device: str,
    frames: str,
    count: int,
    samples: int,
    out: Path,
    prompt: str | None = None,
    rollout: int = 1,
    vae: Path | None = None,
    dmg: Path | None = None,
) -> tuple[tuple[int, ...], float | None]:
    """Generate clips and write them; return their shape (N, L, H, W, 3) and the seam ratio.

    Args:
        frames: an image, a folder of images, or `test` for the first frames of the test split.
        count: at most this many first frames.
        prompt: caption or class of all clips; that of each test clip by default.
        samples: clips for each; they lie next to each other in the output.
        rollout: chunks a clip; each goes on from the last frame of the one before. The ratio of
            `rollouts.seam_ratio` is None for one.
        vae, dmg: folders of a trained pair; by default the target's own cells.
        out: `.npy` keeps the clips lossless; `.mp4` and `.gif` tile them for viewing.

    Raises:
        LamdError: when the checkpoints are not made yet, or frames or output do not fit.
    """
    if out.suffix not in OUTPUTS:
        raise LamdError(f"{out}: unknown kind; use one of {', '.join(OUTPUTS)}")
    target, plan, store = open_target(name, profile, overrides, runs, device)
    if prompt is not None and target.dmg.prompt is None:
        raise LamdError(f"--prompt: {name} is not conditioned on text or class; leave it out")
    if prompt is None and target.dmg.prompt is not None and frames != "test":
        raise LamdError(f"--prompt: {name} needs a caption or class for your images; add it")
    inputs = {"vae": vae, "dmg": dmg}
    for stage in [stage for stage, given in inputs.items() if given is None]:
        if not store.is_complete(plan.stages[stage]):
            raise LamdError(
                f"{name} --profile {profile}: its {stage} is not trained in {runs}; run "
                f"`lamd train {name} --profile {profile} --stage dmg` with the same options"
            )
        inputs[stage] = store.folder(plan.stages[stage])
    if frames == "test":
        if not store.is_complete(plan.stages["data"]):
            raise LamdError(f"--frames test: its data is not made in {runs}; give images instead")
        videos = open_split(store.folder(plan.stages["data"]), "test")
        count = min(count, len(videos))
        first = np.stack([videos.clip(i, 0, 1)[0] for i in range(count)])
        keys = [f"{key}@0" for key in videos.keys[:count]]
        prompts = None if target.dmg.prompt is None else list(videos.conditions[:count])
    else:
        paths = _image_paths(Path(frames))[:count]
        first = np.stack([read_image(path, target.data) for path in paths])
        keys, prompts = [path.name for path in paths], None
    keys = [f"{key}#{sample}" for key in keys for sample in range(samples)]
    if prompt is not None:
        prompts = [prompt] * len(first)
    if prompts is not None:
        prompts = [one for one in prompts for _ in range(samples)]
    trained = Trained(target, inputs, device)
    extend = partial(trained.generate, prompts=prompts)
    clips = roll_out(extend, np.repeat(first, samples, axis=0), keys, rollout)
    _write(out, clips)
    return clips.shape, seam_ratio(clips, target.data.num_frames) if rollout > 1 else None


def read_image(path: Path, data: DataConfig) -> np.ndarray:
    """Read an image as uint8 (size, size, 3), Lanczos: as the training frames were made.

    That is the whole picture, squeezed, for Landscape, for NATOPS and MUG what `frame_in` leaves,
    and the centre square for others (ours).

    Raises:
        LamdError: when it is not an image.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    from lamd.data.gestures.pack import frame_in
    from lamd.data.gestures.reader import GESTURE_SETS

    try:
        with Image.open(path) as image:
            size = (data.size, data.size)
            if data.name in GESTURE_SETS:
                crop = GESTURE_SETS[data.name].crop
                return np.asarray(frame_in(image.convert("RGB"), data.size, crop))
            if data.name == "landscape":
                return np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS))
            return np.asarray(ImageOps.fit(image.convert("RGB"), size, Image.Resampling.LANCZOS))
    except (UnidentifiedImageError, OSError) as error:
        reason = " ".join(str(error).split())
        raise LamdError(f"{path}: not a readable image ({reason}); give PNG or JPEG") from None


def _image_paths(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGES)
        if not found:
            raise LamdError(f"{path}: no images there; give files ending in {', '.join(IMAGES)}")
        return found
    if not path.is_file():
        raise LamdError(f"{path}: no such image or folder; give one, or `test`")
    return [path]


def _write(out: Path, clips: np.ndarray) -> None:
    if out.suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, clips, allow_pickle=False)
        write_atomically(out, buffer.getvalue())
    else:
        encode = encode_gif if out.suffix == ".gif" else encode_mp4
        write_atomically(out, encode(tile_clips(clips)))
