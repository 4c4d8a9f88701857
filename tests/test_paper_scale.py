"""The paper profiles at full size: one training step of each stage, on noise in place of clips."""

import math
import os
import resource

import numpy as np
import pytest
from tiny import TinyVideos

from lamd.config import load_target
from lamd.forecast.step import count_step
from lamd.models.mcd_vae import build_vae
from lamd.paradigms.latent_motion import LatentMotion
from lamd.training.diffusion_stage import DiffusionStage
from lamd.training.engine import _Run
from lamd.training.latents import Latents
from lamd.training.stages import training_windows
from lamd.training.vae_stage import VAEStage

MEMORY_KIB = 24 * 2**20
# The batch is cut: on one CPU the profile's own would take an hour and the memory of several cards.
SMALL = [
    f"{stage}.{key}={value}"
    for stage in ("train_vae", "train_dmg")
    for key, value in {
        "precision": "fp32",
        "batch_size": 1,
        "micro_batch_size": "null",
        "num_validation_clips": 1,
    }.items()
]


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["vae", "dmg"])
@pytest.mark.parametrize("table", ["table_bair", "table_landscape"])
def test_one_step(table, stage, tmp_path):
    target = load_target(table, "paper", [*SMALL, "loss.gan.start_step=0"])
    data = target.data
    videos = TinyVideos(3, data.num_frames, data.size)
    if stage == "vae":
        made = VAEStage(target, videos)
    else:
        vae = build_vae(target.vae, data).eval()
        windows = training_windows(videos, target.train_dmg, data)
        posterior = np.zeros((len(windows), 2, *vae.latent_shape), np.float32)
        latents = Latents(tmp_path, posterior, windows, "")
        made = DiffusionStage(LatentMotion, target, target.train_dmg, videos, vae, latents)
    predicted = count_step(target, stage, stage == "vae").memory
    if predicted > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        pytest.skip(f"needs {predicted / 1e9:.1f} GB of memory")
    run = _Run(made, tmp_path, "paper", "cpu")
    values = run.train_step(1, [made.read(np.array([0]))])
    assert all(math.isfinite(float(value)) for value in values.values())
    assert {"loss", "grad_norm"} <= set(values)
    assert ("adversary" in values) == (stage == "vae")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < MEMORY_KIB
