"""A training step on random clips: its stage, and what it takes, counted on the meta device.

There, tensors have shapes but no values, so that a step of the paper's size runs in a second.
"""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from lamd.config import Target, TrainConfig, is_baseline
from lamd.data.packed import PackedVideos
from lamd.flops import Meter
from lamd.metrics.frames import meta_lpips
from lamd.nn import checkpoint_blocks
from lamd.paradigms.budget import row_training
from lamd.paradigms.costs import WORDS
from lamd.paradigms.registry import PARADIGMS
from lamd.training.captioner_stage import CaptionerStage
from lamd.training.diffusion_stage import DiffusionStage
from lamd.training.latents import Latents
from lamd.training.networks import NETWORKS
from lamd.training.stages import Stage, StepRNG, training_windows
from lamd.training.vae_stage import VAEStage

AUTOENCODERS = {
    kind.autoencoder_stage: name
    for name, kind in PARADIGMS.items()
    if kind.autoencoder_stage is not None
}
DENOISERS = {kind.denoiser_stage: kind for kind in PARADIGMS.values()}
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_counted: dict[str, "StepCost"] = {}


class StepCost(NamedTuple):
    """The cost of one training step."""

    flops: int  # forward and backward, over the whole batch
    parameters: int  # of the trained network
    # Bytes of all tensors at the peak: weights, gradients, Adam's moments, the weight average, and
    # what a micro-batch keeps for its backward pass.
    memory: int


def stage_options(target: Target, stage: str) -> TrainConfig:
    """Return the training options of a stage; of a baseline, for as many clips as the DMG's."""
    if is_baseline(f"{stage}_clips"):
        return row_training(target, f"{stage}_clips")
    options = {"dmg": target.train_dmg, "captioner": target.train_captioner}
    return options.get(stage) or target.train_vae


def noise_stage(name: str, target: Target) -> Stage:
    """Return a stage that trains on random clips; LPIPS needs its weights."""
    train = stage_options(target, name)
    videos = NoiseVideos(target, train.num_validation_clips)
    if name == "captioner":
        return CaptionerStage(target, videos)
    if name in AUTOENCODERS:
        return VAEStage(target, videos, name)
    kind = DENOISERS[name]
    autoencoder: Any = None
    latents = None
    if kind.autoencoder_stage is not None:
        autoencoder = NETWORKS[kind.autoencoder_stage].build(target, None)
        autoencoder.eval().requires_grad_(False)
        rows = training_windows(videos, train, target.data)
        posterior = np.zeros((len(rows), 2, *autoencoder.latent_shape), np.float32)
        latents = Latents(Path(), posterior, rows, "")
    return DiffusionStage(kind, target, train, videos, autoencoder, latents)


class NoiseVideos(PackedVideos):
    """Random clips of a target's shape."""

    def __init__(self, target: Target, held_out: int):
        count, data = held_out + 8, target.data
        prompt = target.dmg.prompt
        self.keys = ["noise"] * count
        self.conditions = count * WORDS["text" if prompt is None else prompt.kind]
        self.size, self.content_hash = data.size, "noise"
        self.lengths = self.stored_lengths = np.full(count, data.num_frames)
        self._clip = noise(data.num_frames, data.size)

    def clip(self, i: int, start: int, num_frames: int) -> np.ndarray:
        return self._clip[start : start + num_frames].copy()

    def stored_frames(self, i: int, numbers: np.ndarray) -> np.ndarray:
        return self._clip[numbers]


def noise(num_frames: int, size: int) -> np.ndarray:
    """Return a random clip, uint8 (L, H, W, 3)."""
    shape = (num_frames, size, size, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def count_step(target: Target, stage: str, adversary: bool) -> StepCost:
    """Return the cost of a stage's training step; `adversary` takes part from gan.start_step on."""
    key = json.dumps([stage, adversary, target.model_dump(mode="json", exclude=_UNUSED)])
    if key not in _counted:
        _counted[key] = _count(target, stage, adversary)
    return _counted[key]


_UNUSED = {"target", "title", "published", "compare_with", "rows", "sampler", "evaluate"}


def _count(target: Target, name: str, adversary: bool) -> StepCost:
    train = stage_options(target, name)
    size, autocast = train.clips_at_once, Autocast(_DTYPES.get(train.precision))
    with Meter() as meter:
        with torch.device("meta"):
            stage = _stage(target, name, autocast)
        meter.peak = 0  # LPIPS is cut out of a larger network
        copies = 2 + (size < train.batch_size)  # Adam's moments; gradients of earlier micro-batches
        model = stage.model.train()
        trained = [(model, copies + train.num_averages)]
        if adversary:
            trained.append((stage.adversary.train(), copies))
        kept = [torch.empty_like(p) for m, n in trained for p in m.parameters() for _ in range(n)]
        batch = tuple(
            torch.empty(size, *tensor.shape[1:], dtype=tensor.dtype, device="meta")
            for tensor in stage.read(np.zeros(1, np.int64))
        )
        number = 1 + (target.loss.gan.start_step if adversary and target.loss.gan else 0)
        rng = StepRNG(train.seed, name, number, size, 0, size)
        with autocast:
            terms = stage.terms(model, batch, rng)
            sum(terms.losses.values(), torch.zeros(())).backward()
            if adversary:
                terms = stage.adversary_terms(stage.adversary, terms.for_discriminator)
                terms.losses["adversary"].backward()
        del kept
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return StepCost(meter.flops * train.batch_size // size, parameters, meter.peak)


def _stage(target: Target, name: str, autocast: "Autocast") -> Stage:
    """Return a stage on the meta device, LPIPS without its weights."""
    without = target.loss.model_copy(update={"lpips_weight": 0.0})
    stage = noise_stage(name, target.model_copy(update={"loss": without}))
    if isinstance(stage, VAEStage) and target.loss.lpips_weight:
        stage.loss, net = target.loss, meta_lpips(target.loss.lpips_backbone)
        stage.lpips_net = net
        net.register_forward_pre_hook(lambda *_: autocast.pause(True))
        net.register_forward_hook(lambda *_: autocast.pause(False))
    stage.to(torch.device("meta"))
    if stage.checkpoints_blocks:
        # the mode is off while torch.autograd works, its functions being functions too
        checkpoint_blocks(stage.model, context_fn=lambda: (nullcontext(), autocast))
    return stage


class Autocast(TorchFunctionMode):
    """Mixed precision and fused attention as on a GPU; the meta device itself has neither.

    Networks run in `dtype`, losses and LPIPS in float32, as in training.
    """

    def __init__(self, dtype: torch.dtype | None):
        super().__init__()
        self.dtype, self.paused = dtype, False

    def pause(self, paused: bool) -> None:
        """Leave out LPIPS."""
        self.paused = paused

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is F.scaled_dot_product_attention:
            efficient = torch.ops.aten._scaled_dot_product_efficient_attention
            return efficient(*args, None, torch.is_grad_enabled())[0]
        if self.dtype is not None and not self.paused:
            name = function.__name__
            dtype = self.dtype if name in _LOWERED else torch.float32 if name in _RAISED else None
            if dtype is not None:
                args, kwargs = tree_map(lambda value: _cast(value, dtype), (args, kwargs or {}))
        return function(*args, **kwargs or {})


# of PyTorch's lists for CUDA, those that the trained networks call
_LOWERED = {"conv2d", "conv3d", "conv_transpose3d", "linear"}
_RAISED = {"group_norm", "layer_norm", "interpolate"}


def _cast(value: Any, dtype: torch.dtype) -> Any:
    is_cast = isinstance(value, Tensor) and value.is_floating_point() and value.is_meta
    return value.to(dtype) if is_cast else value
