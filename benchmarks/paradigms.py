"""The paradigms of `lamd.cost` at the widths and sizes of the benchmarks, as parts to be timed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from lamd.cost import Cost
from lamd.cost import paradigms as closed
from lamd.cost.paradigms import Widths, autoencoder_options_of, mcd_vae_options, unet_widths
from lamd.cost.timed import SCHEDULE, build_paradigm

__all__ = [
    "BATCH",
    "FULL",
    "PARADIGMS",
    "REDUCED",
    "SCHEDULE",
    "Part",
    "Scale",
    "autoencoder_options_of",
    "mcd_vae_options",
    "unet_widths",
]

# With a batch of one, PyTorch sends small 3-D convolutions on a CPU to a kernel several times
# slower, and the 3-D paradigms would look dearer than they are.
BATCH = 2


@dataclass(frozen=True)
class Scale(Widths):
    """The widths, and the sizes that are swept.

    Attributes:
        sweep: (frames, pixels) of the denoiser steps.
        shape: (frames, pixels) of everything else.
        num_steps: K of a whole sampling run.
    """

    matmul_size: int
    sweep: tuple[tuple[int, int], ...]
    shape: tuple[int, int]
    num_steps: int


_FRAMES = (8, 16, 32, 64, 128)
REDUCED = Scale(
    base_channels=16,
    channel_multipliers=(1, 2, 2),
    num_res_blocks=1,
    attention_factors=(4,),
    head_channels=16,
    context_channels=32,
    image_channels=(8, 16, 32),
    motion_encoder_channels=(16, 32),
    decoder_channels=(8, 16, 32),
    matmul_size=1024,
    sweep=(*((frames, 32) for frames in _FRAMES), (16, 64)),
    shape=(16, 32),
    num_steps=5,
)
FULL = Scale(
    base_channels=224,
    channel_multipliers=(1, 2, 3, 4),
    num_res_blocks=2,
    attention_factors=(2, 4),
    head_channels=32,
    context_channels=512,
    image_channels=(128, 256, 512),
    motion_encoder_channels=(64, 128),
    decoder_channels=(64, 128, 256),
    matmul_size=8192,
    sweep=(*((frames, 64) for frames in _FRAMES), (16, 128), (16, 256)),
    shape=(16, 64),
    num_steps=20,
)


@dataclass(frozen=True)
class Part:
    """Something to time, and what it costs by the closed form."""

    run: Callable[[], object]
    cost: Cost


def _parts(paradigm: str, scale: Scale, frames: int, size: int) -> dict[str, Part]:
    """Parts of a sampling run by name; the cost of `denoise` counts the parameters once."""
    shape = {"batch": BATCH, "frames": frames, "size": size}
    costs = closed.sampling_costs(paradigm, scale, **shape)
    step = costs["step"]
    costs["denoise"] = Cost(scale.num_steps * step.flops, step.parameters, step.activations)
    runs = build_paradigm(paradigm, scale)(num_steps=scale.num_steps, **shape)
    return {name: Part(run, costs[name]) for name, run in runs.items()}


PARADIGMS = {name: partial(_parts, name) for name in closed.PARADIGMS}
