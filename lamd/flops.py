"""FLOPs, parameters, activations and memory of networks, counted on the meta device.

A module that is built and called under `torch.device("meta")` takes no memory and does no
arithmetic; `count` reads what its forward pass would cost.
"""

import weakref
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

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
        return Cost(*map(sum, zip(astuple(self), astuple(other), strict=True)))


def count(run: Callable[[], object], clips: int = 1) -> Cost:
    """Return the cost of `run` divided by the number of `clips` that it passes through.

    New tensors are on the meta device, gradients are off; existing modules and inputs must be on
    the meta device already.
    """
    meter, tally = Meter(), _Tally()
    with torch.no_grad(), torch.device("meta"), meter, tally:
        run()
    parameters = sum(parameter.numel() for parameter in tally.parameters)
    return Cost(meter.flops // clips, parameters, tally.elements // clips)


class Meter(TorchDispatchMode):
    """Counts what runs on a device, as PyTorch dispatches it.

    `flops` is as in `Cost`; `peak` is the most bytes of tensors made in it and alive at once.
    """

    def __init__(self, device: str = "meta") -> None:
        super().__init__()
        self.device = device
        self.flops = self.peak = self._alive = 0
        self._storages: dict[weakref.ref, int] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if torch.is_inference_mode_enabled() and function._overloadpacket not in flop_registry:
            with self:  # layers arrive whole
                out = function.decompose(*args, **kwargs or {})
            if out is not NotImplemented:
                return out
        out = function(*args, **kwargs or {})
        if (flops := flop_registry.get(function._overloadpacket)) is not None:
            self.flops += flops(*args, **kwargs or {}, out_val=out)
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.device.type == self.device:
                storage = tensor.untyped_storage()
                reference = weakref.ref(storage, self._free)
                if reference not in self._storages:
                    self._storages[reference] = storage.nbytes()
                    self._alive += storage.nbytes()
        self.peak = max(self.peak, self._alive)
        return out

    def _free(self, reference: weakref.ref) -> None:
        self._alive -= self._storages.pop(reference)


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
