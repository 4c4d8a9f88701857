"""z_m with its time axis kept, f_t below L: shapes, order of the frames, training, sampling."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small import small_dmg, small_vae, wake
from tiny import TinyVideos, tiny_target, train_both

from lamd.config import SamplerConfig
from lamd.diffusion import make_schedule
from lamd.generate import generate
from lamd.models.dmg import build_dmg
from lamd.models.mcd_vae import build_vae
from lamd.paradigms.latent_motion import LatentMotion
from lamd.pipeline.contents import CLIPS
from lamd.pipeline.steps.figures import slerp
from lamd.pipeline.steps.latents import measure_latent
from lamd.training import load_model, open_latents

SCHEDULE = make_schedule("sqrt_linear", 1000, 0.0015, 0.0195)
BRIEF = ("vae.temporal_downsampling=2", "loss.gan=null", *(
    f"{stage}.{value}" for stage in ("train_vae", "train_dmg")
    for value in ("num_steps=4", "validate_every=4", "checkpoint_every=4")))  # fmt: skip


@pytest.mark.parametrize("normalisation", ["channel", "instance", "layer", "none"])
@pytest.mark.parametrize(
    ("temporal_downsampling", "frames"), [(8, []), (4, [2]), (2, [4]), (1, [8])]
)
def test_shapes(temporal_downsampling, frames, normalisation):
    vae = small_vae(temporal_downsampling=temporal_downsampling, normalisation=normalisation)
    x = torch.rand(2, *vae.clip_shape) * 2 - 1
    out = vae(x, torch.randn(2, *vae.latent_shape))
    assert vae.latent_shape == (3, *frames, 4, 4)
    assert out.z_m.shape == out.posterior.mean.shape == (2, 3, *frames, 4, 4)
    assert out.x_hat.shape == x.shape


def test_time_changes_only_the_layers_that_shrink_and_grow_it():
    removed, kept = (dict(small_vae(temporal_downsampling=f).named_parameters()) for f in (8, 4))
    gone = removed.keys() - kept.keys()
    assert kept.keys() < removed.keys()
    assert all(
        name.startswith(("motion_encoder.layers", "video_decoder.temporal")) for name in gone
    )


def test_channel_normalisation_is_over_batch_time_and_space():
    vae = small_vae(temporal_downsampling=2)
    z = 5 + 3 * torch.randn(64, *vae.latent_shape)
    theirs = torch.nn.functional.batch_norm(z, None, None, training=True)
    torch.testing.assert_close(vae.normalise(z), theirs)


@pytest.mark.parametrize("slot", range(4))
def test_a_slot_of_time_holds_its_own_frames(slot):
    vae = small_vae(num_frames=16, temporal_downsampling=4, normalisation="none").eval()
    wake(vae)
    x = torch.rand(2, *vae.clip_shape) * 2 - 1
    other = x.clone()
    # the frames in the middle of its receptive field; frame 0, the reference of all, stays
    other[:, max(1, 4 * slot) : 4 * slot + 2] *= -1
    change = (vae.encode(other).mean - vae.encode(x).mean).abs()
    assert change.mean(dim=(0, 1, 3, 4)).argmax() == slot

    z_m, content = torch.randn(2, *vae.latent_shape), vae.encode_image(x[:, 0])
    moved = z_m.clone()
    moved[:, :, slot] += 2
    change = (vae.decode(moved, *content) - vae.decode(z_m, *content)).abs()
    by_slot = change.mean(dim=(0, 2, 3, 4)).reshape(4, 4).mean(dim=1)
    assert by_slot.argmax() == slot


@pytest.mark.parametrize("condition", ["cross_attention", "concat", "both", "none"])
def test_the_dmg_passes_what_it_knows_between_frames(condition):
    dmg = small_dmg(condition, num_latent_frames=4).eval()
    wake(dmg)
    z_t, f_x0 = torch.randn(2, 3, 4, 8, 8), torch.randn(2, 16, 8, 8)
    t = torch.tensor([3, 700])
    eps_hat = dmg(z_t, t, f_x0)
    assert eps_hat.shape == z_t.shape
    moved = z_t.clone()
    moved[:, :, 3] += 1
    assert not torch.allclose(dmg(moved, t, f_x0)[:, :, 0], eps_hat[:, :, 0], atol=1e-4)
    reverse = dmg(z_t.flip(2), t, f_x0).flip(2)
    assert not torch.allclose(reverse, eps_hat, atol=1e-4)  # time has a direction
    differs = not torch.allclose(dmg(z_t, t, f_x0 + torch.randn_like(f_x0)), eps_hat, atol=1e-4)
    assert differs == (condition != "none")


def test_a_sample_depends_on_no_batch_size():
    vae, dmg = small_vae(temporal_downsampling=2).eval(), small_dmg(num_latent_frames=4).eval()
    wake(vae), wake(dmg)
    sampler = SamplerConfig(name="ddim", num_steps=4, eta=1.0, seed=0)
    x0 = torch.rand(3, 3, 16, 16) * 2 - 1
    models = LatentMotion(vae, dmg, SCHEDULE)
    together = generate(models, sampler, x0, ["a", "b", "c"])
    alone = [generate(models, sampler, x0[i : i + 1], ["abc"[i]]) for i in range(3)]
    assert together.shape == (3, 8, 3, 16, 16)
    assert torch.allclose(together, torch.cat(alone), atol=1e-4)


def test_latents_between_two_lie_on_the_arc():
    a, b = torch.randn(2, 2, 3, 4, 8, 8)
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)
    a, b = (F.normalize(z.flatten(1)) for z in (a, b))
    middle = slerp(a, b, 0.5)
    torch.testing.assert_close(middle.norm(dim=1), torch.ones(2))
    half = torch.cosine_similarity(a, b).acos() / 2
    torch.testing.assert_close(torch.cosine_similarity(a, middle).acos(), half)
    torch.testing.assert_close(torch.cosine_similarity(b, middle).acos(), half)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    train_both(tiny_target(*BRIEF), folder)
    return folder


def test_both_stages_train(trained):
    latents, vae = open_latents(trained / "latents"), load_model(trained / "vae", "vae")
    assert latents.posterior.shape[1:] == (2, 2, 2, 4, 4)
    mean, logvar = torch.from_numpy(np.array(latents.posterior)).unbind(1)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    z = mean + noise * (0.5 * logvar).exp()
    with torch.inference_mode():
        scaled = vae.to_diffusion(vae.normalise(z)).transpose(0, 1).flatten(1)
    assert scaled.mean(dim=1).tolist() == pytest.approx([0, 0], abs=0.1)
    assert scaled.std(dim=1).tolist() == pytest.approx([1, 1], abs=0.1)
    for stage in ("vae", "dmg"):
        assert (trained / stage / "log.jsonl").is_file()


def test_the_diagnostics_count_units_over_time(trained, tmp_path):
    videos = TinyVideos()
    np.save(tmp_path / CLIPS, np.stack([videos.clip(i, 0, 4) for i in range(12)]))
    inputs = {"autoencoder": trained / "vae", "test": tmp_path}
    found = measure_latent(tmp_path, inputs, tiny_target(*BRIEF), "cpu")
    assert len(found["channels"]["kl"]) == 2
    assert found["values"]["active_units"] <= 2 * 2 * 4 * 4


def test_a_config_builds_both_networks():
    target = tiny_target("vae.temporal_downsampling=2")
    vae, dmg = build_vae(target.vae, target.data), build_dmg(target)
    z = torch.randn(1, *vae.latent_shape)
    assert dmg(z, torch.tensor([5]), torch.randn(1, 16, 4, 4)).shape == z.shape == (1, 2, 2, 4, 4)
