"""A small captioner, clip to caption, that scores how far clips follow their prompt (ours).

    log p(w_1..w_M | x) = sum_m log p(w_m | w_1..w_{m-1}, E(x))

CATER-GEN's own scores come from a SwinBERT whose weights are not public; this one is trained on the
ground truth of the training split, and its score on real clips is the ceiling of all others.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lamd.config import CaptionerConfig, DataConfig
from lamd.data.vocabulary import Vocabulary
from lamd.models.prompt import prompt_words
from lamd.nn import group_norm, sinusoidal_embedding


class Captioner(nn.Module):
    """A 3-D convolutional encoder and a transformer decoder over a closed vocabulary."""

    def __init__(
        self,
        *,
        vocabulary: Vocabulary,
        max_tokens: int,
        num_frames: int,
        channels: tuple[int, ...],
        num_layers: int,
        head_channels: int,
    ):
        super().__init__()
        self.vocabulary, self.max_tokens = vocabulary, max_tokens
        layers: list[nn.Module] = []
        width, remaining = 6, num_frames
        for wider in channels:
            stride = (2 if remaining > 4 else 1, 2, 2)  # four points in time tell a move's course
            remaining //= stride[0]
            layers += [
                nn.Conv3d(width, wider, 3, stride=stride, padding=1),
                group_norm(wider),
                nn.SiLU(),
            ]
            width = wider
        self.encoder = nn.Sequential(*layers)
        self.place = nn.Linear(3 * width, width)
        self.embed = nn.Embedding(len(vocabulary), width)
        self.position = nn.Parameter(0.02 * torch.randn(max_tokens, width))
        layer = nn.TransformerDecoderLayer(
            width,
            max(1, width // head_channels),
            4 * width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.decoder = nn.TransformerDecoder(layer, num_layers, nn.LayerNorm(width))
        self.to_words = nn.Linear(width, len(vocabulary))
        for module in self.encoder:
            if isinstance(module, nn.Conv3d):
                module.to(memory_format=torch.channels_last_3d)

    def encode(self, x: Tensor) -> Tensor:
        """Map clips (B, L, 3, H, W) in [-1, 1] to tokens (B, N, C), a place in the clip each."""
        x = torch.cat([x, x - x[:, :1]], dim=2)
        h = self.encoder(x.transpose(1, 2))  # (B, C, L', h, w)
        axes = [
            sinusoidal_embedding(torch.arange(n, device=h.device), h.shape[1], 100.0)
            for n in h.shape[2:]
        ]
        grid = torch.cartesian_prod(*(torch.arange(n, device=h.device) for n in h.shape[2:]))
        place = torch.cat([axis[i] for axis, i in zip(axes, grid.T, strict=True)], dim=1)
        return h.flatten(2).transpose(1, 2) + self.place(place)

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        """Return logits (B, M - 1, vocabulary) of words 1.. given those before, words (B, M)."""
        return self._decode(words[:, :-1], self.encode(x))

    def _decode(self, words: Tensor, clip: Tensor) -> Tensor:
        h = self.embed(words) + self.position[: words.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(words.shape[1], device=h.device)
        return self.to_words(self.decoder(h, clip, tgt_mask=mask, tgt_is_causal=True))

    def words(self, captions: Sequence[str]) -> Tensor:
        """Return the word numbers of B captions, int64 (B, M), padded with 0."""
        return prompt_words(self.vocabulary, captions, self.max_tokens)

    @torch.inference_mode()
    def caption(self, x: Tensor) -> list[str]:
        """Return the likeliest caption word by word, one for each clip (B, L, 3, H, W)."""
        clip = self.encode(x)
        words = torch.full((len(x), 1), self.vocabulary.start, device=x.device)
        for _ in range(self.max_tokens - 1):
            following = self._decode(words, clip)[:, -1].argmax(dim=-1)
            words = torch.cat([words, following[:, None]], dim=1)
        return [self.vocabulary.decode(row) for row in words.tolist()]


def build_captioner(
    captioner: CaptionerConfig, data: DataConfig, vocabulary: Vocabulary
) -> Captioner:
    """Build the captioner of a config for a vocabulary."""
    return Captioner(vocabulary=vocabulary, num_frames=data.num_frames, **captioner.model_dump())
