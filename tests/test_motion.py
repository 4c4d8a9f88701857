"""Amount and direction of motion of clips that move as the test says."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from golden_clips import golden_clips
from skimage.filters import gaussian

from lamd.metrics.measure import measure
from lamd.metrics.motion import flow_histogram, motion_amount
from lamd.metrics.values import Inputs

ONE_EACH = Inputs(samples=1)


def moving(step, count=6, size=64, num_frames=5, seed=0):
    """Textures that move by `step` (y, x) pixels per frame, uint8 (count, L, size, size, 3)."""
    generator = np.random.default_rng(seed)
    noise = generator.integers(0, 256, (count, 2 * size, 2 * size, 3)).astype(float)
    texture = np.stack([gaussian(picture, 1.5, channel_axis=-1) for picture in noise])
    texture = np.interp(texture, (texture.min(), texture.max()), (0, 255)).astype(np.uint8)
    start = size // 2
    windows = [
        texture[:, start - y : start - y + size, start - x : start - x + size]
        for y, x in (np.multiply(step, k) for k in range(num_frames))
    ]
    return np.stack(windows, axis=1)


@pytest.mark.parametrize("size", [32, 64, 128])
@pytest.mark.parametrize("step", [(0, 0), (1, 0), (0, -2), (2, 2)])
def test_motion_amount_is_the_length_of_the_step(size, step):
    values = motion_amount(None, moving(step, 2, size), ONE_EACH)
    assert values == pytest.approx(100 * np.hypot(*step) / size, rel=0.06, abs=0.01)


def test_flow_histogram_separates_speeds_and_directions():
    right, again, left, fast, still = (
        moving(step, seed=seed)
        for step, seed in (((0, 1), 0), ((0, 1), 1), ((0, -1), 0), ((0, 3), 0), ((0, 0), 0))
    )
    distance = {
        name: flow_histogram(right, clips, ONE_EACH).value
        for name, clips in {"again": again, "left": left, "fast": fast, "still": still}.items()
    }
    assert distance["again"] < 5
    assert min(distance["left"], distance["fast"], distance["still"]) > 85
    assert flow_histogram(right, right, ONE_EACH).value == 0


def shares_of_pixels(clips):
    """Return the mean share of pixels by length and direction of flow, still ones in one bin."""
    flow_of, shares = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc, []
    lengths, angles = (0, 0.25, 0.5, 1, 2, 4, 8, 1e6), np.arange(0, 361, 45)
    for clip in clips:
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip]
        x, y = np.stack([flow_of(a, b, None) for a, b in pairwise(grey)]).reshape(-1, 2).T
        length = 100 * np.sqrt(x**2 + y**2) / min(clip.shape[1:3])
        angle = (np.degrees(np.arctan2(y, x)) + 22.5) % 360
        counts = np.histogram2d(length, angle, bins=(lengths, angles))[0]
        shares.append(np.append(counts[1:], counts[0].sum()) / len(x))
    return np.mean(shares, axis=0)


@pytest.mark.parametrize("step", [(0, 1), (1, 2), (0, 0)])
def test_flow_histogram_is_half_of_the_difference_between_shares_of_pixels(step):
    real, fake = moving((0, 1))[:, :, :48], moving(step, seed=1)[:, :, :48]
    expected = 50 * np.abs(shares_of_pixels(real) - shares_of_pixels(fake)).sum()
    assert flow_histogram(real, fake, ONE_EACH).value == pytest.approx(expected, abs=0.01)


def test_flow_histogram_is_in_percent_of_what_moves_otherwise():
    right, still = moving((0, 1)), moving((0, 0))
    whole = flow_histogram(right, still, ONE_EACH).value
    assert 95 < whole <= 100
    for count in (6, 3, 1):
        some = np.concatenate([right] * count + [still] * (6 - count))
        value = flow_histogram(right, some, ONE_EACH).value
        assert value == pytest.approx(whole * (6 - count) / 6, abs=1e-6)


def test_flow_histogram_sees_a_reversed_clip_and_motion_amount_does_not():
    clips = moving((1, 1))
    backwards = clips[:, ::-1]
    assert flow_histogram(clips, backwards, ONE_EACH).value > 85
    amounts = [motion_amount(None, videos, ONE_EACH).mean() for videos in (clips, backwards)]
    assert amounts[0] == pytest.approx(amounts[1], rel=0.05)


@pytest.mark.parametrize("name", ["motion.dis.v1", "flow_histogram.dis.v1"])
def test_measured_under_a_protocol(name):
    clips = golden_clips(0, 8)[:, :4, :32, :32], golden_clips(1, 8)[:, :4, :32, :32]
    value = measure(name, Inputs(clips=clips))
    assert value.interval[0] <= value.value <= value.interval[1]
    assert value.per_clip.mean() == pytest.approx(value.value)
    assert len(value.per_clip) == 8
