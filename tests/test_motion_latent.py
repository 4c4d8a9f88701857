"""What a motion latent carries: closed forms, and the diagnostics of a small trained MCD-VAE."""

import json

import cv2
import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from tiny import TinyVideos, tiny_target

from lamd.base.errors import LamdError
from lamd.metrics.motion_latent import (
    ACTIVE_VARIANCE,
    linear_probe_r2,
    motion_correlation,
    posterior_mean_variance,
    probe_features,
    relative_change,
)
from lamd.models.latent import Posterior
from lamd.pipeline.contents import CLIPS
from lamd.pipeline.steps.latents import _measure, measure_latent
from lamd.training import train


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def moving(path: list[tuple[int, int]], ground: int = 40) -> np.ndarray:
    """Return one clip, uint8 (L, 16, 16, 3), of a bright square at each place of `path`."""
    clip = np.full((len(path), 16, 16, 3), ground, np.uint8)
    for frame, (y, x) in zip(clip, path, strict=True):
        frame[y : y + 4, x : x + 4] = 220
    return clip


@pytest.mark.parametrize("cells", [(2, 2), (3, 2, 2)], ids=["no time axis", "time axis"])
def test_the_kl_of_a_channel_is_torchs(cells):
    mean, logvar = torch.randn(5, 3, *cells), torch.randn(5, 3, *cells)
    q = torch.distributions.Normal(mean, (0.5 * logvar).exp())
    theirs = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0))
    ours = Posterior(mean, logvar).kl_per_channel()
    assert ours.shape == (3,)
    torch.testing.assert_close(ours, theirs.flatten(2).sum(2).mean(0))
    torch.testing.assert_close(ours.sum(), Posterior(mean, logvar).kl("sum"))


def test_a_posterior_equal_to_the_prior_costs_nothing():
    q = Posterior(torch.zeros(4, 2, 3, 3), torch.zeros(4, 2, 3, 3))
    assert q.kl_per_channel().tolist() == [0.0, 0.0]


def test_a_collapsed_channel_is_not_active(rng):
    mean = rng.normal(size=(500, 3, 4, 4))
    mean[:, 1] = 0.7 + 0.05 * mean[:, 1]  # variance 0.0025 at another mean
    mean[:, 2, :2] = 0.0  # half of the cells
    variance = posterior_mean_variance(mean)
    assert variance.shape == (3, 16)
    active = variance > ACTIVE_VARIANCE
    assert active.sum(axis=1).tolist() == [16, 0, 8]
    np.testing.assert_allclose(variance[0], 1.0, atol=0.25)
    assert (variance.mean(axis=1) > ACTIVE_VARIANCE).tolist() == [True, False, True]


def test_a_linear_latent_is_explained_and_an_independent_one_is_not(rng):
    f_x0 = rng.normal(size=(40, 6, 4, 4)).astype(np.float32)
    features = probe_features(f_x0)
    assert features.shape == (40, 12, 16)
    linear = np.einsum("qp,npm->nqm", rng.normal(size=(3, 12)), features)
    linear += rng.normal(size=(3, 16))  # a mean of each cell's own is no content
    share, strength = linear_probe_r2(features, linear)
    assert share > 0.999
    assert strength == 1e-4
    noise = rng.normal(size=linear.shape)
    assert abs(linear_probe_r2(features, noise)[0]) < 0.05
    scale = np.sqrt(linear.var() / noise.var())
    half = linear_probe_r2(features, linear + scale * noise)[0]
    assert half == pytest.approx(0.5, abs=0.1)


def test_the_probe_is_ridge_regression_in_closed_form(rng):
    # (X^T X + s D)^-1 X^T y by a direct solve, D the diagonal of X^T X
    features, latents = rng.normal(size=(12, 5, 7)), rng.normal(size=(12, 2, 7))
    latents[:, 0] += features[:, 1]
    share, strength = linear_probe_r2(features, latents)
    x, y = (a - a[:6].mean(0) for a in (features, latents))
    rows = [a[:6].transpose(0, 2, 1).reshape(-1, a.shape[1]) for a in (x, y)]
    gram = rows[0].T @ rows[0]
    w = np.linalg.solve(gram + strength * np.diag(np.diag(gram)), rows[0].T @ rows[1])
    error = ((y[6:] - np.einsum("pq,npm->nqm", w, x[6:])) ** 2).sum()
    assert share == pytest.approx(1 - error / (y[6:] ** 2).sum(), abs=1e-9)


def test_the_probe_refuses_what_it_cannot_judge(rng):
    with pytest.raises(ValueError, match="needs 8 clips, got 7"):
        linear_probe_r2(rng.normal(size=(7, 2, 4)), rng.normal(size=(7, 1, 4)))
    with pytest.raises(ValueError, match="the same in each clip"):
        linear_probe_r2(rng.normal(size=(8, 2, 4)), np.ones((8, 1, 4)))


def test_motion_correlates_with_the_path_and_not_with_the_colours():
    right, down = [(2, x) for x in range(2, 10)], [(y, 2) for y in range(2, 10)]
    clips = np.stack([moving(right), moving(right), moving(right)])
    others = np.stack([moving(right, ground=90), moving(down), np.repeat(moving(down)[:1], 8, 0)])
    same, other, still = motion_correlation(clips, others)
    assert same > 0.99
    assert other < 0.7
    assert still == 0.0


def test_motion_correlation_is_pearsons_between_blurred_changes(rng):
    clips, noise = rng.integers(0, 256, (2, 4, 5, 12, 16, 3), dtype=np.uint8)
    others = cv2.addWeighted(clips, 0.7, noise, 0.3, 0)

    def maps(clip):
        change = np.abs(clip[1:].astype(float) - clip[0]).mean(axis=-1)
        return [cv2.blur(frame, (3, 3), borderType=cv2.BORDER_REPLICATE) for frame in change]

    pairs = zip(clips, others, strict=True)
    expected = [pearsonr(*(np.ravel(maps(clip)) for clip in pair)).statistic for pair in pairs]
    assert motion_correlation(clips, others) == pytest.approx(expected, abs=1e-5)


def test_change_is_relative_to_the_real_clips():
    real = np.stack([moving([(2, x) for x in range(2, 10)])] * 2)
    still = np.repeat(real[:, :1], 8, axis=1)
    assert relative_change(still, real) == 0.0
    assert relative_change(real, real) == 1.0
    with pytest.raises(ValueError, match="do not move"):
        relative_change(real, still)


class Known:
    """Motion latents that name the clip: number k + 1 in two cells of channel 0, nothing else."""

    def __init__(self, clips):
        self.change = clips.astype(int) - clips[:, :1]
        self.change = np.concatenate([np.zeros_like(self.change[:1]), self.change])

    def posterior(self, clips):
        mean = torch.zeros(len(clips), 2, 2, 2)
        mean[:, 0, 0] = torch.arange(1.0, len(clips) + 1)[:, None]
        return Posterior(mean, torch.zeros_like(mean))

    def normalise(self, z):
        return z

    def content(self, frames):
        return torch.randn(len(frames), 3, 2, 2, generator=torch.Generator().manual_seed(0))

    def decode(self, z, frames):
        change = self.change[z[:, 0, 0, 0].long().numpy()]
        return np.clip(frames[:, None] + change, 0, 255).astype(np.uint8)


def test_diagnostics_of_a_latent_that_is_known():
    steps = range(8)
    paths = [[(2 + k, 2 + s) if k % 2 else (2 + s, 2 + k) for s in steps] for k in range(8)]
    # clip k gets the motion of clip k + 4, so that half of the pairs would move alike
    clips = np.stack([moving(paths[k], ground=40) for k in (0, 2, 4, 6, 1, 3, 5, 7)])
    found = _measure(Known(clips), clips)
    values = found["values"]
    assert found["channels"]["active_units"] == [2, 0]
    assert (values["active_units"], values["active_channels"]) == (2.0, 1.0)
    assert values["kl"] == pytest.approx(2 * np.mean([(k + 1) ** 2 / 2 for k in range(8)]))
    assert values["swap_motion"] > values["swap_content"] + 0.3
    assert values["swap_score"] == pytest.approx(values["swap_motion"] - values["swap_content"])
    assert values["zero_latent_change"] == 0.0


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Return inputs of the cell: a briefly trained MCD-VAE and the clips of its videos."""
    root = tmp_path_factory.mktemp("diagnostics")
    videos = TinyVideos()
    train("vae", tiny_target(*BRIEF), videos, root / "vae", run_id="v", device="cpu")
    (root / "clips").mkdir()
    np.save(root / "clips" / CLIPS, np.stack([videos.clip(i, 0, 4) for i in range(12)]))
    return {"autoencoder": root / "vae", "test": root / "clips"}


BRIEF = ("train_vae.num_steps=4", "train_vae.validate_every=4", "loss.gan=null")


def test_diagnostics_do_not_depend_on_batch_size(inputs, tmp_path):
    target = tiny_target(*BRIEF)
    outputs = measure_latent(tmp_path, inputs, target, "cpu")
    assert json.loads(json.dumps(outputs)) == outputs
    assert len(outputs["channels"]["kl"]) == 2 and outputs["clips"] == 12
    assert outputs["values"]["zero_latent_change"] > 0
    other = measure_latent(
        tmp_path, inputs, tiny_target(*BRIEF, "runtime.sampling_batch_size=5"), "cpu"
    )
    assert other["values"] == pytest.approx(outputs["values"], rel=1e-4, abs=1e-3)


def test_diagnostics_refuse_too_few_clips_in_one_line(inputs, tmp_path):
    few = np.load(inputs["test"] / CLIPS)[:6]
    np.save(tmp_path / CLIPS, few)
    with pytest.raises(LamdError, match=r"need 8 test clips, there are 6; raise data\.num_test"):
        measure_latent(tmp_path, inputs | {"test": tmp_path}, tiny_target(*BRIEF), "cpu")
