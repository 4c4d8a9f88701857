"""What the training loop (`engine`) needs of a stage, and the random numbers of one step.

A stage reads batches, draws its random numbers from generators named by the step, and returns
named loss terms. Everything random is drawn on the CPU for the whole global batch and sliced, so
it depends neither on the device nor on the number of processes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lamd.base.rng import derive_seed, torch_generator
from lamd.config import TrainConfig

Batch = tuple[Tensor, ...]


@dataclass(frozen=True)
class Draws:
    """The random numbers of one step, for rows `first` .. `first + count` of the global batch."""

    seed: int
    stage: str
    step: int
    batch_size: int
    first: int
    count: int

    def normal(self, what: str, shape: Sequence[int]) -> Tensor:
        """Return standard normal (count, *shape)."""
        generator = torch_generator(self.seed, self.stage, self.step, what)
        return self._mine(torch.randn(self.batch_size, *shape, generator=generator))

    def integers(self, what: str, high: int) -> Tensor:
        """Return int64 (count,) in 0..high-1."""
        generator = torch_generator(self.seed, self.stage, self.step, what)
        return self._mine(torch.randint(high, (self.batch_size,), generator=generator))

    def uniform(self, what: str) -> Tensor:
        """Return float32 (count,) in [0, 1)."""
        generator = torch_generator(self.seed, self.stage, self.step, what)
        return self._mine(torch.rand(self.batch_size, generator=generator))

    def generator(self, what: str) -> torch.Generator:
        """Return a generator for these rows."""
        return torch_generator(self.seed, self.stage, self.step, what, self.first)

    def _mine(self, values: Tensor) -> Tensor:
        return values[self.first : self.first + self.count]


@dataclass
class StepTerms:
    """One forward pass.

    Attributes:
        losses: named, weighted terms; their sum is minimised.
        notes: named values that are only logged.
        made: what the stage's `adversary_loss` needs.
    """

    losses: dict[str, Tensor]
    notes: dict[str, Tensor] = field(default_factory=dict)
    made: tuple[Tensor, ...] = ()


class Stage(Protocol):
    """What the engine needs of a stage."""

    name: str
    options: str  # config key that holds its learning rate
    train: TrainConfig
    config: dict[str, Any]  # what a checkpoint must agree with
    model: nn.Module
    adversary: nn.Module | None
    num_windows: int
    best_of: str  # validation value that picks the best checkpoint; lower is better

    def to(self, device: torch.device) -> None:
        """Move the frozen parts; the engine places `model` and `adversary`."""

    def read(self, rows: np.ndarray) -> Batch:
        """Return the windows `rows` on the CPU; called from another thread."""

    def terms(self, model: nn.Module, batch: Batch, draws: Draws) -> StepTerms:
        """Run the model on a batch."""

    def adversary_active(self, step: int) -> bool:
        """Tell whether the discriminator takes part in `step`."""

    def adversary_loss(self, adversary: nn.Module, made: tuple[Tensor, ...]) -> Tensor:
        """Return the discriminator's loss."""

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Measure the held-out clips with a model in eval mode."""

    def finish(self, model: nn.Module) -> None:
        """Put into the final model what is measured after training."""

    def info(self) -> dict[str, Any]:
        """Return what is saved beside the final model's config."""


class NoAdversary:
    """The adversary's part of a stage without one."""

    adversary = None

    def adversary_active(self, step: int) -> bool:
        """Return False: there is no adversary."""
        return False

    def adversary_loss(self, adversary: nn.Module, made: tuple[Tensor, ...]) -> Tensor:
        """Never reached, since `adversary_active` is False."""
        raise AssertionError("this stage has no adversary")


@contextmanager
def seeded(*parts: int | str) -> Iterator[None]:
    """Draw initial weights from the generator named by `parts`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(*parts))
        yield
