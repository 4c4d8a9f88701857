"""Speed and error of PyTorch's basic operators on this machine, by dtype."""

import statistics
import time
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_ERROR = 0.02  # of bf16, which keeps 8 bits; relative, of outputs and gradients
_ROUNDS = 5
_GPU_FACTOR = 64  # of the first axis: at a CPU's sizes, a GPU spends its time on launching kernels


class Rate(NamedTuple):
    """One operator, forward and backward, in one dtype."""

    operator: str
    dtype: torch.dtype
    tflops: float  # per second, 1 multiply-accumulate = 2 FLOPs
    error: float  # relative to float32


@cache
def rates(device: str = "cpu") -> tuple[Rate, ...]:
    """Measure a matrix product, a 2-D and a 3-D convolution in fp32 and bf16, in half a second."""
    measured, factor = [], 1 if device == "cpu" else _GPU_FACTOR
    for name, (operator, flops, shape, weight) in _OPERATORS.items():
        generator = torch.Generator().manual_seed(0)
        shapes, flops = ((shape[0] * factor, *shape[1:]), weight), flops * factor
        inputs = [torch.randn(shape, generator=generator).to(device) for shape in shapes]
        exact: list[Tensor] = []
        for dtype in (torch.float32, torch.bfloat16):
            seconds, values = _timed(operator, [x.to(dtype) for x in inputs])
            exact = exact or values
            pairs = zip(values, exact, strict=True)
            error = max(((a - b).norm() / b.norm()).item() for a, b in pairs)
            measured.append(Rate(name, dtype, 3 * flops / seconds / 1e12, error))
    return tuple(measured)


def bf16_is_faster(device: str = "cpu") -> bool:
    """Return whether bf16 is right and, over all operators, faster than fp32.

    With instructions for bf16 it takes half the time, without them several times as long, so that
    the answer hardly depends on what else the machine does. A GPU is asked for them instead.
    """
    if device != "cpu":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    seconds = dict.fromkeys((torch.float32, torch.bfloat16), 0.0)
    for rate in rates(device):
        seconds[rate.dtype] += 1 / rate.tflops
    right = all(rate.error < MAX_ERROR for rate in rates(device))
    return right and seconds[torch.bfloat16] < seconds[torch.float32]


def _timed(
    operator: Callable[[Tensor, Tensor], Tensor], inputs: list[Tensor]
) -> tuple[float, list[Tensor]]:
    """Return the median seconds of both passes, and output and gradients in float32."""
    times, values = [], []
    for _ in range(1 + _ROUNDS):
        leaves = [x.clone().requires_grad_() for x in inputs]
        started = time.perf_counter()
        out = operator(*leaves)
        out.backward(out.detach())
        values = [out.detach(), *(x.grad for x in leaves if x.grad is not None)]
        values[0].sum().item()  # waits for the device
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:]), [value.float().cpu() for value in values]


# name: operator, FLOPs of its forward pass, shapes of its two inputs
_OPERATORS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], int, tuple, tuple]] = {
    "matrix product": (torch.matmul, 2 * 1024**3, (1024, 1024), (1024, 1024)),
    "2-D convolution": (
        lambda x, weight: F.conv2d(x, weight, padding=1),
        2 * 8 * 64 * 64 * 32**2 * 9,
        (8, 64, 32, 32),
        (64, 64, 3, 3),
    ),
    "3-D convolution": (
        lambda x, weight: F.conv3d(x, weight, padding=1),
        2 * 2 * 32 * 32 * 16**3 * 27,
        (2, 32, 16, 16, 16),
        (32, 32, 3, 3, 3),
    ),
}
