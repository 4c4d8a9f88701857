"""Timed sampling runs: of untrained networks by paradigm, of trained ones by sampler."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lamd.base.machine import timing_place
from lamd.base.rng import torch_generator
from lamd.config import QualityFigure, SamplingCost, Target, is_baseline, split_row
from lamd.evaluate import resolve_device
from lamd.generate import last, trajectory
from lamd.paradigms.untrained import build_paradigm
from lamd.pipeline.steps.latency import Seconds, interleaved, write_latency
from lamd.training import load_paradigm

Runs = dict[str, Callable[[], object]]


def time_paradigms(
    folder: Path, inputs: Mapping[str, Path], config: SamplingCost, device: str
) -> dict:
    """Time encoding, denoising steps and decoding of untrained networks at every shape."""
    device = resolve_device(device)
    with _measuring(config.threads), torch.device(device):
        networks = {name: build_paradigm(name, config.widths) for name in config.paradigms}
        runs = {
            f"{paradigm} {frames}x{size} {part}": run
            for frames, size in config.shapes
            for paradigm, network in networks.items()
            for part, run in network(
                batch=config.batch_size, frames=frames, size=size, num_steps=config.timed_steps
            ).items()
            if part != "step"  # a run of `timed_steps` has the sampler's own arithmetic in it
        }
        seconds = interleaved(runs, config.rounds, _synchronise)
    return _write(folder, seconds, device, config.threads)


def time_samplers(
    folder: Path, inputs: Mapping[str, Path], figure: QualityFigure, source: str, device: str
) -> dict:
    """Time encoding, each of a figure's sampling runs, and decoding, with a source's models.

    `inputs` holds each row's models as `<row> denoiser` and, except in pixel space,
    `<row> autoencoder`.
    """
    size, device = figure.sources[source].data.size, resolve_device(device)
    runs: Runs = {}
    with _measuring(figure.threads):
        shape = (figure.batch_size, 3, size, size)
        x0 = torch.rand(shape, generator=torch_generator(0, "latency")).to(device)
        for row in figure.series:
            points = [point for point in figure.points if point.row == row]
            targets = {str(point): figure.at(source, point) for point in points}
            runs |= _row_runs(row, targets, inputs, device, x0)
        seconds = interleaved(runs, figure.rounds, _synchronise)
    return _write(folder, seconds, device, figure.threads)


def _row_runs(
    row: str, targets: Mapping[str, Target], inputs: Mapping[str, Path], device: str, x0: Tensor
) -> Runs:
    name, prefix = split_row(row)[0] if is_baseline(row) else "latent_motion", f"{row} "
    folders = {k.removeprefix(prefix): v for k, v in inputs.items() if k.startswith(prefix)}
    paradigm = load_paradigm(name, next(iter(targets.values())), folders, device)
    given, keys = paradigm.encode(x0), [str(clip) for clip in range(len(x0))]

    def denoise(target: Target) -> Tensor:
        return last(trajectory(paradigm, paradigm.sampler(target), given, keys))[1]

    runs: Runs = {point: partial(denoise, target) for point, target in targets.items()}
    if paradigm.autoencoder is not None:
        shape = len(x0), *paradigm.latent_shape
        z = torch.randn(shape, generator=torch_generator(0, "latency")).to(device)
        runs[f"{row} encode"] = partial(paradigm.encode, x0)
        runs[f"{row} decode"] = partial(paradigm.decode, z, given)
    return runs


@contextmanager
def _measuring(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(before)


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _write(folder: Path, seconds: Seconds, device: str, threads: int) -> dict:
    write_latency(folder, seconds)
    tf32 = device != "cpu" and torch.backends.cudnn.allow_tf32
    return timing_place(device) | {
        "dtype": "float32, TF32 in convolutions" if tf32 else "float32",
        "threads": str(threads),
        "date": datetime.now(UTC).date().isoformat(),
    }
