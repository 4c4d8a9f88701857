"""Inference, the same for every paradigm: encode x_0, run a sampler from keyed noise, decode."""

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from lamd import diffusion
from lamd.base import origin
from lamd.base.errors import LamdError, is_out_of_memory
from lamd.base.files import make_private
from lamd.base.progress import track
from lamd.base.rng import torch_generator
from lamd.config import SamplerConfig
from lamd.io.video import to_model, to_uint8
from lamd.models.unet import UNet
from lamd.paradigms.base import Given, Paradigm
from lamd.weights import cache_root

T = TypeVar("T")


def keyed_noise(
    keys: Sequence[str], seed: int, shape: tuple[int, ...], device: torch.device
) -> Callable[[], Tensor]:
    """Return a source of standard normal (len(keys), *shape), with one CPU generator per key.

    A sample therefore depends on its key and the seed, not on batch size, order or device.
    """
    generators = [torch_generator(seed, "noise", key) for key in keys]

    def draw() -> Tensor:  # on the CPU, whatever torch.set_default_device says
        noise = [torch.randn(shape, generator=g, device="cpu") for g in generators]
        return torch.stack(noise).to(device)

    return draw


@torch.inference_mode()
def trajectory(
    paradigm: Paradigm,
    sampler: SamplerConfig,
    given: Given,
    keys: Sequence[str],
    prompts: Sequence[str] | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Yield (t, z_t), z_t (B, *latent_shape) at unit scale; t = -1 is the sample.

    Of the B `keys`, equal ones give equal samples of equal seeds and frames. `prompts` are B
    captions or classes, for a model with prompts only; LamdError on one outside its vocabulary.
    """
    schedule = paradigm.schedule
    predict = paradigm.denoiser(given, prompts, sampler.guidance_scale)
    if (rule := sampler.autoguidance) is not None:
        assert paradigm.earlier is not None, "loaded with the paradigm"
        weaker = paradigm.earlier.denoiser(given, prompts, sampler.guidance_scale)
        predict = diffusion.autoguided(predict, weaker, rule.scale, rule.steps)
    denoiser = diffusion.as_eps_denoiser(predict, schedule)
    if (bound := paradigm.bound or sampler.clamp) is not None:
        denoiser = diffusion.clip_denoised(denoiser, schedule, bound)
    noise = keyed_noise(keys, sampler.seed, paradigm.latent_shape, given.condition.device)
    steps = diffusion.sampling_steps(len(schedule), sampler.num_steps)
    yield from diffusion.trajectory(
        denoiser, schedule, noise(), steps=steps, name=sampler.name, eta=sampler.eta, noise=noise
    )


@torch.inference_mode()
def generate(
    paradigm: Paradigm,
    sampler: SamplerConfig,
    x0: Tensor,
    keys: Sequence[str],
    prompts: Sequence[str] | None = None,
    *,
    decoding_batch_size: int | None = None,
) -> Tensor:
    """Map x0 (B, 3, H, W) in [-1, 1] to x_hat (B, L, 3, H, W), not clamped; else as `trajectory`.

    Frame 0 is the decoder's, not the given frame. The autoencoder runs on `decoding_batch_size`
    clips at once, by default on all, and on fewer where a GPU has no room for them.
    """
    size = min(decoding_batch_size or len(x0), len(x0))
    parts = [paradigm.encode(part) for part in x0.split(size)]
    given = Given(torch.cat([part.condition for part in parts]))
    _, z = last(trajectory(paradigm, sampler, given, keys, prompts))
    latents = paradigm.from_diffusion(z)
    while True:
        try:
            pairs = zip(latents.split(size), parts, strict=True)
            return torch.cat([paradigm.decode(*pair) for pair in pairs])
        except RuntimeError as error:
            if size == 1 or not is_out_of_memory(error):
                raise
        torch.cuda.empty_cache()  # not above, where the error still holds what was decoded
        size = (size + 1) // 2
        parts = [paradigm.encode(part) for part in x0.split(size)]


def generate_clips(
    paradigm: Paradigm,
    sampler: SamplerConfig,
    frames: np.ndarray,
    keys: Sequence[str],
    prompts: Sequence[str] | None = None,
    *,
    batch_size: int,
    decoding_batch_size: int | None = None,
) -> np.ndarray:
    """Generate uint8 clips (N, L, H, W, 3) that begin with `frames`, uint8 (N, H, W, 3).

    `batch_size` clips are denoised at once, fewer where a GPU has no room for them, and
    `decoding_batch_size` decoded, by default as many; neither changes a clip by more than rounding.
    """
    device, clips = next(paradigm.network.parameters()).device, list[np.ndarray]()
    decoded = decoding_batch_size or batch_size

    def sample(first: int, last: int) -> None:
        at, middle = slice(first, last), (first + last) // 2
        cond = None if prompts is None else prompts[at]
        try:
            x0 = first_frames(frames[at], device)
            x_hat = generate(paradigm, sampler, x0, keys[at], cond, decoding_batch_size=decoded)
            clips.append(to_uint8(x_hat).cpu().numpy())
            return
        except RuntimeError as error:
            if middle == first or not is_out_of_memory(error):
                raise
        torch.cuda.empty_cache()
        sample(first, middle)
        sample(middle, last)

    starts = range(0, len(frames), batch_size)
    for start in track(starts, "sampling") if len(starts) > 1 else starts:
        sample(start, min(start + batch_size, len(frames)))
    result = np.concatenate(clips)
    result[:, 0] = frames
    return result


def first_frames(frames: np.ndarray, device: torch.device) -> Tensor:
    """Return x_0 (N, 3, H, W) in [-1, 1] of uint8 frames (N, H, W, 3)."""
    return to_model(torch.from_numpy(np.array(frames)[:, None]).to(device))[:, 0]


def compile_denoiser(network: UNet) -> None:
    """Compile the UNet's pass in place: eps_hat moves by rounding, at most 1e-4 at unit scale.

    What is compiled is kept for later runs in the cache, in a folder of the user's own: it is
    loaded as code. LamdError without a compiler, or when others can write to that folder.
    """
    on_cpu = next(network.parameters()).device.type == "cpu"
    variable, *usual = ("CXX", "g++", "clang++") if on_cpu else ("CC", "gcc", "clang")
    if not any(map(shutil.which, (os.environ.get(variable, usual[0]), usual[1]))):
        raise LamdError(f"runtime.compile: no {usual[0]} here; install it or leave the option out")
    kept = make_private(cache_root() / "compiled")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(kept))
    origin.note_path(compiled="yes")
    # with no Python between its kernels, a step of one small clip takes 0.85 of the time
    options: dict[str, Any] | None = {"cpp_wrapper": True} if on_cpu else None
    compiled = torch.compile(network.predict, options=options)
    network.predict = compiled  # type: ignore[method-assign]  # in place


def last(run: Iterable[T]) -> T:
    """Return the last value of a run, the sample, and keep no other."""
    return deque(run, maxlen=1).pop()


def roll_out(
    extend: Callable[[np.ndarray, Sequence[str]], np.ndarray],
    frames: np.ndarray,
    keys: Sequence[str],
    num_chunks: int,
) -> np.ndarray:
    """Generate long clips chunk by chunk, each from the last frame of the previous chunk.

    `extend` maps first frames uint8 (N, H, W, 3) and N keys to clips (N, L, H, W, 3). Chunk c > 0
    has the noise of `<key>+<c>`; a frame shared by two chunks appears once.
    """
    clips = extend(frames, keys)
    for c in range(1, num_chunks):
        following = extend(clips[:, -1], [f"{key}+{c}" for key in keys])
        clips = np.concatenate([clips, following[:, 1:]], axis=1)
    return clips
