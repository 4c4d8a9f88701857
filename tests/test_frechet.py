"""Fréchet distance against closed forms and SciPy, and what its interval and limit promise."""

import numpy as np
import pytest
import scipy.linalg

from lamd.metrics import frechet
from lamd.metrics.frechet import frechet_distance, fvd, influence
from lamd.metrics.measure import measure
from lamd.metrics.values import Inputs

ONE_EACH = Inputs(samples=1)


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
    fvd(a, b, ONE_EACH)
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


@pytest.mark.parametrize(("n", "m"), [(30, 30), (30, 50), (60, 60), (60, 45)])
def test_influence_is_the_derivative_by_the_weight_of_a_row(n, m):
    a, b = draw(n, 40, 0), draw(m, 40, 1, scale=1.3, shift=0.2)
    value, of_a, of_b = influence(a, b)
    assert value == pytest.approx(frechet_distance(a, b))
    assert of_a.mean() == pytest.approx(0, abs=1e-9)
    # A million copies of each row, and ten thousand more of one: as weights, without copies.
    for rows, effects, weighed in ((a, of_a, 0), (b, of_b, 1)):
        for row in (0, 7):
            weights = np.ones(len(rows))
            weights[row] += 1e-4 * len(rows)
            moved = weighed_distance(a, b, *((weights, None), (None, weights))[weighed])
            still = weighed_distance(a, b, None, None)
            slope = (moved - still) / 1e-4
            n = len(rows)
            # The unbiased covariances of `frechet_distance` differ from these by n / (n - 1).
            assert slope == pytest.approx(effects[row], rel=0.05, abs=0.02 * np.ptp(effects)), n


def weighed_distance(a, b, weights_a, weights_b):
    """The distance of weighted sets with biased covariances, by eigenvalues."""

    def moments(rows, weights):
        weights = np.ones(len(rows)) if weights is None else weights
        weights = weights / weights.sum()
        mean = weights @ rows
        return mean, (rows - mean).T * weights @ (rows - mean)

    (mean_a, cov_a), (mean_b, cov_b) = moments(a, weights_a), moments(b, weights_b)
    values, vectors = np.linalg.eigh(cov_a)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    overlap = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov_b @ root), 0)).sum()
    return ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * overlap


def test_interval_is_deterministic_per_seed_and_holds_the_value():
    a, b = draw(60, 30, 0), draw(60, 30, 1, scale=1.3)
    result = fvd(a, b, ONE_EACH)
    low, high = result.interval
    assert low < result.value < high
    assert result.per_clip.mean() == pytest.approx(result.value)
    assert fvd(a, b, ONE_EACH).interval == result.interval
    assert fvd(a, b, Inputs(samples=1, seed=1)).interval != result.interval


@pytest.mark.parametrize("m", [80, 100])
def test_interval_is_as_wide_as_the_true_spread(m):
    values, widths = [], []
    for seed in range(100):
        a, b = draw(80, 10, 2 * seed), draw(m, 10, 2 * seed + 1, scale=1.3, shift=0.3)
        values.append(frechet_distance(a, b))
        if seed < 10:
            low, high = fvd(a, b, Inputs(samples=1, seed=seed)).interval
            widths.append(high - low)
    assert 0.8 < np.mean(widths) / (2 * 1.96 * np.std(values)) < 1.3


def test_clips_of_one_video_are_drawn_together():
    a, b = np.repeat(draw(40, 10, 0), 5, axis=0), draw(200, 10, 1, scale=1.3)
    videos = [f"video {k // 5}" for k in range(200)]
    alone, windows, named = (
        np.ptp(fvd(a, b, inputs).interval)
        for inputs in (ONE_EACH, Inputs(samples=1, windows=5), Inputs(samples=1, videos=videos))
    )
    assert windows == named > 1.3 * alone


def test_samples_of_one_frame_are_drawn_together():
    real, noise = draw(50, 10, 0), draw(200, 10, 1, scale=0.05)
    fake = np.repeat(1.2 * real, 4, axis=0) + noise
    result = fvd(real, fake, Inputs(samples=4))
    assert len(result.per_clip) == 50
    assert result.per_clip.mean() == pytest.approx(frechet_distance(real, fake))


def shared(n, share, seed, d=400):
    """Two sets of one Gaussian whose rows have a share of their variance in common."""
    generator = np.random.default_rng(seed)
    a, own = generator.normal(0, 0.3234**0.5, (2, n, d))
    return a, share**0.5 * a + (1 - share) ** 0.5 * own


def replaced(n, share, seed, d=400):
    """Two sets of one Gaussian in which a share of the rows is the same."""
    a, b = shared(n, 0, seed, d)
    same = np.random.default_rng(seed + 1000).random(n) < share
    return a, np.where(same[:, None], a, b)


def limit(a, b):
    clusters, generator = ONE_EACH.clusters(len(a), len(b)), np.random.default_rng(0)
    return frechet._extrapolate(a, b, influence(a, b), clusters, generator, frechet._REPEATS)


@pytest.mark.parametrize(
    ("draw_pair", "share"), [(shared, 0), (shared, 0.8), (shared, 0.95), (replaced, 0.95)]
)
def test_extrapolation_of_equal_distributions_is_near_zero(draw_pair, share):
    a, b = draw_pair(256, share, 0)
    assert fvd(a, b, ONE_EACH).extrapolated is None  # too few to be given
    assert abs(limit(a, b)) < min(25, 0.5 * frechet_distance(a, b))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("draw_pair", "share"),
    [(shared, 0), (shared, 0.8), (shared, 0.95), (replaced, 0.8), (replaced, 0.95)],
)
def test_intervals_cover_the_mean_over_draws(draw_pair, share):
    sets = [draw_pair(256, share, 10 * seed) for seed in range(200)]
    effects = [influence(*pair) for pair in sets]
    truth = np.mean([value for value, *_ in effects])
    clusters = ONE_EACH.clusters(256, 256)
    intervals = np.array([clusters.set_value(*effect).interval for effect in effects])
    covered = (intervals[:, 0] <= truth) & (truth <= intervals[:, 1])
    assert 0.90 <= covered.mean() <= 0.99, covered.mean()


def test_extrapolation_takes_off_the_bias():
    a, b = draw(300, 20, 0), draw(300, 20, 1, scale=1.2, shift=0.1)
    truth = ((3 * np.arange(1, 21) ** -0.5 * 0.2) ** 2).sum() + 20 * 0.1**2
    result = fvd(a, b, ONE_EACH)
    assert abs(result.extrapolated - truth) < abs(result.value - truth) / 2
    assert fvd(a, b, ONE_EACH) == result


def test_a_set_with_a_little_noise_has_a_narrow_interval_and_a_limit_near_zero():
    real = draw(40, 400, 0)
    noisy = real + np.random.default_rng(1).normal(0, 0.2, real.shape)
    result = measure("fvd.clips.v1", Inputs(features=(real, noisy), samples=1))
    low, high = result.interval
    assert high - low < result.value
    assert limit(real, noisy) > -0.1 * result.value


def test_too_few_clips_have_no_interval_and_no_extrapolation():
    a = draw(15, 4)
    assert fvd(a, a, ONE_EACH).extrapolated is None
    assert fvd(a[:3], a[:3], ONE_EACH).interval is None


def test_no_interval_reaches_below_zero():
    lows = [fvd(draw(8, 1, 2 * s), draw(8, 1, 2 * s + 1), ONE_EACH).interval[0] for s in range(10)]
    assert min(lows) == 0.0
