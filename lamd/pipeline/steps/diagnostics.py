"""The `diagnostics` cell: what z_m of a trained MCD-VAE carries, on the real test clips."""

from pathlib import Path

import numpy as np

from lamd.base.errors import LamdError
from lamd.config import Target
from lamd.metrics.motion_latent import (
    ACTIVE_VARIANCE,
    MIN_CLIPS,
    explained_share,
    motion_correlation,
    probe_features,
    relative_change,
    unit_variance,
)
from lamd.pipeline.graph import DIAGNOSED_CLIPS
from lamd.pipeline.steps.clips import read_clips
from lamd.pipeline.trained import Trained


def measure_latent(folder: Path, inputs: dict[str, Path], target: Target, device: str) -> dict:
    """Return the fields of `records.Diagnostics` but the cells; they are the cell's facts.

    Raises:
        LamdError: with too few test clips for the probe, or clips or latents that do not vary.
    """
    real = read_clips(inputs["clips test"])
    if len(real) < MIN_CLIPS:
        raise LamdError(
            f"diagnostics: need {MIN_CLIPS} test clips, there are {len(real)}; raise data.num_test "
            "or set diagnostics to false"
        )
    chosen = np.linspace(0, len(real) - 1, min(len(real), DIAGNOSED_CLIPS)).round()
    real = real[chosen.astype(np.int64)]
    trained = Trained(target, inputs, device, with_dmg=False)
    try:
        return _measure(trained, real)
    except ValueError as error:
        raise LamdError(f"diagnostics: {error}; look at the data and the loss curves") from None


def _measure(trained: Trained, real: np.ndarray) -> dict:
    posterior = trained.posterior(real)
    z_m = trained.normalise(posterior.mean)
    kl = posterior.kl_per_channel().tolist()
    variance = unit_variance(posterior.mean.numpy())
    active = (variance > ACTIVE_VARIANCE).sum(axis=1).tolist()
    features = probe_features(trained.content(real[:, 0]).numpy())
    cells = z_m.reshape(len(z_m), -1, features.shape[-1])  # (N, d, h * w), a frame of z_m each
    share, strength = explained_share(features, cells.numpy())
    # Half the set apart: clips of one video stand side by side.
    donors = np.roll(real, -(len(real) // 2), axis=0)
    swapped = trained.decode(z_m.roll(-(len(real) // 2), dims=0), real[:, 0])
    follows, keeps = (motion_correlation(swapped, one).mean() for one in (donors, real))
    return {
        "values": {
            "kl": sum(kl),
            "active_units": float(sum(active)),
            "active_channels": float((variance.mean(axis=1) > ACTIVE_VARIANCE).sum()),
            "first_frame_share": share,
            "swap_score": float(follows - keeps),
            "swap_motion": float(follows),
            "swap_content": float(keeps),
            "zero_motion": relative_change(trained.decode(z_m * 0, real[:, 0]), real),
        },
        "channels": {"kl": kl, "active_units": active},
        "probe_strength": strength,
        "clips": len(real),
    }
