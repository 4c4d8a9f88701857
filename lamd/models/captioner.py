"""A small captioner, clip to caption, that scores how well clips follow their prompt.

    log p(w_1..w_M | x) = sum_m log p(w_m | w_1..w_{m-1}, E(x))

CATER-GEN's published scores come from a SwinBERT whose weights are not public; this captioner is
trained on the ground truth of the training split, and its score on real clips is the ceiling.
"""

from collections.abc import Sequence

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from lamd.config import CaptionerConfig
from lamd.data.vocabulary import Vocabulary
from lamd.nn import PRE_NORM, channels_last_3d, grid_embedding, group_norm


class Captioner(nn.Module):
    """A 3-D convolutional encoder and a transformer decoder over a closed vocabulary."""

    def __init__(self, config: CaptionerConfig, vocabulary: Vocabulary, num_frames: int):
        super().__init__()
        self.vocabulary, self.max_tokens = vocabulary, config.max_tokens
        layers: list[nn.Module] = []
        width, remaining = 6, num_frames
        for wider in config.channels:
            stride = (2 if remaining > 4 else 1, 2, 2)  # a move's course needs four points in time
            remaining //= stride[0]
            conv = nn.Conv3d(width, wider, 3, stride=stride, padding=1)
            layers += [conv, group_norm(wider), nn.SiLU()]
            width = wider
        self.encoder = nn.Sequential(*layers)
        self.project_position = nn.Linear(3 * width, width)
        self.embed = nn.Embedding(len(vocabulary), width)
        self.position = nn.Parameter(0.02 * torch.randn(config.max_tokens, width))
        num_heads = max(1, width // config.head_channels)
        layer = nn.TransformerDecoderLayer(width, num_heads, 4 * width, **PRE_NORM)
        self.decoder = nn.TransformerDecoder(layer, config.num_layers, nn.LayerNorm(width))
        self.to_logits = nn.Linear(width, len(vocabulary))
        channels_last_3d(self)

    def encode(self, x: Tensor) -> Tensor:
        """Map clips (B, L, 3, H, W) in [-1, 1] to tokens (B, N, C), one per space-time position."""
        x = torch.cat([x, x - x[:, :1]], dim=2)
        h = self.encoder(x.transpose(1, 2))  # (B, C, l, h, w)
        position = grid_embedding(h.shape[2:], h.shape[1], h.device)
        return rearrange(h, "b c l h w -> b (l h w) c") + self.project_position(position)

    def forward(self, x: Tensor, token_ids: Tensor) -> Tensor:
        """Return the logits (B, M - 1, vocabulary) of tokens 1.. (B, M), each from those before."""
        return self._decode(token_ids[:, :-1], self.encode(x))

    def _decode(self, token_ids: Tensor, clip: Tensor) -> Tensor:
        length = token_ids.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=clip.device)
        h = self.embed(token_ids) + self.position[:length]
        return self.to_logits(self.decoder(h, clip, tgt_mask=mask, tgt_is_causal=True))

    def token_ids(self, captions: Sequence[str]) -> Tensor:
        """Return the token ids of B captions, int64 (B, M), padded with 0."""
        ids = [self.vocabulary.encode(caption, self.max_tokens) for caption in captions]
        return torch.from_numpy(np.stack(ids))

    @torch.inference_mode()
    def caption(self, x: Tensor) -> list[str]:
        """Return the captions of clips (B, L, 3, H, W) in [-1, 1], decoded greedily."""
        return [self.vocabulary.decode(row) for row in self.greedy_ids(x).tolist()]

    def greedy_ids(self, x: Tensor) -> Tensor:
        """Return the likeliest token ids, one after the other, of clips as in `caption` (B, M)."""
        clip = self.encode(x)
        ids = torch.full((len(x), 1), self.vocabulary.start, device=x.device)
        for _ in range(self.max_tokens - 1):
            following = self._decode(ids, clip)[:, -1].argmax(dim=-1)
            ids = torch.cat([ids, following[:, None]], dim=1)
        return ids
