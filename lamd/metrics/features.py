"""Features on disk: extracted once for a set of clips, whatever protocols read them later."""

import hashlib
from contextlib import suppress
from pathlib import Path

import numpy as np

from lamd import weights
from lamd.base.arrays import load_array
from lamd.base.errors import LamdError
from lamd.base.files import below, replace_file
from lamd.base.terminal import say
from lamd.metrics import i3d, inception
from lamd.metrics.values import DEFAULTS, Inputs

_HASHED_AT_ONCE = 64  # clips
# A network, and how many axes of the clips its features keep.
_NETWORKS = {"i3d": (i3d, 1), "inception": (inception, 2)}


def hash_videos(videos: np.ndarray) -> str:
    """Return the sha256 over shape and bytes of uint8 (N, L, H, W, 3), read piece by piece."""
    digest = hashlib.sha256(f"{videos.dtype.str}{videos.shape}".encode())
    for start in range(0, len(videos), _HASHED_AT_ONCE):
        digest.update(np.ascontiguousarray(videos[start : start + _HASHED_AT_ONCE]).data)
    return digest.hexdigest()


def cached_features(
    videos: np.ndarray, needs: str, inputs: Inputs = DEFAULTS, label: str = "clips"
) -> np.ndarray:
    """Return `i3d.features` or `inception.features` of clips, from the cache where they are there.

    The key is the hash of the clips, of the network's weights, and the resize rule. Arguments and
    errors are those of the network's function; `needs` is "i3d" or "inception".
    """
    network, kept_axes = _NETWORKS[needs]
    folder = inputs.cache or below(weights.cache_root(), "features")
    weights_hash = weights.ARTIFACTS[network.WEIGHTS].member_sha256
    path = folder / f"{hash_videos(videos)}-{weights_hash[:16]}-{network.RESIZE_RULE}.npy"
    shape = (*videos.shape[:kept_axes], network.NUM_FEATURES)
    with suppress(LamdError):  # not there or damaged: extracted again
        rows = load_array(path, np.float32, len(shape), "")
        if rows.shape == shape:
            return rows
    rows = network.features(videos, inputs, label)

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, rows, allow_pickle=False)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, save)
    except OSError as error:  # a full disk must not cost the values
        say(f"{path}: {error.strerror}; these features are not kept for the next run")
    return rows
