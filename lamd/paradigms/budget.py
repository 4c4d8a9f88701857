"""The length of the baselines' trainings, and the cost of LaMD's: equal clips, or equal FLOPs.

One account for all paradigms: the FLOPs of every pass that training runs, forward and backward, of
frozen networks too. A step of an autoencoder has LPIPS and, from its start on, the discriminator in
it; a step of a denoiser has the encoder of the first frame in it. An autoencoder also encodes its
windows, for the statistics of its latent and for stage II. Validation is left out on both sides.
"""

from dataclasses import dataclass

from lamd.base.errors import LamdError
from lamd.config import Baseline, Target, TrainConfig, split_row
from lamd.config.training import BatchConfig, LossConfig
from lamd.data.dataset import DATASETS

ACCOUNT = (
    "training FLOPs of all rows: forward and backward passes of every network that a step runs, "
    "with LPIPS, the discriminator from its start step and frozen encoders, and the encoding of "
    "clips for stage II; without validation"
)
_INTERVALS = ("log_every", "checkpoint_every", "validate_every")


@dataclass(frozen=True)
class Budget:
    """The training of one baseline row."""

    steps: int  # of the denoiser
    clips: int  # that it sees
    tflops: float  # of its training
    autoencoder_tflops: float  # of the video autoencoder's training, 0 in pixel space
    lamd_tflops: float  # of the training of LaMD's two stages
    parameters: int  # of the denoiser
    dmg_parameters: int  # of the DMG, for comparison


@dataclass(frozen=True)
class Phase:
    """Steps of an autoencoder's training."""

    num_steps: int
    target: Target  # whose clips have the size of these steps
    adversary: bool


def row_budget(target: Target, row: str) -> Budget:
    """Return the training of a baseline row and its cost; errors as for `row_training`."""
    from lamd.paradigms.costs import costs  # imports torch

    (name, _), train = split_row(row), row_training(target, row)
    return Budget(
        steps=train.num_steps,
        clips=_clips(train),
        tflops=_denoiser_flops(target, name, _clips(train)) / 1e12,
        autoencoder_tflops=_autoencoder_flops(target, name) / 1e12,
        lamd_tflops=_lamd_flops(target) / 1e12,
        parameters=costs(target, name)["denoiser"].parameters,
        dmg_parameters=costs(target)["denoiser"].parameters,
    )


def row_training(target: Target, row: str) -> TrainConfig:
    """Return the training options of a baseline row's denoiser.

    `*_clips`: the denoiser sees as many clips as the DMG (steps rounded to the nearest).
    `*_flops`: all of the row's training costs `baselines.budget_factor` times LaMD's two stages,
    the video autoencoder's share subtracted first (steps rounded down). The video autoencoder sees
    `budget_factor` times as many clips as the MCD-VAE, in both rows. LamdError when it leaves no
    FLOPs for one step.
    """
    name, rule = split_row(row)
    batch = target.denoiser(name).batch_size
    if rule == "clips":
        return _train(target, name, max(1, round(_clips(target.train_dmg) / batch)))
    assert target.baselines is not None, "checked with the config"
    allowed = int(target.baselines.budget_factor * _lamd_flops(target))
    autoencoder, step = _autoencoder_flops(target, name), _denoiser_flops(target, name, batch)
    if allowed - autoencoder < step:
        raise LamdError(
            f"baselines.{name}: row {row}: the budget of {allowed / 1e12:.4g} training TFLOPs less "
            f"the autoencoder's {autoencoder / 1e12:.4g} are below one step's {step / 1e12:.4g}; "
            "make the networks or the batch smaller"
        )
    return _train(target, name, (allowed - autoencoder) // step)


def autoencoder_phases(target: Target) -> list[Phase]:
    """Return the parts of an autoencoder's training whose steps cost the same, in their order."""
    train, gan, small = target.train_vae, target.loss.gan, target.train_vae.small_clips
    whole, total = target.data.size, train.num_steps
    alone = total if gan is None else gan.start_step
    first, size = (0, whole) if small is None else (small.num_steps, small.size)
    parts = (first, size, False), (alone - first, whole, False), (total - alone, whole, True)
    return [Phase(steps, target.at_size(at), judged) for steps, at, judged in parts if steps]


def first_stage(target: Target, paradigm: str) -> Target:
    """Return the target as stage I of a paradigm trains it: for `budget_factor` times as long.

    In a shorter training, all that begins or ends at a step keeps its share of the steps.
    """
    if paradigm != "latent_video" or target.baselines is None:
        return target
    dump = target.model_dump(include={"train_vae", "loss"})
    train, gan, whole = dump["train_vae"], dump["loss"]["gan"], target.train_vae.num_steps
    train["num_steps"] = steps = max(1, round(target.baselines.budget_factor * whole))
    if steps < whole:
        small = train.get("small_clips")
        parts = (
            (train, "warmup_steps"),
            (small, "num_steps"),
            (gan, "start_step"),
            (gan, "ramp_steps"),
        )
        for options, key in parts:
            if options is not None:
                options[key] = options[key] * steps // whole
        train["validate_every"] = min(train["validate_every"], steps)
        if small is not None and not small["num_steps"]:
            train["small_clips"] = None
    changes = {
        "train_vae": TrainConfig.model_validate(train),
        "loss": LossConfig.model_validate(dump["loss"]),
    }
    return target.model_copy(update=changes)


def _lamd_flops(target: Target) -> int:
    """Return the FLOPs of LaMD's two stages."""
    dmg = _denoiser_flops(target, "latent_motion", _clips(target.train_dmg))
    return _autoencoder_flops(target, "latent_motion") + dmg


def _denoiser_flops(target: Target, paradigm: str, clips: int) -> int:
    """Return the FLOPs of training a paradigm's denoiser on so many clips."""
    from lamd.paradigms.costs import training_flops

    return clips * training_flops(target, paradigm, "denoiser")


def _autoencoder_flops(target: Target, paradigm: str) -> int:
    """Return the FLOPs of a paradigm's first stage; 0 where it has none."""
    from lamd.models.latent import STATISTICS_WINDOWS
    from lamd.paradigms.costs import costs, training_flops

    posterior = costs(target, paradigm)["posterior"].flops
    if not posterior:
        return 0
    target = first_stage(target, paradigm)
    train = target.train_vae
    steps = sum(
        part.num_steps
        * training_flops(part.target, paradigm, "autoencoder", adversary=part.adversary)
        for part in autoencoder_phases(target)
    )
    encoded = min(_windows(target, train), STATISTICS_WINDOWS) + _windows(target, target.train_dmg)
    return train.batch_size * steps + encoded * posterior


def _windows(target: Target, train: TrainConfig) -> int:
    """Return how many windows a stage trains on, variants counted; 0 where that is not known."""
    lengths = DATASETS[target.data.name].expected_lengths(target.data).get("train")
    if lengths is None:
        return 0
    kept = lengths[: len(lengths) - train.num_held_out(len(lengths))]
    windows = ((kept - target.data.num_frames) // train.window_stride + 1).sum()
    return target.data.num_variants * int(windows)


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
        | {"ema_snapshots": dmg.ema_snapshots and min(dmg.ema_snapshots, num_steps)}
        | {key: max(1, share(getattr(dmg, key))) for key in _INTERVALS}
        | own
    )
