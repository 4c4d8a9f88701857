"""Timed sampling runs: of untrained networks by paradigm, of trained ones by sampler."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lamd.base.files import dump_json
from lamd.base.origin import timing_place
from lamd.base.rng import torch_generator
from lamd.config import QualityFigure, SamplingCost, Target, is_baseline, split_row
from lamd.evaluate import resolve_device
from lamd.generate import last, trajectory
from lamd.paradigms.untrained import build_paradigm
from lamd.pipeline.contents import LATENCY, Folders
from lamd.training import load_paradigm

Runs = dict[str, Callable[[], object]]


def time_paradigms(folder: Path, inputs: Folders, config: SamplingCost, device: str) -> dict:
    """Time encoding, denoising steps and decoding of untrained networks at every shape."""

    def plan() -> Runs:
        networks = {name: build_paradigm(name, config.widths) for name in config.paradigms}
        return {
            f"{paradigm} {frames}x{size} {part}": run
            for frames, size in config.shapes
            for paradigm, network in networks.items()
            for part, run in network(
                batch=config.batch_size, frames=frames, size=size, num_steps=config.timed_steps
            ).items()
            if part != "step"  # a run of `timed_steps` has the sampler's own arithmetic in it
        }

    device = resolve_device(device)
    with torch.device(device):
        return _measure(folder, config, device, plan)


def time_samplers(
    folder: Path, inputs: Folders, figure: QualityFigure, source: str, device: str
) -> dict:
    """Time encoding, each of a figure's sampling runs, and decoding, with a source's models.

    `inputs` holds each row's models as `<row> denoiser` and, except in pixel space,
    `<row> autoencoder`.
    """
    device = resolve_device(device)

    def plan() -> Runs:
        runs: Runs = {}
        for row in figure.series:
            runs |= _row_runs(figure, source, row, inputs, device)
        return runs

    return _measure(folder, figure, device, plan)


def interleaved(runs: Runs, rounds: int, device: str = "cpu") -> dict[str, list[float]]:
    """Return the seconds of each run on `device`, one per round, after a round to warm up.

    Each round times everything once, so that a slow phase of the machine affects all alike; the
    ratios within one call are what is comparable.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(1 + rounds):
        for name, run in runs.items():
            _synchronise(device)
            start = time.perf_counter()
            run()
            _synchronise(device)
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def _measure(
    folder: Path, config: SamplingCost | QualityFigure, device: str, plan: Callable[[], Runs]
) -> dict:
    """Write the seconds of the planned runs; return how and where they were taken."""
    before = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        with torch.inference_mode():
            seconds = interleaved(plan(), config.rounds, device)
    finally:
        torch.set_num_threads(before)
    dump_json(folder / LATENCY, seconds)
    tf32 = device != "cpu" and torch.backends.cudnn.allow_tf32
    return timing_place(device) | {
        "dtype": "float32, TF32 in convolutions" if tf32 else "float32",
        "threads": str(config.threads),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _row_runs(figure: QualityFigure, source: str, row: str, inputs: Folders, device: str) -> Runs:
    points = [point for point in figure.points if point.row == row]
    targets = {str(point): figure.at(source, point) for point in points}
    name, prefix = split_row(row)[0] if is_baseline(row) else "latent_motion", f"{row} "
    folders = {k.removeprefix(prefix): v for k, v in inputs.items() if k.startswith(prefix)}
    paradigm = load_paradigm(name, next(iter(targets.values())), folders, device)
    count, size = figure.batch_size, figure.sources[source].data.size
    x0 = torch.rand(count, 3, size, size, generator=torch_generator(0, "latency")).to(device)
    given, keys = paradigm.encode(x0), [str(clip) for clip in range(count)]

    def denoise(target: Target) -> Tensor:
        return last(trajectory(paradigm, paradigm.sampler(target), given, keys))[1]

    runs: Runs = {point: partial(denoise, target) for point, target in targets.items()}
    if paradigm.autoencoder is not None:
        shape = count, *paradigm.latent_shape
        z = torch.randn(shape, generator=torch_generator(0, "latency")).to(device)
        runs[f"{row} encode"] = partial(paradigm.encode, x0)
        runs[f"{row} decode"] = partial(paradigm.decode, z, given)
    return runs


def _synchronise(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)
