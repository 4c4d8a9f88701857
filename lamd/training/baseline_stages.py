"""What one step of the baselines' trainings does."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from lamd.base.errors import LamdError
from lamd.config import Baseline, Target, TrainConfig, denoiser_config
from lamd.data.packed import PackedVideos
from lamd.diffusion import schedule_of
from lamd.io.video import to_model
from lamd.losses import diffusion_loss
from lamd.models.latent import Posterior
from lamd.models.latent_video import (
    VideoAutoencoder,
    build_latent_video,
    build_video_autoencoder,
)
from lamd.models.pixel_diffusion import build_pixel
from lamd.training.batches import read_windows, training_windows, validation_windows
from lamd.training.latents import Latents
from lamd.training.stages import Batch, Draws, NoAdversary, StepTerms, seeded
from lamd.training.vae_stage import VAEStage


class VideoVAEStage(VAEStage):
    """Stage I of the latent-video baseline: the losses and clips of the MCD-VAE."""

    name = "video_vae"
    network: ClassVar[dict[str, Any]] = {"baselines": {"latent_video": {"autoencoder"}}}
    encode = staticmethod(VideoAutoencoder.encode)

    def build(self, target: Target) -> VideoAutoencoder:
        """Build the untrained autoencoder."""
        return build_video_autoencoder(target)


class _DenoiserStage(NoAdversary, ABC):
    """Noise prediction with the DMG's schedule, given the first frame."""

    name: Baseline
    build: Callable[[Target], nn.Module]
    _REPEATS = 4  # draws of (t, eps) a held-out clip

    def __init__(self, target: Target, train: TrainConfig, videos: PackedVideos):
        self.train, self.videos, self.options = train, videos, f"baselines.{self.name}"
        self.config = {
            "data": target.data.model_dump(mode="json"),
            "train": train.model_dump(mode="json"),
            **denoiser_config(target, self.name),
        }
        with seeded(train.seed, "init", self.name):
            self.model = self.build(target)
        self.schedule = schedule_of(target.dmg, target.baselines.of(self.name).prediction)
        self.best_of = f"{self.schedule.prediction}_mse"
        self.num_frames = target.data.num_frames
        self.windows = training_windows(videos, train, target.data)
        self.num_windows = len(self.windows)

    def to(self, device: torch.device) -> None:
        """Move the schedule."""
        self.schedule = replace(self.schedule, alpha_bar=self.schedule.alpha_bar.to(device))

    def _loss(self, model: nn.Module, clean: Tensor, given: Tensor, draws: Draws) -> Tensor:
        t = draws.integers("t", len(self.schedule)).to(clean.device)
        eps = draws.normal("eps", clean.shape[1:]).to(clean.device)
        return diffusion_loss(model, self.schedule, clean, t, eps, given)

    @torch.no_grad()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the loss at t and noise that are the same at each validation."""
        device = next(model.parameters()).device
        losses, n = [], self._REPEATS
        for number, window in enumerate(validation_windows(self.videos, self.train)):
            video = read_windows(self.videos, window[None], self.num_frames)
            x = to_model(video.to(device)).repeat(n, 1, 1, 1, 1)
            draws = Draws(self.train.seed, f"{self.name} validation", number, n, 0, n)
            losses.append(self._loss(model, *self.clean_and_given(x, draws), draws).item())
        return {self.best_of: float(np.mean(losses))}

    @abstractmethod
    def clean_and_given(self, x: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Return what is diffused and its condition, of clips x (B, L, 3, H, W)."""

    def finish(self, model: nn.Module) -> None:
        """Nothing is measured after training."""

    def info(self) -> dict[str, Any]:
        """Return nothing further."""
        return {}


class PixelStage(_DenoiserStage):
    """Diffusion on clips in [-1, 1]."""

    name = "pixel"
    build = staticmethod(build_pixel)

    def read(self, rows: np.ndarray) -> Batch:
        """Return (video,), uint8 (B, L, H, W, 3)."""
        return (read_windows(self.videos, self.windows[rows], self.num_frames),)

    def terms(self, model: nn.Module, batch: Batch, draws: Draws) -> StepTerms:
        """Return the diffusion loss of one step t a row."""
        clean, given = self.clean_and_given(to_model(batch[0]), draws)
        return StepTerms({self.best_of: self._loss(model, clean, given, draws)})

    def clean_and_given(self, x: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Return the clips and their first frames."""
        return x, x[:, 0]


class LatentVideoStage(_DenoiserStage):
    """Diffusion on cached posteriors of a frozen video autoencoder."""

    name = "latent_video"
    build = staticmethod(build_latent_video)

    def __init__(
        self,
        target: Target,
        train: TrainConfig,
        videos: PackedVideos,
        autoencoder: VideoAutoencoder,
        latents: Latents,
    ):
        super().__init__(target, train, videos)
        self.autoencoder, self.latents = autoencoder, latents
        self.use_sample = target.dmg.posterior == "sample"
        if not np.array_equal(latents.windows, self.windows):
            raise LamdError(
                f"{latents.folder}: holds other windows than train_dmg.window_stride and "
                "num_validation_clips ask for; encode the latents into another folder"
            )

    def to(self, device: torch.device) -> None:
        """Move the frozen autoencoder and the schedule."""
        super().to(device)
        self.autoencoder.to(device)

    def read(self, rows: np.ndarray) -> Batch:
        """Return the posteriors (B, 2, d, l, h, w) and the first frames (B, 1, H, W, 3)."""
        stored = torch.from_numpy(self.latents.posterior[rows])
        return stored, read_windows(self.videos, self.windows[rows], 1)

    def terms(self, model: nn.Module, batch: Batch, draws: Draws) -> StepTerms:
        """Return the diffusion loss of one step t a row."""
        stored, first = batch
        posterior = Posterior(*stored.unbind(1))
        clean, given = self._scaled(posterior, to_model(first)[:, 0], draws)
        return StepTerms({self.best_of: self._loss(model, clean, given, draws)})

    def clean_and_given(self, x: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Return the latents of the clips and of their first frames."""
        return self._scaled(self.autoencoder.encode(x), x[:, 0], draws)

    @torch.no_grad()
    def _scaled(self, posterior: Posterior, x0: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        z = posterior.mean
        if self.use_sample:
            z = posterior.sample(draws.normal("posterior", z.shape[1:]).to(z.device))
        scale = self.autoencoder.to_diffusion
        return scale(z), scale(self.autoencoder.encode_image(x0))
