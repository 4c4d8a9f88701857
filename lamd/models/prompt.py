"""The prompt of the DMG, a caption or a class, as cross-attention tokens beside those of f_x0.

reported: 512-d text features by cross-attention; the parent is likely MAGE's encoder, with a closed
vocabulary and two layers. A class is one embedded token. Padding is a word like any other and is
attended to, as in latent diffusion (ours).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lamd.data.vocabulary import Vocabulary


class PromptEncoder(nn.Module):
    """Embed the words of a closed vocabulary; captions also pass through a transformer.

    Given `pooled_channels`, `pooled` embeds them a second time, for the step embedding.
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
        # ours: at nn.Embedding's own unit scale words hardly move and places drown in them
        nn.init.normal_(self.embed.weight, std=0.02)
        self.position = nn.Parameter(0.02 * torch.randn(max_tokens, channels))
        layers = (
            nn.TransformerEncoderLayer(
                channels,
                max(1, channels // head_channels),
                4 * channels,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(num_layers)
        )
        self.layers = nn.Sequential(*layers, nn.LayerNorm(channels))
        self.bag = None
        if pooled_channels is not None:
            self.bag = nn.EmbeddingBag(len(vocabulary), pooled_channels, mode="sum", padding_idx=0)
            nn.init.normal_(self.bag.weight, std=0.02)

    def words(self, prompts: Sequence[str]) -> Tensor:
        """Return the word numbers of B prompts, int64 (B, M), padded with 0.

        Raises:
            LamdError: on an empty or too long prompt, or a word that training did not have.
        """
        return prompt_words(self.vocabulary, prompts, self.max_tokens)

    def forward(self, words: Tensor) -> Tensor:
        """Map (B, M) to tokens (B, M, channels); a row of zeros is the empty prompt."""
        return self.layers(self.embed(words) + self.position)

    def pooled(self, words: Tensor) -> Tensor | None:
        """Map (B, M) to (B, pooled_channels), zeros for the empty prompt; None without them.

        A sum, in which a word weighs the same however long its caption is (ours).
        """
        return None if self.bag is None else self.bag(words)


def prompt_words(vocabulary: Vocabulary, prompts: Sequence[str], max_tokens: int) -> Tensor:
    """Return the word numbers of B prompts, int64 (B, M), padded with 0; errors as `encode`."""
    return torch.from_numpy(np.stack([vocabulary.encode(one, max_tokens) for one in prompts]))
