"""Stage I of both latent paradigms: an autoencoder trained on clips."""

from dataclasses import replace
from functools import reduce
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamd.base.errors import LamdError
from lamd.base.terminal import say
from lamd.config import Target
from lamd.data.packed import PackedVideos
from lamd.io.video import to_model
from lamd.losses import (
    adaptive_weight,
    discriminator_loss,
    generator_adversarial,
    reconstruction_terms,
)
from lamd.metrics.motion_latent import ACTIVE_VARIANCE, posterior_mean_variance
from lamd.models.discriminator import VideoDiscriminator
from lamd.models.latent import ScaledLatent
from lamd.models.mcd_vae import MCDVAE
from lamd.training.latents import latent_statistics
from lamd.training.stages import Batch, Stage, StepRNG, StepTerms, seeded


class VAEStage(Stage):
    """Stage I: L1 + LPIPS + beta KL + lambda L_GAN on clips (paper)."""

    options = "train_vae"
    best_metric = "l1_lpips"

    def __init__(self, target: Target, videos: PackedVideos, name: str = "vae"):
        super().__init__(name, target, target.train_vae, videos, self.options)
        self.loss, self.gan = target.loss, cast(Any, target.loss.gan)
        self.config["loss"] = target.loss.model_dump(mode="json")
        with seeded(self.train.seed, "init", self.name):
            self.model = self.network.build(target, None)
            self.colour_jitter = 0.0
            if isinstance(self.model, MCDVAE):
                self.colour_jitter = target.vae.colour_jitter or 0.0
                self.model.latent_norm.num_clips = self.train.micro_batch_size
            if self.gan:
                self.adversary = VideoDiscriminator(self.gan)
                self.adversary_rate = self.gan.learning_rate
        self.lpips_net = None
        if self.loss.lpips_weight:
            from lamd.metrics.frames import MIN_LPIPS_SIZE, load_lpips

            least = MIN_LPIPS_SIZE[self.loss.lpips_backbone]
            sizes = {"data.size": target.data.size}
            if self.train.small_clips is not None:
                sizes["train_vae.small_clips.size"] = self.train.small_clips.size
            for key, size in sizes.items():
                if size < least:
                    raise LamdError(
                        f"{key}: LPIPS needs {least}x{least} pixels, got {size}; raise it or set "
                        "loss.lpips_weight to 0"
                    )
            self.lpips_net = load_lpips(self.loss.lpips_backbone)

    def to(self, device: torch.device) -> None:
        """Move the LPIPS network."""
        if self.lpips_net is not None:
            self.lpips_net.to(device)

    def terms(self, model: nn.Module, batch: Batch, rng: StepRNG) -> StepTerms:
        """Return l1, mse, lpips, kl and, from gan.start_step on, the weighted gan term."""
        x = self._at_size(to_model(batch[0]), rng.step)
        *axes, side, _ = self.model.latent_shape
        side = side * x.shape[-1] // self.data.size
        eps = rng.normal("posterior", (*axes, side, side)).to(x.device)
        order = rng.uniform("lpips", 0, shape=x.shape[1:2])
        jittered = [self._recoloured(x, rng)] if self.colour_jitter else []
        output = model(x, eps, *jittered)
        output = replace(output, x_hat=output.x_hat.float())
        losses = reconstruction_terms(x, output, self.loss, self.lpips_net, order)
        terms = StepTerms(losses, for_discriminator=(x, output.x_hat.detach()))
        if not self.adversary_active(rng.step):
            return terms
        self.adversary.requires_grad_(False)  # its own step is `adversary_terms`
        gan = generator_adversarial(self.adversary(output.x_hat).float(), self.gan.loss)
        self.adversary.requires_grad_(True)
        ramp = (rng.step - self.gan.start_step) / max(1, self.gan.ramp_steps)
        weight = self.gan.weight * min(1.0, ramp)
        if self.gan.adaptive:
            pixels = [losses[name] for name in ("l1", "mse", "lpips") if name in losses]
            pixel = reduce(torch.add, pixels)
            weight *= adaptive_weight(pixel, gan, self.model.last_layer, num_clips=len(x))
        terms.notes["gan_weight"] = torch.as_tensor(weight)
        losses["gan"] = weight * gan
        return terms

    def _at_size(self, x: Tensor, step: int) -> Tensor:
        """Shrink clips (B, L, 3, H, W) in the first steps, as `train_vae.small_clips` says."""
        small = self.train.small_clips
        if small is None or step > small.num_steps:
            return x
        frames = F.interpolate(x.flatten(0, 1), size=(small.size, small.size), mode="area")
        return frames.unflatten(0, x.shape[:2])

    def _recoloured(self, x: Tensor, rng: StepRNG) -> Tensor:
        """Scale and shift the colours of each clip, by at most `vae.colour_jitter`."""
        change = 2 * rng.uniform("colour", shape=(2, 1, x.shape[2], 1, 1)).to(x.device) - 1
        scale, shift = (self.colour_jitter * change).unbind(1)
        return (1 + scale) * x + shift

    def adversary_active(self, step: int) -> bool:
        """Return whether `step` is past gan.start_step."""
        return self.gan is not None and step > self.gan.start_step

    def adversary_terms(self, adversary: nn.Module, inputs: tuple[Tensor, ...]) -> StepTerms:
        """Return the discriminator's loss on real clips and detached reconstructions.

        Its accuracy, the share of patches on the right side of zero, is noted for each.
        """
        x, x_hat = inputs
        real, fake = adversary(torch.cat([x, x_hat])).float().chunk(2)
        loss = discriminator_loss(real, fake, self.gan.loss)
        right = {"real": real > 0, "fake": fake < 0}
        notes = {f"accuracy_{name}": patches.float().mean() for name, patches in right.items()}
        return StepTerms({"adversary": loss}, notes)

    @torch.no_grad()
    def validate(self, model: ScaledLatent) -> dict[str, float]:
        """Return psnr (dB), l1, lpips and their sum for the decoded posterior mean.

        Warns when no unit of the latent is active: then the KL has emptied it.
        """
        psnr, l1, lpips, means = [], [], [], []
        for _, x in self.held_out(model):
            output = model(x, x.new_zeros(1, *model.latent_shape))
            x_hat = output.x_hat.float().clamp(-1, 1)
            means.append(output.posterior.mean.float().cpu().numpy())
            psnr.append(10 * torch.log10(4 / F.mse_loss(x_hat, x)).item())
            l1.append(F.l1_loss(x_hat, x).item())
            if self.lpips_net is not None:
                lpips.append(self.lpips_net(x_hat[0], x[0]).mean().item())
        measured = {"psnr": psnr, "l1": l1, "lpips": lpips}
        values = {name: float(np.mean(clips)) for name, clips in measured.items() if clips}
        if len(means) > 1:
            variance = posterior_mean_variance(np.concatenate(means))
            values["active_units"] = float((variance > ACTIVE_VARIANCE).sum())
            if not values["active_units"]:
                say(
                    f"{self.name}: no unit of the latent is active: it says nothing about the "
                    "clip; lower loss.kl_weight, or train longer"
                )
        return values | {"l1_lpips": values["l1"] + values.get("lpips", 0.0)}

    @torch.no_grad()
    def finish(self, model: ScaledLatent) -> dict[str, Any]:
        """Measure the latent statistics over the training windows."""
        mean, std = latent_statistics(
            model, lambda rows: self.read(rows)[0], len(self.windows), self.train
        )
        model.set_latent_statistics(mean, std)
        return {}
