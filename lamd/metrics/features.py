"""I3D features on disk: extracted once for a set of clips, whatever protocols read them later."""

import hashlib
import tempfile
from pathlib import Path

import numpy as np

from lamd import artifacts
from lamd.metrics import i3d

_HASHED_AT_ONCE = 64  # clips


def hash_videos(videos: np.ndarray) -> str:
    """Return the sha256 over shape and bytes of uint8 (N, L, H, W, 3), read piece by piece."""
    digest = hashlib.sha256(f"{videos.dtype.str}{videos.shape}".encode())
    for start in range(0, len(videos), _HASHED_AT_ONCE):
        digest.update(np.ascontiguousarray(videos[start : start + _HASHED_AT_ONCE]).data)
    return digest.hexdigest()


def cached_features(
    videos: np.ndarray,
    *,
    folder: Path | None = None,
    device: str = "cpu",
    batch_size: int | None = None,
    progress: str | None = None,
) -> np.ndarray:
    """Return `i3d.features` of the clips, float32 (N, 400), from `folder` when they lie there.

    The key is the hash of the clips, of the network's weights, and the resize rule.

    Args:
        videos: uint8 (N, L, H, W, 3).
        folder: `$LAMD_CACHE/features` by default.
    """
    folder = folder or artifacts.cache_root() / "features"
    weights = artifacts.ARTIFACTS[i3d.WEIGHTS].member_sha256
    path = folder / f"{hash_videos(videos)}-{weights[:16]}-{i3d.RESIZE_RULE}.npy"
    try:
        rows = np.load(path, allow_pickle=False)
        if rows.shape == (len(videos), i3d.NUM_FEATURES) and rows.dtype == np.float32:
            return rows
    except (OSError, ValueError, EOFError):  # not there, or damaged: made anew
        pass
    rows = i3d.features(videos, device=device, batch_size=batch_size, progress=progress)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as part:
        np.save(Path(part) / "rows.npy", rows, allow_pickle=False)
        (Path(part) / "rows.npy").replace(path)
    return rows
