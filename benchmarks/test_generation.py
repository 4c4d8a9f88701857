"""A denoiser step over frames and resolutions, and a sampling run split into its parts."""

import pytest
import torch
from paradigms import PARADIGMS, Scale
from timing import Measure, compare, synchronised

from lamd.metrics.extract import full_precision

# Relative error of eps_hat against eager fp32 that a variant may have; bf16 keeps 8 bits.
TOLERANCE = {"bf16": 5e-2, "compiled": 1e-4}


@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_denoiser_step(measure: Measure, scale: Scale, paradigm: str, swept: tuple[int, int]):
    frames, size = swept
    with torch.inference_mode():
        part = PARADIGMS[paradigm](scale, frames, size)["step"]
        place = f"step {frames}x{size}x{size}"
        assert part.cost.flops
        measure(part.run, part.cost, paradigm=paradigm, place=place)


@pytest.mark.parametrize("batch", [1, 16])
def test_pixel_space_over_latent_motion(benchmark, scale: Scale, batch: int):
    """A step of both at 16 frames of 64x64, in alternating rounds: the ratio of times and FLOPs."""
    steps = {
        name: PARADIGMS[name](scale, 16, 64, batch)["step"]
        for name in ("latent-motion", "pixel-full")
    }
    ours, theirs = steps.values()
    with torch.inference_mode():
        benchmark.extra_info |= compare(ours.run, theirs.run, f"batch_{batch}")
        benchmark.pedantic(synchronised(ours.run), rounds=5)
    benchmark.extra_info["work_ratio"] = theirs.cost.flops / ours.cost.flops


@pytest.mark.parametrize("name", ["encode", "denoise", "decode"])
@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_sampling_run(measure: Measure, scale: Scale, paradigm: str, name: str):
    with torch.inference_mode():
        parts = PARADIGMS[paradigm](scale, *scale.shape)
        if name not in parts:
            pytest.skip("pixel space has neither encoder nor decoder")
        measure(parts[name].run, parts[name].cost, paradigm=paradigm, place=name)


@pytest.mark.parametrize("variant", TOLERANCE)
@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_denoiser_step_variant(benchmark, request, monkeypatch, scale, paradigm: str, variant: str):
    """A step in bf16 or compiled and the same one in fp32, in alternating rounds."""
    config = request.config
    if variant == "compiled" and not (
        config.getoption("full_scale") or config.getoption("compiled")
    ):
        pytest.skip("compiling takes minutes on a CPU; --compiled asks for it")
    for module in ("lamd.nn", "lamd.models.unet"):  # outputs of zero would equal any
        monkeypatch.setattr(f"{module}.zero_init", lambda part: part)
    # TF32 turns a difference in the last bit into one of up to 4e-4
    before = torch.get_float32_matmul_precision()
    request.addfinalizer(lambda: torch.set_float32_matmul_precision(before))
    torch.set_float32_matmul_precision("highest")
    eager = PARADIGMS[paradigm](scale, *scale.shape)["step"].run
    compiled = torch.compile(eager) if variant == "compiled" else eager

    def run() -> torch.Tensor:
        with torch.autocast(torch.get_default_device().type, torch.bfloat16, variant == "bf16"):
            return compiled()

    with torch.inference_mode(), full_precision(torch.get_default_device()):
        expected = eager()
        error = (run().float() - expected).norm() / expected.norm()
        assert error < TOLERANCE[variant]
        benchmark.extra_info |= compare(run, eager, variant) | {"relative_error": error.item()}
        benchmark.pedantic(synchronised(run), rounds=3)
