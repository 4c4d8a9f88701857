"""Amount and direction of motion by DIS optical flow (Kroeger et al. 2016), without weights.

Lengths are in percent of the frame's shorter side, so that sizes compare.
"""

from collections.abc import Iterator
from itertools import pairwise

import cv2
import numpy as np

from lamd.base.progress import track
from lamd.metrics.values import Inputs, SetValue

_DIRECTIONS = 8
_EDGES = (0.25, 0.5, 1, 2, 4, 8)  # of the lengths; shorter ones are still, without a direction


def motion_amount(real: object, fake: np.ndarray, inputs: Inputs) -> np.ndarray:
    """Return the mean length of the flow of each generated clip, % of the side per frame (M,)."""
    flows = _flows(fake, inputs, "optical flow")
    return np.array([np.mean([np.hypot(*flow).mean() for flow in clip]) for clip in flows])


def flow_histogram(real: np.ndarray, fake: np.ndarray, inputs: Inputs) -> SetValue:
    """Return the total variation distance of the histograms of flow in percent.

    Pixels fall into bins of length and direction; histograms are means over clips. It is 0 where
    as much of the frames moves as fast in the same directions, and 100 where none does.
    """
    a, b = (
        np.array([_histogram(clip) for clip in _flows(clips, inputs, f"optical flow, {name}")])
        for name, clips in (("real", real), ("fake", fake))
    )
    difference = a.mean(axis=0) - b.mean(axis=0)
    towards = 50 * np.sign(difference)
    clusters = inputs.clusters(len(a), len(b))
    return clusters.set_value(
        float(towards @ difference),
        (a - a.mean(axis=0)) @ towards,
        (b.mean(axis=0) - b) @ towards,
        at_least=0.0,
        seed=inputs.seed,
    )


def _flows(clips: np.ndarray, inputs: Inputs, label: str) -> Iterator[Iterator[np.ndarray]]:
    """Yield, for each clip, the flow from frame to frame: x and y of all pixels (2, P), %."""
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    for clip in track(clips, inputs.bar(label)):
        grey = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip)
        scale = 100 / min(clip.shape[1:3])
        flows = (method.calc(a, b, np.empty(0)) for a, b in pairwise(grey))
        yield (scale * flow.reshape(-1, 2).T for flow in flows)


def _histogram(clip: Iterator[np.ndarray]) -> np.ndarray:
    counts = np.zeros(len(_EDGES) * _DIRECTIONS + 1)
    for x, y in clip:
        length = np.digitize(np.hypot(x, y), _EDGES)
        direction = np.round(np.arctan2(y, x) / (2 * np.pi) * _DIRECTIONS).astype(int) % _DIRECTIONS
        bins = np.where(length, (length - 1) * _DIRECTIONS + direction + 1, 0)
        counts += np.bincount(bins, minlength=len(counts))
    return counts / counts.sum()
