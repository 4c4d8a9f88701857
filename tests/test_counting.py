"""Counted training steps and sampling runs of whole targets against the real ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import TinyVideos, tiny_target
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lamd.config import Target, load_target
from lamd.data.vocabulary import Vocabulary
from lamd.diffusion import schedule_of
from lamd.forecast.work import sampling, training_step
from lamd.generate import generate
from lamd.models.discriminator import VideoDiscriminator
from lamd.models.dmg import build_dmg
from lamd.models.mcd_vae import build_vae
from lamd.paradigms.base import Paradigm
from lamd.paradigms.costs import VOCABULARIES, costs
from lamd.paradigms.latent_motion import LatentMotion
from lamd.paradigms.registry import PARADIGMS
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
    # PyTorch counts no attention of a CPU but the plain one.
    with FlopCounterMode(display=False) as flops, sdpa_kernel(SDPBackend.MATH):
        run.train_step(step, [batch])
    modules = [stage.model, *([stage.adversary] if stage.adversary is not None else [])]
    weights = [p for module in modules for p in module.parameters()]
    moments = [v for o in run.optimizers for s in o.state.values() for v in s.values() if v.ndim]
    average = list(run.ema.module.parameters())
    kept = sum(2 * w.nbytes for w in weights) + sum(t.nbytes for t in (*moments, *average))
    return flops.get_total_flops(), kept


@pytest.mark.parametrize(
    ("stage", "step", "lpips", "adaptive"),  # gan.start_step is 3
    [
        ("vae", 1, "lpips_frames=3", "true"),
        ("vae", 1, "lpips_weight=0", "true"),
        ("vae", 4, "lpips_frames=3", "true"),
        ("vae", 4, "lpips_frames=null", "false"),
        ("video_vae", 1, "lpips_frames=null", "true"),
        ("video_vae", 4, "lpips_frames=null", "true"),
        ("video_vae", 4, "lpips_weight=0", "true"),
        ("video_vae", 4, "lpips_frames=3", "false"),
    ],
)
def test_step_of_an_autoencoder_with_its_losses(stage, step, lpips, adaptive):
    own = ("loss.lpips_weight=1", f"loss.{lpips}", f"loss.gan.adaptive={adaptive}", "data.size=32")
    target = tiny_target(*own)
    counted, _ = count_step(VAEStage(target, TinyVideos(size=32), stage), step)
    assert training_step(target, stage, adversary=step > 3).flops == pytest.approx(counted, 0.01)


@pytest.mark.parametrize("step", [1, 4])
def test_memory_of_a_vae_step(step):
    target = tiny_target("loss.lpips_weight=0", "train_vae.batch_size=8")
    _, kept = count_step(VAEStage(target, TinyVideos()), step)
    work = training_step(target, "vae", adversary=step > 3)
    judge = 4 * num_parameters(VideoDiscriminator(target.loss.gan))
    copies = 4 if step > 3 else 2  # it has no moments before its first step
    assert kept == 4 * 5 * work.parameters + copies * judge


def denoiser_stage(kind: type[Paradigm], target: Target) -> DiffusionStage:
    videos, train, autoencoder, latents = TinyVideos(), target.train_dmg, None, None
    if kind.autoencoder_stage is not None:
        autoencoder = kind.networks[kind.autoencoder_stage].build(target, None)
        windows = training_windows(videos, train, target.data)
        posterior = np.zeros((len(windows), 2, *autoencoder.latent_shape), np.float32)
        latents = Latents(Path(), posterior, windows, "")
    return DiffusionStage(kind, target, train, videos, autoencoder, latents)


@pytest.mark.parametrize("kind", PARADIGMS.values(), ids=PARADIGMS)
def test_step_of_a_denoiser_with_its_frozen_encoder(kind):
    target = tiny_target()
    counted, _ = count_step(denoiser_stage(kind, target), 1)
    assert training_step(target, kind.denoiser_stage).flops == pytest.approx(counted, 0.01)


def test_memory_of_a_dmg_step():
    target = tiny_target("train_dmg.batch_size=8")
    stage = denoiser_stage(LatentMotion, target)
    _, kept = count_step(stage, 1)
    work = training_step(target, "dmg")
    assert work.parameters == num_parameters(stage.model)
    assert kept == 4 * 5 * work.parameters
    assert work.memory > kept + 4 * num_parameters(stage.paradigm.autoencoder)


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


GUIDED = 'sampler.autoguidance={"scale": 3.0, "snapshot": 2, "steps": [20, 80]}'


@pytest.mark.parametrize("guided", [(), ("train_dmg.ema_snapshots=8", GUIDED)])
@pytest.mark.parametrize("condition", ["concat", "cross_attention"])
def test_a_sampling_run_is_its_parts(condition, guided):
    target = tiny_target(f"dmg.condition={condition}", *guided)
    vae, dmg = build_vae(target.vae, target.data).eval(), build_dmg(target).eval()
    models = LatentMotion(vae, dmg, schedule_of(target.dmg))
    models.earlier = models
    x0 = torch.zeros(3, 3, 16, 16)
    with FlopCounterMode(display=False) as flops, sdpa_kernel(SDPBackend.MATH):
        generate(models, target.sampler, x0, ["a", "b", "c"])
    predicted = sampling(target, "lamd", "latent_motion", 3)
    assert 3 * predicted.flops == flops.get_total_flops()
    plain = sampling(tiny_target(f"dmg.condition={condition}"), "lamd", "latent_motion", 3)
    assert predicted.parameters - plain.parameters == num_parameters(dmg) * bool(guided)
