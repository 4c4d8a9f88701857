"""Motion smoothness: how well every second frame follows from its two neighbours.

VBench (Huang et al., arXiv 2311.17982) drops the odd frames of a clip, lets a network (AMT-S)
interpolate them from the even ones, and gives (255 - d) / 255 for the mean absolute difference d
in grey levels over those frames. Here the mean of the two neighbours stands in for the network, so
moving edges cost more than with VBench and values of the two do not compare. As there, a clip that
stands still or is blurred counts as smooth.
"""

import numpy as np

MIN_FRAMES = 3


def smoothness(videos: np.ndarray) -> np.ndarray:
    """Return the smoothness of each clip in percent, mean over its odd frames with two neighbours.

    Args:
        videos: uint8 (N, L, H, W, 3), L >= 3; the last frame of an even number is left out, as
            VBench does.

    Returns:
        float64 (N,) in [0, 100], higher is smoother.

    Raises:
        ValueError: on another dtype or layout, or under 3 frames.
    """
    if videos.dtype != np.uint8 or videos.ndim != 5 or videos.shape[-1] != 3:
        raise ValueError(f"expected uint8 (N, L, H, W, 3), got {videos.dtype} {videos.shape}")
    if videos.shape[1] < MIN_FRAMES:
        raise ValueError(f"smoothness needs {MIN_FRAMES} frames, got {videos.shape[1]}")
    values = np.empty(len(videos))
    for i, video in enumerate(videos):
        x = video.astype(np.int16)
        twice = 2 * x[1:-1:2] - x[:-2:2] - x[2::2]  # exact: at most 510 either way
        values[i] = np.abs(twice).mean() / 2
    return 100 * (255 - values) / 255
