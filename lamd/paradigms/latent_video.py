"""Latent-video diffusion (baseline): a 3-D UNet on the latents of a 3-D autoencoder."""

from typing import ClassVar

from torch import Tensor

from lamd.config import denoiser_config
from lamd.models.baselines import build_denoiser, build_video_autoencoder
from lamd.models.latent import Posterior
from lamd.paradigms.base import Given, Network, Paradigm


class LatentVideo(Paradigm):
    """The 3-D UNet on a latent with a time axis, given the latent of the first frame."""

    name = denoiser_stage = "latent_video"
    autoencoder_stage, options = "video_vae", "baselines.latent_video"
    networks: ClassVar = {
        "video_vae": Network(
            lambda target, _: build_video_autoencoder(target),
            lambda target: target.model_dump(
                mode="json", include={"baselines": {"latent_video": {"autoencoder"}}}
            ),
        ),
        "latent_video": Network(
            lambda target, _: build_denoiser(target, "latent_video"),
            lambda target: denoiser_config(target, "latent_video"),
        ),
    }

    def encode(self, x0: Tensor) -> Given:
        """Return the latent of the first frame at unit scale; x0 itself goes to the decoder."""
        return Given(self.autoencoder.to_diffusion(self.autoencoder.encode_image(x0)), (x0,))

    def posterior(self, x: Tensor, copies: int) -> Posterior:
        """Encode `copies` of each clip; their batch decides the rounding of the recorded losses."""
        return self.autoencoder.encode(x.repeat(copies, 1, 1, 1, 1))
