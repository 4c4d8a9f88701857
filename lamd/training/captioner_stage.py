"""The captioner's training: the next token of each training clip's caption."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamd.base.errors import LamdError
from lamd.config import Target
from lamd.data.packed import PackedVideos
from lamd.io.video import to_model
from lamd.metrics.precision import recall
from lamd.models.captioner import Captioner
from lamd.training.stages import Batch, Stage, StepRNG, StepTerms, seeded


class CaptionerStage(Stage):
    """Cross-entropy of the next token of each training clip's caption."""

    options = "train_captioner"
    best_metric = "cross_entropy"

    def __init__(self, target: Target, videos: PackedVideos):
        if target.train_captioner is None:
            raise LamdError(f"{target.target}: no `train_captioner`; add it, or another stage")
        super().__init__("captioner", target, target.train_captioner, videos, self.options)
        self.tokens = self.vocabulary("text", "captioner")
        with seeded(self.train.seed, "init", self.name):
            self.model = self.network.build(target, self.tokens)

    def read(self, rows: np.ndarray) -> Batch:
        """Return video (B, L, H, W, 3) and the token ids of its captions (B, M)."""
        return *super().read(rows), self.model.token_ids(self.conditions(self.windows[rows]))

    def weight(self, rows: np.ndarray) -> float:
        """Return the number of tokens to predict."""
        token_ids = self.model.token_ids(self.conditions(self.windows[rows]))
        return int((token_ids[:, 1:] != 0).sum())

    def terms(self, model: nn.Module, batch: Batch, rng: StepRNG) -> StepTerms:
        """Return the cross-entropy over tokens, padding left out."""
        video, token_ids = batch
        loss = _cross_entropy(model(to_model(video), token_ids), token_ids)
        return StepTerms({"cross_entropy": loss})

    @torch.no_grad()
    def validate(self, model: Captioner) -> dict[str, float]:
        """Return cross_entropy and the recalls of the captions of the held-out clips."""
        losses: list[float] = []
        captions: list[str] = []
        true: list[str] = []
        for window, x in self.held_out(model):
            true += self.conditions(window)
            token_ids = self.model.token_ids(true[-1:]).to(x.device)
            losses.append(_cross_entropy(model(x, token_ids), token_ids).item())
            captions += model.caption(x)
        action, referring = np.mean(list(map(recall, true, captions)), axis=0)
        return {
            "cross_entropy": float(np.mean(losses)),
            "action_recall": float(action),
            "referring_expression_recall": float(referring),
        }


def _cross_entropy(logits: Tensor, token_ids: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1).float(), token_ids[:, 1:].flatten(), ignore_index=0)
