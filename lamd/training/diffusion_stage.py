"""Stage II of every paradigm: noise prediction in its space, given the first frame."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lamd.base.errors import LamdError
from lamd.config import Target, TrainConfig
from lamd.data.packed import PackedVideos
from lamd.io.video import to_model
from lamd.losses import diffusion_errors, diffusion_loss
from lamd.models.latent import Posterior, ScaledLatent
from lamd.paradigms.base import Paradigm
from lamd.training.augment import read_rows
from lamd.training.latents import Latents
from lamd.training.stages import Batch, Stage, StepRNG, StepTerms, seeded

_REPEATS = 4  # draws of (t, eps) per held-out clip


class DiffusionStage(Stage):
    """Diffusion on clips, or on cached posteriors of a frozen autoencoder (paper)."""

    def __init__(
        self,
        kind: type[Paradigm],
        target: Target,
        train: TrainConfig,
        videos: PackedVideos,
        autoencoder: ScaledLatent | None = None,
        latents: Latents | None = None,
    ):
        super().__init__(kind.denoiser_stage, target, train, videos, kind.train_key)
        self.options, self.latents = kind.options, latents
        prompt = target.dmg.prompt
        self.tokens = None if prompt is None else self.vocabulary(prompt.kind, "dmg.prompt")
        self.dropout = 0.0 if prompt is None else prompt.dropout
        with seeded(train.seed, "init", self.name):
            self.model = self.network.build(target, self.tokens)
        self.paradigm = kind.of(target, self.model, autoencoder)
        self.schedule = self.paradigm.schedule
        self.best_metric = f"{self.schedule.prediction}_mse"
        self.loss_name = self.best_metric + "_weighted" * (self.paradigm.min_snr is not None)
        self.use_sample = target.dmg.posterior == "sample"
        if latents is not None and not np.array_equal(latents.windows, self.windows):
            raise LamdError(
                f"{latents.folder}: holds other windows than train_dmg.window_stride and its "
                "held-out videos ask for; encode the latents into another folder"
            )

    def finish(self, model: nn.Module) -> dict[str, Any]:
        """Return the vocabulary and the hash of the autoencoder that made the latents."""
        own = {} if self.latents is None else {"autoencoder_sha256": self.latents.vae_sha256}
        return super().finish(model) | own

    def to(self, device: torch.device) -> None:
        """Move the frozen autoencoder and the schedule."""
        if self.paradigm.autoencoder is not None:
            self.paradigm.autoencoder.to(device)
        self.schedule = replace(self.schedule, alpha_bar=self.schedule.alpha_bar.to(device))

    def read(self, rows: np.ndarray) -> Batch:
        """Return the video, uint8 (B, L, H, W, 3), or its first frames and the posteriors
        (B, 2, *latent_shape); then the token ids (B, M) of the prompts, where there are any.
        """
        windows = self.windows[rows]
        if self.latents is None:
            return *super().read(rows), *self._token_ids(windows)
        stored = torch.from_numpy(self.latents.posterior[rows])
        first = read_rows(self.videos, self.windows, rows, self.data, 1)
        return first, stored, *self._token_ids(windows)

    def _token_ids(self, windows: np.ndarray) -> Batch:
        if self.tokens is None:
            return ()
        return (self.model.prompt.token_ids(self.conditions(windows)),)

    def terms(self, model: nn.Module, batch: Batch, rng: StepRNG) -> StepTerms:
        """Return the diffusion loss, with one step t per row."""
        video, *rest = batch
        posterior = None if self.latents is None else Posterior(*rest.pop(0).unbind(1))
        if rest and self.dropout:
            dropped = rng.uniform("prompt").to(rest[0].device) < self.dropout
            rest = [rest[0].masked_fill(dropped[:, None], 0)]
        x = to_model(video)
        noised = self._noised(x, posterior, rng, model.training)
        gamma = self.paradigm.min_snr
        loss = diffusion_loss(model, self.schedule, *noised, *rest, min_snr=gamma)
        return StepTerms({self.loss_name: loss})

    def _noised(
        self, x: Tensor, posterior: Posterior | None, rng: StepRNG, training: bool
    ) -> tuple[Tensor, ...]:
        """Return what is diffused, the step t and the noise of each row, and the condition."""
        device = x.device
        with torch.no_grad():
            clean = x
            if posterior is not None:
                z = posterior.mean
                if self.use_sample:
                    z = posterior.sample(rng.normal("posterior", z.shape[1:]).to(device))
                clean = self.paradigm.to_diffusion(z)
            condition = self._condition(x[:, 0], training)
        t = rng.strata("t", len(self.schedule)).to(device)
        eps = rng.normal("eps", clean.shape[1:]).to(device)
        return clean, t, eps, condition

    def _condition(self, x0: Tensor, training: bool) -> Tensor:
        """Encode first frames; in training, at its precision.

        They are not cached: those of all windows take hundreds of gigabytes in the paper profile.
        """
        half = training and self.precision != "fp32"
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        with torch.autocast("cuda" if x0.is_cuda else "cpu", dtype, enabled=half):
            return self.paradigm.encode(x0).condition.float()

    @torch.no_grad()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the error at t and noise that are the same at each validation.

        Its mean, and that of each quarter of the steps, from the least noise on.
        """
        errors, quarters, n = [], [], _REPEATS
        for number, (window, x) in enumerate(self.held_out(model)):
            posterior = self.paradigm.posterior(x, n)
            token_ids = [ids.to(x.device).repeat(n, 1) for ids in self._token_ids(window)]
            rng = StepRNG(self.train.seed, f"{self.name} validation", number, n, 0, n)
            x = x.repeat(n, 1, 1, 1, 1)
            noised = self._noised(x, posterior, rng, model.training)
            parts = (part.split(self.train.clips_at_once) for part in (*noised, *token_ids))
            for some in zip(*parts, strict=True):
                errors.append(diffusion_errors(model, self.schedule, *some).cpu())
            quarters.append(4 * noised[1].cpu() // len(self.schedule))
        error, quarter = torch.cat(errors), torch.cat(quarters)
        levels = {
            f"{self.best_metric}_quarter{q + 1}": error[quarter == q].mean().item()
            for q in quarter.unique().tolist()
        }
        return {self.best_metric: error.mean().item()} | levels
