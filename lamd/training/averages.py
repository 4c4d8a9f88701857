"""Running averages of weights: exponential ones, and ones whose length is chosen after training.

The latter are EDM2's (arXiv 2312.02696, section 3.1): snapshots of two power averages, stored
during training, span the averages of all other lengths nearly. Step j of n has the share
(j^p - (j - 1)^p) / n^p in a power average; its length is the standard deviation of that
distribution relative to n.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from lamd.base.errors import LamdError
from lamd.base.files import replace_file, sha256_of
from lamd.training import checkpoint as ckpt

LENGTHS = (0.05, 0.1)  # of the two that are stored; reported: EDM2


def make_ema(model: nn.Module, decay: float) -> AveragedModel:
    """Return the running average of parameters and float buffers, with a warm-up of the decay.

    BatchNorm statistics are averaged too: those of the last steps alone would belong to other
    weights than the averaged ones.
    """
    return _averaged(model, lambda count: min(decay, (1 + count) / (10 + count)))


def make_power_average(model: nn.Module, length: float) -> AveragedModel:
    """Return the running power average of `length`."""
    p = power(length)
    return _averaged(model, lambda count: (count / (count + 1)) ** p)


def _averaged(model: nn.Module, kept: Any) -> AveragedModel:
    def average(averaged: Any, current: Any, count: Tensor | int) -> None:
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, 1 - kept(int(count)))
        else:
            torch._foreach_copy_(averaged, current)

    ema = AveragedModel(model, multi_avg_fn=average, use_buffers=True)
    return ema.eval().requires_grad_(False)


def power(length: float) -> float:
    """Return p of the power average of a relative length below 0.28.

    The density p t^(p - 1) on [0, 1] has the variance p / ((p + 1)^2 (p + 2)).
    """
    roots = np.roots([1, 4, 5 - length**-2, 2])
    return float(roots.real.max())


def snapshot_steps(num_steps: int, count: int) -> list[int]:
    """Return the steps, evenly spaced up to the last, after which the averages are stored."""
    return sorted({num_steps * (i + 1) // count for i in range(count)} - {0})


def snapshot_path(folder: Path, step: int) -> Path:
    """Return the file of the averages after `step`."""
    return folder / "averages" / f"step_{step:08d}.safetensors"


def write_snapshot(folder: Path, step: int, powers: Mapping[float, AveragedModel]) -> None:
    """Write the power averages after `step`, by their lengths."""
    weights = {
        f"{length}.{name}": tensor
        for length, average in powers.items()
        for name, tensor in average.module.state_dict().items()
    }
    path = snapshot_path(folder, step)
    path.parent.mkdir(exist_ok=True)
    replace_file(path, lambda temporary: ckpt.save_weights(temporary, weights))


def snapshot_hashes(folder: Path, steps: Sequence[int]) -> dict[str, str]:
    """Return the SHA-256 of each snapshot by its step, for JSON; LamdError when one is missing."""
    paths = {step: snapshot_path(folder, step) for step in steps}
    for path in paths.values():
        if not path.is_file():
            raise LamdError(f"{path}: missing; delete {folder / 'checkpoints'} to train again")
    return {str(step): sha256_of(path) for step, path in paths.items()}


def shares(length: float, step: int, num_steps: int) -> np.ndarray:
    """Return the shares (num_steps,) of all steps in the power average after `step`."""
    edges = np.minimum(np.arange(num_steps + 1) / step, 1.0)
    return np.diff(edges ** power(length))


def coefficients(length: float, steps: Sequence[int]) -> np.ndarray:
    """Return the factors (2, len(steps)) of the stored averages that sum up to one of `length`.

    Least squares over the shares of all steps, the last of `steps` being the last of the training;
    scaled to the sum of one, since too few snapshots would shrink the weights.
    """
    stored = [shares(own, step, steps[-1]) for own in LENGTHS for step in steps]
    wanted = shares(length, steps[-1], steps[-1])
    factors = np.linalg.lstsq(np.stack(stored, 1), wanted)[0]
    return (factors / factors.sum()).reshape(2, -1)


def single(number: int, steps: Sequence[int]) -> np.ndarray:
    """Return the factors of one stored average alone: the longer one of snapshot `number`, from 1.

    A training of a baseline may be too short for as many snapshots; its last one is taken then.
    """
    factors = np.zeros((2, len(steps)))
    factors[-1, min(number, len(steps)) - 1] = 1
    return factors


def weighted_average(
    factors: np.ndarray,
    folder: Path,
    sha256: Mapping[int, str],
    expected: Mapping[str, Tensor],
    advice: str,
) -> dict[str, Tensor]:
    """Return the sum of the stored averages in `folder`, each by its factor, (2, snapshots).

    `sha256` has the hash of each snapshot by its step. DamagedFile when one that a factor needs is
    missing or damaged.
    """
    names = {f"{own}.{name}": t for own in LENGTHS for name, t in expected.items()}
    total = dict[str, Tensor]()
    for step, column in zip(sorted(sha256), factors.T, strict=True):
        if not column.any():
            continue
        path = snapshot_path(folder, step)
        weights = ckpt.load_weights(path, sha256[step], names, advice)
        for own, factor in zip(LENGTHS, column, strict=True):
            for name in expected:
                part = weights[f"{own}.{name}"].double() * factor
                total[name] = total[name] + part if name in total else part
    return {name: tensor.to(expected[name].dtype) for name, tensor in total.items()}
