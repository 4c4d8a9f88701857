"""Paired frame metrics: published LPIPS values, closed forms, protocols and their values."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from golden_clips import golden_clips

from lamd.metrics.diversity import diversity
from lamd.metrics.frames import MAX_PSNR, load_lpips, lpips_distance, psnr, ssim
from lamd.metrics.protocols import measure, measure_diversity, measure_features
from lamd.metrics.rules import PROTOCOLS

GOLDEN = {
    "alex": [0.24007, 0.25364, 0.23474, 0.23000],
    "vgg": [0.47929, 0.45176, 0.42913, 0.43325],
}


@pytest.fixture(scope="module")
def pair():
    return golden_clips(0, 4), golden_clips(1, 4)


@pytest.mark.parametrize("backbone", GOLDEN)
def test_golden_lpips(pair, backbone):
    real, fake = (clips[:, :1] for clips in pair)
    values = lpips_distance(real, fake, backbone)
    np.testing.assert_allclose(values, GOLDEN[backbone], atol=1e-5)


def test_lpips_does_not_depend_on_the_batch(pair):
    real, fake = (clips[:2] for clips in pair)
    np.testing.assert_allclose(
        lpips_distance(real, fake, batch_size=3), lpips_distance(real, fake), atol=1e-6
    )
    assert (lpips_distance(real, real) == 0).all()


@pytest.mark.parametrize("backbone", GOLDEN)
def test_lpips_is_silent_frozen_and_differentiable(backbone, capfd, recwarn):
    state = torch.get_rng_state()
    net = load_lpips(backbone)
    assert torch.equal(torch.get_rng_state(), state)
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    assert not net.training
    assert not any(p.requires_grad or p.is_meta for p in [*net.parameters(), *net.buffers()])
    x = torch.zeros(2, 3, 32, 32, requires_grad=True)
    y = torch.linspace(-1, 1, x.numel()).view_as(x)
    value = net(x, y)
    assert value.shape == (2, 1, 1, 1)
    value.sum().backward()
    assert x.grad.abs().sum() > 0


def test_psnr_closed_form_and_cap():
    real = np.full((2, 3, 16, 16, 3), 100, np.uint8)
    fake = real.copy()
    fake[1] += 10
    assert psnr(real, fake) == pytest.approx([MAX_PSNR, 20 * math.log10(255 / 10)])
    fake[1, 0] = real[1, 0]
    assert psnr(real, fake)[1] == pytest.approx((MAX_PSNR + 2 * 20 * math.log10(25.5)) / 3)
    assert psnr(real, 255 - real)[0] == psnr(255 - real, real)[0]


def test_psnr_does_not_wrap_around():
    real, fake = np.zeros((1, 1, 12, 12, 3), np.uint8), np.full((1, 1, 12, 12, 3), 255, np.uint8)
    assert psnr(real, fake) == pytest.approx([0.0])
    assert psnr(fake, real) == pytest.approx([0.0])


def test_ssim_closed_forms(pair):
    real, fake = (clips[:2, :2] for clips in pair)
    assert ssim(real, real) == pytest.approx([1.0, 1.0])
    assert ssim(real, fake) == pytest.approx(ssim(fake, real))
    grey, white = (np.full((1, 1, 16, 16, 3), v, np.uint8) for v in (100, 200))
    c1 = (0.01 * 255) ** 2  # Wang et al.: constant frames leave the luminance term alone
    assert ssim(grey, white) == pytest.approx([(2 * 100 * 200 + c1) / (100**2 + 200**2 + c1)])


@pytest.mark.parametrize("metric", [psnr, ssim, lpips_distance])
def test_wrong_pairs(metric, pair):
    real, fake = pair
    for a, b in (
        (real, fake[:3]),
        (real, fake[:, :8]),
        (real, fake[:, :, :32]),
        (real, fake.astype(np.float32)),
        (real[0], fake[0]),
    ):
        with pytest.raises(ValueError, match=r"expected uint8|differ"):
            metric(a, b)


def test_frames_too_small():
    tiny = np.zeros((1, 1, 10, 40, 3), np.uint8)
    with pytest.raises(ValueError, match="at least 11"):
        ssim(tiny, tiny)
    for backbone, least in (("alex", 31), ("vgg", 16)):
        small = np.zeros((1, 1, least, least, 3), np.uint8)
        assert lpips_distance(small, small, backbone) == 0
        with pytest.raises(ValueError, match=f"at least {least}"):
            lpips_distance(small[:, :, 1:], small[:, :, 1:], backbone)


def test_diversity_is_the_mean_over_pairs(pair):
    real, fake = (clips[:2, :2] for clips in pair)
    samples = np.stack([real, fake, real], axis=1)
    expected = 2 / 3 * lpips_distance(real, fake)
    np.testing.assert_allclose(diversity(samples), expected, atol=1e-6)
    with pytest.raises(ValueError, match="S >= 2"):
        diversity(samples[:, :1])
    value = measure_diversity(samples)
    assert value.higher_is_better
    assert (value.n_real, value.n_fake) == (0, 6)


def test_given_frames_are_left_out_where_the_protocol_says_so(pair):
    real, fake = pair[0].copy(), pair[1].copy()
    fake[:, 0] = real[:, 0]
    every, after = measure("psnr.v1", real, fake), measure("psnr.given1.v1", real, fake)
    assert every.value == pytest.approx((MAX_PSNR + 15 * after.value) / 16)
    assert after.interval[0] <= after.value <= after.interval[1]
    assert after.unit == "dB"
    assert measure("psnr.v1", real[:1], fake[:1]).interval is None


def test_every_protocol_is_one_line_and_plain_data():
    lines = [protocol.describe() for protocol in PROTOCOLS.values()]
    rules = [line.partition(": ")[2] for line in lines]
    assert len(set(rules)) == len(rules)
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert "\n" not in protocol.describe()
        assert json.loads(json.dumps(protocol.as_dict()))["name"] == name
        assert (protocol.backbone is None) == (protocol.weight_hash is None)
    assert {"fvd.bair.v1", "fvd.bair.x100.v1", "fvd.bair.windows.v1", "fvd.landscape.v1",
            "fvd.cater.v1", "fvd.clips.v1", "fvd.bair.reconstruction.v1",
            "fvd.landscape.reconstruction.v1", "fid.frames.v1"} <= set(PROTOCOLS)  # fmt: skip


def test_fvd_from_features_says_what_it_departs_from():
    generator = np.random.default_rng(0)
    real, fake = generator.normal(size=(2, 64, 400))
    value = measure_features("fvd.bair.v1", real, fake, num_frames=12)
    assert value.deviations == (
        "64 real clips, the protocol asks for 256",
        "64 generated clips, the protocol asks for 256",
        "12 frames, the protocol asks for 16",
    )
    assert "400 features" in value.note
    assert value.interval[0] < value.value < value.interval[1]
    assert value.extrapolated < value.value
    assert json.loads(json.dumps(asdict(value)))["n_real"] == 64
    assert measure_features("fvd.clips.v1", real, fake).deviations == ()
    few = measure_features("fvd.clips.v1", real[:3], fake)
    assert few.interval is None
    assert few.extrapolated is None
    several = measure_features("fvd.bair.v1", real[:32], fake, samples_per_condition=2)
    assert "2 samples a condition, the protocol asks for 1" in several.deviations


@pytest.mark.parametrize(
    ("name", "num_frames", "clips"),
    [
        ("fvd.bair.reconstruction.v1", 16, 256),
        ("fvd.landscape.reconstruction.v1", 32, 2815),
        ("fvd.landscape.counted.v1", 32, 2815),
        ("fvd.landscape.v1", 31, 2815),
    ],
)
def test_a_small_stand_in_departs_from_the_number_of_clips(name, num_frames, clips):
    real, fake = np.random.default_rng(0).normal(size=(2, 6, 400))
    assert measure_features(name, real, fake, num_frames=num_frames).deviations == (
        f"6 real clips, the protocol asks for {clips}",
        f"6 generated clips, the protocol asks for {clips}",
    )


def test_a_chunk_of_a_longer_clip_is_measured_as_a_clip(tmp_path, monkeypatch):
    from lamd.metrics import i3d

    seen = []
    monkeypatch.setattr(
        i3d, "features", lambda v, **_: seen.append(v) or np.ones((len(v), 400), np.float32)
    )
    long = np.concatenate([golden_clips(seed, 2) for seed in (0, 1, 2)], axis=1)
    value = measure("fvd.clips.v1", long[:, 16:32], long[:, 30:46], cache=tmp_path)
    assert value.deviations == ()
    assert [v.shape[1] for v in seen] == [16, 16]
    np.testing.assert_array_equal(seen[1][:, :2], long[:, 30:32])
    chunks = long[:, 16:32], long[:, 30:46]
    expected = measure("psnr.v1", *(chunk.copy() for chunk in chunks)).value
    assert measure("psnr.v1", *chunks).value == expected
