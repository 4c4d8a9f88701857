"""The prompt of the DMG, a caption or a class, as cross-attention tokens next to those of f_x0.

reported: 512-d text features by cross-attention; the origin is probably MAGE's encoder, with a
closed vocabulary and two layers. A class is one embedded token. Padding is a token like any other
and is attended to, as in latent diffusion.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lamd.data.vocabulary import Vocabulary
from lamd.nn import PRE_NORM


class PromptEncoder(nn.Module):
    """Embed tokens of a closed vocabulary; captions also pass through a transformer.

    With `pooled_channels`, `pooled` embeds them a second time, for the step embedding.
    """

    def __init__(
        self,
        *,
        vocabulary: Vocabulary,
        max_tokens: int,
        num_layers: int,
        head_channels: int,
        channels: int,
        pooled_channels: int | None = None,
    ):
        super().__init__()
        self.vocabulary, self.max_tokens = vocabulary, max_tokens
        self.embed = nn.Embedding(len(vocabulary), channels)
        # at nn.Embedding's default unit scale, tokens hardly train and drown out their positions
        nn.init.normal_(self.embed.weight, std=0.02)
        self.position = nn.Parameter(0.02 * torch.randn(max_tokens, channels))
        num_heads = max(1, channels // head_channels)
        layers = (
            nn.TransformerEncoderLayer(channels, num_heads, 4 * channels, **PRE_NORM)
            for _ in range(num_layers)
        )
        self.layers = nn.Sequential(*layers, nn.LayerNorm(channels))
        self.bag = None
        if pooled_channels is not None:
            self.bag = nn.EmbeddingBag(len(vocabulary), pooled_channels, mode="sum", padding_idx=0)
            nn.init.normal_(self.bag.weight, std=0.02)

    def token_ids(self, prompts: Sequence[str]) -> Tensor:
        """Return the token ids of B prompts, int64 (B, M), padded with 0.

        Raises:
            LamdError: on an empty or too long prompt, or a word that is not in the vocabulary.
        """
        return prompt_token_ids(self.vocabulary, prompts, self.max_tokens)

    def forward(self, token_ids: Tensor) -> Tensor:
        """Map (B, M) to tokens (B, M, channels); a row of zeros is the empty prompt."""
        return self.layers(self.embed(token_ids) + self.position)

    def pooled(self, token_ids: Tensor) -> Tensor | None:
        """Map (B, M) to (B, pooled_channels), zeros for the empty prompt; None without a bag.

        A sum, so that the weight of a word does not depend on the length of its caption.
        """
        return None if self.bag is None else self.bag(token_ids)


def prompt_token_ids(vocabulary: Vocabulary, prompts: Sequence[str], max_tokens: int) -> Tensor:
    """Return the token ids of B prompts, int64 (B, M), padded with 0; errors as `encode`."""
    return torch.from_numpy(np.stack([vocabulary.encode(p, max_tokens) for p in prompts]))
