"""A denoiser step over frames and resolutions, and a sampling run split into its parts."""

import pytest
import torch
from paradigms import FULL, PARADIGMS, REDUCED, Scale
from timing import Measure


@pytest.mark.parametrize("number", range(max(len(s.sweep) for s in (REDUCED, FULL))))
@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_denoiser_step(measure: Measure, scale: Scale, paradigm: str, number: int):
    if number >= len(scale.sweep):
        pytest.skip("a resolution of the full scale")
    frames, size = scale.sweep[number]
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
