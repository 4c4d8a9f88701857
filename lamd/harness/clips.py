"""The clip sets of a table: real test clips and, clip by clip beside them, what each row shows.

A set is a folder with `clips.npy`, uint8 (N, L, H, W, 3), and `keys.json`, N names such as
`bair/test/7@0`.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lamd.config import Target
from lamd.evaluate import resolve_device
from lamd.harness.stages import load_models, open_split
from lamd.records import write_atomically

CLIPS, KEYS = "clips.npy", "keys.json"


def read_clips(folder: Path) -> np.ndarray:
    """Memory-map the clips of a set, uint8 (N, L, H, W, 3)."""
    return np.load(folder / CLIPS, mmap_mode="r", allow_pickle=False)


def real_clips(folder: Path, inputs: dict[str, Path], target: Target, split: str) -> dict:
    """Write the first L frames of the test trajectories, or of as many train trajectories.

    Train trajectories are taken at even distances, so that they span the split (ours).
    """
    num_frames = target.data.num_frames
    videos = open_split(inputs["data"], split)
    count = len(open_split(inputs["data"], "test"))
    chosen = np.arange(len(videos))
    if split == "train":
        chosen = np.unique(np.linspace(0, len(videos) - 1, min(count, len(videos))).round())
    chosen = [int(i) for i in chosen]
    clips = np.stack([videos.clip(i, 0, num_frames) for i in chosen])
    return _write(folder, clips, [f"{videos.keys[i]}@0" for i in chosen])


def repeated_clips(folder: Path, inputs: dict[str, Path]) -> dict:
    """Write, for each real clip, its first frame L times."""
    real = read_clips(inputs["clips test"])
    keys = _read_keys(inputs["clips test"])
    return _write(folder, np.repeat(real[:, :1], real.shape[1], axis=1), keys)


def reconstructed_clips(folder: Path, inputs: dict[str, Path], target: Target, device: str) -> dict:
    """Write D_V(mean of q(z_m | x), f_x0, skips) of each real clip x, but frame 0 the real one."""
    import torch

    from lamd.video import to_model, to_uint8

    device = resolve_device(device)
    vae, _ = load_models(target, inputs, device, with_dmg=False)
    real, keys = read_clips(inputs["clips test"]), _read_keys(inputs["clips test"])
    fake = np.empty_like(real)
    with torch.inference_mode():
        for at in _batches(len(real), target.sampler.batch_size, "reconstructing"):
            x = to_model(torch.from_numpy(np.array(real[at])).to(device))
            eps = torch.zeros(len(x), *vae.latent_shape, device=x.device)
            fake[at] = to_uint8(vae(x, eps).x_hat).cpu().numpy()
    fake[:, 0] = real[:, 0]
    return _write(folder, fake, keys)


def generated_clips(
    folder: Path,
    inputs: dict[str, Path],
    target: Target,
    device: str,
    *,
    sample: int,
    limit: int | None,
) -> dict:
    """Write LaMD's clip for the first frame of each real clip; frame 0 stays the real one.

    Sample `s` of a clip has the noise of the key `bair/test/7@0#s`, so it depends on neither the
    other samples nor the number of clips.
    """
    real, keys = read_clips(inputs["clips test"])[:limit], _read_keys(inputs["clips test"])[:limit]
    keys = [f"{key}#{sample}" for key in keys]
    fake = generate_videos(target, inputs, device, real[:, 0], keys)
    return _write(folder, fake, keys)


def generate_videos(
    target: Target, inputs: dict[str, Path], device: str, frames: np.ndarray, keys: list[str]
) -> np.ndarray:
    """Generate one clip for each first frame.

    Args:
        inputs: folders of the finished `vae` and `dmg` cells.
        frames: uint8 (N, H, W, 3).
        keys: N names that fix the noise.

    Returns:
        uint8 (N, L, H, W, 3), frame 0 the given one.
    """
    import torch

    from lamd.generate import generate, schedule_of
    from lamd.video import to_model, to_uint8

    device = resolve_device(device)
    vae, dmg = load_models(target, inputs, device, with_dmg=True)
    schedule = schedule_of(target.dmg)
    shape = (len(frames), target.data.num_frames, *frames.shape[1:])
    fake = np.empty(shape, np.uint8)
    for at in _batches(len(frames), target.sampler.batch_size, "sampling"):
        x0 = to_model(torch.from_numpy(np.array(frames[at, None])).to(device))[:, 0]
        x = generate(vae, dmg, schedule, target.sampler, x0, keys[at])
        fake[at] = to_uint8(x).cpu().numpy()
    fake[:, 0] = frames
    return fake


def _batches(count: int, size: int, label: str) -> Iterator[slice]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    starts = range(0, count, size)
    for start in track(starts, label, console=console, disable=not console.is_terminal):
        yield slice(start, min(start + size, count))


def _read_keys(folder: Path) -> list[str]:
    return json.loads((folder / KEYS).read_text(encoding="utf-8"))


def _write(folder: Path, clips: np.ndarray, keys: list[str]) -> dict:
    np.save(folder / CLIPS, clips, allow_pickle=False)
    write_atomically(folder / KEYS, json.dumps(keys) + "\n")
    return {"clips": len(clips)}
