"""How long the rows of a table train, and what LaMD's training costs: equal clips, or equal FLOPs.

One rule for all networks: a training step costs three forward passes (forward, and backward twice
as much) of the network that is trained. What is frozen or only scores is not counted: E_I or the
video encoder in stage II, LPIPS, the discriminator, validation.
"""

from dataclasses import dataclass
from functools import partial

from lamd.base.errors import LamdError
from lamd.config import (
    Baseline,
    Target,
    TrainConfig,
    baseline_sampler,
    denoised_shape,
    is_baseline,
    split_row,
    unet_options,
)
from lamd.cost.autoencoders import latent_video_decoder, latent_video_encoder
from lamd.cost.denoisers import unet3d_step
from lamd.cost.layers import Cost
from lamd.cost.stages import (
    FLOAT,
    TRAINING_FACTOR,
    Work,
    dmg,
    inference,
    mcd_vae,
    sampling_parts,
    training_step,
)

_INTERVALS = ("log_every", "checkpoint_every", "validate_every")


@dataclass(frozen=True)
class Budget:
    """What one baseline row trains.

    Attributes:
        train: of the denoiser, its number of steps among it.
        flops: of the denoiser's training.
        autoencoder_flops: of the video autoencoder's, 0 in pixel space.
        lamd_flops: of LaMD's two stages.
        parameters: of the denoiser.
        dmg_parameters: of the DMG beside it.
    """

    train: TrainConfig
    flops: int
    autoencoder_flops: int
    lamd_flops: int
    parameters: int
    dmg_parameters: int


def row_budget(target: Target, row: str) -> Budget:
    """Return what a baseline row trains.

    `*_clips`: the denoiser sees as many clips as the DMG (steps rounded to the nearest).
    `*_flops`: all of the row's training costs what LaMD's two stages cost, the video autoencoder's
    share taken off first (steps rounded down). In both rows the video autoencoder sees as many
    clips as the MCD-VAE.

    Raises:
        LamdError: when the autoencoder leaves no FLOPs for one step.
    """
    name, rule = split_row(row)
    options = target.baselines.of(name)
    step = denoiser_cost(target, name)
    lamd = lamd_training(target)
    autoencoder = 0
    if name == "latent_video":
        forward = video_autoencoder_cost(target).flops
        autoencoder = TRAINING_FACTOR * forward * _clips(target.train_vae)
    a_step = TRAINING_FACTOR * step.flops * options.batch_size
    if rule == "clips":
        num_steps = max(1, round(_clips(target.train_dmg) / options.batch_size))
    else:
        num_steps = (lamd - autoencoder) // a_step
    if num_steps < 1:
        raise LamdError(
            f"baselines.{name}: row {row}: LaMD's {lamd / 1e12:.4g} training TFLOPs less the "
            f"autoencoder's {autoencoder / 1e12:.4g} are below one step's {a_step / 1e12:.4g}; "
            "make the networks or the batch smaller"
        )
    return Budget(
        train=_train(target, name, num_steps),
        flops=num_steps * a_step,
        autoencoder_flops=autoencoder,
        lamd_flops=lamd,
        parameters=step.parameters,
        dmg_parameters=dmg(target, 1).parameters,
    )


def lamd_training(target: Target) -> int:
    """Return the FLOPs of training the MCD-VAE and the DMG."""
    first = mcd_vae(target, 1).flops * _clips(target.train_vae)
    return TRAINING_FACTOR * (first + dmg(target, 1).flops * _clips(target.train_dmg))


def denoiser_cost(target: Target, name: Baseline, batch: int = 1) -> Cost:
    """Return the cost of a batch through a baseline's denoiser."""
    channels, frames, size = denoised_shape(target, name)
    options = unet_options(target, name)
    return unet3d_step(batch=batch, channels=channels, frames=frames, size=size, **options)


def denoiser_step(target: Target, name: Baseline) -> Work:
    """Return a step of a baseline's stage II, the first frames' encoding included."""
    train = row_budget(target, f"{name}_clips").train
    step = training_step(partial(denoiser_cost, target, name), train)
    if name == "pixel":
        return step
    frozen = FLOAT * video_autoencoder_cost(target).parameters
    given = train.batch_size * _first_frame_cost(target).flops
    return Work(step.flops + given, step.parameters, step.memory + frozen)


def video_autoencoder_cost(target: Target, batch: int = 1) -> Cost:
    """Return the cost of a batch through the latent-video baseline's autoencoder."""
    options = _autoencoder_options(target) | {"batch": batch}
    return latent_video_encoder(**options) + latent_video_decoder(**options)


def video_encoder_work(target: Target, batch: int) -> Work:
    """Return the video autoencoder's encoder on a batch of clips."""
    return inference(latent_video_encoder(**_autoencoder_options(target) | {"batch": batch}))


def row_sample(target: Target, *, row: str, batch: int) -> Work:
    """Return a whole sampling run of a batch of a baseline row: encode, K steps, decode."""
    parts = row_parts(target, row)
    num_steps = baseline_sampler(target, split_row(row)[0]).num_steps
    ends = parts["encode"] + parts["decode"]
    parameters = ends.parameters + parts["step"].parameters
    flops = batch * (ends.flops + num_steps * parts["step"].flops)
    return Work(flops, parameters, FLOAT * parameters)


def row_parts(target: Target, row: str) -> dict[str, Cost]:
    """Return what one clip of a sampled row costs: encode, one denoising step, decode."""
    if not is_baseline(row):
        return sampling_parts(target)
    name, _ = split_row(row)
    step = denoiser_cost(target, name)
    if name == "pixel":
        return {"encode": Cost(), "step": step, "decode": Cost()}
    return {
        "encode": _first_frame_cost(target),
        "step": step,
        "decode": latent_video_decoder(**_autoencoder_options(target)),
    }


def _first_frame_cost(target: Target) -> Cost:
    options = _autoencoder_options(target)
    return latent_video_encoder(**options | {"num_frames": options["temporal_downsampling"]})


def _autoencoder_options(target: Target) -> dict:
    return target.baselines.latent_video.autoencoder.model_dump() | {
        "batch": 1,
        "num_frames": target.data.num_frames,
        "size": target.data.size,
    }


def _clips(train: TrainConfig) -> int:
    return train.num_steps * train.batch_size


def _train(target: Target, name: Baseline, num_steps: int) -> TrainConfig:
    """Return `train_dmg` for another length, with the denoiser's own rate and batch.

    Warm-up and intervals keep their share of the steps.
    """
    dmg, options = target.train_dmg, target.baselines.of(name)

    def share(steps: int) -> int:
        return steps * num_steps // dmg.num_steps

    return TrainConfig.model_validate(
        dmg.model_dump()
        | {"num_steps": num_steps, "warmup_steps": share(dmg.warmup_steps)}
        | {key: max(1, share(getattr(dmg, key))) for key in _INTERVALS}
        | options.model_dump(include={"batch_size", "gradient_accumulation", "learning_rate"})
    )
