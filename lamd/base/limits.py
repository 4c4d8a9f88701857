"""Bounds that refuse a mistyped or hostile number before the work; light to import."""

MOST_VIDEOS = 10**6  # of a split
MOST_CLIP = 2**29  # bytes of a decoded clip, uint8 (L, H, W, 3): 2,730 frames of 256 x 256
