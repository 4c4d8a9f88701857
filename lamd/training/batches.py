"""Which windows a step sees: a pure function of (seed, step), so a resumed run sees the same ones.

A window is (video, first frame). Each epoch visits every training window once in a fresh
order; a batch may span two epochs.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from lamd.base.errors import LamdError
from lamd.base.rng import numpy_generator
from lamd.config import DataConfig, TrainConfig
from lamd.data.packed import PackedVideos


def training_windows(videos: PackedVideos, train: TrainConfig, data: DataConfig) -> np.ndarray:
    """List the training windows (W, 2) int64: starts 0, s, 2s, ... of all but the held-out videos.

    Raises:
        LamdError: when the videos are too short, too few or of another size.
    """
    num_frames, kept = data.num_frames, len(videos) - train.num_validation_clips
    if videos.size != data.size:
        raise LamdError(f"data.size: {data.size} asked, the frames have {videos.size}; change it")
    shortest = min(videos.lengths)
    if shortest < num_frames:
        raise LamdError(
            f"data.num_frames: {num_frames} frames asked, a video has {shortest}; lower it"
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
    epochs, places = position // num_windows, position % num_windows
    orders = {int(epoch): _epoch_order(seed, int(epoch), num_windows) for epoch in set(epochs)}
    return np.array([orders[int(e)][p] for e, p in zip(epochs, places, strict=True)])


def read_windows(videos: PackedVideos, windows: np.ndarray, num_frames: int) -> Tensor:
    """Read windows (B, 2) as uint8 video (B, L, H, W, 3)."""
    clips = [videos.clip(int(i), int(start), num_frames) for i, start in windows]
    return torch.from_numpy(np.stack(clips))


class BatchReader:
    """Reads the next step's batches in a thread while the current step computes.

    Args:
        read: window numbers -> tensors on the CPU.
        train: seed and global batch size.
        num_windows: of the training set.
        slices: rows of the global batch, one slice an accumulation part.
        device: where the batches go.
    """

    def __init__(
        self,
        read: Callable[[np.ndarray], tuple[Tensor, ...]],
        train: TrainConfig,
        num_windows: int,
        slices: list[slice],
        device: torch.device,
    ):
        self.read, self.train, self.num_windows = read, train, num_windows
        self.slices, self.device = slices, device

    def __enter__(self) -> "BatchReader":
        self.pool = ThreadPoolExecutor(1)
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def steps(self, first: int, last: int) -> Iterator[tuple[int, list[tuple[Tensor, ...]]]]:
        """Yield (step, one batch an accumulation part) for the steps `first` to `last`."""
        waiting: Future | None = None
        for step in range(first, last + 1):
            batches = (waiting or self.pool.submit(self._read, step)).result()
            waiting = self.pool.submit(self._read, step + 1) if step < last else None
            yield step, [tuple(t.to(self.device, non_blocking=True) for t in b) for b in batches]

    def _read(self, step: int) -> list[tuple[Tensor, ...]]:
        rows = batch_rows(self.train.seed, step, self.train.batch_size, self.num_windows)
        batches = [self.read(rows[part]) for part in self.slices]
        if self.device.type != "cuda":
            return batches
        return [tuple(tensor.pin_memory() for tensor in batch) for batch in batches]


@lru_cache(maxsize=4)
def _epoch_order(seed: int, epoch: int, num_windows: int) -> np.ndarray:
    return numpy_generator(seed, "epoch", epoch).permutation(num_windows)
