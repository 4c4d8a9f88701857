"""KVD, precision, recall, density and coverage against torch-fidelity, and their pairing."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_kid import kernel_poly, mmd2
from torch_fidelity.metric_prc import calculate_precision_recall_full

from lamd.base.errors import LamdError
from lamd.metrics import manifold
from lamd.metrics.kernel import kvd
from lamd.metrics.measure import measure
from lamd.metrics.values import Inputs

ONE_EACH = Inputs(samples=1)


def draw(n, d=32, seed=0, scale=1.0, shift=0.0):
    return np.random.default_rng(seed).normal(shift, scale, (n, d))


def kernels(*pairs):
    return [kernel_poly(x, y, kid_kernel_poly_degree=3, kid_kernel_poly_gamma=None,
                        kid_kernel_poly_coef0=1) for x, y in pairs]  # fmt: skip


def test_kvd_of_paired_sets_is_the_u_statistic_of_torch_fidelity():
    a, b = draw(50), draw(50, seed=1, scale=1.3, shift=0.2)
    expected = mmd2(*kernels((a, a), (a, b), (b, b)), mmd_est="u-statistic")
    result = kvd(a, b, ONE_EACH)
    assert result.value == pytest.approx(expected, rel=1e-9)
    assert result.per_clip.mean() == pytest.approx(result.value)


def test_kvd_of_sets_of_other_sizes_uses_all_pairs():
    a, b = draw(50), draw(40, seed=1, scale=1.3)
    aa, ab, bb = kernels((a, a), (a, b), (b, b))
    off_diagonal = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (aa, bb)]
    result = kvd(a, b, ONE_EACH)
    assert result.value == pytest.approx(sum(off_diagonal) - 2 * ab.mean(), rel=1e-9)
    assert result.per_clip is None
    assert result.interval[0] < result.value < result.interval[1]


@pytest.mark.parametrize("share", [0, 0.9])
def test_kvd_of_equal_distributions_is_zero_on_average(share):
    values = []
    for seed in range(60):
        a, own = draw(40, seed=2 * seed), draw(40, seed=2 * seed + 1)
        values.append(kvd(a, share**0.5 * a + (1 - share) ** 0.5 * own, ONE_EACH).value)
    assert abs(np.mean(values)) < 3 * np.std(values) / len(values) ** 0.5


def test_kvd_interval_is_as_wide_as_the_true_spread():
    values, widths = [], []
    for seed in range(100):
        result = kvd(draw(80, 10, 2 * seed), draw(80, 10, 2 * seed + 1, 1.3, 0.3), ONE_EACH)
        values.append(result.value)
        widths.append(np.ptp(result.interval))
    assert 0.8 < np.mean(widths) / (2 * 1.96 * np.std(values)) < 1.3


def test_kvd_needs_two_clusters():
    rows = draw(4)
    with pytest.raises(ValueError, match="at least 2 independent clips, got 1"):
        kvd(rows, rows, Inputs(samples=1, windows=4))


@pytest.mark.parametrize(("n", "m"), [(60, 60), (60, 45)])
def test_precision_and_recall_equal_torch_fidelity(n, m):
    real, fake = draw(n, 8), draw(m, 8, seed=1, scale=0.8, shift=0.3)
    expected = calculate_precision_recall_full(torch.from_numpy(fake), torch.from_numpy(real), 3)
    for metric, value in zip((manifold.precision, manifold.recall), expected, strict=True):
        assert metric(real, fake, ONE_EACH).mean() == pytest.approx(value)


def test_density_and_coverage_by_their_definition():
    real, fake = draw(30, 8), draw(25, 8, seed=1, scale=0.8, shift=0.3)
    between = np.linalg.norm(real[:, None] - fake, axis=2)
    own = np.sort(np.linalg.norm(real[:, None] - real, axis=2), axis=1)[:, 5]
    inside = between <= own[:, None]
    assert manifold.density(real, fake, ONE_EACH) == pytest.approx(inside.sum(axis=0) / 5)
    np.testing.assert_array_equal(manifold.coverage(real, fake, ONE_EACH), inside.any(axis=1))


def test_chunks_change_no_value(monkeypatch):
    real, fake = draw(30, 8), draw(30, 8, seed=1)
    whole = kvd(real, fake, ONE_EACH), manifold.precision(real, fake, ONE_EACH)
    monkeypatch.setattr("lamd.metrics.kernel._CHUNK", 7)
    monkeypatch.setattr(manifold, "_CHUNK", 7)
    assert kvd(real, fake, ONE_EACH).value == pytest.approx(whole[0].value)
    np.testing.assert_array_equal(manifold.precision(real, fake, ONE_EACH), whole[1])


@pytest.mark.parametrize("name", ["precision", "recall", "density", "coverage", "kvd"])
def test_measured_under_a_protocol(name):
    inputs = Inputs(features=(draw(40, 400), draw(40, 400, seed=1)), num_frames=16)
    value = measure(f"{name}.clips.v1", inputs)
    assert (value.n_real, value.n_fake, len(value.per_clip)) == (40, 40, 40)
    assert value.interval[0] <= value.value <= value.interval[1]
    with pytest.raises((LamdError, ValueError), match=r"needed for \d neighbours|at least 2"):
        measure(f"{name}.clips.v1", Inputs(features=(draw(1, 400), draw(1, 400, seed=1))))


@pytest.mark.parametrize(
    ("name", "count"), [("precision", 31), ("recall", 40), ("density", 31), ("coverage", 40)]
)
def test_values_are_per_clip_of_the_set_that_is_counted(name, count):
    real, fake = draw(40, 8), draw(31, 8, seed=1, scale=0.8)
    value = measure(f"{name}.clips.v1", Inputs(features=(real, fake)))
    assert len(value.per_clip) == count
    assert value.per_clip.mean() == value.value
    of_set = getattr(manifold, name)(real, fake, ONE_EACH)
    np.testing.assert_array_equal(value.per_clip, of_set)


@pytest.mark.parametrize("name", ["recall", "coverage"])
def test_real_clips_of_one_video_count_once_in_the_interval(name):
    real, fake = draw(40, 8), draw(31, 8, seed=1, scale=0.8)

    def width(*sets, **inputs) -> float:
        value = measure(f"{name}.clips.v1", Inputs(features=sets, **inputs))
        assert 0.1 < value.value < 0.9
        return np.ptp(value.interval)

    twice = np.repeat(real, 2, axis=0)
    alone, together = (
        width(twice, fake, videos=videos) for videos in (None, [str(k // 2) for k in range(80)])
    )
    assert together > 1.25 * alone  # sqrt(2) in expectation
    if name == "recall":  # which does not measure distances between real clips
        assert together == pytest.approx(width(real, fake))
