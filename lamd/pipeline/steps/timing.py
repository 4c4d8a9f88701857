"""What is timed: sampling runs of untrained networks by paradigm, of trained ones by sampler."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lamd.base.machine import timing_place
from lamd.base.rng import torch_generator
from lamd.config import Point, QualityFigure, SamplingCost, Target, is_baseline
from lamd.cost.paradigms import Widths
from lamd.cost.timed import build_paradigm
from lamd.evaluate import resolve_device
from lamd.generate import denoise_latent_video, last, motion_trajectory
from lamd.pipeline.steps.latency import Seconds, interleaved, write_latency
from lamd.pipeline.trained import Trained, TrainedBaseline

Runs = dict[str, Callable[[], object]]


def time_paradigms(
    folder: Path, inputs: dict[str, Path], config: SamplingCost, device: str
) -> dict:
    """Time encoding, denoising steps and decoding of untrained networks at every shape."""
    place = resolve_device(device)
    widths = Widths(**config.widths.model_dump())
    with _measuring(config.threads), torch.device(place):
        networks = {paradigm: build_paradigm(paradigm, widths) for paradigm in config.paradigms}
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
    return _write(folder, seconds, place, config.threads)


def time_samplers(
    folder: Path, inputs: dict[str, Path], figure: QualityFigure, source: str, device: str
) -> dict:
    """Time encoding, each of a figure's sampling runs, and decoding, with a source's models."""
    target, place = figure.sources[source], resolve_device(device)
    shape = (figure.batch_size, 3, target.data.size, target.data.size)
    runs: Runs = {}
    with _measuring(figure.threads):
        x0 = torch.rand(shape, generator=torch_generator(0, "latency")).to(place)
        for row in figure.series:
            points = [point for point in figure.points if point.row == row]
            targets = {point: figure.at(source, point) for point in points}
            if is_baseline(row):
                runs |= _baseline_runs(row, targets, inputs, device, x0)
            else:
                runs |= _lamd_runs(row, targets, inputs, device, x0)
        seconds = interleaved(runs, figure.rounds, _synchronise)
    return _write(folder, seconds, place, figure.threads)


def _lamd_runs(
    row: str, targets: dict[Point, Target], inputs: dict[str, Path], device: str, x0: Tensor
) -> Runs:
    trained, keys = Trained(next(iter(targets.values())), inputs, device), _keys(x0)
    f_x0, skips = trained.vae.encode_image(x0)
    z_m = torch.randn(len(x0), *trained.vae.latent_shape, generator=torch_generator(0, "latency"))
    z_m = z_m.to(x0.device)

    def denoise(target: Target) -> Tensor:
        models = (trained.vae, trained.dmg, trained.schedule)
        return last(motion_trajectory(*models, target.sampler, f_x0, keys))[1]

    return {
        f"{row} encode": lambda: trained.vae.encode_image(x0),
        **{str(point): partial(denoise, target) for point, target in targets.items()},
        f"{row} decode": lambda: trained.vae.decode(z_m, f_x0, skips),
    }


def _baseline_runs(
    row: str, targets: dict[Point, Target], inputs: dict[str, Path], device: str, x0: Tensor
) -> Runs:
    found = {p: TrainedBaseline(one, inputs, device, row) for p, one in targets.items()}
    one, keys = next(iter(found.values())), _keys(x0)
    if one.autoencoder is None:
        return {str(point): partial(each.sample, x0, keys) for point, each in found.items()}
    given = one.autoencoder.encode_image(x0)
    shape = one.autoencoder.latent_shape
    z = torch.randn(len(x0), *shape, generator=torch_generator(0, "latency")).to(x0.device)

    def denoise(each: TrainedBaseline) -> Tensor:
        models = (each.model, each.schedule, each.sampler)
        return denoise_latent_video(*models, shape, given, keys)

    return {
        f"{row} encode": lambda: one.autoencoder.encode_image(x0),
        **{str(point): partial(denoise, each) for point, each in found.items()},
        f"{row} decode": lambda: one.autoencoder.decode(z),
    }


def _keys(x0: Tensor) -> list[str]:
    return [str(clip) for clip in range(len(x0))]


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
