"""What the worker processes of test_packed do: a module without heavy imports, for quick starts."""

from pathlib import Path

from lamd.data.bair import BAIR
from lamd.data.packed import PackedVideos


def pack_and_sum(job: tuple[Path, Path]) -> tuple[str, int]:
    """Pack the test split; return hash and sum of all pixels."""
    root, cache = job
    packed = BAIR.pack(root, cache, split="test", size=64, camera="image_aux1")
    return packed.content_hash, int(packed.frames.sum())


def sum_clip(job: tuple[PackedVideos, int]) -> int:
    """Return the sum of one clip's pixels."""
    packed, i = job
    return int(packed.clip(i, 0, 30).sum())
