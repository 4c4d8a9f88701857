"""Bounds that refuse a mistyped or hostile number before the work; light to import."""

MOST_VIDEOS = 250_000  # of a split; the index of more would not be read
MOST_CLIP = 2**29  # bytes of a decoded clip, uint8 (L, H, W, 3): 2,730 frames of 256 x 256
