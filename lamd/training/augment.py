"""Augmentation: training windows read in several variants, the same in both stages of training."""

import cv2
import numpy as np
import torch
from torch import Tensor

from lamd.base.rng import numpy_generator
from lamd.config import DataConfig
from lamd.config.data import AugmentConfig
from lamd.data.packed import PackedVideos


def read_rows(
    videos: PackedVideos,
    windows: np.ndarray,  # (W, 2), each as often as it has variants; the first are unchanged
    rows: np.ndarray,
    data: DataConfig,
    num_frames: int | None = None,  # the first ones of each clip; None: all
) -> Tensor:
    """Read training windows by number as uint8 video (B, L, H, W, 3)."""
    number = num_frames or data.num_frames
    if data.augment is None:
        return read_windows(videos, windows[rows], number)
    variants = rows // (len(windows) // data.augment.variants)
    clips = [
        _variant(videos, data, data.augment, (int(video), int(start), int(variant)), number)
        for (video, start), variant in zip(windows[rows], variants, strict=True)
    ]
    return torch.from_numpy(np.stack(clips))


def read_windows(videos: PackedVideos, windows: np.ndarray, num_frames: int) -> Tensor:
    """Read windows (B, 2) as uint8 video (B, L, H, W, 3)."""
    clips = [videos.clip(int(i), int(start), num_frames) for i, start in windows]
    return torch.from_numpy(np.stack(clips))


def _variant(
    videos: PackedVideos,
    data: DataConfig,
    augment: AugmentConfig,
    at: tuple[int, int, int],
    num_frames: int,
) -> np.ndarray:
    """Return the first frames of a clip, `at` video, first frame and variant: (L, H, W, 3)."""
    i, start, variant = at
    if not variant:
        return videos.clip(i, start, num_frames)
    rng = numpy_generator(0, "augment", *at)
    flip, scale, *corner = rng.random(4)
    if augment.time_jitter:
        spans = np.arange(data.num_frames) + rng.random(data.num_frames)
        numbers = spans / data.num_frames * videos.stored_lengths[i]
        clip = videos.stored_frames(i, numbers.astype(np.int64)[:num_frames])
    else:
        clip = videos.clip(i, start, num_frames)
    side = round(data.size * (augment.crop + (1 - augment.crop) * scale))
    if side < data.size:
        top, left = (int(share * (data.size - side + 1)) for share in corner)
        square = clip[:, top : top + side, left : left + side]
        whole = (data.size, data.size)
        clip = np.stack([cv2.resize(f, whole, interpolation=cv2.INTER_CUBIC) for f in square])
    return clip[:, :, ::-1].copy() if augment.flip and flip < 0.5 else clip
