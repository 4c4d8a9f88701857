"""A denoiser step over frames and resolutions, and a sampling run split into its parts."""

import pytest
import torch
from paradigms import PARADIGMS, Scale
from timing import Measure


@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_denoiser_step(measure: Measure, scale: Scale, paradigm: str, swept: tuple[int, int]):
    frames, size = swept
    with torch.inference_mode():
        part = PARADIGMS[paradigm](scale, frames, size)["step"]
        measure(part.run, part.cost, paradigm=paradigm, frames=frames, size=size)


@pytest.mark.parametrize("name", ["encode", "denoise", "decode"])
@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_sampling_run(measure: Measure, scale: Scale, paradigm: str, name: str):
    with torch.inference_mode():
        parts = PARADIGMS[paradigm](scale, *scale.shape)
        if name not in parts:
            pytest.skip("pixel space has neither encoder nor decoder")
        measure(parts[name].run, parts[name].cost, paradigm=paradigm, part=name)
