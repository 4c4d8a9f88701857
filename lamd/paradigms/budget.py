"""The length of the baselines' trainings, and the cost of LaMD's: equal clips, or equal FLOPs.

One rule for all networks: a training step costs three forward passes (forward, and backward twice
as much) of the network that is trained. What is frozen or only scores is not counted: E_I or the
video encoder in stage II, LPIPS, the discriminator, validation.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamd.base.errors import LamdError
from lamd.config import Baseline, Target, TrainConfig, split_row
from lamd.config.schema import BatchConfig

if TYPE_CHECKING:
    from lamd.flops import Cost

TRAINING_FACTOR = 3  # forward passes per training step
_INTERVALS = ("log_every", "checkpoint_every", "validate_every")


@dataclass(frozen=True)
class Budget:
    """The training of one baseline row."""

    train: TrainConfig  # of the denoiser, its number of steps included
    flops: int  # of the denoiser's training
    autoencoder_flops: int  # of the video autoencoder's training, 0 in pixel space
    lamd_flops: int  # of the training of LaMD's two stages
    parameters: int  # of the denoiser
    dmg_parameters: int  # of the DMG, for comparison


def row_budget(target: Target, row: str) -> Budget:
    """Return the training of a baseline row and its cost; errors as for `row_training`."""
    name, _ = split_row(row)
    train, denoiser, dmg = row_training(target, row), _cost(target, name), _cost(target)
    flops = TRAINING_FACTOR * denoiser.flops * _clips(train)
    lamd, autoencoder = _training_flops(target, name)
    return Budget(train, flops, autoencoder, lamd, denoiser.parameters, dmg.parameters)


def row_training(target: Target, row: str) -> TrainConfig:
    """Return the training options of a baseline row's denoiser.

    `*_clips`: the denoiser sees as many clips as the DMG (steps rounded to the nearest).
    `*_flops`: all of the row's training costs as much as LaMD's two stages, the video autoencoder's
    share subtracted first (steps rounded down). In both rows the video autoencoder sees as many
    clips as the MCD-VAE.

    Raises:
        LamdError: when the autoencoder leaves no FLOPs for one step.
    """
    name, rule = split_row(row)
    batch = target.denoiser(name).batch_size
    if rule == "clips":
        return _train(target, name, max(1, round(_clips(target.train_dmg) / batch)))
    lamd, autoencoder = _training_flops(target, name)
    step = TRAINING_FACTOR * _cost(target, name).flops * batch
    if lamd - autoencoder < step:
        raise LamdError(
            f"baselines.{name}: row {row}: LaMD's {lamd / 1e12:.4g} training TFLOPs less the "
            f"autoencoder's {autoencoder / 1e12:.4g} are below one step's {step / 1e12:.4g}; "
            "make the networks or the batch smaller"
        )
    return _train(target, name, (lamd - autoencoder) // step)


def _training_flops(target: Target, name: Baseline) -> tuple[int, int]:
    """Return the FLOPs of training LaMD's two stages, and a baseline's autoencoder."""
    vae, autoencoder = (
        TRAINING_FACTOR * _cost(target, paradigm, "autoencoder").flops * _clips(target.train_vae)
        for paradigm in ("latent_motion", name)
    )
    return vae + TRAINING_FACTOR * _cost(target).flops * _clips(target.train_dmg), autoencoder


def _cost(target: Target, paradigm: str = "latent_motion", network: str = "denoiser") -> "Cost":
    from lamd.paradigms.costs import costs  # imports torch

    return costs(target, paradigm)[network]


def _clips(train: TrainConfig) -> int:
    return train.num_steps * train.batch_size


def _train(target: Target, name: Baseline, num_steps: int) -> TrainConfig:
    """Return `train_dmg` for another length, with the denoiser's own rate and batch.

    Warm-up and intervals keep their share of the steps.
    """
    dmg = target.train_dmg

    def share(steps: int) -> int:
        return steps * num_steps // dmg.num_steps

    own = target.denoiser(name).model_dump(include=set(BatchConfig.model_fields))
    return TrainConfig.model_validate(
        dmg.model_dump()
        | {"num_steps": num_steps, "warmup_steps": share(dmg.warmup_steps)}
        | {key: max(1, share(getattr(dmg, key))) for key in _INTERVALS}
        | own
    )
