"""Paired frame metrics: published LPIPS values, closed forms, protocols and their values."""

import json
import math
import tracemalloc
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from golden_clips import golden_clips
from scipy.ndimage import gaussian_filter

from lamd.base.errors import LamdError
from lamd.metrics.frames import MAX_PSNR, diversity, load_lpips, lpips_distance, psnr, ssim
from lamd.metrics.measure import measure
from lamd.metrics.protocols import PROTOCOLS, register_protocol
from lamd.metrics.registry import METRICS
from lamd.metrics.values import Inputs

GOLDEN = {
    "alex": [0.24007, 0.25364, 0.23474, 0.23000],
    "vgg": [0.47929, 0.45176, 0.42913, 0.43325],
}


@pytest.fixture(scope="module")
def pair():
    return golden_clips(0, 4), golden_clips(1, 4)


@pytest.mark.parametrize("backbone", GOLDEN)
def test_lpips_equals_published_values(pair, backbone):
    real, fake = (clips[:, :1] for clips in pair)
    values = lpips_distance(real, fake, backbone=backbone)
    np.testing.assert_allclose(values, GOLDEN[backbone], atol=1e-5)


def test_lpips_batch_size_changes_no_value(pair):
    real, fake = (clips[:2] for clips in pair)
    np.testing.assert_allclose(
        lpips_distance(real, fake, Inputs(batch_size=3)), lpips_distance(real, fake), atol=1e-6
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


def test_ssim_is_that_of_wang_et_al():
    # a Gaussian window of 11 pixels and sigma 1.5, population covariance, borders left out
    first, second = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3), dtype=np.uint8)
    blur, values = partial(gaussian_filter, sigma=1.5, truncate=3.5), []
    for x, y in zip(*(np.moveaxis(a.astype(float), -1, 0) for a in (first, second)), strict=True):
        mx, my = blur(x), blur(y)
        vx, vy, vxy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
        c1, c2 = 2.55**2, 7.65**2
        share = (2 * mx * my + c1) * (2 * vxy + c2)
        share /= (mx * mx + my * my + c1) * (vx + vy + c2)
        values.append(share[5:-5, 5:-5].mean())
    found = ssim(first[None, None], second[None, None])
    assert float(np.ravel(found)[0]) == pytest.approx(np.mean(values), abs=1e-4)


@pytest.mark.parametrize("metric", [psnr, ssim, lpips_distance])
def test_frame_metrics_refuse_wrong_pairs(metric, pair):
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


def test_frame_metrics_refuse_small_frames():
    tiny = np.zeros((1, 1, 10, 40, 3), np.uint8)
    with pytest.raises(ValueError, match="at least 11"):
        ssim(tiny, tiny)
    for backbone, least in (("alex", 31), ("vgg", 16)):
        small = np.zeros((1, 1, least, least, 3), np.uint8)
        assert lpips_distance(small, small, backbone=backbone) == 0
        with pytest.raises(ValueError, match=f"at least {least}"):
            lpips_distance(small[:, :, 1:], small[:, :, 1:], backbone=backbone)


def test_diversity_is_the_mean_over_pairs(pair):
    real, fake = (clips[:2, :3] for clips in pair)
    samples = np.stack([real, fake, real], axis=1).reshape(6, *real.shape[1:])
    value = measure("diversity.lpips-alex.v1", Inputs(clips=(real, samples), samples=3))
    expected = 2 / 3 * lpips_distance(real[:, 1:], fake[:, 1:])
    np.testing.assert_allclose(value.per_clip, expected, atol=1e-6)
    assert value.value == value.per_clip.mean()
    assert value.higher_is_better
    assert (value.n_real, value.n_fake, value.deviations) == (0, 6, ())
    for count in (1, 4):
        with pytest.raises(ValueError, match="2 or more samples"):
            diversity(real, samples, Inputs(samples=count))


def test_measure_leaves_given_frames_out_where_the_protocol_says_so(pair):
    real, fake = pair[0].copy(), pair[1].copy()
    fake[:, 0] = real[:, 0]
    every, after = (
        measure(name, Inputs(clips=(real, fake))) for name in ("psnr.v1", "psnr.given1.v1")
    )
    assert every.value == pytest.approx((MAX_PSNR + 15 * after.value) / 16)
    assert after.interval[0] <= after.value <= after.interval[1]
    assert after.unit == "dB"
    assert measure("psnr.v1", Inputs(clips=(real[:1], fake[:1]))).interval is None


def test_measure_keeps_one_value_per_generated_clip(pair):
    real, fake = pair
    inputs = Inputs(clips=(real[:2], fake), samples=2)
    value = measure("psnr.v1", inputs)
    np.testing.assert_array_equal(value.per_clip, psnr(np.repeat(real[:2], 2, axis=0), fake))
    assert value.per_clip.dtype == np.float64
    assert (value.n_real, value.n_fake) == (2, 4)
    assert "per_clip" not in value.as_dict()


def test_measure_names_inputs_that_are_missing():
    with pytest.raises(ValueError, match=r"psnr\.v1 needs clips, got none"):
        measure("psnr.v1", Inputs())


def test_measure_refuses_sets_whose_clips_differ_in_frames_or_size(pair):
    real, fake = pair
    for other in (fake[:, 1:], fake[:, :, :32]):
        with pytest.raises(ValueError, match=r"real .* and fake .* differ in frames or size"):
            measure("fvd.clips.v1", Inputs(clips=(real, other)))


def test_protocols_are_one_line_and_plain_data():
    lines = [protocol.describe() for protocol in PROTOCOLS.values()]
    rules = [line.partition(": ")[2] for line in lines]
    assert len(set(rules)) == len(rules)
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert "\n" not in protocol.describe()
        assert json.loads(json.dumps(protocol.as_dict()))["name"] == name
        assert (protocol.backbone is None) == (protocol.weight_hash is None)
        assert protocol.column in METRICS
    assert {"fvd.bair.v1", "fvd.bair.x100.v1", "fvd.bair.windows.v1", "fvd.landscape.v1",
            "fvd.cater.v1", "fvd.clips.v1", "fvd.bair.reconstruction.v1",
            "fvd.landscape.reconstruction.v1", "fid.frames.v1"} <= set(PROTOCOLS)  # fmt: skip


def test_protocol_column_sets_counted_fvd_apart():
    columns = {name: PROTOCOLS[name].column for name in PROTOCOLS}
    assert columns["fvd.bair.v1"] == "fvd"
    assert columns["fvd.landscape.counted.v1"] == "fvd-counted"
    assert columns["diversity.lpips-alex.v1"] == "diversity"


@pytest.mark.parametrize("metric", ["nothing", "lpips"])
def test_register_protocol_needs_a_metric_that_is_measured(metric):
    with pytest.raises(LamdError, match=f"no metric '{metric}' that can be measured"):
        register_protocol(replace(PROTOCOLS["psnr.v1"], name="x.v1", metric=metric))
    assert "x.v1" not in PROTOCOLS


def test_fvd_from_features_reports_its_deviations():
    generator = np.random.default_rng(0)
    real, fake = generator.normal(size=(2, 64, 400))
    value = measure("fvd.bair.v1", Inputs(features=(real, fake), num_frames=12))
    assert value.deviations == (
        "64 real clips, the protocol asks for 256",
        "64 generated clips, the protocol asks for 256",
        "12 frames, the protocol asks for 16",
    )
    assert "400 features" in value.note
    assert value.interval[0] < value.value < value.interval[1]
    assert value.extrapolated is None  # a guess, with no more clips than features
    assert json.loads(json.dumps(value.as_dict()))["n_real"] == 64
    assert value.per_clip.mean() == pytest.approx(value.value)
    assert measure("fvd.clips.v1", Inputs(features=(real, fake))).deviations == ()
    few = measure("fvd.clips.v1", Inputs(features=(real[:3], fake)))
    assert few.interval is None
    assert few.extrapolated is None
    several = measure("fvd.bair.v1", Inputs(features=(real[:32], fake), samples=2))
    assert "2 samples per condition, the protocol asks for 1" in several.deviations


@pytest.mark.parametrize(
    ("name", "num_frames", "clips"),
    [
        ("fvd.bair.reconstruction.v1", 16, 256),
        ("fvd.landscape.reconstruction.v1", 32, 2815),
        ("fvd.landscape.counted.v1", 32, 2815),
        ("fvd.landscape.v1", 32, 2815),
    ],
)
def test_measure_reports_few_clips_of_a_stand_in(name, num_frames, clips):
    real, fake = np.random.default_rng(0).normal(size=(2, 6, 400))
    assert measure(name, Inputs(features=(real, fake), num_frames=num_frames)).deviations == (
        f"6 real clips, the protocol asks for {clips}",
        f"6 generated clips, the protocol asks for {clips}",
    )


def test_measure_takes_a_chunk_of_a_longer_clip_as_a_clip(tmp_path, monkeypatch):
    from lamd.metrics import i3d

    seen = []
    monkeypatch.setattr(
        i3d, "features", lambda v, *_: seen.append(v) or np.ones((len(v), 400), np.float32)
    )
    long = np.concatenate([golden_clips(seed, 2) for seed in (0, 1, 2)], axis=1)
    chunks = long[:, 16:32], long[:, 30:46]
    value = measure("fvd.clips.v1", Inputs(clips=chunks, cache=tmp_path))
    assert value.deviations == ()
    assert [v.shape[1] for v in seen] == [16, 16]
    np.testing.assert_array_equal(seen[1][:, :2], long[:, 30:32])
    copies = tuple(chunk.copy() for chunk in chunks)
    expected = measure("psnr.v1", Inputs(clips=copies)).value
    assert measure("psnr.v1", Inputs(clips=chunks)).value == expected


def test_real_clips_of_many_samples_are_not_copied():
    real = np.zeros((4, 16, 64, 64, 3), np.uint8)
    fake = np.repeat(real + np.uint8(1), 100, axis=0)
    tracemalloc.start()
    value = measure("psnr.given1.v1", Inputs(clips=(real, fake), samples=100))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (value.n_real, value.n_fake) == (4, 400)
    assert peak < 0.5 * fake.nbytes


def test_lpips_of_large_frames_takes_few_at_a_time(monkeypatch):
    sizes = []

    class Distance(torch.nn.Module):
        def forward(self, a, b):
            sizes.append(len(a))
            return (a - b).abs().mean(dim=(1, 2, 3), keepdim=True)

    monkeypatch.setattr("lamd.metrics.frames.load_lpips", lambda *_: Distance())
    for side, batch_size, expected in (
        (64, None, [4]),
        (1024, None, [2, 2]),
        (64, 3, [3, 1]),
    ):
        clips = np.random.default_rng(0).integers(0, 256, (2, 1, 4, side, side, 3), dtype=np.uint8)
        sizes.clear()
        (value,) = lpips_distance(*clips, Inputs(batch_size=batch_size))
        assert sizes == expected
        assert value == pytest.approx(
            np.abs(np.subtract(*clips, dtype=float)).mean() / 127.5, rel=1e-5
        )


def test_psnr_of_a_large_clip_holds_one_frame_in_float():
    clips = np.random.default_rng(0).integers(0, 256, (2, 1, 24, 256, 256, 3), dtype=np.uint8)
    tracemalloc.start()
    psnr(*clips)
    assert tracemalloc.get_traced_memory()[1] < 4 * 8 * clips[0, 0, 0].size
    tracemalloc.stop()
