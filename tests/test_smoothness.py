"""Motion smoothness against closed forms and a frame-by-frame count."""

import numpy as np
import pytest

from lamd.metrics.frames import smoothness
from lamd.metrics.measure import measure
from lamd.metrics.protocols import PROTOCOLS
from lamd.metrics.values import Inputs


def clip_of(levels):
    """Return one clip of flat grey frames, uint8 (1, L, 4, 4, 3)."""
    frames = np.array(levels, np.uint8).reshape(1, -1, 1, 1, 1)
    return np.broadcast_to(frames, (1, len(levels), 4, 4, 3)).copy()


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([9] * 8, 100),  # a still clip
        (range(0, 160, 10), 100),  # a linear fade
        ([0, 255] * 4, 0),  # alternating black and white
        ([255, 0] * 4 + [255], 0),
        ([0, 51, 0], 80),
        ([0, 0, 1], 100 - 100 * 0.5 / 255),  # the mean is not rounded
        ([0, 0, 0, 255], 100),  # the last frame of an even number has one neighbour
        ([0, 0, 0, 255, 0], 50),
        ([0, 51, 0, 0, 0], 90),
    ],
)
def test_smoothness_closed_forms(levels, expected):
    assert smoothness(clip_of([0, 9]), clip_of(levels)) == pytest.approx([expected], abs=1e-12)


@pytest.mark.parametrize("length", [3, 4, 15, 16])
def test_smoothness_is_the_mean_over_odd_frames(length):
    clips = np.random.default_rng(0).integers(0, 256, (2, length, 5, 7, 3), np.uint8)
    before = clips.copy()
    expected = []
    for clip in clips.astype(float):
        steps = [step for step in range(length) if step % 2 == 1 and step + 1 < length]
        gaps = [np.abs(clip[s] - (clip[s - 1] + clip[s + 1]) / 2).mean() for s in steps]
        expected.append(100 * (255 - np.mean(gaps)) / 255)
    assert smoothness(clips, clips) == pytest.approx(expected)
    np.testing.assert_array_equal(clips, before)


@pytest.mark.parametrize(
    "videos",
    [
        np.zeros((1, 2, 4, 4, 3), np.uint8),
        np.zeros((1, 4, 4, 4, 3), np.float32),
        np.zeros((1, 4, 3, 4, 4), np.uint8),
    ],
)
def test_smoothness_refuses_wrong_input(videos):
    with pytest.raises(ValueError, match=r"expected uint8|at least 3 frames"):
        smoothness(videos, videos)


def test_smoothness_protocol_says_that_it_is_not_the_published_one():
    fake = np.concatenate([clip_of([0, 51, 0]), clip_of([7, 7, 7])] * 2)
    value = measure("smoothness.linear.v1", Inputs(clips=(fake[:1], fake)))
    assert value.value == pytest.approx(90)
    assert (value.n_real, value.n_fake, value.unit) == (0, 4, "%")
    assert value.higher_is_better is None  # a clip that stands still has 100
    assert 80 <= value.interval[0] <= 90 <= value.interval[1] <= 100
    assert "no published motion smoothness" in value.deviations[0]
    assert value.deviations[0] in PROTOCOLS["smoothness.linear.v1"].describe()
    assert measure("smoothness.linear.v1", Inputs(clips=(fake, fake[:3]))).interval is None
