"""What one step of stage II does."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lamd.base.errors import LamdError
from lamd.config import Target
from lamd.data.packed import PackedVideos
from lamd.data.vocabulary import Vocabulary
from lamd.diffusion import schedule_of
from lamd.io.video import to_model
from lamd.losses import diffusion_loss
from lamd.models.dmg import build_dmg
from lamd.models.mcd_vae import MCDVAE, Posterior
from lamd.training.batches import read_windows, training_windows, validation_windows
from lamd.training.latents import Latents
from lamd.training.stages import Batch, Draws, NoAdversary, StepTerms, seeded


class DMGStage(NoAdversary):
    """Stage II: noise prediction on cached posteriors of a frozen MCD-VAE (paper)."""

    name = "dmg"
    options = "train_dmg"
    _REPEATS = 4  # draws of (t, eps) a held-out clip

    def __init__(self, target: Target, videos: PackedVideos, vae: MCDVAE, latents: Latents):
        self.train, self.videos, self.vae, self.latents = target.train_dmg, videos, vae, latents
        keys = {"data", "vae", "dmg", "train_dmg"}
        self.config = target.model_dump(mode="json", include=keys)
        dmg, self.vocabulary = target.dmg, None
        if dmg.prompt is not None:
            if videos.conditions is None:
                raise LamdError(
                    f"dmg.prompt: {target.data.name} has neither captions nor classes; "
                    "set it to null"
                )
            self.vocabulary = Vocabulary.build(dmg.prompt.kind, videos.conditions)
        with seeded(self.train.seed, "init", self.name):
            self.model = build_dmg(target, self.vocabulary)
        self.dropout = dmg.prompt.dropout if dmg.prompt is not None else 0.0
        self.schedule = schedule_of(dmg)
        self.best_of = f"{self.schedule.prediction}_mse"
        self.use_sample = dmg.posterior == "sample"
        self.num_frames = target.data.num_frames
        wanted = training_windows(videos, self.train, target.data)
        if not np.array_equal(latents.windows, wanted):
            raise LamdError(
                f"{latents.folder}: holds other windows than train_dmg.window_stride and "
                "num_validation_clips ask for; encode the latents into another folder"
            )
        self.num_windows = len(latents)

    def to(self, device: torch.device) -> None:
        """Move the frozen MCD-VAE and the schedule."""
        self.vae.to(device)
        self.schedule = replace(self.schedule, alpha_bar=self.schedule.alpha_bar.to(device))

    def read(self, rows: np.ndarray) -> Batch:
        """Return the posteriors (B, 2, *latent_shape), the first frames (B, 1, H, W, 3), and the
        words (B, M) of the prompts where there are any.
        """
        windows = self.latents.windows[rows]
        stored = torch.from_numpy(self.latents.posterior[rows])
        return stored, read_windows(self.videos, windows, 1), *self._words(windows)

    def _words(self, windows: np.ndarray) -> Batch:
        if self.vocabulary is None:
            return ()
        prompts = [self.videos.conditions[i] for i in windows[:, 0]]
        return (self.model.prompt.words(prompts),)

    def terms(self, model: nn.Module, batch: Batch, draws: Draws) -> StepTerms:
        """Return the diffusion loss of one step t a row."""
        stored, first, *words = batch
        if words and self.dropout:
            dropped = draws.uniform("prompt").to(words[0].device) < self.dropout
            words = [words[0].masked_fill(dropped[:, None], 0)]
        posterior = Posterior(*stored.unbind(1))
        loss = self._loss(model, posterior, to_model(first)[:, 0], words, draws)
        return StepTerms({self.best_of: loss})

    def _loss(
        self,
        model: nn.Module,
        posterior: Posterior,
        x0: Tensor,
        words: Sequence[Tensor],
        draws: Draws,
    ) -> Tensor:
        device, shape = x0.device, self.vae.latent_shape
        with torch.no_grad():
            z = posterior.mean
            if self.use_sample:
                z = posterior.sample(draws.normal("posterior", shape).to(device))
            z_m = self.vae.to_diffusion(self.vae.normalise(z))
            f_x0 = self.vae.encode_image(x0)[0].float()
        t = draws.integers("t", len(self.schedule)).to(device)
        eps = draws.normal("eps", shape).to(device)
        return diffusion_loss(model, self.schedule, z_m, t, eps, f_x0, *words)

    @torch.no_grad()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the loss at t and noise that are the same at each validation."""
        device = next(model.parameters()).device
        losses = []
        for number, window in enumerate(validation_windows(self.videos, self.train)):
            x = to_model(read_windows(self.videos, window[None], self.num_frames).to(device))
            posterior = self.vae.encode_motion(x)
            n = self._REPEATS
            repeated = Posterior(torch.cat([posterior.mean] * n), torch.cat([posterior.logvar] * n))
            words = [one.to(device).repeat(n, 1) for one in self._words(window[None])]
            draws = Draws(self.train.seed, "dmg validation", number, n, 0, n)
            x0 = x[:, 0].repeat(n, 1, 1, 1)
            losses.append(self._loss(model, repeated, x0, words, draws).item())
        return {self.best_of: float(np.mean(losses))}

    def finish(self, model: nn.Module) -> None:
        """Nothing is measured after stage II."""

    def info(self) -> dict[str, Any]:
        """Return the vocabulary of the prompts, without which the weights mean nothing."""
        return {} if self.vocabulary is None else {"vocabulary": self.vocabulary.to_json()}
