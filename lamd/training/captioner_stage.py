"""What one step of the captioner's training does; the loop around it is `engine`."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamd.config import Target
from lamd.data.packed import PackedVideos
from lamd.data.vocabulary import Vocabulary
from lamd.io.video import to_model
from lamd.metrics.precision import precisions
from lamd.models.captioner import Captioner, build_captioner
from lamd.training.batches import read_windows, training_windows, validation_windows
from lamd.training.stages import Batch, Draws, NoAdversary, StepTerms, seeded


class CaptionerStage(NoAdversary):
    """Cross-entropy of the next word of each training clip's caption (ours)."""

    name = "captioner"
    options = "train_captioner"
    best_of = "cross_entropy"

    def __init__(self, target: Target, videos: PackedVideos):
        self.train, self.videos = target.train_captioner, videos
        keys = {"data", "captioner", "train_captioner"}
        self.config = target.model_dump(mode="json", include=keys)
        vocabulary = Vocabulary.build("text", videos.conditions)
        with seeded(self.train.seed, "init", self.name):
            self.model = build_captioner(target.captioner, target.data, vocabulary)
        self.num_frames = target.data.num_frames
        self.windows = training_windows(videos, self.train, target.data)
        self.num_windows = len(self.windows)

    def to(self, device: torch.device) -> None:
        """Nothing is frozen."""

    def read(self, rows: np.ndarray) -> Batch:
        """Return video (B, L, H, W, 3) and the word numbers of its captions (B, M)."""
        return self._batch(self.windows[rows])

    def _batch(self, windows: np.ndarray) -> Batch:
        captions = [self.videos.conditions[i] for i in windows[:, 0]]
        return read_windows(self.videos, windows, self.num_frames), self.model.words(captions)

    def terms(self, model: nn.Module, batch: Batch, draws: Draws) -> StepTerms:
        """Return the cross-entropy over words, padding left out."""
        video, words = batch
        return StepTerms({"cross_entropy": _cross_entropy(model(to_model(video), words), words)})

    @torch.no_grad()
    def validate(self, model: Captioner) -> dict[str, float]:
        """Return cross_entropy and the precisions of the captions of the held-out clips."""
        device = next(model.parameters()).device
        losses, told, true = [], [], []
        for window in validation_windows(self.videos, self.train):
            video, words = (part.to(device) for part in self._batch(window[None]))
            x = to_model(video)
            losses.append(_cross_entropy(model(x, words), words).item())
            told += model.caption(x)
            true.append(self.videos.conditions[window[0]])
        scores = {name: float(values.mean()) for name, values in precisions(true, told).items()}
        return {"cross_entropy": float(np.mean(losses)), **scores}

    def finish(self, model: nn.Module) -> None:
        """Nothing is measured after training."""

    def info(self) -> dict[str, Any]:
        """Return the vocabulary, without which the weights mean nothing."""
        return {"vocabulary": self.model.vocabulary.to_json()}


def _cross_entropy(logits: Tensor, words: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1).float(), words[:, 1:].flatten(), ignore_index=0)
