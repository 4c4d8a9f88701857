"""Stages as the training loop (`engine`) sees them, and what a step depends on.

The windows and random numbers of a step are pure functions of (seed, step), so a resumed run sees
the same ones. Everything random is drawn on the CPU for the whole global batch and sliced, so it
depends neither on the device nor on the number of processes.

A window is (video, first frame). Each epoch visits every training window once in a fresh order; a
batch may span two epochs.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lamd.base.errors import LamdError
from lamd.base.rng import derive_seed, numpy_generator, torch_generator
from lamd.config import DataConfig, Target, TrainConfig
from lamd.config.training import BatchConfig
from lamd.data.packed import PackedVideos
from lamd.data.vocabulary import Kind, Vocabulary
from lamd.io.video import to_model
from lamd.training.augment import read_rows, read_windows
from lamd.training.networks import NETWORKS

Batch = tuple[Tensor, ...]


@dataclass(frozen=True)
class StepRNG:
    """The random numbers of one step, for rows `first` .. `first + count` of the global batch.

    `drawn` keeps the noise of the whole batch for the other parts of the step.
    """

    seed: int
    stage: str
    step: int
    batch_size: int
    first: int
    count: int
    drawn: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def normal(self, what: str, shape: Sequence[int]) -> Tensor:
        """Return standard normal (count, *shape)."""
        if what not in self.drawn:
            generator = self._named(what)
            self.drawn[what] = torch.randn(
                self.batch_size, *shape, generator=generator, device="cpu"
            )
        return self._rows(self.drawn[what])

    def strata(self, what: str, high: int) -> Tensor:
        """Return int64 (count,) in 0..high-1, uniform in each row and even over the global batch.

        One offset shifts the B strata of [0, 1), which are dealt to the rows at random (as in
        Variational Diffusion Models, arXiv 2107.00630): B draws of a loss over t vary less.
        """
        generator = self._named(what)
        stratum = torch.randperm(self.batch_size, generator=generator, device="cpu")
        offset = torch.rand((), generator=generator, dtype=torch.float64, device="cpu")
        return self._rows(((stratum + offset) / self.batch_size * high).long())

    def uniform(self, *what: int | str, shape: Sequence[int] = ()) -> Tensor:
        """Return float32 (count, *shape) in [0, 1)."""
        generator = self._named(*what)
        draws = torch.rand(self.batch_size, *shape, generator=generator, device="cpu")
        return self._rows(draws)

    def _named(self, *what: int | str) -> torch.Generator:
        return torch_generator(self.seed, self.stage, self.step, *what)

    def _rows(self, values: Tensor) -> Tensor:
        return values[self.first : self.first + self.count]


@dataclass
class StepTerms:
    """The named values of one forward pass."""

    losses: dict[str, Tensor]  # weighted; their sum is minimised
    notes: dict[str, Tensor] = field(default_factory=dict)  # only logged
    for_discriminator: tuple[Tensor, ...] = ()  # arguments of the stage's `adversary_terms`


class Stage(ABC):
    """One training: model, data and losses."""

    options: str  # config key that holds the learning rate
    config: dict[str, Any]  # all that a checkpoint must agree with
    model: Any
    adversary: Any = None  # the discriminator, if any
    adversary_rate: float = 0.0  # its learning rate, constant
    tokens: Vocabulary | None = None  # of the conditions, if any
    best_metric: str  # validation value that picks the best checkpoint; lower is better

    def __init__(
        self, name: str, target: Target, train: TrainConfig, videos: PackedVideos, train_key: str
    ):
        """Set up the clips of a stage; `name` also names its random streams."""
        self.name, self.target, self.train, self.videos = name, target, train, videos
        self.data = target.data
        self.precision = train.precision  # or fp32, where the engine finds no other
        self.checkpoints_blocks = target.runtime.gradient_checkpointing
        self.windows, self.network = training_windows(videos, train, target.data), NETWORKS[name]
        self.config = {
            "data": target.data.model_dump(mode="json", exclude={"num_test"}),
            train_key: train.identity(),
            **self.network.config(target),
        }

    def vocabulary(self, kind: Kind, key: str) -> Vocabulary:
        """Return the vocabulary of the videos' conditions, which config key `key` asks for."""
        if self.videos.conditions is None:
            raise LamdError(
                f"{key}: {self.data.name} has neither captions nor classes; set it to null"
            )
        return Vocabulary.build(kind, self.videos.conditions)

    def conditions(self, windows: np.ndarray) -> list[str]:
        """Return the caption or class of windows (B, 2)."""
        assert self.videos.conditions is not None, "checked by `vocabulary`"
        return [self.videos.conditions[i] for i in windows[:, 0]]

    def held_out(self, model: nn.Module) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Yield each held-out window (1, 2) with its clip (1, L, 3, H, W) on the model's device."""
        device = next(model.parameters()).device
        for window in validation_windows(self.videos, self.train)[:, None]:
            yield (
                window,
                to_model(read_windows(self.videos, window, self.data.num_frames).to(device)),
            )

    def to(self, device: torch.device) -> None:
        """Move the frozen parts; the engine moves `model` and `adversary`."""
        return

    def read(self, rows: np.ndarray) -> Batch:
        """Return the windows `rows` on the CPU, first the video, uint8 (B, L, H, W, 3).

        Called from another thread.
        """
        return (read_rows(self.videos, self.windows, rows, self.data),)

    def weight(self, rows: np.ndarray) -> float:
        """Return the number of things that the losses of the windows `rows` are means over."""
        return len(rows)

    @abstractmethod
    def terms(self, model: nn.Module, batch: Batch, rng: StepRNG) -> StepTerms:
        """Run the model on a batch."""

    @abstractmethod
    def validate(self, model: Any) -> dict[str, float]:
        """Measure the held-out clips with a model in eval mode."""

    def adversary_active(self, step: int) -> bool:
        """Return whether the discriminator takes part in `step`."""
        return False

    def adversary_terms(self, adversary: nn.Module, inputs: tuple[Tensor, ...]) -> StepTerms:
        """Return the discriminator's loss, `adversary`; only called where it is active."""
        raise NotImplementedError

    def finish(self, model: Any) -> dict[str, Any]:
        """Complete the final model; return what is saved in addition to its config.

        That is the vocabulary, where there is one: the weights mean nothing without it.
        """
        return {} if self.tokens is None else {"vocabulary": self.tokens.to_json()}


@contextmanager
def seeded(*parts: int | str) -> Iterator[None]:
    """Draw initial weights from the generator named by `parts`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(*parts))
        yield


def training_windows(videos: PackedVideos, train: TrainConfig, data: DataConfig) -> np.ndarray:
    """List the training windows (W, 2) int64: starts 0, s, 2s, ... of all but the held-out videos.

    With `data.augment`, the list comes once per variant, one after another. LamdError when the
    videos are too short, too few or of another size.
    """
    num_frames, held_out = data.num_frames, train.num_held_out(len(videos))
    kept = len(videos) - held_out
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
            f"num_validation_clips: {held_out} of {len(videos)} videos are "
            "held out and none is left to train on; lower it or raise data.num_train"
        )
    windows = videos.windows(num_frames, train.window_stride)
    return np.tile(windows[windows[:, 0] < kept], (data.num_variants, 1))


def validation_windows(videos: PackedVideos, train: TrainConfig) -> np.ndarray:
    """List the held-out windows (V, 2): the first frames of the last videos."""
    last = np.arange(len(videos) - train.num_held_out(len(videos)), len(videos))
    return np.stack([last, np.zeros_like(last)], axis=1)


def batch_rows(seed: int, step: int, batch_size: int, num_windows: int) -> np.ndarray:
    """Return the `batch_size` window numbers of `step` (counted from 1)."""
    position = np.arange((step - 1) * batch_size, step * batch_size)
    places = zip(position // num_windows, position % num_windows, strict=True)
    return np.array([_epoch_order(seed, int(epoch), num_windows)[at] for epoch, at in places])


def shared_rows(train: BatchConfig, processes: int, rank: int) -> list[slice]:
    """Return the rows of the global batch that a process takes, one slice per accumulation part.

    A part has whole micro-batches, at most one per process, and its rows are shared evenly.
    LamdError when a part has fewer rows than there are processes.
    """
    edges = [*range(0, train.batch_size, train.clips_at_once), train.batch_size]
    parts, slices = math.ceil((len(edges) - 1) / processes), []
    for part in range(parts):
        first, last = (edges[(len(edges) - 1) * i // parts] for i in (part, part + 1))
        if last - first < processes:
            raise LamdError(
                f"batch_size: {processes} processes cannot share {last - first} clips; start fewer "
                "or raise batch_size or micro_batch_size"
            )
        start, stop = (first + (last - first) * i // processes for i in (rank, rank + 1))
        slices.append(slice(start, stop))
    return slices


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
