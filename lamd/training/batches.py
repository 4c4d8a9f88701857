"""The windows of a step: a pure function of (seed, step), so a resumed run sees the same ones.

A window is (video, first frame). Each epoch visits every training window once in a fresh
order; a batch may span two epochs.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from lamd.base.errors import LamdError
from lamd.base.rng import numpy_generator
from lamd.config import DataConfig, TrainConfig
from lamd.data.packed import PackedVideos

Batch = tuple[Tensor, ...]


def training_windows(videos: PackedVideos, train: TrainConfig, data: DataConfig) -> np.ndarray:
    """List the training windows (W, 2) int64: starts 0, s, 2s, ... of all but the held-out videos.

    Raises:
        LamdError: when the videos are too short, too few or of another size.
    """
    num_frames, kept = data.num_frames, len(videos) - train.num_validation_clips
    if videos.size != data.size:
        raise LamdError(
            f"data.size: {data.size} requested, the frames have {videos.size}; change it"
        )
    shortest = min(videos.lengths)
    if shortest < num_frames:
        raise LamdError(
            f"data.num_frames: {num_frames} requested, a video has only {shortest}; lower it"
        )
    if kept < 1:
        raise LamdError(
            f"num_validation_clips: {train.num_validation_clips} of {len(videos)} videos are "
            "held out and none is left to train on; lower it or raise data.num_train"
        )
    windows = videos.windows(num_frames, train.window_stride)
    return windows[windows[:, 0] < kept]


def validation_windows(videos: PackedVideos, train: TrainConfig) -> np.ndarray:
    """List the held-out windows (V, 2): the first frames of the last videos."""
    last = np.arange(len(videos) - train.num_validation_clips, len(videos))
    return np.stack([last, np.zeros_like(last)], axis=1)


def batch_rows(seed: int, step: int, batch_size: int, num_windows: int) -> np.ndarray:
    """Return the `batch_size` window numbers of `step` (counted from 1)."""
    position = np.arange((step - 1) * batch_size, step * batch_size)
    places = zip(position // num_windows, position % num_windows, strict=True)
    return np.array([_epoch_order(seed, int(epoch), num_windows)[at] for epoch, at in places])


def read_windows(videos: PackedVideos, windows: np.ndarray, num_frames: int) -> Tensor:
    """Read windows (B, 2) as uint8 video (B, L, H, W, 3)."""
    clips = [videos.clip(int(i), int(start), num_frames) for i, start in windows]
    return torch.from_numpy(np.stack(clips))


def read_ahead(
    read: Callable[[int], list[Batch]], first: int, last: int, device: torch.device
) -> Iterator[tuple[int, list[Batch]]]:
    """Yield (step, batches on `device`) for the steps `first` to `last`.

    A thread calls `read` for the next step while the current one computes.
    """

    def prepare(step: int) -> list[Batch]:
        batches = read(step)
        if device.type != "cuda":
            return batches
        return [tuple(tensor.pin_memory() for tensor in batch) for batch in batches]

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(prepare, first)
        for step in range(first, last + 1):
            batches = waiting.result()
            if step < last:
                waiting = pool.submit(prepare, step + 1)
            yield step, [tuple(t.to(device, non_blocking=True) for t in b) for b in batches]


@lru_cache(maxsize=4)
def _epoch_order(seed: int, epoch: int, num_windows: int) -> np.ndarray:
    return numpy_generator(seed, "epoch", epoch).permutation(num_windows)
