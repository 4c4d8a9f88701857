"""Fréchet distance against closed forms and SciPy, and what its interval and limit promise."""

import numpy as np
import pytest
import scipy.linalg

from lamd.metrics.frechet import bootstrap_interval, extrapolate, frechet_distance


def draw(n, d=20, seed=0, scale=1.0, shift=0.0):
    spread = 3 * np.arange(1, d + 1) ** -0.5
    return np.random.default_rng(seed).normal(size=(n, d)) * spread * scale + shift


def whitened(n, d, seed=0):
    """Rows with mean exactly 0 and covariance exactly 1."""
    x = np.random.default_rng(seed).normal(size=(n, d))
    x -= x.mean(axis=0)
    return np.linalg.qr(x)[0] * np.sqrt(n - 1)


@pytest.mark.parametrize(("n", "d"), [(50, 20), (300, 400), (2, 400), (400, 400)])
def test_identical_sets_are_at_zero(n, d):
    a = draw(n, d) * 10
    assert 0 <= frechet_distance(a, a) < 1e-6
    order = np.random.default_rng(1).permutation(n)
    assert 0 <= frechet_distance(a, a[order]) < 1e-6


def test_closed_form_of_diagonal_gaussians():
    s, t, shift = np.arange(1.0, 9), np.arange(8.0, 0, -1), np.linspace(-1, 1, 8)
    a, b = whitened(100, 8) * s, whitened(64, 8, seed=1) * t + shift
    expected = (shift**2).sum() + ((s - t) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)


def test_agrees_with_scipy_where_covariances_are_regular():
    a, b = draw(200, seed=0), draw(150, seed=1, scale=1.4, shift=0.2)
    ca, cb = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(ca @ cb).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n", "m"), [(30, 40), (30, 900), (900, 30), (900, 500)])
def test_symmetric_at_any_size_and_unmoved_by_rotation_and_order(n, m):
    a, b = draw(n, 400, 0), draw(m, 400, 1, scale=1.2)
    value = frechet_distance(a, b)
    assert frechet_distance(b, a) == pytest.approx(value, rel=1e-10)
    assert frechet_distance(a[::-1], b) == pytest.approx(value, rel=1e-10)
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(400, 400)))[0]
    assert frechet_distance(a @ rotation, b @ rotation) == pytest.approx(value, rel=1e-10)


def test_singular_covariances_of_constant_sets():
    a, b = np.zeros((8, 5)), np.ones((6, 5))
    assert frechet_distance(a, b) == pytest.approx(5.0, abs=1e-12)


def test_float32_features_are_treated_in_float64_and_left_alone():
    a, b = (draw(30, 40, seed).astype(np.float32) for seed in (0, 1))
    copies = a.copy(), b.copy()
    value = frechet_distance(a, b)
    bootstrap_interval(a, b, num_resamples=5)
    extrapolate(a, b)
    assert value == frechet_distance(a.astype(np.float64), b.astype(np.float64))
    for rows, copy in zip((a, b), copies, strict=True):
        np.testing.assert_array_equal(rows, copy)


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        (np.zeros((1, 4)), np.zeros((5, 4)), "at least 2 rows"),
        (np.zeros((5, 4)), np.zeros((0, 4)), "at least 2 rows"),
        (np.zeros((5, 4)), np.zeros((5, 3)), "widths differ"),
        (np.zeros(5), np.zeros((5, 4)), "at least 2 rows"),
        (np.full((5, 4), np.nan), np.zeros((5, 4)), "not finite"),
    ],
)
def test_wrong_input(a, b, reason):
    with pytest.raises(ValueError, match=reason):
        frechet_distance(a, b)


def test_interval_is_deterministic_per_seed_and_holds_the_value():
    a, b = draw(60, 30, 0), draw(60, 30, 1, scale=1.3)
    low, high = bootstrap_interval(a, b)
    assert low < frechet_distance(a, b) < high
    assert bootstrap_interval(a, b) == (low, high)
    assert bootstrap_interval(a, b, seed=1) != (low, high)


def test_interval_is_as_wide_as_the_true_spread():
    values, widths = [], []
    for seed in range(100):
        a, b = draw(80, 10, 2 * seed), draw(80, 10, 2 * seed + 1, scale=1.3, shift=0.3)
        values.append(frechet_distance(a, b))
        if seed < 10:
            low, high = bootstrap_interval(a, b, seed=seed)
            widths.append(high - low)
    assert 0.8 < np.mean(widths) / (2 * 1.96 * np.std(values)) < 1.6


def test_blocks_widen_the_interval_of_clips_that_repeat():
    a, b = np.repeat(draw(40, 10, 0), 5, axis=0), draw(200, 10, 1, scale=1.3)
    (low, high), (low_5, high_5) = (bootstrap_interval(a, b, block_a=k) for k in (1, 5))
    assert high_5 - low_5 > 1.3 * (high - low)
    with pytest.raises(ValueError, match="do not fill blocks of 7"):
        bootstrap_interval(a, b, block_a=7)


def test_extrapolation_takes_off_the_bias():
    a, b = draw(300, 20, 0), draw(300, 20, 1, scale=1.2, shift=0.1)
    truth = ((3 * np.arange(1, 21) ** -0.5 * 0.2) ** 2).sum() + 20 * 0.1**2
    raw, limit = frechet_distance(a, b), extrapolate(a, b)
    assert abs(limit - truth) < abs(raw - truth) / 2
    assert extrapolate(a, b) == limit


def test_too_few_clips_have_no_interval_and_no_extrapolation():
    a = draw(15, 4)
    assert extrapolate(a, a) is None
    assert bootstrap_interval(a[:3], a) is None
