"""The paper's claim as a test: x_0 carries the content, z_m the motion.

Needs the trained quick model: run `./reproduce.sh table_bair` first (LAMD_RUNS names its runs).
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from lamd.io.video import to_model
from lamd.pipeline.steps.data import open_split
from lamd.targets.reproduce import open_target
from lamd.training import load_model

pytestmark = pytest.mark.slow
NUM_CLIPS = 32


@pytest.fixture(scope="module")
def swapped():
    """Return test clips A, clips B, and x_0 of A decoded with z_m of B, each (N, L, 3, H, W)."""
    runs = Path(os.environ.get("LAMD_RUNS", "runs"))
    plan, store = open_target("table_bair", "quick", (), runs=runs, device="cpu")
    cells = [plan.stages[name] for name in ("data", "vae")]
    if not all(store.is_complete(cell) for cell in cells):
        pytest.skip(f"no trained quick model in {runs}; run ./reproduce.sh table_bair")
    data, trained = (store.folder(cell) for cell in cells)
    vae = load_model(trained, "vae", plan.target)
    videos = open_split(data, "test")
    clips = [videos.clip(i, 0, plan.target.data.num_frames) for i in range(NUM_CLIPS)]
    a = to_model(torch.from_numpy(np.stack(clips)))
    b = a.roll(1, dims=0)
    with torch.inference_mode():
        z_m = vae.normalise(vae.encode(b).mean)
        x_hat = vae.decode(z_m, *vae.encode_image(a[:, 0]))
    return a, b, x_hat


def motion(x: torch.Tensor) -> torch.Tensor:
    """Return how far each frame is from the scene, its median over time, (N, L, H, W)."""
    change = (x - x.median(dim=1, keepdim=True).values).abs().mean(dim=2)
    return torch.nn.functional.avg_pool2d(change, 3, stride=1, padding=1)


def correlation(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    p, q = (m[:, 1:].flatten(1) - m[:, 1:].flatten(1).mean(1, keepdim=True) for m in (p, q))
    return (p * q).sum(1) / (p.norm(dim=1) * q.norm(dim=1))


def test_the_colours_are_those_of_the_clip_that_gave_the_frame(swapped):
    a, b, x_hat = swapped
    # the median over time is the scene without the arm
    scene_a, scene_b, scene = (x.median(dim=1).values for x in (a, b, x_hat))
    to_a = (scene - scene_a).abs().mean(dim=(1, 2, 3))
    to_b = (scene - scene_b).abs().mean(dim=(1, 2, 3))
    assert (to_a < to_b).float().mean() >= 0.95
    assert to_a.mean() < 0.5 * to_b.mean()


def test_the_path_is_that_of_the_clip_that_gave_the_motion(swapped):
    a, b, x_hat = swapped
    with_b = correlation(motion(x_hat), motion(b))
    with_a = correlation(motion(x_hat), motion(a))
    assert with_b.mean() > with_a.mean() + 0.1
    assert (with_b > with_a).float().mean() >= 0.8
