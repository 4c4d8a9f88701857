"""DMG, the diffusion-based motion generator (arXiv 2304.11603, stage II).

    eps_hat = eps_theta(z_t, t, y),  y = f_x0

eps_theta is the 2-D UNet of latent diffusion (paper); f_x0 enters as cross-attention tokens
(reported), by concatenation at the input, by both, or not at all (`DMGConfig.condition`). y may
include a prompt, a caption or a class, whose tokens join those of f_x0 (paper: text is optional).

If z_m keeps l frames (the ablation), the same UNet runs within each frame and time is added: a
3x1x1 convolution after each 3x3 convolution of the residual blocks, and attention over the frames
after that over space. The two variants thus differ by the time axis alone.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from lamd.config import Target
from lamd.data.vocabulary import Vocabulary
from lamd.models.prompt import PromptEncoder
from lamd.models.unet import UNet, parts_2d, parts_3d
from lamd.nn import KeysValues, grid_embedding, group_norm


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


@dataclass(frozen=True)
class Condition:
    """The encoded y, constant over the diffusion steps.

    Attributes:
        keys_values: of the tokens, one pair per attention block; empty without tokens.
        features: (B, C, h, w) concatenated to each frame of z_t, or None.
        pooled: (B, 4 C) of the prompt, added to the step embedding, or None.
    """

    keys_values: list[KeysValues]
    features: Tensor | None
    pooled: Tensor | None


class DMG(UNet):
    """Latent-diffusion UNet over z_t, conditioned on f_x0 and, with a vocabulary, on a prompt."""

    def __init__(
        self,
        *,
        motion_channels: int,
        content_channels: int,
        base_channels: int,
        channel_multipliers: tuple[int, ...],
        num_res_blocks: int,
        attention_factors: tuple[int, ...],
        head_channels: int,
        context_channels: int,
        condition: str,
        num_latent_frames: int = 1,
        vocabulary: Vocabulary | None = None,
        max_prompt_tokens: int = 1,
        num_prompt_layers: int = 0,
        pooled_prompt: bool = False,
    ):
        super().__init__(base_channels)
        self.tokens = self.concat = self.prompt = None
        if condition in ("cross_attention", "both"):
            self.tokens = ContentTokens(content_channels, context_channels)
        if condition in ("concat", "both"):
            self.concat = nn.Sequential(
                group_norm(content_channels), nn.Conv2d(content_channels, base_channels, 1)
            )
        if vocabulary is not None:
            self.prompt = PromptEncoder(
                vocabulary=vocabulary,
                max_tokens=max_prompt_tokens,
                num_layers=num_prompt_layers,
                head_channels=head_channels,
                channels=context_channels,
                pooled_channels=self.embedding_channels if pooled_prompt else None,
            )
        attends = self.tokens is not None or self.prompt is not None
        context = context_channels if attends else None
        parts = parts_2d if num_latent_frames == 1 else partial(parts_3d, "factorised")
        self.build_scales(
            motion_channels + (base_channels if self.concat is not None else 0),
            motion_channels,
            channel_multipliers=channel_multipliers,
            num_res_blocks=num_res_blocks,
            attention_factors=attention_factors,
            parts=parts(head_channels, context),
        )

    def condition(self, f_x0: Tensor, token_ids: Tensor | None = None) -> Condition:
        """Encode y once for all steps.

        Args:
            f_x0: (B, d', h, w) content feature of the first frame.
            token_ids: (B, M) int64 of the prompts, from `prompt.token_ids`; required by a model
                with prompts, ignored by any other.
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
        keys_values: list[KeysValues] = []
        if tokens:
            source = torch.cat(tokens, dim=1)
            layers = [block.cross_attention for block in self.attentions()]
            keys_values = [layer.keys_values(source) for layer in layers if layer is not None]
        features = self.concat(f_x0) if self.concat is not None else None
        return Condition(keys_values, features, pooled)

    def denoise(self, z_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict the noise in z_t.

        Args:
            z_t: (B, d, h, w), or (B, d, l, h, w), noisy motion latent, unit scale.
            t: (B,) int64 diffusion step in 0..T-1.

        Returns:
            eps_hat, shaped like z_t.
        """
        features = condition.features
        if features is not None:
            if z_t.ndim == 5:
                features = repeat(features, "b c h w -> b c l h w", l=z_t.shape[2])
            z_t = torch.cat([z_t, features], dim=1)
        return self.predict(z_t, t, condition.keys_values, condition.pooled)

    def forward(
        self, z_t: Tensor, t: Tensor, f_x0: Tensor, token_ids: Tensor | None = None
    ) -> Tensor:
        """Predict the noise in z_t: `denoise` with the arguments of `condition`."""
        return self.denoise(z_t, t, self.condition(f_x0, token_ids))


def build_dmg(target: Target, vocabulary: Vocabulary | None = None) -> DMG:
    """Build the DMG of a target; prompts require the vocabulary of the training split."""
    return DMG(**dmg_options(target, vocabulary))


def dmg_options(target: Target, vocabulary: Vocabulary | None = None) -> dict[str, Any]:
    """Return the keyword arguments of a target's DMG; all are hashable."""
    options: dict[str, Any] = {
        "motion_channels": target.vae.motion_channels,
        "content_channels": target.vae.image_channels[-1],
        "num_latent_frames": target.data.num_frames // target.vae.temporal_downsampling,
        **target.dmg.model_dump(exclude=target.dmg.not_shape),
    }
    if target.dmg.prompt is not None:
        options |= {
            "vocabulary": vocabulary,
            "max_prompt_tokens": target.dmg.prompt.max_tokens or 1,
            "num_prompt_layers": target.dmg.prompt.num_layers or 0,
            "pooled_prompt": target.dmg.prompt.pooled,
        }
    return options
