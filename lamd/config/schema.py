"""The config of a table, every number with its unit; `data`, `networks`, `training` are its parts.

Required fields have no default, so that a YAML states each choice. Symbols are the paper's: L
frames of H x W pixels, z_m of d channels, f_x0 of d' channels, T training and K sampling steps. A
combination in which an option has no effect is an error.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from lamd.config import registries
from lamd.config.data import DataConfig, Windows
from lamd.config.networks import (
    CaptionerConfig,
    DMGConfig,
    UNetWidths,
    VAEConfig,
    VideoAutoencoderConfig,
)
from lamd.config.registries import ROW_RULES, SAMPLERS, Baseline
from lamd.config.strict import (
    DISTINCT,
    Count,
    CountOrZero,
    Name,
    NonNegative,
    Positive,
    Size,
    Strict,
)
from lamd.config.training import BatchConfig, LossConfig, TrainConfig

MIN_SNAPSHOTS = 8  # of averages
_HIGHEST, _TILE, _PAD = 16_000, 128, 4  # pixels of a WebP, of a clip in it at least, around it


def most_clips(size: int) -> int:
    """Return how many clips of `size` pixels, one below another, fit into a WebP."""
    return _HIGHEST // (max(size, _TILE) + _PAD)


class Autoguidance(Strict):
    """Guidance of a denoiser by its own earlier weights (arXiv 2406.02507), not in the paper."""

    scale: float = Field(gt=1)  # 1 would be none
    snapshot: Count  # of train_dmg.ema_snapshots, from 1 on, whose longer average guides
    steps: tuple[CountOrZero, CountOrZero]  # lowest and highest t at which it does


class SamplerConfig(Strict):
    """Sampling of z_m: K of T steps (paper), DDIM (reported)."""

    name: registries.SamplerName
    num_steps: Count  # K
    eta: NonNegative | None = None
    guidance_scale: Positive | None = None  # classifier-free; the paper does not mention it
    autoguidance: Autoguidance | None = Field(default=None, exclude_if=lambda rule: rule is None)
    # largest |z_hat| at each step, in standard deviations of the training latents; None: paper
    clamp: Positive | None = Field(default=None, exclude_if=lambda bound: bound is None)
    # of the average of the denoiser's weights, relative to the training (EDM2's sigma_rel); None:
    # the average of train_dmg.ema_decay. Within these bounds MIN_SNAPSHOTS are right to 4 %
    ema_length: float | None = Field(
        default=None, ge=0.04, le=0.2, exclude_if=lambda length: length is None
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
    title: Annotated[str, Field(max_length=200)]


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
        for key in ("train_vae", "train_dmg"):
            if self.baselines is not None and getattr(self, key).early_stopping is not None:
                yield f"{key}.early_stopping needs baselines null: budgets count all steps"
        parts, half = self.train_vae.micro_batch_size, self.train_vae.precision == "fp16"
        if loss.gan is not None and parts is not None and half:
            yield "train_vae.micro_batch_size with fp16 needs loss.gan null: losses share a scale"
        if (most := most_clips(data.size)) < self.evaluate.grid_clips:
            yield f"evaluate.grid_clips: {most} clips of {data.size} pixels fit into a picture"
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
        if (rule := self.sampler.autoguidance) is not None:
            if rule.snapshot >= (self.train_dmg.ema_snapshots or 0):
                yield "sampler.autoguidance.snapshot must be below train_dmg.ema_snapshots"
            if not rule.steps[0] <= rule.steps[1] < self.dmg.num_train_steps:
                yield "sampler.autoguidance.steps must rise and be below dmg.num_train_steps (T)"
        if (self.train_dmg.ema_snapshots or MIN_SNAPSHOTS) < MIN_SNAPSHOTS:
            yield f"train_dmg.ema_snapshots below {MIN_SNAPSHOTS} cannot represent all lengths"
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
            size = self.data.size
            if isinstance(denoiser, LatentVideoConfig):
                if self.data.num_frames % denoiser.autoencoder.temporal_downsampling:
                    yield "data.num_frames must be a multiple of the autoencoder's f_t"
                if self.data.size % denoiser.autoencoder.spatial_downsampling:
                    yield "data.size must be a multiple of the autoencoder's f_s"
                size //= denoiser.autoencoder.spatial_downsampling
            yield from _halving_problems(f"baselines.{name}", size, denoiser.unet or self.dmg)
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


def denoiser_config(target: Target, name: Baseline) -> dict[str, Any]:
    """Return what a trained denoiser depends on, apart from data, parents and training options."""
    process = target.dmg.process | ({"posterior"} if name == "latent_video" else set())
    denoiser, fields = target.denoiser(name), set(UNetWidths.model_fields)
    widths = (denoiser.unet or target.dmg).model_dump(mode="json", include=fields)
    return {
        "unet": widths | {"conv3d": denoiser.conv3d},
        "process": target.dmg.model_dump(mode="json", include=process, exclude_none=True)
        | denoiser.model_dump(mode="json", include={"prediction"}),
    }


def baseline_sampler(target: Target, name: Baseline) -> SamplerConfig:
    """Return LaMD's sampler with the baseline's own number of steps, if it has one."""
    steps = target.denoiser(name).num_sampling_steps
    return target.sampler.model_copy(update={"num_steps": steps} if steps is not None else {})
