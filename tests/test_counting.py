"""Counted training steps and sampling runs of whole targets against the real ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import TinyVideos, tiny_target
from torch.utils.flop_counter import FlopCounterMode

from lamd.config import load_target
from lamd.data.vocabulary import Vocabulary
from lamd.diffusion import schedule_of
from lamd.forecast.work import lpips_costs, sampling, training_step
from lamd.generate import generate
from lamd.models.discriminator import VideoDiscriminator
from lamd.models.dmg import build_dmg
from lamd.models.mcd_vae import build_vae
from lamd.paradigms.costs import VOCABULARIES, costs
from lamd.paradigms.latent_motion import LatentMotion
from lamd.training import Latents, engine
from lamd.training.diffusion_stage import DiffusionStage
from lamd.training.stages import training_windows
from lamd.training.vae_stage import VAEStage


def num_parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def count_step(stage, step: int) -> tuple[int, int]:
    """Return the FLOPs of one real training step, and the bytes of what training keeps of it."""
    run = engine._Run(stage, Path(), "", "cpu")
    (rows,) = run.slices
    batch = stage.read(np.arange(rows.stop - rows.start))
    with FlopCounterMode(display=False) as flops:
        run.train_step(step, [batch])
    modules = [stage.model, *([stage.adversary] if stage.adversary is not None else [])]
    weights = [p for module in modules for p in module.parameters()]
    moments = [v for o in run.optimizers for s in o.state.values() for v in s.values() if v.ndim]
    average = list(run.ema.module.parameters())
    kept = sum(2 * w.nbytes for w in weights) + sum(t.nbytes for t in (*moments, *average))
    return flops.get_total_flops(), kept


@pytest.mark.parametrize("step", [1, 4])  # gan.start_step is 3
def test_vae_step(step):
    target = tiny_target("loss.lpips_weight=0", "train_vae.batch_size=8")
    counted_flops, kept = count_step(VAEStage(target, TinyVideos()), step)
    work = training_step(target, "vae", adversary=step > 3)
    assert 0.9 * work.flops < counted_flops <= work.flops  # first layers need no input gradient
    judge = 4 * num_parameters(VideoDiscriminator(target.loss.gan))
    copies = 4 if step > 3 else 2  # it has no moments before its first step
    assert kept == 4 * 5 * work.parameters + copies * judge


def test_dmg_step():
    target = tiny_target("train_dmg.batch_size=8")
    videos = TinyVideos()
    vae = build_vae(target.vae, target.data)
    windows = training_windows(videos, target.train_dmg, target.data)
    posterior = np.zeros((len(windows), 2, *vae.latent_shape), np.float32)
    latents = Latents(Path(), posterior, windows, "")
    stage = DiffusionStage(LatentMotion, target, target.train_dmg, videos, vae, latents)
    counted_flops, kept = count_step(stage, 1)
    work = training_step(target, "dmg")
    assert 0.9 * work.flops < counted_flops <= work.flops
    assert work.parameters == num_parameters(stage.model)
    assert kept == 4 * 5 * work.parameters
    assert work.memory > kept + 4 * num_parameters(vae)


def test_lpips_in_a_training_step_is_counted_as_three_passes_and_its_gradient():
    with_lpips = tiny_target("loss.gan=null", "loss.lpips_weight=1", "data.size=64")
    without = tiny_target("loss.gan=null", "data.size=64")
    trunk, heads = lpips_costs("alex", 64)
    steps = [training_step(target, "vae").flops for target in (with_lpips, without)]
    assert steps[0] - steps[1] == 4 * 4 * (3 * trunk.flops + 2 * heads.flops)


@pytest.mark.parametrize("target", ["table_bair", "table_landscape", "table_cater_v1", "table_mug"])
@pytest.mark.parametrize("profile", ["quick", "paper"])
def test_parameters_of_every_profile(target, profile):
    resolved = load_target(target, profile)
    vocabulary = None
    if resolved.dmg.prompt is not None:
        words = [str(n) for n in range(200)]
        text = Vocabulary.build("text", [" ".join(words)])
        vocabulary = Vocabulary(resolved.dmg.prompt.kind, text.tokens)
    with torch.device("meta"):
        vae, dmg = build_vae(resolved.vae, resolved.data), build_dmg(resolved, vocabulary)
    assert costs(resolved)["autoencoder"].parameters == num_parameters(vae)
    difference = 0
    if vocabulary is not None:
        assumed = VOCABULARIES[resolved.dmg.prompt.kind]
        difference = (len(vocabulary) - len(assumed)) * resolved.dmg.context_channels
    assert training_step(resolved, "dmg").parameters == num_parameters(dmg) - difference


def test_a_sampling_run_is_its_parts():
    target = tiny_target("dmg.condition=concat")
    with torch.device("meta"):  # where attention is counted too
        vae = build_vae(target.vae, target.data).eval()
        dmg = build_dmg(target).eval()
        x0 = torch.zeros(3, 3, 16, 16)
    models = LatentMotion(vae, dmg, schedule_of(target.dmg))
    with FlopCounterMode(display=False) as flops:
        generate(models, target.sampler, x0, ["a", "b", "c"])
    assert 3 * sampling(target, "lamd", "latent_motion", 3).flops == flops.get_total_flops()
