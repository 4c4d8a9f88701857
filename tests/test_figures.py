"""The data behind each figure of clips."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from small import small_dmg, small_vae, wake

from lamd.config import RuntimeConfig, SamplerConfig
from lamd.diffusion import make_schedule
from lamd.generate import generate_clips, roll_out
from lamd.paradigms.latent_motion import LatentMotion
from lamd.pipeline.steps import figures as panels
from lamd.pipeline.steps.figures import Scene, heat, seam_ratio, slerp

KEYS = ["a", "b", "c"]


@pytest.fixture(scope="module")
def real() -> np.ndarray:
    rows = np.random.default_rng(0).integers(0, 256, (3, 1, 4, 4, 3), dtype=np.uint8)
    still = np.kron(rows, np.ones((1, 1, 4, 4, 1), np.uint8))
    return np.concatenate([np.roll(still, shift, axis=3) for shift in range(8)], axis=1)


@pytest.fixture(scope="module")
def scene(real) -> Scene:
    """Return untrained models whose output depends on every input."""
    vae, dmg = small_vae().eval(), small_dmg().eval()
    wake(vae)
    wake(dmg)
    models = LatentMotion(vae, dmg, make_schedule("sqrt_linear", 1000, 0.0015, 0.0195))
    sampler = SamplerConfig(name="ddim", num_steps=10, eta=0.0, seed=0)
    return Scene(models, sampler, RuntimeConfig(sampling_batch_size=2), real, KEYS)


def only(scene: Scene, n: int) -> Scene:
    """Return the scene of one clip."""
    return replace(scene, real=scene.real[n : n + 1], keys=scene.keys[n : n + 1])


def apart(a: np.ndarray, b: np.ndarray) -> int:
    return np.abs(a.astype(int) - b.astype(int)).max()


def test_reconstruction_states_the_psnr_of_its_clips(scene, real):
    shown = panels.reconstruction(scene, None)
    assert shown.labels == ("real", "MCD-VAE")
    assert (shown.clips[0] == real).all()
    for n in range(3):
        frames = zip(real[n, 1:], shown.clips[1, n, 1:], strict=True)
        expected = np.mean([peak_signal_noise_ratio(a, b) for a, b in frames])
        assert shown.numbers["psnr"][n] == pytest.approx(expected, abs=1e-6)


def test_motion_transfer_decodes_the_motion_of_b_with_the_content_of_a(scene, real):
    appearance, motion, decoded = panels.motion_transfer(scene, None).clips
    assert (appearance == real[:, :1]).all()
    assert (motion == real[[1, 2, 0]]).all()
    for a, b in ((0, 1), (1, 2), (2, 0)):
        z_m = scene.motion.encode(real[b : b + 1])
        assert apart(decoded[a], only(scene, a).decode(z_m)[0]) <= 1
    assert apart(decoded, scene.decode(scene.motion.encode(real))) > 5


def test_samples_differ_where_the_map_says(scene, real):
    shown = panels.samples(scene, SimpleNamespace(samples=3))
    assert shown.labels == ("real", "sample 1", "sample 2", "sample 3", "std of the samples")
    fakes = shown.clips[1:-1]
    assert (fakes[:, :, 0] == real[:, 0]).all()
    deviation = fakes.astype(np.float64).std(axis=0).mean(axis=-1)
    assert shown.numbers["std"] == pytest.approx(deviation.mean(axis=(1, 2, 3)), rel=1e-5)
    assert (shown.clips[-1] == heat(deviation)).mean() > 0.99
    assert (shown.clips[-1][:, 0] == heat(np.zeros(1))[0]).all()  # the given frame never differs
    brightness = heat(np.linspace(0, 64, 9)).sum(axis=-1)
    assert (np.diff(brightness.astype(int)) > 0).all()


def test_timesteps_go_from_noise_to_the_sample(scene, real):
    steps = SimpleNamespace(steps=(999, 800, 810, 0))
    shown = panels.timesteps(scene, steps)
    assert shown.numbers["steps"] == [999, 799, 99, -1]  # 10 steps visit 999, 899, ... 99
    assert shown.labels == ("t = 999", "t = 799", "t = 99", "sample")
    sample = scene.sample(0)
    assert apart(shown.clips[-1][:, 1:], sample[:, 1:]) <= 1
    assert apart(shown.clips[0], shown.clips[-1]) > 5


def test_interpolation_ends_in_the_two_samples(scene, real):
    shown = panels.interpolation(scene, SimpleNamespace(weights=(0.0, 0.5, 1.0)))
    for row, sample in ((0, 0), (2, 1)):
        expected = scene.sample(sample)
        assert apart(shown.clips[row][:, 1:], expected[:, 1:]) <= 1
    assert apart(shown.clips[1], shown.clips[0]) > 1
    assert apart(shown.clips[1], shown.clips[2]) > 1


def test_slerp_keeps_the_norm_and_reaches_its_ends():
    a, b = torch.zeros(2, 1, 1, 2), torch.zeros(2, 1, 1, 2)
    a[..., 0], b[..., 1] = 2.0, 2.0
    half = slerp(a, b, 0.5)
    assert torch.allclose(half, torch.full_like(half, 2**0.5))
    assert torch.allclose(slerp(a, b, 0.0), a, atol=1e-6)
    assert torch.allclose(slerp(a, b, 1.0), b, atol=1e-6)
    assert torch.allclose(slerp(a, a, 0.3), a, atol=1e-3)


def test_scaling_starts_from_stillness_and_passes_the_reconstruction(scene, real):
    shown = panels.scaling(scene, SimpleNamespace(factors=(0.0, 1.0, 2.0)))
    assert shown.labels == ("real", "0 x motion", "1 x motion", "2 x motion")
    still = np.repeat(real[:, :1], 8, axis=1)
    assert apart(shown.clips[1], scene.decode(scene.motion.encode(still))) <= 1
    assert apart(shown.clips[2], scene.decode(scene.motion.encode(real))) <= 1
    assert apart(shown.clips[3], shown.clips[2]) > 1
    assert len(shown.numbers["change"]) == 3


def test_a_rollout_goes_on_from_the_last_frame():
    def extend(frames, keys):
        asked.append(list(keys))
        steps = np.arange(4, dtype=np.uint8)[None, :, None, None, None]
        return frames[:, None] + steps

    asked = []
    clips = roll_out(extend, np.zeros((2, 2, 2, 3), np.uint8), ["a", "b"], 3)
    assert (clips[0, :, 0, 0, 0] == np.arange(10)).all()
    assert asked == [["a", "b"], ["a+1", "b+1"], ["a+2", "b+2"]]
    assert seam_ratio(clips, 4) == 1.0


def test_the_seam_ratio_finds_a_jump():
    steps = np.array([1, 1, 1, 5, 1, 1, 5, 1, 1])  # L = 4: chunks share frames 3 and 6
    frames = np.concatenate([[0], np.cumsum(steps)]).astype(np.uint8)
    clips = np.broadcast_to(frames[None, :, None, None, None], (2, 10, 4, 4, 3))
    assert seam_ratio(clips, 4) == 5.0


def test_a_rolled_out_clip_depends_on_its_key_only(scene, real):
    extend = partial(generate_clips, scene.models, scene.sampler, batch_size=2)
    together = roll_out(extend, real[:, 0], KEYS, 2)
    assert together.shape == (3, 15, 16, 16, 3)
    assert (together[:, 0] == real[:, 0]).all()
    alone = roll_out(extend, real[1:2, 0], ["b"], 2)
    assert apart(alone[0], together[1]) <= 1


def test_the_chunks_of_a_rollout_are_clips_that_share_a_frame(scene, monkeypatch):
    seen = []

    def features(chunk, *_):
        seen.append(chunk)
        return np.random.default_rng(len(seen)).normal(size=(len(chunk), 400))

    monkeypatch.setattr(panels.i3d, "load_i3d", lambda _: None)
    monkeypatch.setattr(panels.i3d, "features", features)
    known = replace(scene, features=np.random.default_rng(0).normal(size=(3, 400)))
    numbers = panels.rollout(known, SimpleNamespace(chunks=2, clips=2)).numbers
    assert [chunk.shape[1] for chunk in seen] == [8, 8]
    assert (seen[0][:, -1] == seen[1][:, 0]).all()
    assert len(numbers["fvd"]) == 2
    assert "fvd_low" not in numbers  # three clips have no interval


def test_clips_of_one_video_are_no_independent_chunks_of_a_rollout(scene, monkeypatch):
    def width(videos):
        rng = np.random.default_rng(1)
        monkeypatch.setattr(panels.i3d, "load_i3d", lambda _: None)
        monkeypatch.setattr(panels.i3d, "features", lambda chunk, *_: pairs(rng))
        monkeypatch.setattr(panels, "roll_out", lambda *_: np.repeat(scene.real, 4, axis=0))
        monkeypatch.setattr(panels, "seam_ratio", lambda *_: 1.0)
        known = replace(scene, features=pairs(np.random.default_rng(0)), videos=videos)
        numbers = panels.rollout(known, SimpleNamespace(chunks=1, clips=2)).numbers
        return numbers["fvd_high"][0] - numbers["fvd_low"][0]

    def pairs(rng):  # each of six videos twice
        return np.repeat(rng.normal(size=(6, 400)), 2, axis=0)

    assert width([str(n // 2) for n in range(12)]) > 1.2 * width([str(n) for n in range(12)])
