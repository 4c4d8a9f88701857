"""Latents of stored clips: coded by a trained autoencoder, and measured for `diagnostics`."""

from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from lamd.base.errors import LamdError
from lamd.config import Target
from lamd.evaluate import resolve_device
from lamd.generate import first_frames
from lamd.io.video import to_model, to_uint8
from lamd.metrics import motion_latent as measures
from lamd.models.latent import Posterior
from lamd.paradigms.base import Given, Paradigm
from lamd.pipeline.contents import Folders, read_clips
from lamd.pipeline.graph import DIAGNOSED_CLIPS
from lamd.training import load_paradigm


class MotionLatents:
    """Encoding and decoding in batches of `batch_size`, which changes no value.

    Clips are uint8 (N, L, H, W, 3), frames uint8 (N, H, W, 3), motion latents float32
    (N, *latent_shape) on the CPU, scaled as D_V takes them. A video latent is coded likewise.
    """

    def __init__(self, paradigm: Paradigm, batch_size: int):
        self.paradigm, self.vae, self.batch_size = paradigm, paradigm.autoencoder, batch_size
        self.device = self.vae.latent_mean.device

    @classmethod
    def load(
        cls, inputs: Folders, target: Target, device: str, paradigm: str = "latent_motion"
    ) -> Self:
        """Load a paradigm's autoencoder from the folder `autoencoder`."""
        models = load_paradigm(paradigm, target, inputs, resolve_device(device))
        return cls(models, target.runtime.decoded_at_once)

    def encode(self, clips: np.ndarray) -> Tensor:
        """Return z_m of each clip, from the posterior mean."""
        return self.normalise(self.posterior(clips).mean)

    def posterior(self, clips: np.ndarray) -> Posterior:
        """Return q(z | x) of each clip, before normalisation, on the CPU."""

        def encoded(at: slice) -> Tensor:
            x = to_model(torch.from_numpy(np.array(clips[at])).to(self.device))
            q = self.vae.encode(x)
            return torch.stack([q.mean, q.logvar], dim=1)

        return Posterior(*self._batched(encoded, len(clips)).transpose(0, 1).contiguous())

    @torch.inference_mode()
    def normalise(self, z: Tensor) -> Tensor:
        """Return z_m of posterior values."""
        return self.vae.normalise(z.to(self.device)).cpu()

    def content(self, frames: np.ndarray) -> Tensor:
        """Return f_x0 of each frame, float32 (N, d', h, w) on the CPU."""
        return self._batched(lambda at: self._given(frames[at]).condition, len(frames))

    def decode(self, z_m: Tensor, frames: np.ndarray) -> np.ndarray:
        """Return D_V(z_m, content of each frame); frame 0 is D_V's."""

        def decoded(at: slice) -> Tensor:
            given = self._given(frames[at])
            return to_uint8(self.paradigm.decode(z_m[at].to(self.device), given))

        return self._batched(decoded, len(frames)).numpy()

    def _given(self, frames: np.ndarray) -> Given:
        return self.paradigm.encode(first_frames(frames, self.device))

    @torch.inference_mode()
    def _batched(self, run: Callable[[slice], Tensor], count: int) -> Tensor:
        size = self.batch_size
        return torch.cat([run(slice(i, i + size)).cpu() for i in range(0, count, size)])


def measure_latent(folder: Path, inputs: Folders, target: Target, device: str) -> dict:
    """Return the diagnostics of a sweep's point: values, and KL and active units per channel.

    LamdError with too few test clips for the probe, or clips or latents that do not vary.
    """
    real = read_clips(inputs["test"])
    if len(real) < measures.MIN_CLIPS:
        raise LamdError(
            f"diagnostics: need {measures.MIN_CLIPS} test clips, there are {len(real)}; raise "
            "data.num_test or set diagnostics to false"
        )
    chosen = np.linspace(0, len(real) - 1, min(len(real), DIAGNOSED_CLIPS)).round()
    latents = MotionLatents.load(inputs, target, device)
    try:
        return _measure(latents, real[chosen.astype(np.int64)])
    except ValueError as error:
        raise LamdError(f"diagnostics: {error}; look at the data and the loss curves") from None


def _measure(latents: MotionLatents, real: np.ndarray) -> dict:
    posterior = latents.posterior(real)
    z_m = latents.normalise(posterior.mean)
    kl = posterior.kl_per_channel().tolist()
    variance = measures.posterior_mean_variance(posterior.mean.numpy())
    active = (variance > measures.ACTIVE_VARIANCE).sum(axis=1).tolist()
    features = measures.probe_features(latents.content(real[:, 0]).numpy())
    positions = z_m.reshape(len(z_m), -1, features.shape[-1])  # (N, d, h * w) per frame of z_m
    r2, strength = measures.linear_probe_r2(features, positions.numpy())
    # Half the set apart: clips of one video are neighbours.
    donors = np.roll(real, -(len(real) // 2), axis=0)
    swapped = latents.decode(z_m.roll(-(len(real) // 2), dims=0), real[:, 0])
    follows, keeps = (
        measures.motion_correlation(swapped, clips).mean() for clips in (donors, real)
    )
    still = latents.decode(z_m * 0, real[:, 0])
    return {
        "values": {
            "kl": sum(kl),
            "active_units": float(sum(active)),
            "active_channels": float((variance.mean(axis=1) > measures.ACTIVE_VARIANCE).sum()),
            "linear_probe_r2": r2,
            "swap_score": float(follows - keeps),
            "swap_motion": float(follows),
            "swap_content": float(keeps),
            "zero_latent_change": measures.relative_change(still, real),
        },
        "channels": {"kl": kl, "active_units": active},
        "probe_strength": strength,
        "clips": len(real),
    }
