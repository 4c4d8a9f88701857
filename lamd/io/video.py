"""Conversion between pixel ranges and layouts; no other file converts them.

Data side: `video`, uint8, (B, L, H, W, 3). Model side: `x`, float32 in [-1, 1], (B, L, 3, H, W).
"""

import torch
from einops import rearrange
from torch import Tensor


def to_model(video: Tensor) -> Tensor:
    """Convert uint8 (B, L, H, W, 3) to float32 (B, L, 3, H, W) in [-1, 1]."""
    if video.dtype != torch.uint8 or video.ndim != 5 or video.shape[-1] != 3:
        raise ValueError(f"expected uint8 (B, L, H, W, 3), got {video.dtype} {tuple(video.shape)}")
    x = rearrange(video, "b l h w c -> b l c h w")
    return x.to(torch.float32).div_(127.5).sub_(1.0)


def to_uint8(x: Tensor) -> Tensor:
    """Convert float (B, L, 3, H, W) in [-1, 1], clamped and rounded, to uint8 (B, L, H, W, 3)."""
    if not x.is_floating_point() or x.ndim != 5 or x.shape[2] != 3:
        raise ValueError(f"expected float (B, L, 3, H, W), got {x.dtype} {tuple(x.shape)}")
    pixels = x.float().add(1.0).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return rearrange(pixels, "b l c h w -> b l h w c").contiguous()
