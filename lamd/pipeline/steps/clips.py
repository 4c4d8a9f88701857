"""The clip sets of a table, those of its rows in the order of the real test clips; captions."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lamd.base.batched import Rows, fill_batches
from lamd.base.errors import LamdError
from lamd.base.files import delete_folder, dump_json
from lamd.base.progress import track
from lamd.base.rng import derive_seed, numpy_generator
from lamd.config import Target
from lamd.data.dataset import DATASETS
from lamd.data.packed import PackedVideos, windows_by_rule
from lamd.data.stand_in import Future
from lamd.evaluate import resolve_device
from lamd.pipeline import contents
from lamd.pipeline.contents import Folders
from lamd.pipeline.steps.data import open_split

_REAL_BATCH, CAPTIONS_BATCH = 64, 32


def real_clips(folder: Path, inputs: Folders, target: Target, split: str) -> dict:
    """Write the windows of L frames of the test videos, or as many of train videos.

    Windows are chosen by `evaluate.windows`. Train windows are taken at even distances, so that
    they span the split, or, where classes take turns, from its beginning.
    """
    num_frames, rule = target.data.num_frames, target.evaluate.windows
    videos, test = open_split(inputs["data"], split), open_split(inputs["data"], "test")
    windows = windows_by_rule(videos.lengths, num_frames, rule)
    if split == "train":
        count = min(len(windows_by_rule(test.lengths, num_frames, rule)), len(windows))
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
        dump_json(folder / contents.PROMPTS, prompts, indent=None)
    return outputs


def future_clips(folder: Path, inputs: Folders, target: Target, samples: Sequence[int]) -> dict:
    """Write other futures of each real clip, simulated from the state of its first frame."""
    real, keys = contents.read_clips(inputs["test"]), contents.read_keys(inputs["test"])
    futures = [_simulate_future(folder / f"future{s}", target, s) for s in samples]

    def read_one(number: int) -> np.ndarray:
        i, s = divmod(number, len(futures))
        video, _, start = keys[i].rpartition("@")
        clip = futures[s].clip(futures[s].keys.index(video), int(start), real.shape[1])
        if not np.array_equal(clip[0], real[i, 0]):
            raise LamdError(
                f"another_future: {keys[i]} begins with another frame than the test clip, which "
                "another kind of machine simulated; delete the data cell and run again"
            )
        return clip

    def read(at: slice) -> np.ndarray:
        return np.stack([read_one(number) for number in range(at.start, at.stop)])

    names = [f"{key}#{s}" for key in keys for s in samples]
    shape, label = real.shape[1:], "other futures"
    outputs = _write(folder, names, shape, _REAL_BATCH, read, label, collective=False)
    for s in samples:
        delete_folder(folder / f"future{s}")
    return outputs


def _simulate_future(folder: Path, target: Target, number: int) -> PackedVideos:
    data, dataset = target.data, DATASETS[target.data.name]
    assert data.num_test and data.simulation_seed is not None
    dataset.simulate_future(
        folder / "raw", Future(number, data.num_frames, data.own), num_test=data.num_test,
        seed=data.simulation_seed, frame_size=dataset.simulated_size(data.size),
    )  # fmt: skip
    options = {"size": data.size, "num_frames": data.num_frames, **data.own}
    return dataset.pack(folder / "raw", folder / "packed", split="test", **options)


def true_tracks(folder: Path, inputs: Folders, target: Target) -> dict:
    """Write where things that move are in each real clip, float64 (N, L, P, 2), by the simulator.

    A track is NaN where a clip has fewer things.
    """
    data, keys = target.data, contents.read_keys(inputs["test"])
    assert data.num_test and data.simulation_seed is not None
    tracks = DATASETS[data.name].true_tracks(
        num_test=data.num_test, seed=data.simulation_seed, size=data.size,
        num_frames=data.num_frames, **data.own,
    )  # fmt: skip
    clips = []
    for video, _, start in (key.rpartition("@") for key in keys):
        clips.append(tracks[video][int(start) : int(start) + data.num_frames])
    np.save(folder / contents.TRACKS, np.stack(clips))
    return {"clips": len(clips)}


def repeated_clips(folder: Path, inputs: Folders) -> dict:
    """Write the first frame of each real clip; `read_clips` repeats it L times."""
    real = contents.read_clips(inputs["test"])
    np.save(folder / contents.FRAMES, real[:, :1], allow_pickle=False)
    dump_json(folder / contents.REPEATED, {"num_frames": real.shape[1]}, indent=None)
    return _write_keys(folder, contents.read_keys(inputs["test"]))


def reordered_clips(folder: Path, inputs: Folders, order: str) -> dict:
    """Write the real clips with frames `frames_permuted`, `frames_reversed`, `frozen_half_way`."""
    real, keys = contents.read_clips(inputs["test"]), contents.read_keys(inputs["test"])
    length = real.shape[1]

    def indices(key: str) -> np.ndarray:
        frames = np.arange(length)
        if order == "frames_permuted":
            frames[1:] = numpy_generator(order, key).permutation(frames[1:])
        return frames[::-1] if order == "frames_reversed" else frames

    def reorder(at: slice) -> np.ndarray:
        if order == "frozen_half_way":
            return real[at, np.minimum(np.arange(length), length // 2)]
        return np.stack([clip[indices(key)] for clip, key in zip(real[at], keys[at], strict=True)])

    return _write(folder, keys, real.shape[1:], _REAL_BATCH, reorder, order.replace("_", " "))


def reconstructed_clips(
    folder: Path, inputs: Folders, target: Target, paradigm: str, device: str, *, given_kept: bool
) -> dict:
    """Write each real clip x decoded from the mean of q(z | x), by LaMD with f_x0 and the skips.

    `given_kept` puts the real frame 0 in place of the decoded one, as in generated clips.
    """
    from lamd.pipeline.steps.latents import MotionLatents

    real = contents.read_clips(inputs["test"])
    latents = MotionLatents.load(inputs, target, device, paradigm)

    def reconstruct(at: slice) -> np.ndarray:
        clips = latents.decode(latents.encode(real[at]), real[at, 0])
        if given_kept:
            clips[:, 0] = real[at, 0]
        return clips

    keys, size = contents.read_keys(inputs["test"]), latents.batch_size
    return _write(folder, keys, real.shape[1:], size, reconstruct, "reconstruction")


def generated_clips(
    folder: Path,
    inputs: Folders,
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

    test, runtime = inputs["test"], target.runtime
    size, decoded = runtime.sampling_batch_size, runtime.decoding_batch_size
    real = contents.read_clips(test)[:limit]
    keys = [f"{key}#{s}" for key in contents.read_keys(test)[:limit] for s in samples]
    prompts = None
    if target.dmg.prompt is not None:
        prompts = contents.read_texts(test, contents.PROMPTS)
        prompts = other_prompts(prompts) if permuted else prompts
        prompts = [prompt for prompt in prompts[:limit] for _ in samples]
    models = load_paradigm(paradigm, target, inputs, resolve_device(device))
    sampler = models.sampler(target)

    def sample(at: slice) -> np.ndarray:
        frames = real[np.arange(at.start, at.stop) // len(samples), 0]
        cond = None if prompts is None else prompts[at]
        return generate_clips(
            models, sampler, frames, keys[at], cond, batch_size=size, decoding_batch_size=decoded
        )

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


def write_captions(folder: Path, inputs: Folders, device: str) -> dict:
    """Write a caption for each clip of the set `clips`, by the model `captioner`."""
    import torch

    from lamd.io.video import to_model
    from lamd.training import load_model

    device, clips = resolve_device(device), contents.read_clips(inputs["clips"])
    captioner = load_model(inputs["captioner"], "captioner", device=device)
    captions: list[str] = []
    for first in track(range(0, len(clips), CAPTIONS_BATCH), "captions"):
        video = torch.from_numpy(np.array(clips[first : first + CAPTIONS_BATCH]))
        captions += captioner.caption(to_model(video.to(device)))
    dump_json(folder / contents.CAPTIONS, captions)
    return {"clips": len(captions)}


def _write(
    folder: Path,
    keys: list[str],
    shape: tuple[int, ...],
    batch_size: int,
    make: Rows,
    label: str,
    *,
    collective: bool = True,
) -> dict:
    """Write clips of `shape` (L, H, W, 3); only the first process states them."""
    array, shape = folder / contents.CLIPS, (len(keys), *shape)
    is_first = fill_batches(array, shape, np.uint8, batch_size, make, label, collective=collective)
    return _write_keys(folder, keys) if is_first else {}


def _write_keys(folder: Path, keys: list[str]) -> dict:
    dump_json(folder / contents.KEYS, keys, indent=None)
    return {"clips": len(keys)}
