"""Losses and training stages."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from lamd.config.data import Videos
from lamd.config.strict import (
    Count,
    CountOrZero,
    Fraction,
    Layers,
    NonNegative,
    Positive,
    Size,
    Strict,
)


class BatchConfig(Strict):
    """A batch, global over all processes, and its step size.

    A micro-batch is the most that a process holds at once. It counts as part of the method, since
    BatchNorm sees one at a time, whatever the number of processes.
    """

    batch_size: Size
    micro_batch_size: Size | None = None  # None: the whole batch
    learning_rate: Positive

    @property
    def clips_at_once(self) -> int:
        """The size of a whole micro-batch."""
        return self.micro_batch_size or self.batch_size

    def problems(self) -> Iterator[str]:
        if self.micro_batch_size is not None and self.micro_batch_size >= self.batch_size:
            yield "micro_batch_size must be below batch_size; null means the whole batch"


class GANConfig(Strict):
    """Adversarial term of stage I: a 3-D PatchGAN with LDM's adaptive weight (reported).

    Of `differences` between neighbouring frames the discriminator sees what flickers or ripples,
    which still content hides in a `clip`.
    """

    start_step: CountOrZero
    ramp_steps: CountOrZero  # lambda rises linearly over so many steps from start_step on
    weight: Positive  # factor on lambda when adaptive, lambda itself when fixed
    adaptive: bool
    loss: Literal["bce", "hinge"]
    base_channels: Size
    num_layers: Annotated[Layers, Field(ge=1)]
    learning_rate: Positive  # of the discriminator, constant
    input: Literal["clip", "differences"] = Field("clip", exclude_if=lambda input: input == "clip")


class LossConfig(Strict):
    """Stage I: l1_weight * L1 + lpips_weight * LPIPS + kl_weight * KL + lambda * L_GAN.

    mse_weight * MSE finds small things that move in hundreds of steps where L1 takes
    thousands: while their position is uncertain, L1 is minimal at the median, the background.
    """

    l1_weight: NonNegative
    mse_weight: Positive | None = None  # of [-1, 1] values
    lpips_weight: NonNegative
    lpips_backbone: Literal["alex", "vgg"]
    lpips_frames: Count | None  # random frames per clip that enter LPIPS; None = all
    kl_weight: NonNegative  # beta of the paper
    # mean or sum over the elements of a latent, or their sum over the values in a clip
    kl_reduction: Literal["mean", "sum", "per_pixel"]
    gan: GANConfig | None

    def problems(self) -> Iterator[str]:
        if not (self.l1_weight or self.mse_weight or self.lpips_weight):
            yield "needs l1_weight, mse_weight or lpips_weight above 0"


class EarlyStopping(Strict):
    """End of a training whose validation loss no longer falls; the best checkpoint is its model."""

    patience: Count  # validations in a row without a new best


class SmallClips(Strict):
    """The first steps of an autoencoder's training, on smaller clips: more of them are seen."""

    size: Size  # H = W, pixels; below data.size
    num_steps: Count


# Keys that move no weight: a training goes on when they change.
BOOKKEEPING = {"log_every", "checkpoint_every", "keep_last"}


class TrainConfig(BatchConfig):
    """A training stage; times and intervals are numbers of optimiser steps."""

    num_steps: Count
    # muon: for convolutions and linear layers between features; AdamW for all other weights
    optimizer: Literal["adamw", "muon"] = Field(
        default="adamw", exclude_if=lambda optimizer: optimizer == "adamw"
    )
    lr_schedule: Literal["constant", "cosine"]
    warmup_steps: CountOrZero
    weight_decay: NonNegative
    adam_betas: tuple[Fraction, Fraction]
    gradient_clip: Positive | None
    ema_decay: Fraction | None
    # of averages, for sampler.ema_length; None: none are stored
    ema_snapshots: Count | None = Field(default=None, exclude_if=lambda count: count is None)
    precision: Literal["fp32", "bf16", "fp16"]
    window_stride: Count  # training windows start at frame 0, s, 2 s, ... of a video
    log_every: Count
    checkpoint_every: Count
    validate_every: Count
    num_validation_clips: Videos
    validation_fraction: Fraction | None = None  # of the videos, at most; None: no such limit
    early_stopping: EarlyStopping | None = None  # None: the model is the last one
    small_clips: SmallClips | None = Field(default=None, exclude_if=lambda small: small is None)
    keep_last: Count
    seed: int

    def identity(self) -> dict[str, Any]:
        """Return the keys that the trained weights depend on, as plain data."""
        return self.model_dump(mode="json", exclude=BOOKKEEPING)

    @property
    def num_averages(self) -> int:
        """The number of running averages of all weights."""
        return (self.ema_decay is not None) + 2 * (self.ema_snapshots is not None)

    def num_held_out(self, num_videos: int) -> int:
        """Return how many of the videos are held out for validation."""
        if self.validation_fraction is None:
            return self.num_validation_clips
        return min(self.num_validation_clips, max(1, int(self.validation_fraction * num_videos)))

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.optimizer == "muon" and self.precision == "fp16":
            yield "optimizer muon needs precision bf16 or fp32"
        if self.warmup_steps >= self.num_steps:
            yield "warmup_steps must be below num_steps"
        if self.validate_every > self.num_steps:
            yield "validate_every above num_steps would never validate"
        if self.small_clips is not None and self.small_clips.num_steps >= self.num_steps:
            yield "small_clips.num_steps must be below num_steps"
        if self.small_clips is not None and self.early_stopping is not None:
            yield "small_clips needs early_stopping null, or it might end before the whole clips"
        if (self.ema_snapshots or 0) > self.num_steps:
            yield "ema_snapshots cannot be above num_steps"
        if self.ema_snapshots is not None and self.early_stopping is not None:
            yield "ema_snapshots needs early_stopping null: they are spaced over all num_steps"
