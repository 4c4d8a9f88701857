"""DMG, the diffusion-based motion generator (arXiv 2304.11603, stage II).

    eps_hat = eps_theta(z_t, t, y),  y = f_x0

eps_theta is the 2-D UNet of latent diffusion (paper); f_x0 enters as cross-attention tokens
(reported), by concatenation at the input, by both, or not at all (`DMGConfig.condition`). y may
hold a prompt too, a caption or a class, whose tokens join those of f_x0 (paper: text is optional).

Where z_m keeps l frames (the ablation), the same UNet runs within each and time is added: a 3x1x1
convolution after each 3x3 one of the residual blocks, and attention over the frames after that over
space (ours: the 2-D DMG and what time needs, so that the two differ by the time axis alone).
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from lamd.config import Target
from lamd.data.vocabulary import Vocabulary
from lamd.models.prompt import PromptEncoder
from lamd.models.unet import Parts, UNet
from lamd.nn import (
    KeysValues,
    ResBlock2d,
    ResBlock3d,
    SpaceTimeTransformer,
    SpatialTransformer,
    group_norm,
    sinusoidal_embedding,
)


class ContentTokens(nn.Module):
    """f_x0 as cross-attention tokens, one a latent cell, with a 2-D sinusoidal position (ours)."""

    def __init__(self, content_channels: int, context_channels: int):
        super().__init__()
        self.norm = group_norm(content_channels)
        self.project = nn.Conv2d(content_channels, context_channels, 1)

    def forward(self, f_x0: Tensor) -> Tensor:
        """Map (B, d', h, w) to tokens (B, h * w, context_channels)."""
        tokens = self.project(self.norm(f_x0))
        channels, height, width = tokens.shape[1:]
        rows, columns = (
            sinusoidal_embedding(torch.arange(n, device=tokens.device), channels // 2, 100.0)
            for n in (height, width)
        )
        position = torch.cat(
            [
                rows[:, None].expand(-1, width, -1),
                columns[None].expand(height, -1, -1),
            ],
            dim=-1,
        )  # (h, w, C)
        return (tokens + position.permute(2, 0, 1)).flatten(2).transpose(1, 2)


@dataclass(frozen=True)
class Condition:
    """What the denoiser takes of y, the same at each step.

    Attributes:
        keys_values: of the tokens, one pair for each attention block; empty without tokens.
        features: (B, C, h, w) concatenated to z_t, to each frame of it, or None.
        pooled: (B, 4 C) of the prompt, added to the step embedding, or None.
    """

    keys_values: list[KeysValues]
    features: Tensor | None
    pooled: Tensor | None


class DMG(UNet):
    """Latent-diffusion UNet over z_t, conditioned on f_x0 and, given a vocabulary, on a prompt."""

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
        parts = _parts_2d if num_latent_frames == 1 else _parts_3d
        self.build_scales(
            motion_channels + (base_channels if self.concat is not None else 0),
            motion_channels,
            channel_multipliers=channel_multipliers,
            num_res_blocks=num_res_blocks,
            attention_factors=attention_factors,
            parts=parts(head_channels, context),
        )

    def condition(self, f_x0: Tensor, words: Tensor | None = None) -> Condition:
        """Encode y once for all steps.

        Args:
            f_x0: (B, d', h, w) content feature of the first frame.
            words: (B, M) int64 of the prompts, as `prompt.words` gives them; needed by a model with
                prompts, and only there.
        """
        # torch 2.11 dies on CPUs when a GroupNorm trains on a channels-last input without gradient
        f_x0 = f_x0.contiguous()
        tokens = [self.tokens(f_x0)] if self.tokens is not None else []  # (B, h * w, C')
        pooled = None
        if self.prompt is not None:
            tokens.append(self.prompt(words))  # (B, M, C')
            pooled = self.prompt.pooled(words)
        keys_values: list[KeysValues] = []
        if tokens:
            source = torch.cat(tokens, dim=1)
            keys_values = [a.cross_attention.keys_values(source) for a in self.attentions()]
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
                features = features[:, :, None].expand(-1, -1, z_t.shape[2], -1, -1)
            z_t = torch.cat([z_t, features], dim=1)
        return self.predict(z_t, t, condition.keys_values, condition.pooled)

    def forward(self, z_t: Tensor, t: Tensor, f_x0: Tensor, words: Tensor | None = None) -> Tensor:
        """Predict the noise in z_t, as `denoise`, from what `condition` takes."""
        return self.denoise(z_t, t, self.condition(f_x0, words))


def _parts_2d(head_channels: int, context_channels: int | None) -> Parts:
    return Parts(
        residual=ResBlock2d,
        attention=lambda channels: SpatialTransformer(channels, head_channels, context_channels),
        conv=partial(nn.Conv2d, kernel_size=3, padding=1),
        stride=2,
    )


def _parts_3d(head_channels: int, context_channels: int | None) -> Parts:
    return Parts(
        residual=lambda a, b, embedding: ResBlock3d(a, b, "factorised", embedding),
        attention=lambda channels: SpaceTimeTransformer(
            channels, head_channels, "factorised", context_channels
        ),
        conv=partial(nn.Conv3d, kernel_size=(1, 3, 3), padding=(0, 1, 1)),
        stride=(1, 2, 2),
    )


def build_dmg(target: Target, vocabulary: Vocabulary | None = None) -> DMG:
    """Build the DMG of a target; one with prompts needs the vocabulary of its training split."""
    options = {}
    if target.dmg.prompt is not None:
        options = {
            "vocabulary": vocabulary,
            "max_prompt_tokens": target.dmg.prompt.max_tokens or 1,
            "num_prompt_layers": target.dmg.prompt.num_layers or 0,
            "pooled_prompt": target.dmg.prompt.pooled,
        }
    return DMG(
        motion_channels=target.vae.motion_channels,
        content_channels=target.vae.image_channels[-1],
        num_latent_frames=target.data.num_frames // target.vae.temporal_downsampling,
        **target.dmg.model_dump(exclude=target.dmg.beside_network),
        **options,
    )
