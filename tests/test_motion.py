"""Amount and direction of motion of clips that move as the test says."""

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
