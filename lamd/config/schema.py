"""The parts of a table's config: frozen models, unknown keys forbidden, every number with its unit.

Required fields have no default, so that a YAML states each choice. Symbols are the paper's: L
frames of H x W pixels, z_m of d channels, f_x0 of d' channels, T training and K sampling steps. A
combination in which an option has no effect is an error.
"""

import math
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from lamd.config.registries import DATA_OPTIONS, SAMPLERS, Baseline, DataName, SamplerName
from lamd.config.strict import (
    BatchConfig,
    Count,
    CountOrZero,
    Fraction,
    NonNegative,
    Positive,
    PowerOfTwo,
    Strict,
    UNetWidths,
)


class DataConfig(Strict):
    """The videos that are used; a data set's own keys, such as `camera`, follow the common ones."""

    model_config = ConfigDict(extra="allow")  # own keys are checked by the data set's options

    name: DataName
    source: Literal["real", "simulated"]
    num_frames: Count  # L
    size: Count  # H = W, pixels
    num_train: Count | None  # videos; None = the whole split
    num_test: Count | None
    simulation_seed: int | None = None

    @classmethod
    def known_keys(cls) -> set[str]:
        """Return the common keys and those of all data sets."""
        return super().known_keys().union(*(own.model_fields for own in DATA_OPTIONS.values()))

    @property
    def own(self) -> dict[str, Any]:
        """The data set's own keys."""
        return dict(self.model_extra or {})

    @model_validator(mode="before")
    @classmethod
    def _check_own(cls, tree: Any) -> Any:
        options = DATA_OPTIONS.get(str(tree.get("name"))) if isinstance(tree, dict) else None
        if options is None:
            return tree
        unset = {key for key in cls.known_keys() if tree.get(key) is None}  # as `camera: null`
        own = {k: v for k, v in tree.items() if k not in {*cls.model_fields, *unset}}
        common = {key: value for key, value in tree.items() if key in cls.model_fields}
        return common | options.model_validate(own).model_dump()

    @model_validator(mode="after")
    def _check(self) -> Self:
        simulated = self.source == "simulated"
        if simulated != (self.simulation_seed is not None):
            raise ValueError("simulation_seed is needed with source: simulated, and only there")
        if simulated and (self.num_train is None or self.num_test is None):
            raise ValueError("source: simulated needs num_train and num_test")
        return self


class VAEConfig(Strict):
    """MCD-VAE: E_I, E_M, the bottleneck and D_V (paper Sec. 3.1)."""

    spatial_downsampling: PowerOfTwo  # f_s
    temporal_downsampling: PowerOfTwo  # f_t; below L, z_m keeps a time axis of L / f_t
    motion_channels: Count  # d
    image_channels: tuple[Count, ...]  # E_I, finest scale first; the last is d' of f_x0
    motion_encoder_channels: tuple[Count, ...]  # E_M, one width per spatial halving, finest first
    decoder_channels: tuple[Count, ...]  # D_V, finest scale first
    num_res_blocks: tuple[CountOrZero, ...]  # E_I and D_V, finest scale first
    num_latent_blocks: CountOrZero  # 2-D, where time is gone, in E_M and D_V each
    num_skip_scales: CountOrZero  # k
    first_frame_residual: Literal["none", "add", "warp"]  # D_V adds to x_0; warp moves x_0 first
    fusion: Literal["spade", "concat", "add"]
    conv3d: Literal["full", "factorised"]
    normalisation: Literal["channel", "instance", "layer", "none"]

    @model_validator(mode="after")
    def _check(self) -> Self:
        scales = int(math.log2(self.spatial_downsampling)) + 1
        if scales < 2:
            raise ValueError("spatial_downsampling must be at least 2")
        counts = dict.fromkeys(("image_channels", "decoder_channels", "num_res_blocks"), scales)
        for name, count in (counts | {"motion_encoder_channels": scales - 1}).items():
            if len(getattr(self, name)) != count:
                raise ValueError(f"{name} needs {count} entries for this spatial_downsampling")
        if self.num_skip_scales > scales - 1:
            raise ValueError(f"num_skip_scales can be at most {scales - 1} here")
        return self


class GANConfig(Strict):
    """Adversarial term of stage I: a 3-D PatchGAN with LDM's adaptive weight (reported)."""

    start_step: CountOrZero
    weight: Positive  # factor on lambda when adaptive, lambda itself when fixed
    adaptive: bool
    loss: Literal["bce", "hinge"]
    base_channels: Count
    num_layers: Count
    learning_rate: Positive


class LossConfig(Strict):
    """Stage I: l1_weight * L1 + lpips_weight * LPIPS + kl_weight * KL + lambda * L_GAN.

    mse_weight * MSE finds small things that move in hundreds of steps where L1 takes
    thousands: while their position is uncertain, L1 is minimal at the median, the background.
    """

    l1_weight: NonNegative
    mse_weight: Positive | None = None  # of [-1, 1] values
    lpips_weight: NonNegative
    lpips_backbone: Literal["alex", "vgg"]
    lpips_frames: Count | None  # random frames per clip that enter LPIPS; None = all
    kl_weight: NonNegative  # beta of the paper
    kl_reduction: Literal["mean", "sum"]  # over the elements of one latent; the batch is averaged
    gan: GANConfig | None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not (self.l1_weight or self.mse_weight or self.lpips_weight):
            raise ValueError("needs l1_weight, mse_weight or lpips_weight above 0")
        return self


class PromptConfig(Strict):
    """The DMG's condition next to f_x0: a caption (TI2V) or a class, as cross-attention tokens."""

    kind: Literal["text", "class"]
    max_tokens: Count | None = None  # of a caption, start and end included
    num_layers: CountOrZero | None = None  # of the text encoder
    dropout: Fraction  # share of training clips without prompt, for classifier-free guidance
    pooled: bool = False  # the sum of its tokens is added to the step embedding; False: paper

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
    process: ClassVar = {"num_train_steps", "schedule", "beta_start", "beta_end"}
    not_shape: ClassVar = {*process, "posterior", "prediction", "prompt"}  # or not by this alone

    @model_validator(mode="after")
    def _check(self) -> Self:
        needs_betas = self.schedule != "cosine"
        if needs_betas != (self.beta_start is not None and self.beta_end is not None):
            raise ValueError("beta_start and beta_end go with schedule linear or sqrt_linear only")
        attends = self.condition in ("cross_attention", "both") or self.prompt is not None
        if attends and not self.attention_factors:
            raise ValueError("cross-attention needs at least one entry in attention_factors")
        return self


class TrainConfig(BatchConfig):
    """A training stage; times and intervals are numbers of optimiser steps."""

    num_steps: Count
    lr_schedule: Literal["constant", "cosine"]
    warmup_steps: CountOrZero
    weight_decay: NonNegative
    adam_betas: tuple[Fraction, Fraction]
    gradient_clip: Positive | None
    ema_decay: Fraction | None
    precision: Literal["fp32", "bf16", "fp16"]
    window_stride: Count  # training windows start at frame 0, s, 2 s, ... of a video
    log_every: Count
    checkpoint_every: Count
    validate_every: Count
    num_validation_clips: Count
    keep_last: Count
    seed: int

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.warmup_steps >= self.num_steps:
            raise ValueError("warmup_steps must be below num_steps")
        if self.validate_every > self.num_steps:
            raise ValueError("validate_every above num_steps would never validate")
        return self


class SamplerConfig(Strict):
    """Sampling of z_m: K of T steps (paper), DDIM (reported)."""

    name: SamplerName
    num_steps: Count  # K
    eta: NonNegative | None = None
    guidance_scale: Positive | None = None  # classifier-free; the paper does not mention it
    seed: int

    @model_validator(mode="after")
    def _check(self) -> Self:
        if SAMPLERS[self.name].takes_eta != (self.eta is not None):
            takers = " or ".join(name for name, rule in SAMPLERS.items() if rule.takes_eta)
            raise ValueError(f"eta is needed with name: {takers}, and only there")
        return self


class RuntimeConfig(Strict):
    """Use of the machine; no hash covers it, since values change by rounding at most."""

    sampling_batch_size: Count
    compile: bool = False  # torch.compile of the denoiser
    threads: Count | None = None  # of a cell in an executor; None: the cores are shared by the jobs
    gpus: NonNegative = 0.0  # of a cell, requested from a cluster


class CaptionerConfig(Strict):
    """Captioner that scores clips by their prompts: 3-D encoder, transformer decoder."""

    channels: tuple[Count, ...]  # of the encoder, one width per spatial halving, finest first
    num_layers: Count  # of the decoder
    head_channels: Count
    max_tokens: Count


class EvaluateConfig(Strict):
    """Protocols and clips of the measurement."""

    protocols: tuple[str, ...]
    samples_per_clip: Count
    grid_clips: Count  # clips shown in the grid


class DenoiserConfig(BatchConfig):
    """A 3-D denoiser and its own training options; alone, pixel-space diffusion."""

    unet: UNetWidths | None  # None: the DMG's own widths, the paper's comparison
    conv3d: Literal["full", "factorised"]
    num_sampling_steps: Count | None  # None: sampler.num_steps (K)
    prediction: Literal["eps", "v"] = "eps"  # of the network


class VideoAutoencoderConfig(Strict):
    """The 3-D KL autoencoder of latent-video diffusion."""

    spatial_downsampling: PowerOfTwo  # f_s
    temporal_downsampling: PowerOfTwo  # f_t
    latent_channels: Count
    channels: Annotated[tuple[Count, ...], Field(min_length=1)]  # finest scale first
    num_res_blocks: CountOrZero
    conv3d: Literal["full", "factorised"]


class LatentVideoConfig(DenoiserConfig):
    """Diffusion on a latent with a time axis."""

    autoencoder: VideoAutoencoderConfig


class BaselinesConfig(Strict):
    """The two other paradigms as rows of a table: pixel-space and latent-video diffusion.

    Their numbers of training steps follow from a row's budget (`lamd.paradigms.budget`). All else
    is as for LaMD: the noise schedule of the DMG; optimiser, EMA, seed and held-out clips of
    `train_dmg`; the video autoencoder is trained by `loss` and `train_vae`, as the MCD-VAE.
    """

    pixel: DenoiserConfig | None = None
    latent_video: LatentVideoConfig | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.pixel is None and self.latent_video is None:
            raise ValueError("needs pixel or latent_video; without both it has no effect")
        return self

    def of(self, name: Baseline) -> DenoiserConfig | None:
        """Return the options of one baseline, None when the table does not have it."""
        return getattr(self, name)
