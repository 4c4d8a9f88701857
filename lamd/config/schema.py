"""The shape of a target: frozen models, unknown keys forbidden, every number with its unit.

Required fields have no default, so a YAML states each choice and tags its source (`paper`,
`reported` or `ours`). A combination in which an option has no effect is an error.
"""

import math
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lamd.config.baselines import BaselineRow, BaselinesConfig, check_baselines
from lamd.config.strict import (
    Count,
    Fraction,
    NonNegative,
    Positive,
    Strict,
    UNetWidths,
    is_power_of_two,
)

_CATER_ONLY = ("captions", "frame_interval")


# `real_test` scores the test clips' own captions, `permuted_prompts` gives LaMD the prompts of other clips.
Row = Literal[
    "real_train",
    "copy_first_frame",
    "real_test",
    "reconstruction",
    "lamd",
    "permuted_prompts",
    BaselineRow,
]


class DataConfig(Strict):
    """Which videos are used."""

    name: Literal["bair", "landscape", "cater_v1", "cater_v2", "natops", "mug"]
    source: Literal["real", "simulated"]
    camera: Literal["image_main", "image_aux1"] | None = None  # bair
    broken: Literal["skip", "stop"] | None = None  # all but bair: what unreadable files do
    captions: Literal["ambiguous", "explicit"] | None = None  # cater: which are the conditions
    frame_interval: Count | None = None  # cater: from one frame of a clip to the next
    num_frames: Count  # L
    size: Count  # H = W, pixels
    num_train: Count | None  # videos; None = the whole split
    num_test: Count | None
    simulation_seed: int | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        simulated = self.source == "simulated"
        if simulated != (self.simulation_seed is not None):
            raise ValueError("simulation_seed is needed with source: simulated, and only there")
        if simulated and (self.num_train is None or self.num_test is None):
            raise ValueError("source: simulated needs num_train and num_test")
        if (self.name == "bair") != (self.camera is not None):
            raise ValueError("camera is needed with name: bair, and only there")
        if (self.name != "bair") != (self.broken is not None):
            raise ValueError("broken (skip or stop) is needed with any name but bair, not there")
        for field in _CATER_ONLY:
            if self.name.startswith("cater_") != (getattr(self, field) is not None):
                raise ValueError(
                    f"{field} is needed with name: cater_v1 or cater_v2, and only there"
                )
        return self


class VAEConfig(Strict):
    """MCD-VAE: E_I, E_M, the bottleneck and D_V (paper Sec. 3.1; widths are ours)."""

    spatial_downsampling: Count  # f_s
    temporal_downsampling: Count  # f_t; below L, z_m keeps a time axis of L / f_t
    motion_channels: Count  # d
    image_channels: tuple[Count, ...]  # E_I, finest scale first; the last is d' of f_x0
    motion_encoder_channels: tuple[Count, ...]  # E_M, one width a spatial halving, finest first
    decoder_channels: tuple[Count, ...]  # D_V, finest scale first
    num_res_blocks: tuple[Annotated[int, Field(ge=0)], ...]  # E_I and D_V, finest scale first
    num_latent_blocks: Annotated[int, Field(ge=0)]  # 2-D, where time is gone, in E_M and D_V each
    num_skip_scales: Annotated[int, Field(ge=0)]  # k
    first_frame_residual: Literal["none", "add", "warp"]  # D_V adds to x_0, which warp moves first
    fusion: Literal["spade", "concat", "add"]
    conv3d: Literal["full", "factorised"]
    normalisation: Literal["channel", "instance", "layer", "none"]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("spatial_downsampling", "temporal_downsampling"):
            if not is_power_of_two(getattr(self, name)):
                raise ValueError(f"{name} must be a power of two")
        scales = int(math.log2(self.spatial_downsampling)) + 1
        entries = {
            "image_channels": scales,
            "motion_encoder_channels": scales - 1,
            "decoder_channels": scales,
            "num_res_blocks": scales,
        }
        for name, count in entries.items():
            if len(getattr(self, name)) != count:
                raise ValueError(
                    f"{name} needs {count} entries for spatial_downsampling {self.spatial_downsampling}"
                )
        if self.num_skip_scales > scales - 1:
            raise ValueError(f"num_skip_scales can be at most {scales - 1} here")
        return self


class GANConfig(Strict):
    """Adversarial term of stage I: a 3-D PatchGAN (ours) with LDM's adaptive weight (reported)."""

    start_step: Annotated[int, Field(ge=0)]
    weight: Positive  # factor on lambda when adaptive, lambda itself when fixed
    adaptive: bool
    loss: Literal["bce", "hinge"]
    base_channels: Count
    num_layers: Count
    learning_rate: Positive


class LossConfig(Strict):
    """Stage I: l1_weight * L1 + lpips_weight * LPIPS + kl_weight * KL + lambda * L_GAN.

    mse_weight * MSE (ours) finds small things that move in hundreds of steps where L1 takes
    thousands: while it is unsure where they are, the median that L1 asks for is the ground.
    """

    l1_weight: NonNegative
    mse_weight: Positive | None = None  # of [-1, 1] values
    lpips_weight: NonNegative
    lpips_backbone: Literal["alex", "vgg"]
    lpips_frames: Count | None  # random frames a clip that enter LPIPS; None = all
    kl_weight: NonNegative  # beta of the paper
    kl_reduction: Literal["mean", "sum"]  # over the elements of one latent; the batch is averaged
    gan: GANConfig | None


class PromptConfig(Strict):
    """What the DMG is told beside f_x0: a caption (TI2V) or a class, as cross-attention tokens."""

    kind: Literal["text", "class"]
    max_tokens: Count | None = None  # of a caption, start and end included
    num_layers: Annotated[int, Field(ge=0)] | None = None  # of the text encoder
    dropout: Fraction  # share of training clips without prompt, for classifier-free guidance
    pooled: bool = False  # its words, summed, also join the step embedding; False: paper

    @model_validator(mode="after")
    def _check(self) -> Self:
        text = self.kind == "text"
        if text != (self.max_tokens is not None) or text != (self.num_layers is not None):
            raise ValueError("max_tokens and num_layers are needed with kind: text, and only there")
        return self


class DMGConfig(UNetWidths):
    """DMG: LDM's 2-D UNet with cross-attention on z_m, and its diffusion process."""

    context_channels: Count
    condition: Literal["cross_attention", "concat", "both", "none"]
    posterior: Literal["sample", "mean"]  # which posterior value is diffused
    num_train_steps: Count  # T
    schedule: Literal["sqrt_linear", "linear", "cosine"]
    beta_start: Positive | None = None
    beta_end: Positive | None = None
    prediction: Literal["eps", "v"] = "eps"  # of the network; eps: paper
    prompt: PromptConfig | None = None
    # what the network's shape does not depend on, or not by this value alone
    beside_network: ClassVar = {
        "posterior", "num_train_steps", "schedule", "beta_start", "beta_end", "prediction", "prompt",
    }  # fmt: skip

    @model_validator(mode="after")
    def _check(self) -> Self:
        needs_betas = self.schedule != "cosine"
        if needs_betas != (self.beta_start is not None and self.beta_end is not None):
            raise ValueError("beta_start and beta_end go with schedule linear or sqrt_linear only")
        attends = self.condition in ("cross_attention", "both") or self.prompt is not None
        if attends and not self.attention_factors:
            raise ValueError("cross-attention needs at least one entry in attention_factors")
        return self


class TrainConfig(Strict):
    """One training stage; `batch_size` is global, over all processes and accumulated steps."""

    num_steps: Count
    batch_size: Count
    gradient_accumulation: Count
    learning_rate: Positive
    lr_schedule: Literal["constant", "cosine"]
    warmup_steps: Annotated[int, Field(ge=0)]
    weight_decay: NonNegative
    adam_betas: tuple[Fraction, Fraction]
    gradient_clip: Positive | None
    ema_decay: Fraction | None
    precision: Literal["fp32", "bf16", "fp16"]
    window_stride: Count  # training windows start at frame 0, s, 2s, ... of a trajectory
    log_every: Count
    checkpoint_every: Count
    validate_every: Count
    num_validation_clips: Count
    keep_last: Count
    seed: int

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.batch_size % self.gradient_accumulation:
            raise ValueError("batch_size must be a multiple of gradient_accumulation")
        if self.warmup_steps >= self.num_steps:
            raise ValueError("warmup_steps must be below num_steps")
        if self.validate_every > self.num_steps:
            raise ValueError("validate_every above num_steps would never validate")
        return self


class SamplerConfig(Strict):
    """How z_m is drawn: K of T steps (paper), DDIM (reported)."""

    name: Literal["ddim", "ddpm", "dpmpp_2m"]
    num_steps: Count  # K
    eta: NonNegative | None = None
    guidance_scale: Positive | None = None  # classifier-free; the paper does not mention it
    seed: int

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.name == "ddim") != (self.eta is not None):
            raise ValueError("eta goes with name: ddim, and is required there")
        return self


class RuntimeConfig(Strict):
    """How a run uses the machine; no hash covers it, since values change by rounding at most."""

    sampling_batch_size: Count
    compile: bool = False  # torch.compile of the denoiser


class CaptionerConfig(Strict):
    """Captioner that scores clips by their prompts: 3-D encoder, transformer decoder (ours)."""

    channels: tuple[Count, ...]  # of the encoder, one width a spatial halving, finest first
    num_layers: Count  # of the decoder
    head_channels: Count
    max_tokens: Count


class EvaluateConfig(Strict):
    """What is measured."""

    protocols: tuple[str, ...]
    samples_per_clip: Count
    grid_clips: Count  # clips shown in the grid


class Target(Strict):
    """One YAML: a table or figure of the paper, fully resolved for one profile."""

    target: str
    kind: Literal["table"]
    title: str
    published: str | None  # key in published.yaml of the paper's own cell
    compare_with: str | None  # key in published.yaml of the other methods' cells
    rows: tuple[Row, ...]
    scale: Literal["reduced", "full"]
    data: DataConfig
    vae: VAEConfig
    loss: LossConfig
    train_vae: TrainConfig
    dmg: DMGConfig
    train_dmg: TrainConfig
    sampler: SamplerConfig
    captioner: CaptionerConfig | None = None
    train_captioner: TrainConfig | None = None
    baselines: BaselinesConfig | None = None
    evaluate: EvaluateConfig
    runtime: RuntimeConfig

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.data.num_frames % self.vae.temporal_downsampling:
            raise ValueError("data.num_frames must be a multiple of vae.temporal_downsampling")
        if self.data.size % self.vae.spatial_downsampling:
            raise ValueError("data.size must be a multiple of vae.spatial_downsampling")
        latent = self.data.size // self.vae.spatial_downsampling
        deepest = 2 ** (len(self.dmg.channel_multipliers) - 1)
        if latent % deepest:
            raise ValueError(
                f"a {latent}x{latent} latent cannot be halved "
                f"{len(self.dmg.channel_multipliers) - 1} times; shorten dmg.channel_multipliers"
            )
        if self.loss.gan is not None and self.loss.gan.start_step >= self.train_vae.num_steps:
            raise ValueError("loss.gan.start_step at or above train_vae.num_steps has no effect")
        if self.loss.lpips_frames is not None and self.loss.lpips_frames >= self.data.num_frames:
            raise ValueError("loss.lpips_frames must be below data.num_frames; null means all")
        if self.sampler.num_steps > self.dmg.num_train_steps:
            raise ValueError("sampler.num_steps (K) cannot exceed dmg.num_train_steps (T)")
        if not self.rows or len(set(self.rows)) != len(self.rows):
            raise ValueError("rows: name at least one, and each once")
        self._check_prompt()
        check_baselines(self)
        return self

    def _check_prompt(self) -> None:
        prompt = self.dmg.prompt
        if prompt is None and "permuted_prompts" in self.rows:
            raise ValueError("row permuted_prompts needs dmg.prompt")
        if self.sampler.guidance_scale is not None and (prompt is None or not prompt.dropout):
            raise ValueError("sampler.guidance_scale needs dmg.prompt with dropout above 0")
        if (self.captioner is None) != (self.train_captioner is None):
            raise ValueError("captioner and train_captioner go together")
