"""The work of a cell: units, such as training steps or clips, and the bytes that it leaves on disk.

All is counted from a target's config alone, training by the account of the baselines' budgets;
norms and optimisers are not counted. Memory of a training step is the peak of its tensors, that of
all else the weights alone.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch

from lamd.config import CaptionerConfig, Target
from lamd.data.dataset import DATASETS
from lamd.data.listing import SPLITS
from lamd.data.packed import windows, windows_by_rule
from lamd.flops import Cost, count
from lamd.forecast.step import AUTOENCODERS, DENOISERS, count_step, stage_options
from lamd.metrics.frames import BACKBONES, meta_lpips
from lamd.metrics.i3d import I3D, NUM_FEATURES
from lamd.metrics.protocols import PROTOCOLS, metric_for
from lamd.models.captioner import Captioner
from lamd.paradigms.budget import autoencoder_phases
from lamd.paradigms.costs import VOCABULARIES, costs, row_parts, sampling_flops, training_flops
from lamd.paradigms.registry import PARADIGMS
from lamd.pipeline.cell import Cell, with_ancestors
from lamd.pipeline.graph import DIAGNOSED_CLIPS
from lamd.pipeline.steps.clips import CAPTIONS_BATCH
from lamd.pipeline.steps.data import open_split
from lamd.pipeline.store import Store
from lamd.training.latents import encoding_batch_size
from lamd.training.networks import NETWORKS

_METRICS = ("psnr", "ssim", *(f"lpips-{backbone}" for backbone in BACKBONES))
_FLOAT = 4  # bytes


class Unit(NamedTuple):
    """A training step over the whole batch, or one clip of inference, simulation or comparison."""

    kind: str  # a key of `probe.TIMERS`
    subject: str  # its stage, paradigm, metric or data set
    shape: tuple[int, ...]  # what else decides how long it takes: batch, frames, pixels
    flops: int = 0  # forward and backward; 0 where arithmetic does not decide
    parameters: int = 0  # of the networks that are trained, or used
    memory: int = 0  # bytes that its tensors take at least


class Work(NamedTuple):
    """The work of one cell."""

    # Units and how many of each; None where that is not known, for a `reason`.
    units: Sequence[tuple[Unit, int]] | None = ()
    disk: int | None = 0  # bytes that stay; None where the number of clips is not known
    parameters: int = 0  # of the network that it trains
    reason: str = ""
    cached: bool = False  # whether `disk` is in $LAMD_CACHE, which all run folders share

    @property
    def flops(self) -> int:
        """FLOPs of all units."""
        return sum(number * unit.flops for unit, number in self.units or ())

    @property
    def memory(self) -> int:
        """Bytes that tensors take at least, at the peak."""
        return max((unit.memory for unit, _ in self.units or ()), default=0)


def training_step(target: Target, stage: str, *, adversary: bool = False) -> Unit:
    """Return a step of a stage's training; `adversary` takes part from gan.start_step on."""
    data, train = target.data, stage_options(target, stage)
    shape, step = (
        (train.batch_size, data.num_frames, data.size),
        count_step(target, stage, adversary),
    )
    flops = step.flops
    if stage in AUTOENCODERS:
        clip = training_flops(target, AUTOENCODERS[stage], "autoencoder", adversary=adversary)
        flops = train.batch_size * clip
    elif stage in DENOISERS:
        flops = train.batch_size * training_flops(target, DENOISERS[stage].name, "denoiser")
    kind = "step, adversary" if adversary else "step"
    return Unit(kind, stage, shape, flops, step.parameters, step.memory)


@cache
def lpips_costs(backbone: str, size: int) -> tuple[Cost, Cost]:
    """Return the costs of LPIPS' trunk per picture, and of its heads per pair of pictures."""
    net, picture = meta_lpips(backbone), torch.empty(1, 3, size, size, device="meta")
    trunk, whole = count(lambda: net.net(picture)), count(lambda: net(picture, picture))
    return trunk, Cost(whole.flops - 2 * trunk.flops, whole.parameters - trunk.parameters)


@cache
def _i3d(num_frames: int) -> Cost:
    return count(lambda: I3D()(torch.empty(1, 3, num_frames, 224, 224)))


@cache
def _captions_cost(captioner: CaptionerConfig, num_frames: int, size: int) -> Cost:
    with torch.device("meta"):
        model = Captioner(captioner, VOCABULARIES["text"], num_frames)
        x = torch.empty(1, num_frames, 3, size, size)
    return count(lambda: model.greedy_ids(x))


def sampling(target: Target, row: str, paradigm: str, batch: int) -> Unit:
    """Return a sampling run of one clip of a row: encode, K denoising steps, decode."""
    networks = sum(row_parts(target, row).values(), Cost())
    if PARADIGMS[paradigm].sampler(target).autoguidance is not None:
        networks += Cost(0, costs(target, paradigm)["denoiser"].parameters)
    run = replace(networks, flops=sampling_flops(target, row))
    return _inference("sampling", paradigm, target, run, batch)


def _inference(kind: str, subject: str, target: Target, clip: Cost, batch: int) -> Unit:
    """Return a pass without gradients over one clip of a batch."""
    shape = (batch, target.data.num_frames, target.data.size)
    return Unit(kind, subject, shape, clip.flops, clip.parameters, _FLOAT * clip.parameters)


def _comparison(metric: str, target: Target, first_frame: int) -> Unit:
    """Return a clip's part in a metric, from its `first_frame` on."""
    frames, size, cost = target.data.num_frames - first_frame, target.data.size, Cost()
    if metric == "i3d":
        cost = _i3d(frames)
    elif metric.startswith("lpips"):
        trunk, heads = lpips_costs(metric.removeprefix("lpips-"), size)
        flops = frames * (2 * trunk.flops + heads.flops)
        cost = Cost(flops, trunk.parameters + heads.parameters)
    memory = _FLOAT * cost.parameters
    return Unit("comparison", metric, (frames, size), cost.flops, cost.parameters, memory)


Frames = Mapping[str, np.ndarray]  # of each video, by split; without the splits not yet counted


def frames_of(target: Target, data: Cell, store: Store) -> Frames:
    """Return the frames of each video by split: as packed, or as config and registry say."""
    if store.is_complete(data):
        folder = store.finished(data)
        return {split: open_split(folder, split).lengths for split in SPLITS}
    return DATASETS[target.data.name].expected_lengths(target.data)


def work_of(cell: Cell, target: Any, data: Cell, store: Store) -> Work:
    """Return the work of a target's `cell`; none if it is made. `data` is the cell of its videos.

    `target` is a table wherever a rule reads it.
    """
    if store.is_complete(cell):
        return Work()
    if cell.kind not in _RULES:
        return Work(None, None, reason=f"no rule for cells of kind {cell.kind}")
    splits, rule = _RULES[cell.kind]
    frames = frames_of(target, data, store) if splits else {}
    if not frames.keys() >= set(splits):
        return Work(None, None, reason="the number of clips is known once the data is there")
    return rule(cell, target, frames)


def _data(cell: Cell, target: Target, frames: Frames) -> Work:
    data, lengths = target.data, np.concatenate([frames[split] for split in SPLITS])
    disk = int(lengths.sum()) * 3 * data.size**2
    if data.source == "real":
        reason = "reading the real files depends on the disk they are on"
        return Work(None, disk, reason=reason, cached=True)
    return Work([(_simulation(target), len(lengths))], disk)


def _simulation(target: Target) -> Unit:
    data = target.data
    return Unit("simulation", data.name, (data.size, data.num_frames))


def _training(cell: Cell, target: Target, frames: Frames) -> Work:
    train = cell.step.options["options"] or stage_options(target, cell.kind)
    unit = training_step(target.at_size(target.data.size), cell.kind)
    units = [(unit, train.num_steps)]
    if cell.kind in AUTOENCODERS:
        units = [
            (training_step(part.target, cell.kind, adversary=part.adversary), part.num_steps)
            for part in autoencoder_phases(target)
        ]
    # A checkpoint holds weights, their averages and Adam's moments; the best one is kept as well.
    kept = min(train.keep_last + 1, -(-train.num_steps // train.checkpoint_every))
    copies = 1 + kept * (3 + train.num_averages) + 2 * (train.ema_snapshots or 0)
    return Work(units, _FLOAT * unit.parameters * copies, unit.parameters)


def _latents(cell: Cell, target: Target, frames: Frames) -> Work:
    train, stage, lengths = target.train_dmg, cell.parents["autoencoder"].kind, frames["train"]
    kept = lengths[: len(lengths) - train.num_held_out(len(lengths))]
    number = len(windows(kept, target.data.num_frames, train.window_stride))
    number *= target.data.num_variants
    with torch.device("meta"):
        model: Any = NETWORKS[stage].build(target, None)
    encoder = costs(target, AUTOENCODERS[stage])["posterior"]
    batch = min(encoding_batch_size(target.train_vae), max(1, number))
    unit = _inference("encoding", stage, target, encoder, batch)
    return Work([(unit, number)], number * (2 * _FLOAT * math.prod(model.latent_shape) + 16))


def _clips(cell: Cell, target: Target, frames: Frames) -> Work:
    number, batch = _num_clips(cell, target, frames)
    units = []
    if "generated" in cell.config:
        units = [(sampling(target, cell.row, cell.step.options["paradigm"], batch), number)]
    elif "reconstruction" in cell.config:
        units = [(_reconstruction(target, number, cell.step.options["paradigm"]), number)]
    elif "simulated" in cell.config:
        videos = len(frames["test"]) * target.evaluate.samples_per_clip
        units = [(_simulation(target), videos)]
    stored = 1 if cell.row == "copy_first_frame" else target.data.num_frames
    return Work(units, number * stored * 3 * target.data.size**2)


def _reconstruction(target: Target, number: int, paradigm: str) -> Unit:
    batch = min(target.runtime.decoded_at_once, max(1, number))
    stage, clip = PARADIGMS[paradigm].autoencoder_stage, costs(target, paradigm)["autoencoder"]
    assert stage is not None, "pixel space reconstructs nothing"
    return _inference("reconstruction", stage, target, clip, batch)


def _diagnostics(cell: Cell, target: Target, frames: Frames) -> Work:
    number, _ = _num_clips(cell, target, frames, DIAGNOSED_CLIPS)
    # swapped and still; the second E_M serves both
    return Work([(_reconstruction(target, number, "latent_motion"), 2 * number)])


def _captions(cell: Cell, target: Target, frames: Frames) -> Work:
    assert target.captioner is not None, "checked with the config"
    number, _ = _num_clips(cell, target, frames)
    batch = min(CAPTIONS_BATCH, max(1, number))
    clip = _captions_cost(target.captioner, target.data.num_frames, target.data.size)
    return Work([(_inference("captioning", "captioner", target, clip, batch), number)])


def _features(cell: Cell, target: Target, frames: Frames) -> Work:
    number, _ = _num_clips(cell, target, frames)
    unit = _comparison("i3d", target, cell.config["first_frame"])
    return Work([(unit, number)], number * NUM_FEATURES * _FLOAT)


def _values(cell: Cell, target: Target, frames: Frames) -> Work:
    units = []
    for name in cell.config["protocols"]:
        metric = metric_for(name)
        if metric.name in _METRICS:
            number, _ = _num_clips(cell, target, frames)
            units.append((_comparison(metric.name, target, PROTOCOLS[name].first_frame), number))
        elif metric.needs not in ("i3d", "captions", "tracks") and (
            metric.paired or metric.weights
        ):
            return Work(None, reason=f"no rule for {metric.name}")
        # other metrics take seconds, whatever the target
    return Work(units)


# By kind of cell: the splits whose frames must be known, and the rule.
_RULES: dict[str, tuple[Sequence[str], Callable[[Cell, Target, Frames], Work]]] = {
    "data": (SPLITS, _data),
    **dict.fromkeys(NETWORKS, ((), _training)),
    **dict.fromkeys(("latents", "video_latents"), (["train"], _latents)),
    "clips": (["test"], _clips),
    "captions": (["test"], _captions),
    "features": (["test"], _features),
    "values": (["test"], _values),
    "diagnostics": (["test"], _diagnostics),
    "tracks": ((), lambda *_: Work([])),  # seconds: no picture is drawn
    "latency": ((), lambda *_: Work(None, reason="it is a measurement of time itself")),
}


def _num_clips(
    cell: Cell, target: Target, frames: Frames, most: int | None = None
) -> tuple[int, int]:
    """Return how many clips a set has, or the set that a cell was made of, and in a batch.

    The time that weights take depends on the batch.
    """
    config = [clips for clips in with_ancestors([cell]) if clips.kind == "clips"][-1].config
    rule = target.evaluate.windows
    number = len(windows_by_rule(frames["test"], target.data.num_frames, rule))
    first, last = config.get("samples", (0, 1))
    number = min(number, config.get("limit") or number) * (last - first)
    number = min(number, most or number)
    return number, min(target.runtime.sampling_batch_size, max(1, number))
