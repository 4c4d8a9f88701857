"""What one step of stage I does."""

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamd.base.errors import LamdError
from lamd.config import Target
from lamd.data.packed import PackedVideos
from lamd.io.video import to_model
from lamd.losses import (
    adaptive_weight,
    discriminator_loss,
    generator_adversarial,
    reconstruction_terms,
)
from lamd.models.discriminator import build_discriminator
from lamd.models.latent import ScaledLatent, VAEOutput
from lamd.models.mcd_vae import MCDVAE, build_vae
from lamd.training.batches import read_windows, training_windows, validation_windows
from lamd.training.stages import Batch, Draws, StepTerms, seeded


class VAEStage:
    """Stage I: L1 + LPIPS + beta KL + lambda L_GAN on clips (paper)."""

    name = "vae"
    options = "train_vae"
    best_of = "l1_lpips"
    network: ClassVar[dict[str, Any]] = {"vae": True}  # the part of the config that builds it
    encode = staticmethod(MCDVAE.encode_motion)

    def __init__(self, target: Target, videos: PackedVideos):
        self.train, self.loss, self.videos = target.train_vae, target.loss, videos
        parts = {"data": True, "loss": True, "train_vae": True, **self.network}
        self.config = target.model_dump(mode="json", include=parts)
        self.gan = self.loss.gan
        with seeded(self.train.seed, "init", self.name):
            self.model = self.build(target)
            self.adversary = build_discriminator(self.gan) if self.gan else None
        self.num_frames = target.data.num_frames
        self.windows = training_windows(videos, self.train, target.data)
        self.num_windows = len(self.windows)
        self.lpips_net = None
        if self.loss.lpips_weight:
            from lamd.metrics.frames import MIN_LPIPS_SIZE, load_lpips

            least = MIN_LPIPS_SIZE[self.loss.lpips_backbone]
            if target.data.size < least:
                raise LamdError(
                    f"data.size: LPIPS needs {least}x{least} pixels, got {target.data.size}; "
                    "raise it or set loss.lpips_weight to 0"
                )
            self.lpips_net = load_lpips(self.loss.lpips_backbone)

    def build(self, target: Target) -> ScaledLatent:
        """Build the untrained autoencoder."""
        return build_vae(target.vae, target.data)

    def to(self, device: torch.device) -> None:
        """Move the LPIPS network."""
        if self.lpips_net is not None:
            self.lpips_net.to(device)

    def read(self, rows: np.ndarray) -> Batch:
        """Return (video,), uint8 (B, L, H, W, 3)."""
        return (read_windows(self.videos, self.windows[rows], self.num_frames),)

    def terms(self, model: nn.Module, batch: Batch, draws: Draws) -> StepTerms:
        """Return l1, mse, lpips, kl and, from gan.start_step on, the weighted gan term."""
        x = to_model(batch[0])
        eps = draws.normal("posterior", self.model.latent_shape).to(x.device)
        output = _in_float(model(x, eps))
        losses = reconstruction_terms(
            x, output, self.loss, self.lpips_net, draws.generator("lpips")
        )
        terms = StepTerms(losses, made=(x, output.x_hat.detach()))
        if self.adversary_active(draws.step):
            self._add_adversarial(terms, output.x_hat)
        return terms

    def _add_adversarial(self, terms: StepTerms, x_hat: Tensor) -> None:
        self.adversary.requires_grad_(False)  # its own step is `adversary_loss`
        gan = generator_adversarial(self.adversary(x_hat).float(), self.gan.loss)
        self.adversary.requires_grad_(True)
        weight = self.gan.weight
        if self.gan.adaptive:
            pixels = ("l1", "mse", "lpips")
            picture = [terms.losses[name] for name in pixels if name in terms.losses]
            weight = weight * adaptive_weight(sum(picture), gan, self.model.last_layer)
            terms.notes["gan_weight"] = weight
        terms.losses["gan"] = weight * gan

    def adversary_active(self, step: int) -> bool:
        """Tell whether `step` is at or past gan.start_step."""
        return self.gan is not None and step > self.gan.start_step

    def adversary_loss(self, adversary: nn.Module, made: tuple[Tensor, ...]) -> Tensor:
        """Return the discriminator's loss on real clips and detached reconstructions."""
        x, x_hat = made
        logits = adversary(torch.cat([x, x_hat])).float()
        return discriminator_loss(*logits.chunk(2), self.gan.loss)

    @torch.no_grad()
    def validate(self, model: ScaledLatent) -> dict[str, float]:
        """Return psnr (dB), l1, lpips and their sum for the decoded posterior mean."""
        device = next(model.parameters()).device
        psnr, l1, lpips = [], [], []
        for window in validation_windows(self.videos, self.train):
            x = to_model(read_windows(self.videos, window[None], self.num_frames).to(device))
            x_hat = model(x, x.new_zeros(1, *model.latent_shape)).x_hat.float().clamp(-1, 1)
            psnr.append(10 * torch.log10(4 / F.mse_loss(x_hat, x)).item())
            l1.append(F.l1_loss(x_hat, x).item())
            if self.lpips_net is not None:
                lpips.append(self.lpips_net(x_hat[0], x[0]).mean().item())
        values = {"psnr": float(np.mean(psnr)), "l1": float(np.mean(l1))}
        if lpips:
            values["lpips"] = float(np.mean(lpips))
        return values | {"l1_lpips": values["l1"] + values.get("lpips", 0.0)}

    @torch.no_grad()
    def finish(self, model: ScaledLatent) -> None:
        """Measure the latent statistics over the training windows."""
        from lamd.training.latents import latent_statistics

        model.set_latent_statistics(
            *latent_statistics(model, self.encode, self.videos, self.windows, seed=self.train.seed)
        )

    def info(self) -> dict[str, Any]:
        """Return nothing further."""
        return {}


def _in_float(output: VAEOutput) -> VAEOutput:
    return replace(output, x_hat=output.x_hat.float())
