"""The work of a cell: its units and their number, and the bytes that it leaves on disk."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lamd.config import Target, TrainConfig, is_baseline, split_row
from lamd.data.dataset import DATASETS
from lamd.data.listing import SPLITS
from lamd.data.packed import windows
from lamd.forecast.counting import FLOAT, stage_options
from lamd.forecast.units import UNITS, Unit, count_unit
from lamd.metrics.protocols import PROTOCOLS, metric_for
from lamd.paradigms.budget import row_training
from lamd.pipeline.cell import Cell, with_ancestors
from lamd.pipeline.graph import DIAGNOSED_CLIPS
from lamd.pipeline.steps.data import open_split
from lamd.pipeline.store import Store
from lamd.training.networks import NETWORKS

_ENCODED = 16  # clips in a batch of `training.latents`


@dataclass(frozen=True)
class Workload:
    """The work of one cell.

    Attributes:
        units: with the number of each; None where that is not known, for a `reason`.
        disk: bytes that stay; None where the number of clips is not known.
        parameters: of the network that it trains.
    """

    units: tuple[tuple[Unit, int], ...] | None
    disk: int | None
    parameters: int = 0
    reason: str = ""

    @property
    def flops(self) -> int:
        """FLOPs of all units."""
        return sum(count * unit.flops for unit, count in self.units or ())

    @property
    def memory(self) -> int:
        """Bytes that tensors take at least, at the peak."""
        return max((unit.memory for unit, _ in self.units or ()), default=0)


Frames = Mapping[str, np.ndarray]  # of each video, by split; without the splits not yet counted


def frames_of(target: Target, data: Cell, store: Store) -> Frames:
    """Return the frames of each video by split: as packed, or as config and registry say."""
    if store.is_complete(data):
        folder = store.folder(data)
        return {split: open_split(folder, split).lengths for split in SPLITS}
    config, dataset = target.data, DATASETS[target.data.name]
    counts = {"train": config.num_train, "test": config.num_test}
    if config.source == "real":
        counts = {
            split: count or dataset.packed_counts.get(split) for split, count in counts.items()
        }
    frames = max(config.num_frames, dataset.video_frames.get(config.source, 0))
    return {split: np.full(count, frames) for split, count in counts.items() if count is not None}


def workload(cell: Cell, target: Target, frames: Frames) -> Workload:
    """Return the work of a target's `cell` from `frames_of`; without units for unknown kinds."""
    if cell.kind not in _KINDS:
        return Workload(None, None, reason=f"no rule for cells of kind {cell.kind}")
    splits, make = _KINDS[cell.kind]
    if not frames.keys() >= set(splits):
        return Workload(None, None, reason="the number of clips is known once the data is there")
    return make(cell, target, frames)


def _data(cell: Cell, target: Target, frames: Frames) -> Workload:
    data, lengths = target.data, np.concatenate([frames[split] for split in SPLITS])
    disk = int(lengths.sum()) * 3 * data.size**2
    if data.source == "real":
        return Workload(None, disk, reason="reading the real files depends on the disk they are on")
    unit = count_unit("simulation", target, (data.size, data.num_frames))
    return Workload(((unit, len(lengths)),), disk)


def _training(cell: Cell, target: Target, frames: Frames) -> Workload:
    train = _options(cell, target)
    steps = {f"{cell.kind} step": train.num_steps}
    if cell.kind in ("vae", "video_vae") and target.loss.gan is not None:
        alone = target.loss.gan.start_step
        steps = {f"{cell.kind} step": alone}
        steps[f"{cell.kind} step, adversary"] = train.num_steps - alone
    shape = (train.batch_size, target.data.num_frames, target.data.size)
    units = tuple((count_unit(kind, target, shape), number) for kind, number in steps.items())
    parameters = units[0][0].parameters
    # A checkpoint holds weights, their average and Adam's moments; the best one is kept as well.
    kept = min(train.keep_last + 1, -(-train.num_steps // train.checkpoint_every))
    copies = 3 + (train.ema_decay is not None)
    return Workload(units, FLOAT * parameters * (1 + kept * copies), parameters)


def _options(cell: Cell, target: Target) -> TrainConfig:
    baseline = f"{cell.kind}_{cell.detail}"
    if is_baseline(baseline):
        return row_training(target, baseline)
    return stage_options(target, cell.kind)


def _latents(cell: Cell, target: Target, frames: Frames) -> Workload:
    train, stage, lengths = target.train_dmg, cell.parents["autoencoder"].kind, frames["train"]
    kept = lengths[: len(lengths) - train.num_validation_clips]
    count = len(windows(kept, target.data.num_frames, train.window_stride))
    with torch.device("meta"):
        model: Any = NETWORKS[stage].build(target, None)
    unit = _clip_unit("encoding" if stage == "vae" else "video encoding", target, count, _ENCODED)
    return Workload(((unit, count),), count * (2 * FLOAT * math.prod(model.latent_shape) + 16))


def _clips(cell: Cell, target: Target, frames: Frames) -> Workload:
    count, kind = _num_clips(cell, target, frames), None
    if is_baseline(cell.row):
        kind = f"sampling {split_row(cell.row)[0]}"
    elif "generated" in cell.config:
        kind = "sampling"
    elif "reconstruction" in cell.config:
        kind = "reconstruction"
    units = () if kind is None else ((_clip_unit(kind, target, count), count),)
    return Workload(units, count * target.data.num_frames * 3 * target.data.size**2)


def _diagnostics(cell: Cell, target: Target, frames: Frames) -> Workload:
    count = min(_num_clips(cell, target, frames), DIAGNOSED_CLIPS)
    unit = _clip_unit("reconstruction", target, count)
    return Workload(((unit, 2 * count),), 0)  # swapped and still; the second E_M serves both


def _features(cell: Cell, target: Target, frames: Frames) -> Workload:
    count = _num_clips(cell, target, frames)
    shape = (target.data.num_frames - cell.config["first_frame"], target.data.size)
    return Workload(((count_unit("i3d", target, shape), count),), count * 400 * FLOAT)


def _values(cell: Cell, target: Target, frames: Frames) -> Workload:
    fake = next((clips for clips in _sets(cell) if clips.row != "test"), cell)
    count, units = _num_clips(fake, target, frames), []
    for name in cell.config["protocols"]:
        metric = metric_for(name)
        if metric.name in UNITS:
            shape = (target.data.num_frames - PROTOCOLS[name].first_frame, target.data.size)
            units.append((count_unit(metric.name, target, shape), count))
        elif metric.needs not in ("i3d", "captions") and (metric.paired or metric.weights):
            return Workload(None, 0, reason=f"no rule for {metric.name}")
        # other metrics take seconds, whatever the target
    return Workload(tuple(units), 0)


# By kind of cell: the splits whose frames must be known, and the rule.
_KINDS: dict[str, tuple[Sequence[str], Callable[[Cell, Target, Frames], Workload]]] = {
    "data": (SPLITS, _data),
    **dict.fromkeys(NETWORKS, ((), _training)),
    **dict.fromkeys(("latents", "video_latents"), (("train",), _latents)),
    "clips": (("test",), _clips),
    "features": (("test",), _features),
    "values": (("test",), _values),
    "diagnostics": (("test",), _diagnostics),
}


def _clip_unit(kind: str, target: Target, count: int, most: int | None = None) -> Unit:
    """Return one clip in a batch; the time that weights take depends on the batch."""
    batch = min(most or target.runtime.sampling_batch_size, max(1, count))
    return count_unit(kind, target, (batch, target.data.num_frames, target.data.size))


def _num_clips(cell: Cell, target: Target, frames: Frames) -> int:
    """Return the number of clips of a clip set, or of the set that a cell was made of."""
    config = cell.config if cell.kind == "clips" else _sets(cell)[-1].config
    count = len(windows(frames["test"], target.data.num_frames, target.data.num_frames))
    if config.get("limit") is not None:
        count = min(count, config["limit"])
    first, last = config.get("samples", (0, 1))
    return count * (last - first)


def _sets(cell: Cell) -> list[Cell]:
    return [clips for clips in with_ancestors([cell]) if clips.kind == "clips"]
