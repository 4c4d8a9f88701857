"""Muon (Jordan et al. 2024): orthogonal steps for the weights of convolutions and linear layers."""

from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

import torch
from torch import Tensor, nn
from torch.optim import AdamW

_LAYERS = (nn.Linear, nn.Conv2d, nn.Conv3d, nn.ConvTranspose3d)
_MIN_CHANNELS = 8  # layers with fewer are at the input or output, where Muon is no help
_MOMENTUM = 0.95
_QUINTIC = (3.4445, -4.7750, 2.0315)  # steep at 0: singular values end between 0.7 and 1.2
_NUM_ITERATIONS = 5


def matrices(model: nn.Module) -> set[Tensor]:
    """Return the weights that Muon is for: of layers between features, and no embeddings."""
    weights = (module.weight for module in model.modules() if isinstance(module, _LAYERS))
    return {weight for weight in weights if min(weight.shape[:2]) >= _MIN_CHANNELS}


class MuonAdamW(AdamW):
    """Muon for `matrices`, AdamW for all other parameters; PyTorch 2.14's Muon takes only 2-D ones.

    A convolution is the matrix of its outputs by all else. Steps have the size that is usual with
    AdamW (Liu et al., arXiv 2502.16982), so one learning rate serves both. `dtype` is that of
    Muon's products.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        matrices: AbstractSet[Tensor] = frozenset(),
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.bfloat16,
    ):
        # fused: one kernel per step, on the CPU too
        super().__init__(parameters, lr=lr, betas=betas, weight_decay=weight_decay, fused=True)
        self.matrices, self.dtype = matrices, dtype

    def state_like(self) -> list[dict[str, Tensor]]:
        """Return tensors of the shapes of each parameter's state after a step."""
        weights = [weight for group in self.param_groups for weight in group["params"]]
        adamw = [{} if weight in self.matrices else {"exp_avg_sq": weight} for weight in weights]
        step = torch.zeros(())
        return [
            {"step": step, "exp_avg": weight} | more
            for weight, more in zip(weights, adamw, strict=True)
        ]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all weights; those of Muon have no gradient afterwards."""
        for group in self.param_groups:
            by_shape = defaultdict[tuple[int, int], list[Tensor]](list)
            for weight in group["params"]:
                if weight in self.matrices and weight.grad is not None:
                    by_shape[len(weight), weight.numel() // len(weight)].append(weight)
            for shape, weights in by_shape.items():  # together: small products are slow
                updates = torch.stack([*map(self._update, weights)])
                directions = orthogonalise(updates.to(self.dtype)).to(updates.dtype)
                rate = 0.2 * max(shape) ** 0.5 * group["lr"]
                for weight, direction in zip(weights, directions, strict=True):
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.sub_(direction.reshape(weight.shape), alpha=rate)
                    weight.grad = None  # so that AdamW skips it
        super().step()

    def _update(self, weight: Tensor) -> Tensor:
        """Return the gradient with Nesterov momentum, (M, N)."""
        state, grad = self.state[weight], weight.grad
        assert grad is not None
        if not state:  # AdamW's loader needs a step
            state.update(step=torch.zeros(()), exp_avg=torch.zeros_like(weight))
        return grad.lerp(state["exp_avg"].lerp_(grad, 1 - _MOMENTUM), _MOMENTUM).flatten(1)


def orthogonalise(matrices: Tensor) -> Tensor:
    """Map U S V^T (B, M, N) to about U V^T."""
    is_wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if is_wide else matrices.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = _QUINTIC
    for _ in range(_NUM_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if is_wide else x.mT
