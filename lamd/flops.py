"""FLOPs, parameters and activations of networks, counted by PyTorch on the meta device.

A module that is built and called under `torch.device("meta")` takes no memory and does no
arithmetic; `count` reads what its forward pass would cost.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

_WRITERS = {
    "conv2d",
    "conv3d",
    "conv_transpose3d",
    "embedding",
    "embedding_bag",
    "group_norm",
    "layer_norm",
    "linear",
    "scaled_dot_product_attention",
}


@dataclass(frozen=True)
class Cost:
    """The cost of one forward pass."""

    flops: int = 0  # of convolutions, linear maps, attention; 1 multiply-accumulate = 2 FLOPs
    parameters: int = 0  # all that the pass reads
    # Elements that convolutions, linear maps, attention, embeddings, group and layer norms write,
    # the least that training keeps for the backward pass.
    activations: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        """Return the cost of both; parameters that both read are counted twice."""
        return Cost(
            self.flops + other.flops,
            self.parameters + other.parameters,
            self.activations + other.activations,
        )


def count(run: Callable[[], object], clips: int = 1) -> Cost:
    """Return the cost of `run` divided by the number of `clips` that it passes through.

    New tensors are on the meta device, gradients are off; existing modules and inputs must be on
    the meta device already.
    """
    counter, tally = FlopCounterMode(display=False), _Tally()
    with torch.no_grad(), torch.device("meta"), counter, tally:
        run()
    parameters = sum(parameter.numel() for parameter in tally.parameters)
    return Cost(counter.get_total_flops() // clips, parameters, tally.elements // clips)


def count_flops(run: Callable[[], object]) -> int:
    """Return the FLOPs of `run` with its backward passes; its tensors are on the meta device."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


class _Tally(TorchFunctionMode):
    """Collects the parameters that functions read, and counts the elements that layers write."""

    def __init__(self) -> None:
        super().__init__()
        self.elements, self.parameters = 0, set[nn.Parameter]()

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = function(*args, **kwargs)
        read = (*args, *kwargs.values())
        self.parameters.update(value for value in read if isinstance(value, nn.Parameter))
        if function is F.multi_head_attention_forward:  # calls the layers within out of sight
            query, key = args[:2]
            self.elements += 3 * query.numel() + 2 * key.numel()
        elif function.__name__ in _WRITERS:
            self.elements += out.numel()
        return out
