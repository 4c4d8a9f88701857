"""The clips behind the golden values of the metrics."""

import numpy as np


def golden_clips(seed: int, num_clips: int = 24) -> np.ndarray:
    """Return coloured 8 x 8 block patterns that roll sideways, uint8 (num_clips, 16, 64, 64, 3)."""
    blocks = np.random.default_rng(seed).uniform(0, 1, (24, 1, 8, 8, 3))[:num_clips]
    first = np.kron(blocks, np.ones((1, 1, 8, 8, 1)))[:, 0]
    frames = [np.roll(first, step * (1 + seed % 3), axis=2) for step in range(16)]
    return (255 * np.stack(frames, axis=1)).round().astype(np.uint8)
