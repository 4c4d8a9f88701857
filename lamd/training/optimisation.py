"""Accelerator, optimiser, learning rate and weight average of a run."""

import math

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from lamd.base.errors import LamdError
from lamd.config import TrainConfig

Tensors = tuple[Tensor, ...] | list[Tensor]
FINAL_LR = 0.01  # the cosine ends at this part of the peak


def learning_rate_factor(train: TrainConfig, step: int) -> float:
    """Return the factor on the peak rate at `step` (from 1): linear warm-up, then the schedule."""
    if step <= train.warmup_steps:
        return step / (train.warmup_steps + 1)
    if train.lr_schedule == "constant":
        return 1.0
    part = (step - train.warmup_steps) / max(1, train.num_steps - train.warmup_steps)
    return FINAL_LR + (1 - FINAL_LR) * 0.5 * (1 + math.cos(math.pi * part))


def make_accelerator(train: TrainConfig, device: str | None) -> Accelerator:
    """Return an accelerator of the stage's precision and accumulation.

    Raises:
        LamdError: when the device or the precision is not available, or the batch cannot be
            shared evenly.
    """
    if device not in (None, "cpu", "cuda"):
        raise LamdError(f"device {device!r}: not known; use cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise LamdError("device 'cuda': no CUDA device here; use cpu")
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    if train.precision != "fp32" and on_cpu:
        # bf16 too: torch 2.15's CPU gradient of a bf16 Conv3d reads uninitialised memory.
        raise LamdError(f"precision: {train.precision} needs a GPU; set precision: fp32")
    # accelerate keeps its settings in singletons and refuses a second precision in one process.
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    GradientState._reset_state()
    accelerator = Accelerator(
        cpu=on_cpu,
        mixed_precision="no" if train.precision == "fp32" else train.precision,
        gradient_accumulation_steps=train.gradient_accumulation,
    )
    parts = accelerator.num_processes * train.gradient_accumulation
    if train.batch_size % parts:
        raise LamdError(
            f"batch_size: {train.batch_size} is not a multiple of {parts} "
            "(processes x gradient_accumulation); change it"
        )
    return accelerator


def make_ema(model: nn.Module, decay: float) -> AveragedModel:
    """Return the running average of parameters and float buffers, with a warm-up of the decay.

    BatchNorm statistics are averaged too: those of the last steps alone would belong to other
    weights than the averaged ones.
    """

    def average(averaged: Tensors, current: Tensors, count: Tensor | int) -> None:
        if averaged[0].is_floating_point():
            kept = min(decay, (1 + int(count)) / (10 + int(count)))
            torch._foreach_lerp_(averaged, current, 1 - kept)
        else:
            torch._foreach_copy_(averaged, current)

    ema = AveragedModel(model, multi_avg_fn=average, use_buffers=True)
    return ema.eval().requires_grad_(False)
