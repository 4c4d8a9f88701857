"""What is timed: sampling runs of untrained networks by paradigm, of trained ones by sampler."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lamd.config import Point, QualityFigure, SamplingCost
from lamd.cost.paradigms import Widths
from lamd.cost.timed import build_paradigm
from lamd.evaluate import resolve_device
from lamd.generate import last, motion_trajectory
from lamd.harness.latency import Seconds, interleaved, write_latency
from lamd.harness.machine import timing_place
from lamd.harness.trained import Trained
from lamd.rng import torch_generator


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
    target = figure.sources[source]
    trained = Trained(target, inputs, device)
    shape = (figure.batch_size, 3, target.data.size, target.data.size)
    keys = [str(clip) for clip in range(figure.batch_size)]
    generator = torch_generator(0, "latency")
    with _measuring(figure.threads):
        x0 = torch.rand(shape, generator=generator).to(trained.device)
        f_x0, skips = trained.vae.encode_image(x0)
        z_m = torch.randn(figure.batch_size, *trained.vae.latent_shape, generator=generator)
        z_m = z_m.to(trained.device)

        def denoise(point: Point) -> Tensor:
            sampler = figure.at(source, point).sampler
            return last(
                motion_trajectory(trained.vae, trained.dmg, trained.schedule, sampler, f_x0, keys)
            )[1]

        runs = {str(point): partial(denoise, point) for point in figure.points}
        runs |= {
            "encode": lambda: trained.vae.encode_image(x0),
            "decode": lambda: trained.vae.decode(z_m, f_x0, skips),
        }
        seconds = interleaved(runs, figure.rounds, _synchronise)
    return _write(folder, seconds, trained.device, figure.threads)


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
