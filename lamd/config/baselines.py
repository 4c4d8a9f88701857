"""The two other paradigms as rows of a table: pixel-space and latent-video diffusion.

There is no number of steps here: it follows from a row's budget (`lamd.cost.budgets`). All that is
not said is as for LaMD: the noise schedule is the DMG's, optimiser, EMA, seed and held-out clips
are `train_dmg`'s, and the video autoencoder is trained by `loss` and `train_vae`, as the MCD-VAE.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator

from lamd.config.strict import Count, Positive, Strict, UNetWidths, is_power_of_two

if TYPE_CHECKING:
    from lamd.config.schema import SamplerConfig, Target

Baseline = Literal["pixel", "latent_video"]
BaselineRow = Literal["pixel_clips", "pixel_flops", "latent_video_clips", "latent_video_flops"]


class DenoiserConfig(Strict):
    """A 3-D denoiser and what its training has of its own; alone, pixel-space diffusion."""

    unet: UNetWidths | None  # None: the DMG's own widths, the paper's comparison
    conv3d: Literal["full", "factorised"]
    learning_rate: Positive
    batch_size: Count
    gradient_accumulation: Count
    num_sampling_steps: Count | None  # None: sampler.num_steps (K)
    prediction: Literal["eps", "v"] = "eps"  # of the network

    @model_validator(mode="after")
    def _check_batch(self) -> Self:
        if self.batch_size % self.gradient_accumulation:
            raise ValueError("batch_size must be a multiple of gradient_accumulation")
        return self


class VideoAutoencoderConfig(Strict):
    """The 3-D KL autoencoder of latent-video diffusion."""

    spatial_downsampling: Count  # f_s
    temporal_downsampling: Count  # f_t
    latent_channels: Count
    channels: Annotated[tuple[Count, ...], Field(min_length=1)]  # finest scale first
    num_res_blocks: Annotated[int, Field(ge=0)]
    conv3d: Literal["full", "factorised"]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("spatial_downsampling", "temporal_downsampling"):
            if not is_power_of_two(getattr(self, name)):
                raise ValueError(f"{name} must be a power of two")
        return self


class LatentVideoConfig(DenoiserConfig):
    """Diffusion on a latent with a time axis."""

    autoencoder: VideoAutoencoderConfig


class BaselinesConfig(Strict):
    """Which baselines a table can have as rows."""

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


def split_row(row: BaselineRow) -> tuple[Baseline, Literal["clips", "flops"]]:
    """Return the baseline of a row and the budget that it shares with LaMD."""
    baseline, _, budget = row.rpartition("_")
    return baseline, budget


def is_baseline(row: str) -> bool:
    """Say whether a row is a baseline's."""
    return row in get_args(BaselineRow)


def unet_options(target: "Target", name: Baseline, mode: str = "python") -> dict[str, Any]:
    """Return the keyword arguments of a baseline's UNet, channels apart; pydantic's `mode`."""
    denoiser = target.baselines.of(name)
    widths = target.dmg if denoiser.unet is None else denoiser.unet
    fields = set(UNetWidths.model_fields)
    return widths.model_dump(mode=mode, include=fields) | {"conv3d": denoiser.conv3d}


def denoiser_config(target: "Target", name: Baseline) -> dict[str, Any]:
    """Return all that a trained denoiser depends on beside data, parents and training options."""
    process = {"num_train_steps", "schedule", "beta_start", "beta_end"}
    if name == "latent_video":
        process.add("posterior")
    denoiser = target.baselines.of(name)
    return {
        "unet": unet_options(target, name, mode="json"),
        "process": target.dmg.model_dump(mode="json", include=process, exclude_none=True)
        | denoiser.model_dump(mode="json", include={"prediction"}),
    }


def denoised_shape(target: "Target", name: Baseline) -> tuple[int, int, int]:
    """Return channels, frames and size of what a baseline denoises."""
    frames, size = target.data.num_frames, target.data.size
    if name == "pixel":
        return 3, frames, size
    options = target.baselines.latent_video.autoencoder
    return (
        options.latent_channels,
        frames // options.temporal_downsampling,
        size // options.spatial_downsampling,
    )


def baseline_sampler(target: "Target", name: Baseline) -> "SamplerConfig":
    """Return LaMD's sampler with the baseline's own number of steps, if it has one."""
    steps = target.baselines.of(name).num_sampling_steps
    return (
        target.sampler if steps is None else target.sampler.model_copy(update={"num_steps": steps})
    )


def check_baselines(target: "Target") -> None:
    """Check the baselines against the rest of their target.

    Raises:
        ValueError: on a row without its baseline, or what does not fit.
    """
    baselines = target.baselines
    for row in filter(is_baseline, target.rows):
        name, _ = split_row(row)
        if baselines is None or baselines.of(name) is None:
            raise ValueError(f"row {row} needs baselines.{name}")
    if baselines is None:
        return
    if target.dmg.prompt is not None:
        raise ValueError("baselines take no prompt; take out baselines or dmg.prompt")
    if baselines.latent_video is not None:
        options = baselines.latent_video.autoencoder
        if target.data.num_frames % options.temporal_downsampling:
            raise ValueError("data.num_frames must be a multiple of the autoencoder's f_t")
        if target.data.size % options.spatial_downsampling:
            raise ValueError("data.size must be a multiple of the autoencoder's f_s")
    for name in get_args(Baseline):
        if baselines.of(name) is not None:
            _check_denoiser(target, name, baselines.of(name))


def _check_denoiser(target: "Target", name: Baseline, denoiser: DenoiserConfig) -> None:
    halvings = len(unet_options(target, name)["channel_multipliers"]) - 1
    size = denoised_shape(target, name)[2]
    if size % 2**halvings:
        raise ValueError(f"baselines.{name}: {size}x{size} cannot be halved {halvings} times")
    if (denoiser.num_sampling_steps or 1) > target.dmg.num_train_steps:
        raise ValueError(
            f"baselines.{name}.num_sampling_steps cannot exceed dmg.num_train_steps (T)"
        )
