"""FID: torch-fidelity's Inception with random weights, and its own Fréchet distance."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from golden_clips import golden_clips
from torch_fidelity import FeatureExtractorInceptionV3
from torch_fidelity.metric_fid import (
    KEY_METRIC_FID,
    fid_features_to_statistics,
    fid_statistics_to_metric,
)

from lamd import weights
from lamd.metrics import inception
from lamd.metrics.features import cached_features
from lamd.metrics.measure import measure
from lamd.metrics.protocols import PROTOCOLS
from lamd.metrics.values import Inputs


@pytest.fixture(scope="module")
def random_weights():
    """Weights of the network's own shapes, drawn with a fixed seed, as `weights.load` gives."""
    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = FeatureExtractorInceptionV3(
            "random", ["2048"], feature_extractor_weights_path=empty
        )
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight)
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


@pytest.fixture
def network(random_weights, monkeypatch):
    """The random weights in place of the pinned ones, at the least size to stay fast."""
    monkeypatch.setattr(weights, "load", lambda name: random_weights)
    monkeypatch.setattr(FeatureExtractorInceptionV3, "INPUT_IMAGE_SIZE", 75)


def fid(real, fake, **options):
    """Measure FID from features."""
    return measure("fid.frames.v1", Inputs(features=(real, fake), **options))


def torch_fidelity_distance(a, b):
    """Return torch-fidelity's FID of two feature sets."""
    a, b = (fid_features_to_statistics(torch.from_numpy(x).double()) for x in (a, b))
    return fid_statistics_to_metric(a, b, False)[KEY_METRIC_FID]


def test_inception_features_of_every_frame_whatever_the_batch(network):
    clips = golden_clips(0, 2)[:, :3, :40, :32]
    before = clips.copy()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    rows = inception.features(clips, Inputs(batch_size=2))
    assert torch.equal(torch.get_rng_state(), state)
    assert rows.dtype == np.float32
    assert rows.shape == (2, 3, 2048)
    assert rows.std(axis=(0, 1)).max() > 1e-3  # the network is not dead
    np.testing.assert_allclose(
        inception.features(clips, Inputs(batch_size=3)), rows, rtol=1e-4, atol=1e-4 * rows.max()
    )
    direct = inception.load_inception()(torch.from_numpy(clips[1, 2:].transpose(0, 3, 1, 2).copy()))
    np.testing.assert_allclose(rows[1, 2], direct[0][0], rtol=1e-4, atol=1e-4 * rows.max())
    np.testing.assert_array_equal(clips, before)


def test_fid_equals_torch_fidelity_on_inception_features(network):
    real, fake = (inception.features(golden_clips(seed, 4)[:, :6]) for seed in (0, 1))
    # Torch-fidelity's way needs full rank: fewer features than the 24 frames.
    widest = np.argsort(real.std(axis=(0, 1)))[-8:]
    real, fake = real[..., widest], fake[..., widest]
    expected = torch_fidelity_distance(real.reshape(-1, 8), fake.reshape(-1, 8))
    value = fid(real, fake).value
    assert value == pytest.approx(expected, rel=1e-6)
    assert value > 0


def test_fid_equals_torch_fidelity_on_many_rows():
    generator = np.random.default_rng(0)
    real = generator.normal(size=(60, 5, 32))
    fake = generator.normal(size=(50, 5, 32)) @ generator.normal(size=(32, 32)) / 5 + 0.3
    value = fid(real, fake)
    expected = torch_fidelity_distance(real.reshape(-1, 32), fake.reshape(-1, 32))
    assert value.value == pytest.approx(expected, rel=1e-9)
    assert (value.n_real, value.n_fake) == (60, 50)
    assert value.note == ""
    assert value.deviations == ()
    assert value.interval[0] < value.value < value.interval[1]
    assert value.extrapolated < value.value


def test_fid_interval_draws_frames_of_a_clip_together():
    rows = np.random.default_rng(0).normal(size=(2, 20, 1, 8))
    frames = rows + np.random.default_rng(1).normal(0, 0.01, (2, 20, 6, 8))
    still, alone = fid(*frames), fid(*frames.reshape(2, 120, 1, 8))
    assert still.value == pytest.approx(alone.value)
    assert np.ptp(still.interval) > 2 * np.ptp(alone.interval)
    assert len(still.per_clip) == len(fid(rows[0], np.repeat(rows[1], 2, 0), samples=2).per_clip)


def test_fid_refuses_features_that_do_not_match():
    rows = np.random.default_rng(0).normal(size=(2, 4, 6, 8))
    for a, b in ((rows[0, :, 0], rows[1, :, 0]), (rows[0], rows[1, :, :5])):
        with pytest.raises(ValueError, match=r"expected \(N, L, D\)"):
            fid(a, b)


def test_fid_extracts_features_once_and_without_the_given_frame(network, tmp_path, monkeypatch):
    real, fake = (golden_clips(seed, 2)[:, 2:4] for seed in (0, 1))  # a chunk, any start
    inputs = Inputs(clips=(real, fake), cache=tmp_path)
    value = measure("fid.frames.v1", inputs)
    assert value.value > 0
    assert value.note == "biased upwards: no more independent clips than the 2048 features"
    assert value.weight_hash == weights.ARTIFACTS["inception"].member_sha256
    assert value.interval is None
    same = measure("fid.frames.v1", replace(inputs, clips=(real, real)))
    assert same.value == pytest.approx(0, abs=1e-6)
    monkeypatch.setattr(inception, "load_inception", None)
    assert measure("fid.frames.v1", inputs) == value
    rows = [cached_features(clips, "inception", inputs=inputs) for clips in (real, fake)]
    assert fid(*rows).value == value.value
    monkeypatch.setattr(
        inception, "features", lambda v, *_: np.zeros((*v.shape[:2], 2048), np.float32)
    )
    assert measure("fid.frames.given1.v1", inputs).value == 0
    assert PROTOCOLS["fid.frames.given1.v1"].first_frame == 1


def test_fid_without_weights_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("LAMD_CACHE", str(tmp_path))
    monkeypatch.delenv("LAMD_WEIGHTS", raising=False)
    clips = golden_clips(0, 2)[:, :2]
    with pytest.raises(weights.WeightsMissing, match=r"weights missing.*--source FILE"):
        measure("fid.frames.v1", Inputs(clips=(clips, clips)))


@pytest.mark.parametrize(
    "videos", [np.zeros((1, 2, 8, 8, 3), np.float32), np.zeros((2, 8, 8, 3), np.uint8)]
)
def test_inception_features_refuse_wrong_input(videos):
    with pytest.raises(ValueError, match="expected uint8"):
        inception.features(videos)
