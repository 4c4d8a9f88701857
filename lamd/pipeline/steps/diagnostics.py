"""The `diagnostics` cell: measures of z_m of a trained MCD-VAE on the real test clips."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lamd.base.errors import LamdError
from lamd.config import Target
from lamd.evaluate import resolve_device
from lamd.metrics.motion_latent import (
    ACTIVE_VARIANCE,
    MIN_CLIPS,
    linear_probe_r2,
    motion_correlation,
    posterior_mean_variance,
    probe_features,
    relative_change,
)
from lamd.pipeline.graph import DIAGNOSED_CLIPS
from lamd.pipeline.steps.autoencoding import MotionLatents
from lamd.pipeline.steps.clips import read_clips
from lamd.training import load_model


def measure_latent(folder: Path, inputs: Mapping[str, Path], target: Target, device: str) -> dict:
    """Return the diagnostics of a sweep's point: values, and KL and active units per channel.

    Raises:
        LamdError: with too few test clips for the probe, or clips or latents that do not vary.
    """
    real = read_clips(inputs["test"])
    if len(real) < MIN_CLIPS:
        raise LamdError(
            f"diagnostics: need {MIN_CLIPS} test clips, there are {len(real)}; raise data.num_test "
            "or set diagnostics to false"
        )
    chosen = np.linspace(0, len(real) - 1, min(len(real), DIAGNOSED_CLIPS)).round()
    real = real[chosen.astype(np.int64)]
    vae = load_model(inputs["autoencoder"], "vae", target, device=resolve_device(device))
    latents = MotionLatents(vae, target.runtime.sampling_batch_size)
    try:
        return _measure(latents, real)
    except ValueError as error:
        raise LamdError(f"diagnostics: {error}; look at the data and the loss curves") from None


def _measure(latents: MotionLatents, real: np.ndarray) -> dict:
    posterior = latents.posterior(real)
    z_m = latents.normalise(posterior.mean)
    kl = posterior.kl_per_channel().tolist()
    variance = posterior_mean_variance(posterior.mean.numpy())
    active = (variance > ACTIVE_VARIANCE).sum(axis=1).tolist()
    features = probe_features(latents.content(real[:, 0]).numpy())
    positions = z_m.reshape(len(z_m), -1, features.shape[-1])  # (N, d, h * w) per frame of z_m
    r2, strength = linear_probe_r2(features, positions.numpy())
    # Half the set apart: clips of one video are neighbours.
    donors = np.roll(real, -(len(real) // 2), axis=0)
    swapped = latents.decode(z_m.roll(-(len(real) // 2), dims=0), real[:, 0])
    follows, keeps = (motion_correlation(swapped, clips).mean() for clips in (donors, real))
    return {
        "values": {
            "kl": sum(kl),
            "active_units": float(sum(active)),
            "active_channels": float((variance.mean(axis=1) > ACTIVE_VARIANCE).sum()),
            "linear_probe_r2": r2,
            "swap_score": float(follows - keeps),
            "swap_motion": float(follows),
            "swap_content": float(keeps),
            "zero_latent_change": relative_change(latents.decode(z_m * 0, real[:, 0]), real),
        },
        "channels": {"kl": kl, "active_units": active},
        "probe_strength": strength,
        "clips": len(real),
    }
