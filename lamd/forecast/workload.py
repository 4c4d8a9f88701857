"""What a cell does, in units of work: how many of which, and the bytes that it leaves on disk."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from lamd import cost
from lamd.config import Target, denoised_shape, is_baseline, split_row
from lamd.cost import Cost, budgets, stages
from lamd.forecast.probe import Unit
from lamd.metrics.rules import CAPTION_METRICS, CLASS_METRICS, PROTOCOLS
from lamd.pipeline.cells import Cell, Store
from lamd.pipeline.graph import DIAGNOSED_CLIPS

_ENCODED = 16  # clips in a batch of `training.latents`
_BAIR_FRAMES = 30
_SKY_FRAMES = 53  # of a stand-in's usable video, on the average
# Videos of the real splits where they are known: BAIR's, Landscape's clips by its readme.
_REAL = {"bair": {"train": 43_264, "test": 256}, "landscape": {"train": 35_383, "test": 2_815}}
# What is read off features and captions is measured in seconds, whatever the target.
_QUICK = ("fvd", "smoothness", *CLASS_METRICS, *CAPTION_METRICS)


@dataclass(frozen=True)
class Workload:
    """What a cell does.

    Attributes:
        units: each with its count; None where that is not known, and `reason` tells why.
        disk: bytes that stay; None where the number of clips is not known.
        parameters: of the network that it trains.
    """

    units: tuple[tuple[Unit, int], ...] | None
    disk: int | None
    parameters: int = 0
    reason: str = ""

    @property
    def flops(self) -> int:
        """FLOPs by the closed forms."""
        return sum(count * unit.flops for unit, count in self.units or ())

    @property
    def memory(self) -> int:
        """Bytes that tensors take at least, at the peak."""
        return max((unit.memory for unit, _ in self.units or ()), default=0)


_UNCOUNTED = Workload(None, None, reason="the number of clips is known once the data is there")
Frames = Mapping[str, np.ndarray | None]  # of each video, by split; None where not known


def frames_of(target: Target, data: Cell, store: Store) -> Frames:
    """Return the frames of each video by split: as packed, as the config says, None if unknown."""
    if store.is_complete(data):
        from lamd.pipeline.steps.train import open_split

        folder = store.folder(data)
        return {split: open_split(folder, split).lengths for split in ("train", "test")}
    wanted = {"train": target.data.num_train, "test": target.data.num_test}
    frames = target.data.num_frames  # the other sets are packed as clips
    if target.data.name == "bair":
        frames = _BAIR_FRAMES
    elif target.data.name == "landscape" and target.data.source == "simulated":
        frames = max(_SKY_FRAMES, frames)
    real = _REAL.get(target.data.name, {}) if target.data.source == "real" else {}
    counts = {split: count or real.get(split) for split, count in wanted.items()}
    return {split: None if n is None else np.full(n, frames) for split, n in counts.items()}


def workload(cell: Cell, target: Target, frames: Frames) -> Workload:
    """Return what `cell` of `target` does, given `frames_of`, of a kind known here or not."""
    make = _KINDS.get(cell.kind)
    if make is None:
        return Workload(None, None, reason=f"no rule for cells of kind {cell.kind}")
    return make(cell, target, frames)


def _data(cell: Cell, target: Target, frames: Frames) -> Workload:
    lengths = [*frames.values()]
    if any(one is None for one in lengths):
        return _UNCOUNTED
    pixels = 3 * target.data.size**2
    disk = int(sum(one.sum() for one in lengths)) * pixels
    if target.data.source == "real":
        return Workload(None, disk, reason="reading the real files depends on the disk they are on")
    unit = Unit("simulation", 0, 0, (target.data.name, target.data.size, target.data.num_frames))
    return Workload(((unit, sum(map(len, lengths))),), disk)


def _vae(cell: Cell, target: Target, frames: Frames) -> Workload:
    return _autoencoder("vae step", target, stages.mcd_vae)


def _video_vae(cell: Cell, target: Target, frames: Frames) -> Workload:
    return _autoencoder("video_vae step", target, budgets.video_autoencoder_cost)


def _autoencoder(kind: str, target: Target, network: Callable[[Target, int], Cost]) -> Workload:
    train, gan = target.train_vae, target.loss.gan
    alone = train.num_steps if gan is None else gan.start_step
    shape = (train.batch_size, target.data.num_frames, target.data.size)
    plain, judged = (
        stages.vae_step(target, adversary=one, network=network) for one in (False, True)
    )
    units = [(_unit(kind, plain, shape), alone)]
    if gan is not None:
        units.append((_unit(f"{kind}, adversary", judged, shape), train.num_steps - alone))
    return _trained(units, plain.parameters, train)


def _dmg(cell: Cell, target: Target, frames: Frames) -> Workload:
    train, work = target.train_dmg, stages.dmg_training_step(target)
    unit = _unit("dmg step", work, (train.batch_size, target.data.size))
    return _trained([(unit, train.num_steps)], work.parameters, train)


def _denoiser(cell: Cell, target: Target, frames: Frames) -> Workload:
    name, _, rule = cell.name.partition(" ")
    train = budgets.row_budget(target, f"{name}_{rule}").train
    work = budgets.denoiser_step(target, name)
    shape = (train.batch_size, target.data.num_frames, target.data.size)
    unit = _unit(f"{name} step", work, shape)
    return _trained([(unit, train.num_steps)], work.parameters, train)


def _captioner(cell: Cell, target: Target, frames: Frames) -> Workload:
    train, work = target.train_captioner, stages.captioner_step(target)
    shape = (train.batch_size, target.data.num_frames, target.data.size)
    unit = _unit("captioner step", work, shape)
    return _trained([(unit, train.num_steps)], work.parameters, train)


def _latents(cell: Cell, target: Target, frames: Frames) -> Workload:
    side = target.data.size // target.vae.spatial_downsampling
    latent_frames = target.data.num_frames // target.vae.temporal_downsampling
    values = target.vae.motion_channels * latent_frames * side**2
    return _encoded("encoding", stages.encode, values, target, frames)


def _video_latents(cell: Cell, target: Target, frames: Frames) -> Workload:
    channels, latent_frames, side = denoised_shape(target, "latent_video")
    values = channels * latent_frames * side**2
    return _encoded("video encoding", budgets.video_encoder_work, values, target, frames)


def _encoded(kind: str, make, values: int, target: Target, frames: Frames) -> Workload:
    train, lengths = target.train_dmg, frames["train"]
    if lengths is None:
        return _UNCOUNTED
    kept = lengths[: len(lengths) - train.num_validation_clips]
    windows = _windows(kept, target.data.num_frames, train.window_stride)
    unit = _clip_unit(kind, make, target, min(_ENCODED, max(1, windows)))
    return Workload(((unit, windows),), windows * (2 * stages.FLOAT * values + 16))


def _clips(cell: Cell, target: Target, frames: Frames) -> Workload:
    count = _num_clips(cell, target, frames)
    if count is None:
        return _UNCOUNTED
    disk = count * target.data.num_frames * 3 * target.data.size**2
    row = cell.name.removeprefix("clips ")
    batch, units = min(target.runtime.sampling_batch_size, max(1, count)), []
    if is_baseline(row):
        kind = f"sampling {split_row(row)[0]}"
        make = partial(budgets.row_sample, row=row)
        units.append((_clip_unit(kind, make, target, batch), count))
    elif "generated" in cell.config:
        units.append((_clip_unit("sampling", stages.sample, target, batch), count))
    elif "reconstruction" in cell.config:
        units.append((_clip_unit("reconstruction", stages.reconstruct, target, batch), count))
    return Workload(tuple(units), disk)


def _diagnostics(cell: Cell, target: Target, frames: Frames) -> Workload:
    found = _num_clips(cell.parents[0], target, frames)
    if found is None:
        return _UNCOUNTED
    count = min(found, DIAGNOSED_CLIPS)
    batch = min(target.runtime.sampling_batch_size, max(1, count))
    unit = _clip_unit("reconstruction", stages.reconstruct, target, batch)
    return Workload(((unit, 2 * count),), 0)  # swapped and still; once of the two E_M is for both


def _features(cell: Cell, target: Target, frames: Frames) -> Workload:
    count = _num_clips(cell.parents[0], target, frames)
    if count is None:
        return _UNCOUNTED
    seen = target.data.num_frames - cell.config["first_frame"]
    closed = cost.i3d(batch=1, num_frames=seen)
    unit = Unit("i3d", closed.flops, stages.FLOAT * closed.parameters, (seen, target.data.size))
    return Workload(((unit, count),), count * 400 * stages.FLOAT)


def _values(cell: Cell, target: Target, frames: Frames) -> Workload:
    sets = [one for one in _sets(cell.parents) if one.name != "clips test"]
    count = _num_clips(sets[0] if sets else cell.parents[0], target, frames)
    if count is None:
        return _UNCOUNTED
    units, data = [], target.data
    for protocol in (PROTOCOLS[name] for name in cell.config["protocols"]):
        seen = data.num_frames - protocol.first_frame
        if protocol.metric in ("psnr", "ssim"):
            units.append((Unit(protocol.metric, 0, 0, (seen, data.size)), count))
        elif protocol.metric.startswith("lpips-"):
            trunk, heads = cost.lpips(
                protocol.metric.removeprefix("lpips-"), frames=seen, size=data.size
            )
            memory = stages.FLOAT * (trunk.parameters + heads.parameters)
            flops = 2 * trunk.flops + heads.flops
            units.append((Unit(protocol.metric, flops, memory, (seen, data.size)), count))
        elif protocol.metric not in _QUICK:
            return Workload(None, 0, reason=f"no rule for {protocol.metric}")
    return Workload(tuple(units), 0)


_KINDS = {
    "data": _data,
    "vae": _vae,
    "latents": _latents,
    "dmg": _dmg,
    "captioner": _captioner,
    "pixel": _denoiser,
    "video_vae": _video_vae,
    "video_latents": _video_latents,
    "latent_video": _denoiser,
    "clips": _clips,
    "features": _features,
    "values": _values,
    "diagnostics": _diagnostics,
}


def _trained(units: list[tuple[Unit, int]], parameters: int, train) -> Workload:
    # A checkpoint holds weights, their average and Adam's moments; the best one is kept beside.
    kept = min(train.keep_last + 1, -(-train.num_steps // train.checkpoint_every))
    copies = 3 + (train.ema_decay is not None)
    disk = stages.FLOAT * parameters * (1 + kept * copies)
    return Workload(tuple(units), disk, parameters)


def _unit(kind: str, work: stages.Work, shape: tuple[int, ...]) -> Unit:
    return Unit(kind, work.flops, work.memory, shape)


def _clip_unit(kind: str, make, target: Target, batch: int) -> Unit:
    """One clip of a batch, on which the weights of the time depend."""
    shape = (batch, target.data.num_frames, target.data.size)
    work = make(target, batch=batch)
    return Unit(kind, work.flops // batch, work.memory, shape)


def _num_clips(cell: Cell, target: Target, frames: Frames) -> int | None:
    """Return how many clips a clip set, or what was made of it, has."""
    if cell.kind != "clips":
        return _num_clips(_sets((cell,))[-1], target, frames)
    if frames["test"] is None:
        return None
    length = target.data.num_frames
    count = _windows(frames["test"], length, length)
    if cell.config.get("limit") is not None:
        count = min(count, cell.config["limit"])
    return count * cell.config.get("samples", 1)


def _sets(cells: Iterable[Cell]) -> list[Cell]:
    return [one for cell in cells for one in (*cell.ancestors(), cell) if one.kind == "clips"]


def _windows(lengths: np.ndarray, num_frames: int, stride: int) -> int:
    return int(np.maximum(0, (lengths - num_frames) // stride + 1).sum())
