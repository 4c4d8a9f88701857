"""A trained MCD-VAE on stored data: uint8 clips and frames to motion latents and back."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lamd.generate import first_frames
from lamd.io.video import to_model, to_uint8
from lamd.models.latent import Posterior
from lamd.models.mcd_vae import MCDVAE


class MotionLatents:
    """Encoding and decoding in batches of `batch_size`, which changes no value.

    Clips are uint8 (N, L, H, W, 3), frames uint8 (N, H, W, 3), motion latents float32
    (N, *latent_shape) on the CPU, scaled as D_V takes them.
    """

    def __init__(self, vae: MCDVAE, batch_size: int):
        self.vae, self.batch_size, self.device = vae, batch_size, vae.latent_mean.device

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
        return self._batched(lambda at: self._encode_image(frames[at])[0].float(), len(frames))

    def decode(self, z_m: Tensor, frames: np.ndarray) -> np.ndarray:
        """Return D_V(z_m, content of each frame); frame 0 is D_V's."""

        def decoded(at: slice) -> Tensor:
            content = self._encode_image(frames[at])
            return to_uint8(self.vae.decode(z_m[at].to(self.device), *content))

        return self._batched(decoded, len(frames)).numpy()

    def _encode_image(self, frames: np.ndarray) -> tuple[Tensor, list[Tensor]]:
        return self.vae.encode_image(first_frames(frames, self.device))

    @torch.inference_mode()
    def _batched(self, run: Callable[[slice], Tensor], count: int) -> Tensor:
        size = self.batch_size
        return torch.cat([run(slice(i, i + size)).cpu() for i in range(0, count, size)])
