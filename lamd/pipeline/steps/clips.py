"""The clip sets of a table: the real test clips, and those of each row in the same order.

A set is a folder with `clips.npy`, uint8 (N, L, H, W, 3), and `keys.json`, N names such as
`bair/test/7@0`. One that repeats a frame holds `frames.npy`, (N, 1, H, W, 3), and L in
`repeated.json` instead. The real sets of data with captions or classes have `prompts.json`.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from lamd.base.files import write_atomically
from lamd.base.rng import derive_seed
from lamd.config import Target
from lamd.data.dataset import DATASETS
from lamd.evaluate import resolve_device
from lamd.pipeline.steps.batched import Batches
from lamd.pipeline.steps.data import open_split

_REAL_BATCH = 64
CLIPS, KEYS, PROMPTS = "clips.npy", "keys.json", "prompts.json"
FRAMES, REPEATED = "frames.npy", "repeated.json"


def read_clips(folder: Path) -> np.ndarray:
    """Memory-map the clips of a set, uint8 (N, L, H, W, 3), read-only."""
    if (folder / REPEATED).is_file():
        num_frames = json.loads((folder / REPEATED).read_text(encoding="utf-8"))["num_frames"]
        frames = np.load(folder / FRAMES, mmap_mode="r", allow_pickle=False)
        return np.broadcast_to(frames, (len(frames), num_frames, *frames.shape[2:]))
    return np.load(folder / CLIPS, mmap_mode="r", allow_pickle=False)


def real_clips(folder: Path, inputs: Mapping[str, Path], target: Target, split: str) -> dict:
    """Write the disjoint windows of L frames of the test videos, or as many of train videos.

    Windows start at frame 0, L, 2L, ... of each video (BAIR has one per trajectory). Train windows
    are taken at even distances, so that they span the split, or, where classes take turns, from
    its beginning.
    """
    num_frames = target.data.num_frames
    videos, test = open_split(inputs["data"], split), open_split(inputs["data"], "test")
    windows = videos.windows(num_frames, num_frames)
    if split == "train":
        count = min(len(test.windows(num_frames, num_frames)), len(windows))
        last = count - 1 if DATASETS[target.data.name].classes else len(windows) - 1
        chosen = np.unique(np.linspace(0, last, count).round())
        windows = windows[chosen.astype(np.int64)]
    keys = [f"{videos.keys[i]}@{start}" for i, start in windows]
    shape = (num_frames, videos.size, videos.size, 3)

    def read(at: slice) -> np.ndarray:
        return np.stack([videos.clip(i, start, num_frames) for i, start in windows[at]])

    outputs = _write(folder, keys, shape, _REAL_BATCH, read, f"{split} clips")
    if outputs and videos.conditions is not None:
        prompts = [videos.conditions[i] for i, _ in windows]
        write_atomically(folder / PROMPTS, json.dumps(prompts) + "\n")
    return outputs


def repeated_clips(folder: Path, inputs: Mapping[str, Path]) -> dict:
    """Write the first frame of each real clip; `read_clips` repeats it L times."""
    real = read_clips(inputs["test"])
    np.save(folder / FRAMES, real[:, :1], allow_pickle=False)
    write_atomically(folder / REPEATED, json.dumps({"num_frames": real.shape[1]}) + "\n")
    return _write_keys(folder, read_keys(inputs["test"]))


def reconstructed_clips(
    folder: Path, inputs: Mapping[str, Path], target: Target, device: str, *, given_kept: bool
) -> dict:
    """Write D_V(mean of q(z_m | x), f_x0, skips) of each real clip x.

    `given_kept` puts the real frame 0 in place of the decoded one, as in generated clips.
    """
    from lamd.pipeline.steps.autoencoding import MotionLatents
    from lamd.training import load_model

    real, size = read_clips(inputs["test"]), target.runtime.sampling_batch_size
    vae = load_model(inputs["autoencoder"], "vae", target, device=resolve_device(device))
    latents = MotionLatents(vae, size)

    def reconstruct(at: slice) -> np.ndarray:
        clips = latents.decode(latents.encode(real[at]), real[at, 0])
        if given_kept:
            clips[:, 0] = real[at, 0]
        return clips

    keys = read_keys(inputs["test"])
    return _write(folder, keys, real.shape[1:], size, reconstruct, "reconstruction")


def generated_clips(
    folder: Path,
    inputs: Mapping[str, Path],
    target: Target,
    paradigm: str,
    device: str,
    *,
    samples: Sequence[int],
    limit: int | None = None,
    permuted: bool = False,
) -> dict:
    """Write a paradigm's clips for the first frame of each real clip; frame 0 stays the real one.

    Sample `s` of a clip has the noise of the key `bair/test/7@0#s`, so it depends on neither the
    other samples nor the number of clips. `permuted` gives each clip another clip's prompt.
    """
    from lamd.generate import generate_clips
    from lamd.training import load_paradigm

    real, size = read_clips(inputs["test"])[:limit], target.runtime.sampling_batch_size
    keys = [f"{key}#{s}" for key in read_keys(inputs["test"])[:limit] for s in samples]
    prompts = None
    if target.dmg.prompt is not None:
        prompts = read_prompts(inputs["test"])
        prompts = other_prompts(prompts) if permuted else prompts
        prompts = [prompt for prompt in prompts[:limit] for _ in samples]
    models = load_paradigm(paradigm, target, inputs, resolve_device(device))
    sampler = models.sampler(target)

    def sample(at: slice) -> np.ndarray:
        frames = real[np.arange(at.start, at.stop) // len(samples), 0]
        cond = None if prompts is None else prompts[at]
        return generate_clips(models, sampler, frames, keys[at], cond, batch_size=size)

    return _write(folder, keys, real.shape[1:], size, sample, "sampling")


def other_prompts(prompts: Sequence[str]) -> list[str]:
    """Return a rearrangement in which no clip has its own prompt, where no prompt is the majority.

    Equal prompts are grouped, the groups ordered by a hash, and all is rotated by the size of the
    largest group.
    """
    order = sorted(range(len(prompts)), key=lambda i: (derive_seed("shuffled", prompts[i]), i))
    step = max(Counter(prompts).values())
    others = dict(zip(order, np.roll(order, -step), strict=True))
    return [prompts[others[i]] for i in range(len(prompts))]


def read_keys(folder: Path) -> list[str]:
    """Return the names of the clips of a set."""
    return json.loads((folder / KEYS).read_text(encoding="utf-8"))


def read_prompts(folder: Path) -> list[str]:
    """Return the caption or class of each clip of a real set."""
    return json.loads((folder / PROMPTS).read_text(encoding="utf-8"))


def _write(
    folder: Path,
    keys: list[str],
    clip_shape: tuple[int, ...],
    batch_size: int,
    make: Callable[[slice], np.ndarray],
    label: str,
) -> dict:
    batches = Batches(folder, CLIPS, (len(keys), *clip_shape), np.uint8, batch_size)
    return _write_keys(folder, keys) if batches.fill(make, label) else {}


def _write_keys(folder: Path, keys: list[str]) -> dict:
    write_atomically(folder / KEYS, json.dumps(keys) + "\n")
    return {"clips": len(keys)}
