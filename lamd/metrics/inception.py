"""Inception v3 features of frames, for FID: the network of Heusel et al. (2017) by torch-fidelity.

The 2,048 features are those of the last average pool ("pool3") of TensorFlow's network of
2015-12-05. torch-fidelity resizes to 299 x 299 as TensorFlow 1 does, without antialiasing.
"""

import io

import numpy as np
import torch

from lamd import weights
from lamd.base.progress import progress_bar

WEIGHTS = "inception"
NUM_FEATURES = 2048
RESIZE_RULE = "tf1-bilinear-299.v1"


def load_inception(device: torch.device | str = "cpu") -> torch.nn.Module:
    """Return torch-fidelity's Inception with the pinned weights, frozen, in evaluation mode.

    Its input is uint8 (B, 3, H, W), its output a tuple of one float32 (B, 2048). It draws no random
    number.

    Raises:
        LamdError: `WeightsMissing` when they are not there, else when they have a wrong hash.
    """
    tensors = weights.load(WEIGHTS)
    from torch_fidelity import FeatureExtractorInceptionV3

    # Its constructor unpickles a file without restriction, so it is given one made here, in memory.
    file = io.BytesIO()
    torch.save({name: torch.from_numpy(array) for name, array in tensors.items()}, file)
    file.seek(0)
    with torch.random.fork_rng(devices=[]):  # it draws initial weights before it reads these
        model = FeatureExtractorInceptionV3(
            "inception-v3-compat", [str(NUM_FEATURES)], feature_extractor_weights_path=file
        )
    return model.to(device)


@torch.inference_mode()
def features(
    videos: np.ndarray,
    *,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
    progress: str | None = None,
) -> np.ndarray:
    """Return the Inception features of every frame, independent of how frames are batched.

    Args:
        videos: uint8 (N, L, H, W, 3); a memory map is read clip by clip.
        device: where the network runs.
        batch_size: frames at a time, of one clip; by default 8 on the CPU and 64 elsewhere.
        progress: label of a progress bar on stderr, one step a clip; no bar without it.

    Returns:
        float32 (N, L, 2048).

    Raises:
        LamdError: when the weights are missing or wrong.
        ValueError: on another dtype or shape.
    """
    if videos.dtype != np.uint8 or videos.ndim != 5 or videos.shape[-1] != 3:
        raise ValueError(f"expected uint8 (N, L, H, W, 3), got {videos.dtype} {videos.shape}")
    device = torch.device(device)
    batch_size = batch_size or (8 if device.type == "cpu" else 64)
    model = load_inception(device)
    rows = np.empty((*videos.shape[:2], NUM_FEATURES), np.float32)
    with (
        torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False),
        torch.autocast(device.type, enabled=False),
        progress_bar(progress, len(videos)) as advance,
    ):
        for i in range(len(videos)):
            frames = torch.from_numpy(np.array(videos[i])).permute(0, 3, 1, 2)
            parts = [model(part.to(device))[0].cpu() for part in frames.split(batch_size)]
            rows[i] = torch.cat(parts).numpy()
            advance(1)
    return rows
