"""A table, fully resolved for one profile, and what its baselines derive from it."""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import model_validator

from lamd.config.registries import ROW_RULES, Baseline, RowName
from lamd.config.schema import (
    BaselinesConfig,
    CaptionerConfig,
    DataConfig,
    DenoiserConfig,
    DMGConfig,
    EvaluateConfig,
    LatentVideoConfig,
    LossConfig,
    RuntimeConfig,
    SamplerConfig,
    TrainConfig,
    VAEConfig,
)
from lamd.config.strict import DISTINCT, AnyTarget, UNetWidths


class Target(AnyTarget):
    """One YAML: a table or figure of the paper, fully resolved for one profile."""

    kind: Literal["table"]
    published: str | None  # key in published.yaml of the paper's own cell
    compare_with: str | None  # key in published.yaml of the other methods' cells
    rows: Annotated[tuple[RowName, ...], DISTINCT]
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
        _check_halvings("dmg", latent, self.dmg.channel_multipliers)
        if self.loss.gan is not None and self.loss.gan.start_step >= self.train_vae.num_steps:
            raise ValueError("loss.gan.start_step at or above train_vae.num_steps has no effect")
        if self.loss.lpips_frames is not None and self.loss.lpips_frames >= self.data.num_frames:
            raise ValueError("loss.lpips_frames must be below data.num_frames; null means all")
        if self.sampler.num_steps > self.dmg.num_train_steps:
            raise ValueError("sampler.num_steps (K) cannot exceed dmg.num_train_steps (T)")
        self._check_prompt()
        self._check_baselines()
        return self

    def denoiser(self, name: Baseline) -> DenoiserConfig:
        """Return the options of a baseline.

        Raises:
            ValueError: when the table does not have it.
        """
        denoiser = None if self.baselines is None else self.baselines.of(name)
        if denoiser is None:
            raise ValueError(f"{self.target} has no baselines.{name}")
        return denoiser

    def _check_prompt(self) -> None:
        prompt = self.dmg.prompt
        row = next((row for row in self.rows if ROW_RULES[row].needs_prompt), None)
        if row is not None and prompt is None:
            raise ValueError(f"row {row} needs dmg.prompt")
        if self.sampler.guidance_scale is not None and (prompt is None or not prompt.dropout):
            raise ValueError("sampler.guidance_scale needs dmg.prompt with dropout above 0")
        if (self.captioner is None) != (self.train_captioner is None):
            raise ValueError("captioner and train_captioner go together")

    def _check_baselines(self) -> None:
        baselines = self.baselines
        for row in self.rows:
            needed = ROW_RULES[row].baseline
            if needed and (baselines is None or baselines.of(needed) is None):
                raise ValueError(f"row {row} needs baselines.{needed}")
        if baselines is None:
            return
        if self.dmg.prompt is not None:
            raise ValueError("baselines take no prompt; delete baselines or dmg.prompt")
        if baselines.latent_video is not None:
            options = baselines.latent_video.autoencoder
            if self.data.num_frames % options.temporal_downsampling:
                raise ValueError("data.num_frames must be a multiple of the autoencoder's f_t")
            if self.data.size % options.spatial_downsampling:
                raise ValueError("data.size must be a multiple of the autoencoder's f_s")
        for name in get_args(Baseline):
            if (denoiser := baselines.of(name)) is not None:
                multipliers = unet_options(self, name)["channel_multipliers"]
                _check_halvings(f"baselines.{name}", denoised_shape(self, name)[2], multipliers)
                if (denoiser.num_sampling_steps or 1) > self.dmg.num_train_steps:
                    raise ValueError(f"baselines.{name}.num_sampling_steps cannot exceed T")


def _check_halvings(name: str, size: int, multipliers: tuple[int, ...]) -> None:
    halvings = len(multipliers) - 1
    if size % 2**halvings:
        raise ValueError(
            f"{name}: {size}x{size} cannot be halved {halvings} times; shorten channel_multipliers"
        )


def unet_options(target: Target, name: Baseline, mode: str = "python") -> dict[str, Any]:
    """Return the keyword arguments of a baseline's UNet, channels apart, dumped by `mode`."""
    denoiser = target.denoiser(name)
    widths = target.dmg if denoiser.unet is None else denoiser.unet
    fields = set(UNetWidths.model_fields)
    return widths.model_dump(mode=mode, include=fields) | {"conv3d": denoiser.conv3d}


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
    frames, size = target.data.num_frames, target.data.size
    denoiser = target.denoiser(name)
    if not isinstance(denoiser, LatentVideoConfig):
        return 3, frames, size
    vae = denoiser.autoencoder
    frames //= vae.temporal_downsampling
    return vae.latent_channels, frames, size // vae.spatial_downsampling


def baseline_sampler(target: Target, name: Baseline) -> SamplerConfig:
    """Return LaMD's sampler with the baseline's own number of steps, if it has one."""
    steps = target.denoiser(name).num_sampling_steps
    return target.sampler.model_copy(update={"num_steps": steps} if steps is not None else {})
