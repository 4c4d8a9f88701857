"""Inception v3 features of frames, for FID: the network of Heusel et al. (2017) by torch-fidelity.

The 2,048 features are those of the last average pool ("pool3") of TensorFlow's network of
2015-12-05. torch-fidelity resizes to 299 x 299 as TensorFlow 1 does, without antialiasing.
"""

import io

import numpy as np
import torch
from einops import rearrange

from lamd import weights
from lamd.metrics.extract import extract
from lamd.metrics.values import DEFAULTS, Inputs, check_clips

WEIGHTS = "inception"
NUM_FEATURES = 2048
RESIZE_RULE = "tf1-bilinear-299.v1"


def load_inception(device: torch.device | str = "cpu") -> torch.nn.Module:
    """Return torch-fidelity's Inception with the pinned weights, frozen, in evaluation mode.

    It maps uint8 (B, 3, H, W) to a tuple of one float32 (B, 2048). Errors as `weights.load`.
    """
    tensors = weights.load(WEIGHTS)
    from torch_fidelity import FeatureExtractorInceptionV3

    # Its constructor unpickles a file without restriction, so it gets one made here, in memory.
    file = io.BytesIO()
    torch.save({name: torch.from_numpy(array) for name, array in tensors.items()}, file)
    file.seek(0)
    with torch.random.fork_rng(devices=[]):  # it draws initial weights before it reads these
        model = FeatureExtractorInceptionV3(
            "inception-v3-compat", [str(NUM_FEATURES)], feature_extractor_weights_path=file
        )
    return model.to(device)


def features(videos: np.ndarray, inputs: Inputs = DEFAULTS, label: str = "clips") -> np.ndarray:
    """Return the Inception features of every frame of uint8 (N, L, H, W, 3), float32 (N, L, 2048).

    The batch size, by default 8 frames of a clip on the CPU and 64 elsewhere, changes no value;
    `label` names the progress bar. LamdError when the weights are missing or wrong.
    """
    check_clips(videos)
    model = load_inception(inputs.device)
    batch_size = inputs.batch_size or (8 if inputs.device == "cpu" else 64)

    def run(clip: torch.Tensor) -> torch.Tensor:
        parts = rearrange(clip, "1 l h w c -> l c h w").split(batch_size)
        return torch.cat([model(part)[0] for part in parts])[None]

    shape = (*videos.shape[:2], NUM_FEATURES)
    return extract(run, videos, shape, 1, inputs, f"Inception features, {label}")
