"""The networks: MCD-VAE, DMG, the other paradigms' autoencoder and denoiser, captioner."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from lamd.config.strict import Fraction, Layers, Positive, Scales, Size, Strict


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError(f"{value} is not a power of two")
    return value


PowerOfTwo = Annotated[Size, AfterValidator(_power_of_two)]


class UNetWidths(Strict):
    """The skeleton of a denoiser."""

    base_channels: Size
    channel_multipliers: Scales
    num_res_blocks: Annotated[Layers, Field(ge=1)]
    attention_factors: tuple[Size, ...]  # down-sampling factors that get attention
    head_channels: Size

    def problems(self) -> Iterator[str]:
        if self.base_channels % 2:
            yield "base_channels must be even, for sines and cosines of the step"
        factors = [2**level for level in range(len(self.channel_multipliers))]
        if not set(self.attention_factors) <= set(factors):
            yield f"attention_factors must be among {factors}"
        for factor, multiplier in zip(factors, self.channel_multipliers, strict=True):
            width = self.base_channels * multiplier
            if factor in (*self.attention_factors, factors[-1]):  # the deepest level always
                yield from _head_problems(width, self.head_channels)


def _head_problems(width: int, head_channels: int) -> Iterator[str]:
    if width % max(1, width // head_channels):
        yield f"head_channels: {width} channels cannot be split into heads of {head_channels}"


class VAEConfig(Strict):
    """MCD-VAE: E_I, E_M, the bottleneck and D_V (paper Sec. 3.1)."""

    spatial_downsampling: PowerOfTwo  # f_s
    temporal_downsampling: PowerOfTwo  # f_t; below L, z_m keeps a time axis of L / f_t
    motion_channels: Size  # d
    image_channels: Scales  # E_I, finest scale first; the last is d' of f_x0
    motion_encoder_channels: Scales  # E_M, one width per spatial halving, finest first
    decoder_channels: Scales  # D_V, finest scale first
    num_res_blocks: tuple[Layers, ...]  # E_I and D_V, finest scale first
    num_latent_blocks: Layers  # 2-D, where time is gone, in E_M and D_V each
    num_skip_scales: Layers  # k
    # D_V adds to x_0; warp moves x_0 first; compose keeps only a share of it, so that it can erase
    first_frame_residual: Literal["none", "add", "warp", "compose"]
    # D_V moves the skips along coarse flows; its deepest cells gather content by attention
    moved_skips: bool = Field(default=False, exclude_if=lambda moved: not moved)
    copy_attention: bool = Field(default=False, exclude_if=lambda copies: not copies)
    # largest change of E_M's colours in training, so that z_m does not hold appearance
    colour_jitter: Fraction | None = Field(default=None, exclude_if=lambda jitter: jitter is None)
    fusion: Literal["spade", "add"]
    conv3d: Literal["full", "factorised"]
    normalisation: Literal["channel", "instance", "layer", "none"]

    def problems(self) -> Iterator[str]:
        scales = self.spatial_downsampling.bit_length()
        if scales < 2:
            yield "spatial_downsampling must be at least 2"
        counts = dict.fromkeys(("image_channels", "decoder_channels", "num_res_blocks"), scales)
        for name, count in (counts | {"motion_encoder_channels": scales - 1}).items():
            if len(getattr(self, name)) != count:
                yield f"{name} needs {count} entries for this spatial_downsampling"
        if self.num_skip_scales > scales - 1:
            yield f"num_skip_scales can be at most {scales - 1} here"
        if (self.moved_skips or self.copy_attention) and not self.num_skip_scales:
            yield "moved_skips and copy_attention need num_skip_scales above 0"


class PromptConfig(Strict):
    """The DMG's condition next to f_x0: a caption (TI2V) or a class, as cross-attention tokens."""

    kind: Literal["text", "class"]
    max_tokens: Size | None = None  # of a caption, start and end included
    num_layers: Layers | None = None  # of the text encoder
    dropout: Fraction  # share of training clips without prompt, for classifier-free guidance
    pooled: bool = False  # the sum of its tokens is added to the step embedding; False: paper

    def problems(self) -> Iterator[str]:
        text = self.kind == "text"
        if text != (self.max_tokens is not None) or text != (self.num_layers is not None):
            yield "max_tokens and num_layers are needed with kind: text, and only there"


class DMGConfig(UNetWidths):
    """DMG: LDM's 2-D UNet with cross-attention on z_m, and its diffusion process."""

    context_channels: Size
    condition: Literal["cross_attention", "concat", "both", "none"]
    posterior: Literal["sample", "mean"]  # which posterior value is diffused
    num_train_steps: Size  # T
    schedule: Literal["sqrt_linear", "linear", "cosine"]
    beta_start: Positive | None = None
    beta_end: Positive | None = None
    prediction: Literal["eps", "v"] = "eps"  # of the network; eps: paper
    # gamma of arXiv 2303.09556: steps count by min(SNR, gamma) in units of z's error; None: paper
    min_snr: Positive | None = Field(default=None, exclude_if=lambda gamma: gamma is None)
    prompt: PromptConfig | None = None
    process: ClassVar = {"num_train_steps", "schedule", "beta_start", "beta_end"}

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        needs_betas = self.schedule != "cosine"
        if needs_betas != (self.beta_start is not None and self.beta_end is not None):
            yield "beta_start and beta_end go with schedule linear or sqrt_linear only"
        elif needs_betas and not 0 < (self.beta_start or 0) <= (self.beta_end or 0) < 1:
            yield "betas rise and are below 1: 0 < beta_start <= beta_end < 1"
        attends = self.condition in ("cross_attention", "both") or self.prompt is not None
        if attends and not self.attention_factors:
            yield "cross-attention needs at least one entry in attention_factors"
        for key in ("base_channels", "context_channels"):
            if attends and getattr(self, key) % 4:
                yield f"{key} must be a multiple of 4, for the sines and cosines of two axes"
        if self.prompt is not None and self.prompt.kind == "text":
            yield from _head_problems(self.context_channels, self.head_channels)


class VideoAutoencoderConfig(Strict):
    """The 3-D KL autoencoder of latent-video diffusion."""

    spatial_downsampling: PowerOfTwo  # f_s
    temporal_downsampling: PowerOfTwo  # f_t
    latent_channels: Size
    channels: Annotated[Scales, Field(min_length=1)]  # finest scale first
    num_res_blocks: Layers
    conv3d: Literal["full", "factorised"]
    # whether the decoder sees x_0, at each of its scales
    first_frame: Literal["none", "concat"] = Field(
        default="none", exclude_if=lambda kind: kind == "none"
    )


class CaptionerConfig(Strict):
    """Captioner that scores clips by their prompts: 3-D encoder, transformer decoder."""

    channels: Scales  # of the encoder, one width per spatial halving, finest first
    num_layers: Annotated[Layers, Field(ge=1)]  # of the decoder
    head_channels: Size
    max_tokens: Size

    def problems(self) -> Iterator[str]:
        yield from _head_problems(self.channels[-1], self.head_channels)
