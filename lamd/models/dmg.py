"""DMG, the diffusion-based motion generator (arXiv 2304.11603, stage II).

    eps_hat = eps_theta(z_t, t, y),  y = f_x0

eps_theta is the 2-D UNet of latent diffusion (paper); f_x0 enters as cross-attention tokens
(reported), by concatenation at the input, by both, or not at all (`DMGConfig.condition`). y may
include a prompt, a caption or a class, whose tokens join those of f_x0 (paper: text is optional).

If z_m keeps l frames (the ablation), the same UNet runs within each frame and time is added: a
3x1x1 convolution after each 3x3 convolution of the residual blocks, and attention over the frames
after that over space. The two variants thus differ by the time axis alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from lamd.config import DMGConfig, Target
from lamd.data.vocabulary import Vocabulary
from lamd.models.unet import UNet
from lamd.nn import PRE_NORM, Context, grid_embedding, group_norm


class ContentTokens(nn.Module):
    """f_x0 as cross-attention tokens, one per latent position, with a 2-D sinusoidal embedding."""

    def __init__(self, content_channels: int, context_channels: int):
        super().__init__()
        self.norm = group_norm(content_channels)
        self.project = nn.Conv2d(content_channels, context_channels, 1)

    def forward(self, f_x0: Tensor) -> Tensor:
        """Map (B, d', h, w) to tokens (B, h * w, context_channels)."""
        tokens = self.project(self.norm(f_x0))
        _, channels, *shape = tokens.shape
        position = grid_embedding(shape, channels // 2, tokens.device)
        return rearrange(tokens, "b c h w -> b (h w) c") + position


class PromptEncoder(nn.Module):
    """A caption or a class as cross-attention tokens next to those of f_x0.

    reported: 512-d text features by cross-attention; the origin is probably MAGE's encoder, with a
    closed vocabulary and two layers. A class is one embedded token. Padding is a token like any
    other and is attended to, as in latent diffusion.
    """

    def __init__(self, config: DMGConfig, vocabulary: Vocabulary, pooled_channels: int):
        super().__init__()
        prompt, channels = config.prompt, config.context_channels
        assert prompt is not None, "built only for a DMG with prompts"
        self.vocabulary, self.max_tokens = vocabulary, prompt.max_tokens or 1
        self.embed = nn.Embedding(len(vocabulary), channels)
        # at nn.Embedding's default unit scale, tokens hardly train and drown out their positions
        nn.init.normal_(self.embed.weight, std=0.02)
        self.position = nn.Parameter(0.02 * torch.randn(self.max_tokens, channels))
        num_heads = max(1, channels // config.head_channels)
        layers = (
            nn.TransformerEncoderLayer(channels, num_heads, 4 * channels, **PRE_NORM)
            for _ in range(prompt.num_layers or 0)
        )
        self.layers = nn.Sequential(*layers, nn.LayerNorm(channels))
        self.bag = None
        if prompt.pooled:
            self.bag = nn.EmbeddingBag(len(vocabulary), pooled_channels, mode="sum", padding_idx=0)
            nn.init.normal_(self.bag.weight, std=0.02)

    def token_ids(self, prompts: Sequence[str]) -> Tensor:
        """Return the token ids of B prompts, int64 (B, M), padded with 0; errors as `encode`."""
        ids = [self.vocabulary.encode(prompt, self.max_tokens) for prompt in prompts]
        return torch.from_numpy(np.stack(ids))

    def forward(self, token_ids: Tensor) -> Tensor:
        """Map (B, M) to tokens (B, M, channels); a row of zeros is the empty prompt."""
        return self.layers(self.embed(token_ids) + self.position)

    def pooled(self, token_ids: Tensor) -> Tensor | None:
        """Map (B, M) to (B, pooled_channels), zeros for the empty prompt; None without a bag.

        A sum, so that the weight of a word does not depend on the length of its caption.
        """
        return None if self.bag is None else self.bag(token_ids)


@dataclass(frozen=True)
class Condition:
    """The encoded y, constant over the diffusion steps."""

    contexts: list[Context]  # of the tokens, one per attention block; or empty
    features: Tensor | None  # (B, C, h, w) concatenated to each frame of z_t
    pooled: Tensor | None  # (B, 4 C) of the prompt, added to the step embedding


class DMG(UNet):
    """Latent-diffusion UNet over z_t, conditioned on f_x0 and, with a vocabulary, on a prompt."""

    def __init__(
        self,
        config: DMGConfig,
        *,
        motion_channels: int,
        content_channels: int,
        num_latent_frames: int = 1,
        vocabulary: Vocabulary | None = None,
    ):
        super().__init__(config)
        self.tokens = self.concat = self.prompt = None
        in_channels = motion_channels
        if config.condition in ("cross_attention", "both"):
            self.tokens = ContentTokens(content_channels, config.context_channels)
        if config.condition in ("concat", "both"):
            project = nn.Conv2d(content_channels, config.base_channels, 1)
            self.concat = nn.Sequential(group_norm(content_channels), project)
            in_channels += config.base_channels
        if vocabulary is not None:
            self.prompt = PromptEncoder(config, vocabulary, self.embedding_channels)
        attends = self.tokens is not None or self.prompt is not None
        context = config.context_channels if attends else None
        kind = None if num_latent_frames == 1 else "factorised"
        self.build_scales(config, kind, in_channels, motion_channels, context)

    def condition(self, f_x0: Tensor, token_ids: Tensor | None = None) -> Condition:
        """Encode y, f_x0 (B, d', h, w) and the prompts' token ids (B, M), once for all steps.

        A model without prompts ignores their ids.
        """
        # torch 2.11 crashes on CPUs when a GroupNorm trains on a channels-last input that needs no
        # gradient
        f_x0 = f_x0.contiguous()
        tokens = [self.tokens(f_x0)] if self.tokens is not None else []  # (B, h * w, C')
        pooled = None
        if self.prompt is not None:
            assert token_ids is not None, "a DMG with prompts needs their token ids"
            tokens.append(self.prompt(token_ids))  # (B, M, C')
            pooled = self.prompt.pooled(token_ids)
        contexts = self.contexts(torch.cat(tokens, dim=1), f_x0.shape[-2:]) if tokens else []
        features = self.concat(f_x0) if self.concat is not None else None
        return Condition(contexts, features, pooled)

    def denoise(self, z_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict the noise in z_t (B, d, h, w), or (B, d, l, h, w), at t (B,) in 0..T-1."""
        features = condition.features
        if features is not None:
            if z_t.ndim == 5:
                features = repeat(features, "b c h w -> b c l h w", l=z_t.shape[2])
            z_t = torch.cat([z_t, features], dim=1)
        return self.predict(z_t, t, condition.contexts, condition.pooled)

    def forward(
        self, z_t: Tensor, t: Tensor, f_x0: Tensor, token_ids: Tensor | None = None
    ) -> Tensor:
        """Predict the noise in z_t: `denoise` with the arguments of `condition`."""
        return self.denoise(z_t, t, self.condition(f_x0, token_ids))


def build_dmg(target: Target, vocabulary: Vocabulary | None = None) -> DMG:
    """Build the DMG of a target; prompts require the vocabulary of the training split."""
    return DMG(
        target.dmg,
        motion_channels=target.vae.motion_channels,
        content_channels=target.vae.image_channels[-1],
        num_latent_frames=target.data.num_frames // target.vae.temporal_downsampling,
        vocabulary=vocabulary,
    )
