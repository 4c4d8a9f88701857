"""The paradigms at the widths and sizes of the benchmarks, as parts to be timed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import get_args

from lamd.config.kinds import Paradigm, WidthsConfig
from lamd.flops import Cost
from lamd.paradigms.untrained import build_paradigm, sampling_costs

# With a batch of one, PyTorch sends small 3-D convolutions on a CPU to a kernel several times
# slower, and the 3-D paradigms would look slower than they are.
BATCH = 2


@dataclass(frozen=True)
class Scale:
    """The widths, and the sizes that are swept.

    Attributes:
        widths: of all networks.
        sweep: (frames, pixels) of the denoiser steps.
        shape: (frames, pixels) of everything else.
        num_steps: K of a whole sampling run.
    """

    widths: WidthsConfig
    matmul_size: int
    sweep: tuple[tuple[int, int], ...]
    shape: tuple[int, int]
    num_steps: int


_FRAMES = (8, 16, 32, 64, 128)
REDUCED = Scale(
    widths=WidthsConfig(
        base_channels=16,
        channel_multipliers=(1, 2, 2),
        num_res_blocks=1,
        attention_factors=(2,),
        head_channels=16,
        context_channels=32,
        condition="both",
        image_channels=(8, 16, 32),
        motion_encoder_channels=(16, 32),
        decoder_channels=(8, 16, 32),
        vae_res_blocks=(0, 1, 1),
        fusion="add",
    ),
    matmul_size=1024,
    sweep=(*((frames, 32) for frames in _FRAMES), (16, 64)),
    shape=(16, 32),
    num_steps=5,
)
FULL = Scale(
    widths=WidthsConfig(
        base_channels=224,
        channel_multipliers=(1, 2, 3, 4),
        num_res_blocks=2,
        attention_factors=(1, 2, 4),
        head_channels=32,
        context_channels=512,
        condition="cross_attention",
        image_channels=(128, 256, 512),
        motion_encoder_channels=(64, 128),
        decoder_channels=(64, 128, 256),
        vae_res_blocks=(1, 2, 2),
        fusion="spade",
    ),
    matmul_size=8192,
    sweep=(*((frames, 64) for frames in _FRAMES), (16, 128), (16, 256)),
    shape=(16, 64),
    num_steps=20,
)


@dataclass(frozen=True)
class Part:
    """Something to time, and its cost."""

    run: Callable[[], object]
    cost: Cost


def _parts(
    paradigm: Paradigm, scale: Scale, frames: int, size: int, batch: int = BATCH
) -> dict[str, Part]:
    """Return the parts of a sampling run by name; the cost of `denoise` has one step's memory."""
    shape = {"batch": batch, "frames": frames, "size": size}
    costs = {
        part: Cost(batch * clip.flops, clip.parameters, batch * clip.activations)
        for part, clip in sampling_costs(paradigm, scale.widths, **shape).items()
    }
    step = costs["step"]
    costs["denoise"] = Cost(scale.num_steps * step.flops, step.parameters, step.activations)
    runs = build_paradigm(paradigm, scale.widths)(num_steps=scale.num_steps, **shape)
    return {name: Part(run, costs[name]) for name, run in runs.items()}


PARADIGMS = {name: partial(_parts, name) for name in get_args(Paradigm)}
