"""Times a few units of work on this machine, in a separate process that is ended when time is up.

It trains and samples networks with fresh weights on random clips.
"""

import gc
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import torch

from lamd import weights
from lamd.base.errors import LamdError
from lamd.base.extensions import load_extensions
from lamd.base.processes import available_cores, available_memory, leave_with_parent
from lamd.config import SamplerConfig, Target
from lamd.data.vocabulary import Vocabulary
from lamd.diffusion import num_passes
from lamd.evaluate import resolve_device
from lamd.forecast.step import AUTOENCODERS, noise, noise_stage
from lamd.forecast.work import Unit
from lamd.generate import compile_denoiser, generate_clips
from lamd.metrics import i3d
from lamd.metrics.frames import BACKBONES
from lamd.metrics.registry import METRICS
from lamd.metrics.values import Inputs
from lamd.paradigms.costs import VOCABULARIES
from lamd.paradigms.registry import PARADIGMS
from lamd.pipeline.steps.data import build_data
from lamd.training.engine import StepTimer
from lamd.training.networks import NETWORKS

_PROMPT = "the cone is rotating."
_STARTED = 60.0  # seconds that importing PyTorch may take in addition to the limit

Times = dict[Unit, float | str]  # seconds per unit, or why they are not known


def probe(wanted: Mapping[Unit, Target], device: str, limit: float) -> Times:
    """Time each unit on its target, the cheapest first, until `limit` seconds are over."""
    reason, times = f"not reached in {limit:.0f} s", Times()
    order = sorted(wanted.items(), key=lambda work: (work[0].kind == "simulation", work[0].flops))
    context = multiprocessing.get_context("spawn")
    results, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(order, device, limit, theirs))
    process.start()
    theirs.close()
    deadline = time.monotonic() + limit + _STARTED
    try:
        for unit, _ in order:
            if not results.poll(max(0.0, deadline - time.monotonic())):
                break
            times[unit] = results.recv()
    except EOFError:  # done, or killed
        process.join()
        if process.exitcode:
            reason = "the probe was killed, perhaps out of memory"
    finally:
        process.kill()
        process.join()
    return times | {unit: reason for unit in wanted if unit not in times}


def _work(
    wanted: list[tuple[Unit, Target]], device: str, limit: float, results: Connection
) -> None:
    leave_with_parent()
    load_extensions()
    deadline = time.monotonic() + limit
    for unit, target in wanted:
        if time.monotonic() > deadline:
            return
        try:
            results.send(time_unit(unit, target, device))
        except Exception as error:  # the run itself would fail likewise
            text = " ".join(str(error).split())
            known = isinstance(error, LamdError)
            results.send(text if known else f"{type(error).__name__}: {text[:200]}")


def time_unit(unit: Unit, target: Target, device: str) -> float:
    """Return the seconds of one unit here; LamdError when memory, weights or a GPU are missing."""
    gc.collect()  # networks of earlier units: a replaced `forward` refers to its own module
    memory = available_memory()
    device = resolve_device(device)
    if unit.memory > memory and device == "cpu":
        raise LamdError(f"needs {unit.memory / 1e9:.1f} GB of memory, {memory / 1e9:.1f} are free")
    return TIMERS[unit.kind](unit, target, device)


def _training(unit: Unit, target: Target, device: str) -> float:
    first, gan = 1, target.loss.gan
    if unit.kind == "step, adversary" and gan is not None:
        first += gan.start_step
    check_lpips(unit.subject, target)
    stage = noise_stage(unit.subject, target.at_size(unit.shape[-1]))
    return StepTimer(stage, first=first, device=device).median()


def _network(stage: str, target: Target, vocabulary: Vocabulary | None = None) -> Any:
    return NETWORKS[stage].build(target, vocabulary).eval()


@torch.inference_mode()
def _autoencoding(unit: Unit, target: Target, device: str) -> float:
    batch, model = unit.shape[0], _network(unit.subject, target).to(device)
    x = torch.rand(batch, *model.clip_shape, device=device)
    eps = torch.rand(batch, *model.latent_shape, device=device)

    def run(count: int) -> None:
        for _ in range(count):
            model.encode(x) if unit.kind == "encoding" else model(x, eps)

    return _timed(run, device)[1] / batch


def _sampling(unit: Unit, target: Target, device: str) -> float:
    """Time a run of one step, and for all further passes what a further one adds."""
    batch, kind = unit.shape[0], PARADIGMS[unit.subject]
    vocabulary = autoencoder = prompts = None
    if target.dmg.prompt is not None:
        prompts = [_PROMPT] * batch
        vocabulary = Vocabulary.build(target.dmg.prompt.kind, prompts)
    network = _network(kind.denoiser_stage, target, vocabulary).to(device)
    if target.runtime.compile:
        compile_denoiser(network)
    if kind.autoencoder_stage is not None:
        autoencoder = _network(kind.autoencoder_stage, target).to(device)
    paradigm, sampler = kind.of(target, network, autoencoder), kind.sampler(target)
    if sampler.autoguidance is not None:
        paradigm.earlier = kind.of(target, network, autoencoder)
    frames = np.zeros((batch, target.data.size, target.data.size, 3), np.uint8)
    decoded = target.runtime.decoding_batch_size

    def options(num_steps: int) -> SamplerConfig:
        return sampler.model_copy(update={"num_steps": num_steps})

    def run(num_steps: int) -> None:
        keys = [str(i) for i in range(batch)]
        generate_clips(
            paradigm, options(num_steps), frames, keys, prompts, batch_size=batch,
            decoding_batch_size=decoded,
        )  # fmt: skip

    further = min(sampler.num_steps - 1, 3)
    once, step = _timed(run, device, further)
    of, counts = target.dmg.num_train_steps, (1, 1 + further, sampler.num_steps)
    first, timed, passes = (num_passes(options(count), of) for count in counts)
    return (once + further * step * (passes - first) / max(1, timed - first)) / batch


def _captioning(unit: Unit, target: Target, device: str) -> float:
    batch, num_frames, size = unit.shape
    model = _network(unit.subject, target, VOCABULARIES["text"]).to(device)
    x = torch.zeros(batch, num_frames, 3, size, size, device=device)
    return _timed(lambda n: [model.caption(x) for _ in range(n)], device)[1] / batch


def _comparison(unit: Unit, target: Target, device: str) -> float:
    clip, inputs = noise(*unit.shape), Inputs(device=device)

    def clips(count: int) -> np.ndarray:
        return np.stack([clip] * count)

    if unit.subject == "i3d":
        network = i3d.I3D().eval().to(device)  # as fast as with trained weights
        return _timed(lambda n: i3d.features(clips(n), inputs, network=network), device)[1]
    metric = METRICS[unit.subject]
    _check_weights(*metric.weights)
    measure = resolve_name(metric.measure)
    return _timed(lambda n: measure(clips(n), clips(n), inputs), device)[1]


def _simulation(unit: Unit, target: Target, device: str) -> float:
    # a few captions lack words of others
    dmg = target.dmg.model_copy(update={"prompt": None})

    def run(count: int) -> None:
        data = target.data.model_copy(update={"num_train": count, "num_test": 1})
        with tempfile.TemporaryDirectory() as folder:
            build_data(Path(folder), {}, target.model_copy(update={"data": data, "dmg": dmg}))

    return _timed(run, "cpu", 3 * available_cores(), warm=False)[1]


def _timed(
    run: Callable[[int], object], device: str, further: int = 2, *, warm: bool = True
) -> tuple[float, float]:
    """Return the seconds of `run(1)`, and of each further unit, from `further` of them."""
    seconds = []
    for count in (1, 1, 1 + further) if warm else (1, 1 + further):
        started = time.monotonic()
        run(count)
        if device != "cpu":
            torch.cuda.synchronize(device)
        seconds.append(time.monotonic() - started)
    once, longer = seconds[-2:]
    return once, max(0.0, longer - once) / max(1, further)


def check_lpips(stage: str, target: Target) -> None:
    """Raise LamdError when a stage's step needs LPIPS and its weights are missing."""
    if stage in AUTOENCODERS and target.loss.lpips_weight:
        _check_weights(BACKBONES[target.loss.lpips_backbone])


def _check_weights(*names: str) -> None:
    for name in names:
        if not weights.weights_path(name).exists():
            raise LamdError(f"weights of LPIPS are missing; run `lamd weights fetch {name}`")


TIMERS: dict[str, Callable[[Unit, Target, str], float]] = {
    "step": _training,
    "step, adversary": _training,
    "encoding": _autoencoding,
    "reconstruction": _autoencoding,
    "sampling": _sampling,
    "captioning": _captioning,
    "comparison": _comparison,
    "simulation": _simulation,
}
