"""Seeds: every random number comes from a generator named by what it is for.

A generator is derived from words and integers such as `(seed, "noise", "bair/test/7@0")`, so a
value depends neither on batch size, device count and worker count nor on what was drawn before it.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive_seed(*parts: int | str) -> int:
    """Hash `parts` into a 63-bit seed that is stable across processes and platforms."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def numpy_generator(*parts: int | str) -> np.random.Generator:
    """Return the NumPy generator named by `parts`."""
    return np.random.default_rng(derive_seed(*parts))


def torch_generator(*parts: int | str) -> "torch.Generator":
    """Return the CPU torch generator named by `parts`; draws are moved to the device afterwards."""
    import torch

    return torch.Generator().manual_seed(derive_seed(*parts))
