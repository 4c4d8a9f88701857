"""Check of mixed precision on a CPU, where PyTorch gets some gradients wrong."""

from copy import copy, deepcopy
from functools import reduce

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamd.training.stages import Stage, StepRNG, seeded

# Between the gradients of one parameter in fp32 and in bf16; 0.96 and more was seen where bf16 was
# right, 0.55 and less, or no number, where PyTorch 2.14 left the gradient uninitialised.
_MIN_COSINE = 0.9
_NEGLIGIBLE = 1e-4  # share of the whole gradient's norm; rounding may turn a gradient below it


def bf16_problem(stage: Stage) -> str | None:
    """Return what is wrong with the gradients of a stage in bf16 on this CPU, None where nothing.

    A step is run in both precisions, on copies of the networks. Weights that start at zero, behind
    which no gradient would be seen, are drawn at random there.
    """
    stage = copy(stage)
    stage.model, stage.adversary = deepcopy((stage.model, stage.adversary))
    networks = [module.train() for module in (stage.model, stage.adversary) if module is not None]
    with seeded(stage.train.seed, "bf16"):
        for parameter in (own for module in networks for own in module.parameters()):
            if not parameter.any():
                nn.init.normal_(parameter, std=0.02)
    step = 1 + stage.train.num_steps  # whatever starts during training takes part
    rows = np.arange(min(stage.train.clips_at_once, len(stage.windows)))
    batch = stage.read(rows)
    rng = StepRNG(stage.train.seed, stage.name, step, len(rows), 0, len(rows))
    exact, half = (_gradients(stage, networks, batch, rng, lower) for lower in (False, True))
    whole = torch.stack([gradient.norm() for gradient in exact.values()]).norm()
    for name, gradient in exact.items():
        cosine = F.cosine_similarity(gradient.flatten(), half[name].flatten(), dim=0)
        if gradient.norm() > _NEGLIGIBLE * whole and not cosine > _MIN_COSINE:
            return f"PyTorch {torch.__version__} computes the bf16 gradient of {name} wrongly here"
    return None


def _gradients(
    stage: Stage, networks: list[nn.Module], batch: tuple[Tensor, ...], rng: StepRNG, lower: bool
) -> dict[str, Tensor]:
    for module in networks:
        module.zero_grad()
    stage.precision = "bf16" if lower else "fp32"
    with torch.autocast("cpu", torch.bfloat16, enabled=lower):
        terms = stage.terms(stage.model, batch, rng)
        losses = [reduce(torch.add, terms.losses.values())]
        if stage.adversary_active(rng.step):
            adversary = stage.adversary_terms(stage.adversary, terms.for_discriminator)
            losses.append(adversary.losses["adversary"])
    for loss in losses:
        loss.float().backward()
    return {
        f"{type(module).__name__}.{name}": parameter.grad.clone()
        for module in networks
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }
