"""Features on disk: extracted once for a set of clips, whatever protocols read them later."""

import hashlib
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np

from lamd import weights
from lamd.metrics import i3d, inception

_HASHED_AT_ONCE = 64  # clips
# The network of a Fréchet metric, and how many axes of the clips its features keep.
_NETWORKS = {"fvd": (i3d, 1), "fid": (inception, 2)}


def hash_videos(videos: np.ndarray) -> str:
    """Return the sha256 over shape and bytes of uint8 (N, L, H, W, 3), read piece by piece."""
    digest = hashlib.sha256(f"{videos.dtype.str}{videos.shape}".encode())
    for start in range(0, len(videos), _HASHED_AT_ONCE):
        digest.update(np.ascontiguousarray(videos[start : start + _HASHED_AT_ONCE]).data)
    return digest.hexdigest()


def cached_features(
    videos: np.ndarray,
    *,
    metric: Literal["fvd", "fid"] = "fvd",
    folder: Path | None = None,
    device: str = "cpu",
    batch_size: int | None = None,
    progress: str | None = None,
) -> np.ndarray:
    """Return the features of the clips for `metric`, from `folder` when they lie there.

    The key is the hash of the clips, of the network's weights, and the resize rule.

    Args:
        videos: uint8 (N, L, H, W, 3).
        metric: "fvd" for `i3d.features`, float32 (N, 400); "fid" for `inception.features`,
            float32 (N, L, 2048).
        folder: `$LAMD_CACHE/features` by default.
        batch_size: as the network's `features` takes it: clips (I3D) or frames (Inception).

    Raises:
        LamdError: when the weights are missing or wrong.
        ValueError: on another dtype or shape.
    """
    network, kept_axes = _NETWORKS[metric]
    folder = folder or weights.cache_root() / "features"
    weights_hash = weights.ARTIFACTS[network.WEIGHTS].member_sha256
    path = folder / f"{hash_videos(videos)}-{weights_hash[:16]}-{network.RESIZE_RULE}.npy"
    shape = (*videos.shape[:kept_axes], network.NUM_FEATURES)
    try:
        rows = np.load(path, allow_pickle=False)
        if rows.shape == shape and rows.dtype == np.float32:
            return rows
    except (OSError, ValueError, EOFError):  # not there, or damaged: made anew
        pass
    rows = network.features(videos, device=device, batch_size=batch_size, progress=progress)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as part:
        np.save(Path(part) / "rows.npy", rows, allow_pickle=False)
        (Path(part) / "rows.npy").replace(path)
    return rows
