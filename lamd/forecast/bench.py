"""Profile of training steps: shares of their time, and of the rate that this machine reaches."""

import gc
import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch.autograd import DeviceType
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from lamd import machine
from lamd.base.errors import LamdError
from lamd.config import AnyTarget, Target
from lamd.evaluate import resolve_device
from lamd.forecast.probe import check_lpips
from lamd.forecast.step import noise_stage
from lamd.forecast.work import training_step
from lamd.pipeline.steps.timing import interleaved
from lamd.targets import KINDS
from lamd.training.engine import StepTimer
from lamd.training.networks import NETWORKS
from lamd.training.stages import Stage
from lamd.training.vae_stage import VAEStage

Shape = tuple[int, ...]

# By kind, parts of the names of its operators, looked for in this order.
_OPERATORS = {
    "convolutions": ("conv",),
    "norms, activations": ("_norm", "silu", "gelu", "relu", "softmax"),
    "products, attention": ("aten::mm", "addmm", "bmm", "dot_product"),
    "optimiser, EMA": ("adamw", "lerp", "vector_norm"),
}
_OTHER, _REST = "other operators", "between operators"
_SHARES = [*_OPERATORS, _OTHER, _REST, "LPIPS", "reading"]
HEADER = [
    "stage", "precision", "ms / step", *_SHARES, "TFLOP/s", "of a product's", "of a convolution's",
]  # fmt: skip


class StageProfile(NamedTuple):
    """The training step of one stage."""

    stage: str
    precision: str
    seconds: float  # median of a step
    # Of it, by kind of operator; LPIPS, which is among those; reading a batch, by another thread.
    shares: Mapping[str, float]
    tflops: float  # per second, of the FLOPs that `lamd plan` counts
    product: float  # TFLOP/s of a matrix product in the precision of the step
    convolution: float | None  # TFLOP/s of the costliest convolution run alone; None without one

    def row(self) -> list[str]:
        """Return the line of a table below `HEADER`."""
        alone = "-" if self.convolution is None else f"{self.tflops / self.convolution:.0%}"
        return [
            self.stage, self.precision, f"{1e3 * self.seconds:.0f}",
            *(f"{self.shares[name]:.0%}" for name in _SHARES),
            f"{self.tflops:.3f}", f"{self.tflops / self.product:.0%}", alone,
        ]  # fmt: skip


def profile_target(target: AnyTarget, device: str) -> Iterable[StageProfile]:
    """Profile every stage that a target trains, on random clips, with the first config of each.

    LamdError when it trains nothing, or LPIPS' weights are missing.
    """
    graph, stages = KINDS[target.kind].plan(target, device), dict[str, Target]()
    for plan in graph.plans.values():
        for cell in plan.stages.values():
            if cell.kind in NETWORKS:
                stages.setdefault(cell.kind, plan.target)
    if not stages:
        raise LamdError(f"{target.target}: trains nothing; choose a target that trains")
    for name, config in stages.items():
        yield profile_stage(name, config, resolve_device(device))


def profile_stage(name: str, target: Target, device: str) -> StageProfile:
    """Profile one stage; errors as for `profile_target`."""
    gc.collect()  # networks of the stage before: a replaced `forward` refers to its own module
    check_lpips(name, target)
    stage = noise_stage(name, target.at_size(target.data.size))
    timer = StepTimer(stage, device=device)
    seconds = timer.median()
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device != "cpu")
    with profile(activities=activities, record_shapes=True) as record:
        profiled = timer.step()
    spent = dict.fromkeys([*_OPERATORS, _OTHER], 0.0)
    for event in record.key_averages():
        if event.device_type == DeviceType.CPU:  # a kernel counts with the operator that starts it
            own = event.self_device_time_total if device != "cpu" else event.self_cpu_time_total
            spent[_kind(event.key)] += own / 1e6
    shares = {kind: value / profiled for kind, value in spent.items()}
    shares[_REST] = max(0.0, 1 - sum(shares.values()))
    shares["LPIPS"] = _lpips_seconds(stage, device) / seconds
    shares["reading"] = _seconds(timer.read, device) / seconds
    dtype = torch.float32 if timer.precision == "fp32" else torch.bfloat16  # fp16 is as fast
    product = next(r.tflops for r in machine.rates(device) if r[:2] == ("matrix product", dtype))
    flops = training_step(target, name).flops
    return StageProfile(
        name, timer.precision, seconds, shares, flops / seconds / 1e12, product,
        _costliest(record, dtype, device),
    )  # fmt: skip


def _kind(operator: str) -> str:
    for kind, parts in _OPERATORS.items():
        if any(part in operator.lower() for part in parts):
            return kind
    return _OTHER


def _lpips_seconds(stage: Stage, device: str) -> float:
    """Return the seconds of LPIPS alone, forward and backward; 0 where a stage has none."""
    if not isinstance(stage, VAEStage) or (net := stage.lpips_net) is None:
        return 0.0
    data = stage.data
    count = stage.train.clips_at_once * (stage.loss.lpips_frames or data.num_frames)
    real = torch.rand(count, 3, data.size, data.size, device=device)
    fake = real.flip(0).requires_grad_()
    return _seconds(lambda: net(fake, real).mean().backward(), device)


def _costliest(record: Any, dtype: torch.dtype, device: str) -> float | None:
    """Return the TFLOP/s of the costliest convolution of a step alone, both passes, at stride 1."""
    spent: dict[tuple[Shape, Shape], float] = {}
    for event in record.key_averages(group_by_input_shape=True):
        if event.key != "aten::convolution":
            continue
        inputs, weights = (tuple(shape) for shape in event.input_shapes[:2])
        # neither transposed nor of a stride that an even kernel has
        if inputs[1] == weights[1] and all(k % 2 for k in weights[2:]):
            total = event.device_time_total if device != "cpu" else event.cpu_time_total
            spent[inputs, weights] = total
    if not spent:
        return None
    inputs, weights = max(spent, key=lambda shapes: spent[shapes])
    convolve = F.conv2d if len(inputs) == 4 else F.conv3d
    layout = torch.channels_last if len(inputs) == 4 else torch.channels_last_3d
    x, weight = (
        torch.randn(shape, dtype=dtype, device=device).contiguous(memory_format=layout)
        for shape in (inputs, weights)
    )
    padding = tuple(k // 2 for k in weights[2:])

    def run() -> None:
        out = convolve(x.requires_grad_(), weight.requires_grad_(), padding=padding)
        out.backward(out.detach())

    flops = 2 * inputs[0] * math.prod(inputs[2:]) * math.prod(weights)
    return 3 * flops / _seconds(run, device) / 1e12


def _seconds(run: Callable[[], object], device: str) -> float:
    """Return the median seconds of a few runs, after one that warms up."""
    return statistics.median(interleaved({"": run}, 5, device)[""])
