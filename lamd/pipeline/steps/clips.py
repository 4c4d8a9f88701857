"""The clip sets of a table: real test clips and, clip by clip beside them, what each row shows.

A set is a folder with `clips.npy`, uint8 (N, L, H, W, 3), and `keys.json`, N names such as
`bair/test/7@0`. The real sets of data with captions or classes also hold them, `prompts.json`.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lamd.base.files import write_atomically
from lamd.base.rng import derive_seed
from lamd.config import Target
from lamd.pipeline.steps.train import open_split

CLIPS, KEYS, PROMPTS = "clips.npy", "keys.json", "prompts.json"


def read_clips(folder: Path) -> np.ndarray:
    """Memory-map the clips of a set, uint8 (N, L, H, W, 3)."""
    return np.load(folder / CLIPS, mmap_mode="r", allow_pickle=False)


def real_clips(folder: Path, inputs: dict[str, Path], target: Target, split: str) -> dict:
    """Write the disjoint windows of L frames of the test videos, or as many of train videos.

    Windows start at frame 0, L, 2L, ... of each video (ours; BAIR has one a trajectory). Train
    windows are taken at even distances, so that they span the split, or, where classes take turns,
    from its beginning (ours).
    """
    from lamd.data.gestures.reader import GESTURE_SETS

    num_frames = target.data.num_frames
    videos, test = open_split(inputs["data"], split), open_split(inputs["data"], "test")
    windows = videos.windows(num_frames, num_frames)
    if split == "train":
        count = min(len(test.windows(num_frames, num_frames)), len(windows))
        last = count - 1 if target.data.name in GESTURE_SETS else len(windows) - 1
        chosen = np.unique(np.linspace(0, last, count).round())
        windows = windows[chosen.astype(np.int64)]
    shape = (len(windows), num_frames, videos.size, videos.size, 3)
    clips = np.lib.format.open_memmap(folder / CLIPS, mode="w+", dtype=np.uint8, shape=shape)
    for clip, (i, start) in zip(clips, windows, strict=True):
        clip[:] = videos.clip(i, start, num_frames)
    clips.flush()
    if videos.conditions is not None:
        prompts = [videos.conditions[i] for i, _ in windows]
        write_atomically(folder / PROMPTS, json.dumps(prompts) + "\n")
    keys = videos.keys
    return _write_keys(folder, [f"{keys[i]}@{start}" for i, start in windows])


def repeated_clips(folder: Path, inputs: dict[str, Path]) -> dict:
    """Write, for each real clip, its first frame L times."""
    real = read_clips(inputs["clips test"])
    keys = read_keys(inputs["clips test"])
    return _write(folder, np.repeat(real[:, :1], real.shape[1], axis=1), keys)


def reconstructed_clips(
    folder: Path, inputs: dict[str, Path], target: Target, device: str, *, given_kept: bool
) -> dict:
    """Write D_V(mean of q(z_m | x), f_x0, skips) of each real clip x.

    `given_kept` puts the real frame 0 in place of the decoded one, as in generated clips.
    """
    from lamd.pipeline.trained import Trained

    trained = Trained(target, inputs, device, with_dmg=False)
    real, keys = read_clips(inputs["clips test"]), read_keys(inputs["clips test"])
    fake = trained.decode(trained.encode(real), real[:, 0])
    if given_kept:
        fake[:, 0] = real[:, 0]
    return _write(folder, fake, keys)


def generated_clips(
    folder: Path,
    inputs: dict[str, Path],
    target: Target,
    device: str,
    *,
    samples: Sequence[int],
    limit: int | None,
    permuted: bool = False,
) -> dict:
    """Write LaMD's clips for the first frame of each real clip; frame 0 stays the real one.

    Sample `s` of a clip has the noise of the key `bair/test/7@0#s`, so it depends on neither the
    other samples nor the number of clips. `permuted` gives each clip another prompt than its own.
    """
    from lamd.pipeline.trained import Trained

    real, keys = read_clips(inputs["clips test"])[:limit], read_keys(inputs["clips test"])[:limit]
    keys = [f"{key}#{sample}" for key in keys for sample in samples]
    frames = np.repeat(real[:, 0], len(samples), axis=0)
    prompts = None
    if target.dmg.prompt is not None:
        given = read_prompts(inputs["clips test"])
        given = other_prompts(given) if permuted else given
        prompts = [prompt for prompt in given[:limit] for _ in samples]
    return _write(folder, Trained(target, inputs, device).generate(frames, keys, prompts), keys)


def baseline_clips(
    folder: Path,
    inputs: dict[str, Path],
    target: Target,
    row: str,
    samples: Sequence[int],
    device: str,
) -> dict:
    """Write a baseline's clips for the first frame of each real clip, as `generated_clips`."""
    from lamd.pipeline.trained import TrainedBaseline

    real, keys = read_clips(inputs["clips test"]), read_keys(inputs["clips test"])
    keys = [f"{key}#{sample}" for key in keys for sample in samples]
    frames = np.repeat(real[:, 0], len(samples), axis=0)
    return _write(folder, TrainedBaseline(target, inputs, device, row).generate(frames, keys), keys)


def other_prompts(prompts: Sequence[str]) -> list[str]:
    """Return a rearrangement in which no clip has its own prompt, where no prompt is the majority.

    Equal prompts are put side by side, the groups in an order of their own, and all is moved on by
    the size of the largest group.
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


def _write(folder: Path, clips: np.ndarray, keys: list[str]) -> dict:
    np.save(folder / CLIPS, clips, allow_pickle=False)
    return _write_keys(folder, keys)


def _write_keys(folder: Path, keys: list[str]) -> dict:
    write_atomically(folder / KEYS, json.dumps(keys) + "\n")
    return {"clips": len(keys)}
