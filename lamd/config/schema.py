"""The config of a table and its parts, every number with its unit.

Required fields have no default, so that a YAML states each choice. Symbols are the paper's: L
frames of H x W pixels, z_m of d channels, f_x0 of d' channels, T training and K sampling steps. A
combination in which an option has no effect is an error.
"""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from lamd.base.limits import MOST_CLIP, MOST_VIDEOS
from lamd.config import registries
from lamd.config.registries import DATA_OPTIONS, ROW_RULES, SAMPLERS, Baseline
from lamd.config.strict import (
    DISTINCT,
    Count,
    CountOrZero,
    Fraction,
    Layers,
    Name,
    NonNegative,
    Positive,
    Scales,
    Size,
    Strict,
)


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError(f"{value} is not a power of two")
    return value


Videos = Annotated[Count, Field(le=MOST_VIDEOS)]
PowerOfTwo = Annotated[Size, AfterValidator(_power_of_two)]


class UNetWidths(Strict):
    """The skeleton of a denoiser."""

    base_channels: Size
    channel_multipliers: Scales
    num_res_blocks: Annotated[Layers, Field(ge=1)]
    attention_factors: tuple[Size, ...]  # down-sampling factors that get attention
    head_channels: Size

    def problems(self) -> Iterator[str]:
        factors = [2**level for level in range(len(self.channel_multipliers))]
        if not set(self.attention_factors) <= set(factors):
            yield f"attention_factors must be among {factors}"
        for factor, multiplier in zip(factors, self.channel_multipliers, strict=True):
            width = self.base_channels * multiplier
            attends = factor in (*self.attention_factors, factors[-1])  # the deepest level always
            if attends and width % max(1, width // self.head_channels):
                yield (
                    f"head_channels: {width} channels cannot be split into heads of "
                    f"{self.head_channels}; use a divisor of base_channels ({self.base_channels})"
                )


class BatchConfig(Strict):
    """A batch, global over all processes, and its step size.

    A micro-batch is the most that a process holds at once. It counts as part of the method, since
    BatchNorm sees one at a time, whatever the number of processes.
    """

    batch_size: Size
    micro_batch_size: Size | None = None  # None: the whole batch
    learning_rate: Positive

    @property
    def clips_at_once(self) -> int:
        """The size of a whole micro-batch."""
        return self.micro_batch_size or self.batch_size

    def problems(self) -> Iterator[str]:
        if self.micro_batch_size is not None and self.micro_batch_size >= self.batch_size:
            yield "micro_batch_size must be below batch_size; null means the whole batch"


class AugmentConfig(Strict):
    """Random changes to training clips, drawn once per variant and equal in both stages."""

    variants: int = Field(ge=2, le=1000)  # of each training window; the first is unchanged
    flip: bool  # mirrors left and right, half of the others
    crop: float = Field(ge=0.5, le=1.0)  # least side of a random square, resized to the whole; ours
    time_jitter: bool  # frame i of L is drawn from the i-th L-th of the video, not fixed (LFDM's)

    @property
    def used(self) -> list[str]:
        """The keys that change clips."""
        used = {"flip": self.flip, "crop": self.crop < 1.0, "time_jitter": self.time_jitter}
        return [key for key, value in used.items() if value]

    def problems(self) -> Iterator[str]:
        if not self.used:
            yield "changes nothing; set flip, crop or time_jitter, or augment to null"


class DataConfig(Strict):
    """The videos that are used; a data set's own keys, such as `camera`, follow the common ones."""

    model_config = ConfigDict(extra="allow")  # own keys are checked by the data set's options

    name: registries.DataName
    source: Literal["real", "simulated"]
    num_frames: Size  # L
    size: Size  # H = W, pixels
    num_train: Videos | None  # None = the whole split
    num_test: Videos | None
    simulation_seed: int | None = None
    # left out of hashes while there is none
    augment: AugmentConfig | None = Field(None, exclude_if=lambda augment: augment is None)

    @classmethod
    def known_keys(cls) -> set[str]:
        """Return the common keys and those of all data sets."""
        return super().known_keys().union(*(own.model_fields for own in DATA_OPTIONS.values()))

    @property
    def own(self) -> dict[str, Any]:
        """The data set's own keys."""
        return dict(self.model_extra or {})

    @property
    def num_variants(self) -> int:
        """The number of clips that stages train on per training window."""
        return 1 if self.augment is None else self.augment.variants

    @model_validator(mode="before")
    @classmethod
    def _check_own(cls, tree: Any) -> Any:
        options = DATA_OPTIONS.get(str(tree.get("name"))) if isinstance(tree, dict) else None
        if options is None:
            return tree
        common = {key: value for key, value in tree.items() if key in cls.model_fields}
        unset = {key for key in cls.known_keys() if tree.get(key) is None}  # as `camera: null`
        own = {key: value for key, value in tree.items() if key not in {*common, *unset}}
        return common | options.model_validate(own).model_dump(exclude_none=True)

    def problems(self) -> Iterator[str]:
        simulated = self.source == "simulated"
        if simulated != (self.simulation_seed is not None):
            yield "simulation_seed is needed with source: simulated, and only there"
        if simulated and (self.num_train is None or self.num_test is None):
            yield "source: simulated needs num_train and num_test"
        yield from clip_problems(self.num_frames, self.size)
        resized = "resize" in DATA_OPTIONS[self.name].model_fields
        if resized and simulated != (self.own.get("resize") is None):
            yield "resize is needed with source: real, and only there"
        for key in self.augment.used if self.augment else ():
            if key not in DATA_OPTIONS[self.name].augmentations:
                yield f"augment.{key} would falsify the clips of {self.name}; switch it off"


def clip_problems(num_frames: int, size: int) -> Iterator[str]:
    """Yield that a clip of so many frames and pixels is larger than may be, if it is."""
    if num_frames * size**2 * 3 > MOST_CLIP:
        yield f"a clip of {num_frames:,} frames of {size:,} pixels is above {MOST_CLIP:,} bytes"


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


class GANConfig(Strict):
    """Adversarial term of stage I: a 3-D PatchGAN with LDM's adaptive weight (reported)."""

    start_step: CountOrZero
    ramp_steps: CountOrZero  # lambda rises linearly over so many steps from start_step on
    weight: Positive  # factor on lambda when adaptive, lambda itself when fixed
    adaptive: bool
    loss: Literal["bce", "hinge"]
    base_channels: Size
    num_layers: Annotated[Layers, Field(ge=1)]
    learning_rate: Positive  # of the discriminator, constant


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
    # mean or sum over the elements of a latent, or their sum over the values in a clip
    kl_reduction: Literal["mean", "sum", "per_pixel"]
    gan: GANConfig | None

    def problems(self) -> Iterator[str]:
        if not (self.l1_weight or self.mse_weight or self.lpips_weight):
            yield "needs l1_weight, mse_weight or lpips_weight above 0"


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
        attends = self.condition in ("cross_attention", "both") or self.prompt is not None
        if attends and not self.attention_factors:
            yield "cross-attention needs at least one entry in attention_factors"
        for key in ("base_channels", "context_channels"):
            if attends and getattr(self, key) % 4:
                yield f"{key} must be a multiple of 4, for the sines and cosines of two axes"


class EarlyStopping(Strict):
    """End of a training whose validation loss no longer falls; the best checkpoint is its model."""

    patience: Count  # validations in a row without a new best


class SmallClips(Strict):
    """The first steps of an autoencoder's training, on smaller clips: more of them are seen."""

    size: Size  # H = W, pixels; below data.size
    num_steps: Count


class TrainConfig(BatchConfig):
    """A training stage; times and intervals are numbers of optimiser steps."""

    num_steps: Count
    lr_schedule: Literal["constant", "cosine"]
    warmup_steps: CountOrZero
    weight_decay: NonNegative
    adam_betas: tuple[Fraction, Fraction]
    gradient_clip: Positive | None
    ema_decay: Fraction | None
    # of averages, for sampler.ema_length; None: none are stored
    ema_snapshots: Count | None = Field(default=None, exclude_if=lambda count: count is None)
    precision: Literal["fp32", "bf16", "fp16"]
    window_stride: Count  # training windows start at frame 0, s, 2 s, ... of a video
    log_every: Count
    checkpoint_every: Count
    validate_every: Count
    num_validation_clips: Videos
    validation_fraction: Fraction | None = None  # of the videos, at most; None: no such limit
    early_stopping: EarlyStopping | None = None  # None: the model is the last one
    small_clips: SmallClips | None = Field(default=None, exclude_if=lambda small: small is None)
    keep_last: Count
    seed: int

    @property
    def num_averages(self) -> int:
        """The number of running averages of all weights."""
        return (self.ema_decay is not None) + 2 * (self.ema_snapshots is not None)

    def num_held_out(self, num_videos: int) -> int:
        """Return how many of the videos are held out for validation."""
        if self.validation_fraction is None:
            return self.num_validation_clips
        return min(self.num_validation_clips, max(1, int(self.validation_fraction * num_videos)))

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.warmup_steps >= self.num_steps:
            yield "warmup_steps must be below num_steps"
        if self.validate_every > self.num_steps:
            yield "validate_every above num_steps would never validate"
        if self.small_clips is not None and self.small_clips.num_steps >= self.num_steps:
            yield "small_clips.num_steps must be below num_steps"
        if (self.ema_snapshots or 0) > self.num_steps:
            yield "ema_snapshots cannot be above num_steps"
        if self.ema_snapshots is not None and self.early_stopping is not None:
            yield "ema_snapshots needs early_stopping null: they are spaced over all num_steps"


class SamplerConfig(Strict):
    """Sampling of z_m: K of T steps (paper), DDIM (reported)."""

    name: registries.SamplerName
    num_steps: Count  # K
    eta: NonNegative | None = None
    guidance_scale: Positive | None = None  # classifier-free; the paper does not mention it
    # largest |z_hat| at each step, in standard deviations of the training latents; None: paper
    clamp: Positive | None = Field(default=None, exclude_if=lambda bound: bound is None)
    # of the average of the denoiser's weights, relative to the training (EDM2's sigma_rel); None:
    # the average of train_dmg.ema_decay
    ema_length: float | None = Field(
        default=None, ge=0.01, le=0.25, exclude_if=lambda length: length is None
    )
    seed: int

    def problems(self) -> Iterator[str]:
        if SAMPLERS[self.name].takes_eta != (self.eta is not None):
            takers = " or ".join(name for name, rule in SAMPLERS.items() if rule.takes_eta)
            yield f"eta is needed with name: {takers}, and only there"


class RuntimeConfig(Strict):
    """Use of the machine; no hash covers it, since values change by rounding at most."""

    sampling_batch_size: Size  # clips denoised at once
    decoding_batch_size: Size | None = None  # clips in the autoencoder; None: as many
    gradient_checkpointing: bool = False  # recompute blocks in the backward pass: less memory
    compile: bool = False  # torch.compile of the denoiser, to sample
    threads: Size | None = None  # of a cell in an executor; None: the cores are shared by the jobs
    gpus: NonNegative = 0.0  # of a cell, requested from a cluster

    @property
    def decoded_at_once(self) -> int:
        """Clips in a batch of the autoencoder."""
        return self.decoding_batch_size or self.sampling_batch_size


class CaptionerConfig(Strict):
    """Captioner that scores clips by their prompts: 3-D encoder, transformer decoder."""

    channels: Scales  # of the encoder, one width per spatial halving, finest first
    num_layers: Annotated[Layers, Field(ge=1)]  # of the decoder
    head_channels: Size
    max_tokens: Size


# Windows of L frames of a test video: `disjoint` from frames 0, L, 2 L, ..., the `first`, or `all`
Windows = Literal["disjoint", "first", "all"]


class EvaluateConfig(Strict):
    """Protocols and clips of the measurement."""

    protocols: tuple[str, ...]
    windows: Windows = Field("disjoint", exclude_if=lambda rule: rule == "disjoint")
    samples_per_clip: Size
    grid_clips: Size  # clips shown in the grid


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
    latent_channels: Size
    channels: Annotated[Scales, Field(min_length=1)]  # finest scale first
    num_res_blocks: Layers
    conv3d: Literal["full", "factorised"]
    # whether the decoder sees x_0, at each of its scales
    first_frame: Literal["none", "concat"] = Field(
        default="none", exclude_if=lambda kind: kind == "none"
    )


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
    # LaMD's training FLOPs, times which the `_flops` rows train
    budget_factor: Positive = Field(default=1.0, exclude_if=lambda factor: factor == 1.0)

    def problems(self) -> Iterator[str]:
        if self.pixel is None and self.latent_video is None:
            yield "needs pixel or latent_video; without both it has no effect"


class AnyTarget(Strict):
    """Base of all kinds of target; a kind narrows `kind` to its own name."""

    target: Name
    kind: str
    title: str


class Target(AnyTarget):
    """One YAML: a table or figure of the paper, fully resolved for one profile."""

    kind: Literal["table"]
    published: str | None  # key in published.yaml of the paper's own cell
    compare_with: str | None  # key in published.yaml of the other methods' cells
    rows: Annotated[tuple[registries.RowName, ...], DISTINCT]
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

    def problems(self) -> Iterator[str]:
        data, loss = self.data, self.loss
        if data.num_frames % self.vae.temporal_downsampling:
            yield "data.num_frames must be a multiple of vae.temporal_downsampling"
        if data.size % self.vae.spatial_downsampling:
            yield "data.size must be a multiple of vae.spatial_downsampling"
        yield from self._small_clips_problems()
        latent_size = data.size // self.vae.spatial_downsampling
        yield from _halving_problems("dmg", latent_size, self.dmg)
        if loss.gan is not None and loss.gan.start_step >= self.train_vae.num_steps:
            yield "loss.gan.start_step at or above train_vae.num_steps has no effect"
        if loss.gan is not None and self.train_vae.early_stopping is not None:
            yield "train_vae.early_stopping needs loss.gan null: an adversary raises l1_lpips"
        if self.baselines is not None and self.train_dmg.early_stopping is not None:
            yield "train_dmg.early_stopping needs baselines null: budgets count all steps"
        if loss.lpips_frames is not None and loss.lpips_frames >= data.num_frames:
            yield "loss.lpips_frames must be below data.num_frames; null means all"
        if self.sampler.num_steps > self.dmg.num_train_steps:
            yield "sampler.num_steps (K) cannot exceed dmg.num_train_steps (T)"
        prompt = self.dmg.prompt
        for row in self.rows:
            if ROW_RULES[row].needs_prompt and prompt is None:
                yield f"row {row} needs dmg.prompt"
            if ROW_RULES[row].simulated and data.source != "simulated":
                yield f"row {row} needs data.source: simulated; take it out"
        if self.sampler.ema_length is not None and self.train_dmg.ema_snapshots is None:
            yield "sampler.ema_length needs train_dmg.ema_snapshots"
        for stage in (self.train_vae, self.train_captioner):
            if stage is not None and stage.ema_snapshots is not None:
                yield "ema_snapshots goes with train_dmg only"
        if self.sampler.guidance_scale is not None and (prompt is None or not prompt.dropout):
            yield "sampler.guidance_scale needs dmg.prompt with dropout above 0"
        if (self.captioner is None) != (self.train_captioner is None):
            yield "captioner and train_captioner go together"
        for row in self.rows:
            needed = ROW_RULES[row].baseline
            if needed and self.baseline(needed) is None:
                yield f"row {row} needs baselines.{needed}"
        yield from self._baseline_problems()

    def _small_clips_problems(self) -> Iterator[str]:
        for stage in (self.train_dmg, self.train_captioner):
            if stage is not None and stage.small_clips is not None:
                yield "small_clips goes with train_vae only"
        if (small := self.train_vae.small_clips) is None:
            return
        factors = [self.vae.spatial_downsampling]
        if self.baselines is not None and self.baselines.latent_video is not None:
            factors.append(self.baselines.latent_video.autoencoder.spatial_downsampling)
        if small.size >= self.data.size or any(small.size % factor for factor in factors):
            yield "train_vae.small_clips.size must be below data.size, a multiple of f_s"
        if self.loss.gan is not None and self.loss.gan.start_step < small.num_steps:
            yield "loss.gan.start_step must not be below train_vae.small_clips.num_steps"

    def at_size(self, size: int) -> "Target":
        """Return the target whose clips have that size in every step of its trainings."""
        return self.model_copy(
            update={
                "data": self.data.model_copy(update={"size": size}),
                "train_vae": self.train_vae.model_copy(update={"small_clips": None}),
            }
        )

    def _baseline_problems(self) -> Iterator[str]:
        if self.baselines is not None and self.dmg.prompt is not None:
            yield "baselines take no prompt; delete baselines or dmg.prompt"
        for name in get_args(Baseline):
            if (denoiser := self.baseline(name)) is None:
                continue
            if isinstance(denoiser, LatentVideoConfig):
                if self.data.num_frames % denoiser.autoencoder.temporal_downsampling:
                    yield "data.num_frames must be a multiple of the autoencoder's f_t"
                if self.data.size % denoiser.autoencoder.spatial_downsampling:
                    yield "data.size must be a multiple of the autoencoder's f_s"
            size, widths = denoised_shape(self, name)[2], denoiser.unet or self.dmg
            yield from _halving_problems(f"baselines.{name}", size, widths)
            if (denoiser.num_sampling_steps or 1) > self.dmg.num_train_steps:
                yield f"baselines.{name}.num_sampling_steps cannot exceed T"

    def baseline(self, name: Baseline) -> DenoiserConfig | None:
        """Return the options of a baseline, None when the table does not have it."""
        return getattr(self.baselines, name, None)

    def denoiser(self, name: Baseline) -> DenoiserConfig:
        """Return the options of a baseline; ValueError when the table does not have it."""
        if (denoiser := self.baseline(name)) is None:
            raise ValueError(f"{self.target} has no baselines.{name}")
        return denoiser


def _halving_problems(name: str, size: int, widths: UNetWidths) -> Iterator[str]:
    count = len(widths.channel_multipliers) - 1
    if size % 2**count:
        yield f"{name}: {size}x{size} cannot be halved {count} times; shorten channel_multipliers"


def unet_options(target: Target, name: Baseline, mode: str = "python") -> dict[str, Any]:
    """Return the keyword arguments of a baseline's UNet, channels apart, dumped by `mode`."""
    denoiser, fields = target.denoiser(name), set(UNetWidths.model_fields)
    widths = (denoiser.unet or target.dmg).model_dump(mode=mode, include=fields)
    return widths | {"conv3d": denoiser.conv3d}


def denoiser_config(target: Target, name: Baseline) -> dict[str, Any]:
    """Return what a trained denoiser depends on, apart from data, parents and training options."""
    process = target.dmg.process | ({"posterior"} if name == "latent_video" else set())
    denoiser = target.denoiser(name)
    return {
        "unet": unet_options(target, name, mode="json"),
        "process": target.dmg.model_dump(mode="json", include=process, exclude_none=True)
        | denoiser.model_dump(mode="json", include={"prediction"}),
    }


def denoised_shape(target: Target, name: Baseline) -> tuple[int, int, int]:
    """Return channels, frames and size of what a baseline denoises."""
    frames, size, denoiser = target.data.num_frames, target.data.size, target.denoiser(name)
    if not isinstance(denoiser, LatentVideoConfig):
        return 3, frames, size
    vae = denoiser.autoencoder
    frames //= vae.temporal_downsampling
    return vae.latent_channels, frames, size // vae.spatial_downsampling


def baseline_sampler(target: Target, name: Baseline) -> SamplerConfig:
    """Return LaMD's sampler with the baseline's own number of steps, if it has one."""
    steps = target.denoiser(name).num_sampling_steps
    return target.sampler.model_copy(update={"num_steps": steps} if steps is not None else {})
