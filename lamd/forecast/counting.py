"""The work of one unit, a training step or one clip, counted from a target's config alone.

The backward pass takes twice the FLOPs of the forward pass, and once where gradients flow through a
frozen network; norms, optimisers and the input gradients that first layers save are not counted.
Memory is the least that the tensors take: weights, gradients, Adam's two moments, the weight
average, and what the layers write for the backward pass.
"""

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch

from lamd.config import (
    Baseline,
    CaptionerConfig,
    GANConfig,
    Target,
    TrainConfig,
    baseline_sampler,
    is_baseline,
    split_row,
)
from lamd.flops import Cost, count
from lamd.metrics.i3d import I3D
from lamd.models.captioner import Captioner
from lamd.models.discriminator import VideoDiscriminator
from lamd.paradigms.budget import TRAINING_FACTOR, row_training
from lamd.paradigms.costs import VOCABULARIES, costs, row_parts

FLOAT = 4  # bytes


@dataclass(frozen=True)
class Work:
    """One training step over the whole batch, or one clip.

    Attributes:
        flops: forward and backward.
        parameters: of the networks that are trained, or used.
        memory: bytes that its tensors take at least.
    """

    flops: int = 0
    parameters: int = 0
    memory: int = 0


def inference(cost: Cost) -> Work:
    """Return a pass without gradients over one clip."""
    return Work(cost.flops, cost.parameters, FLOAT * cost.parameters)


def stage_options(target: Target, stage: str) -> TrainConfig:
    """Return the training options of a stage; of a baseline, for as many clips as the DMG's."""
    if stage == "captioner":
        assert target.train_captioner is not None, "only a target with a captioner has the stage"
        return target.train_captioner
    if stage in ("vae", "video_vae"):
        return target.train_vae
    return target.train_dmg if stage == "dmg" else row_training(target, f"{stage}_clips")


def trained_bytes(parameters: int, *, ema: bool) -> int:
    """Return the bytes of weights, gradients, Adam's moments and the weight average."""
    return FLOAT * parameters * (5 if ema else 4)


def autoencoder_step(target: Target, paradigm: str, *, adversary: bool) -> Work:
    """Return a step of an autoencoder under stage I's losses, before or from gan.start_step on."""
    train, loss, data = target.train_vae, target.loss, target.data
    step = _training_step(costs(target, paradigm)["autoencoder"], train)
    flops, memory = step.flops, step.memory
    picture = 0  # FLOPs per step of the gradient of LPIPS at the reconstruction
    if loss.lpips_weight:
        frames = loss.lpips_frames or data.num_frames
        trunk, heads = lpips_costs(loss.lpips_backbone, data.size)
        picture = train.batch_size * frames * (trunk.flops + heads.flops)
        flops += train.batch_size * frames * trunk.flops + 2 * picture
        memory += FLOAT * (trunk.parameters + heads.parameters)
        memory += _activation_bytes(2 * frames * trunk.activations, train)
    if loss.gan is not None:
        judge = _discriminator(loss.gan, data.num_frames, data.size)
        memory += trained_bytes(judge.parameters, ema=False)
        if adversary:  # a frozen pass on x_hat, a trained one on x and x_hat
            flops += train.batch_size * judge.flops * (2 + TRAINING_FACTOR * 2)
            memory += _activation_bytes(judge.activations, train)
            if loss.gan.adaptive:  # both gradients at the last layer
                flops += picture + train.batch_size * judge.flops
    return Work(flops, step.parameters, memory)


def denoiser_step(target: Target, stage: Literal["dmg"] | Baseline) -> Work:
    """Return a step of stage II, the frozen autoencoder's pass over the first frames included."""
    cost = costs(target, "latent_motion" if stage == "dmg" else stage)
    train = stage_options(target, stage)
    step = _training_step(cost["denoiser"], train)
    flops = step.flops + train.batch_size * cost["first_frame"].flops
    return Work(flops, step.parameters, step.memory + FLOAT * cost["autoencoder"].parameters)


def captioner_step(target: Target) -> Work:
    """Return a step of the captioner's training."""
    assert target.captioner is not None, "only a target with a captioner trains it"
    train, data = stage_options(target, "captioner"), target.data
    part = train.batch_size // train.gradient_accumulation
    return _training_step(_captioner(target.captioner, data.num_frames, data.size, part), train)


def sample(target: Target, row: str) -> Work:
    """Return a sampling run of one clip of a row: encode, K denoising steps, decode."""
    parts = row_parts(target, row)
    sampler = baseline_sampler(target, split_row(row)[0]) if is_baseline(row) else target.sampler
    work = inference(sum(parts.values(), Cost()))
    flops = work.flops + (sampler.num_steps - 1) * parts["step"].flops
    if sampler.guidance_scale is not None and not is_baseline(row):  # without the prompt too
        flops += costs(target)["condition"].flops + sampler.num_steps * parts["step"].flops
    return Work(flops, work.parameters, work.memory)


@cache
def lpips_costs(backbone: str, size: int) -> tuple[Cost, Cost]:
    """Return the costs of LPIPS' trunk per picture, and of its heads per pair of pictures."""
    import lpips

    with torch.device("meta"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torchvision")
        net = lpips.LPIPS(net=backbone, pretrained=False, pnet_rand=True, verbose=False)
        picture = torch.empty(1, 3, size, size)
    net.scaling_layer.to("meta")
    trunk, whole = count(lambda: net.net(picture)), count(lambda: net(picture, picture))
    return trunk, Cost(whole.flops - 2 * trunk.flops, whole.parameters - trunk.parameters)


@cache
def i3d_cost(num_frames: int) -> Cost:
    """Return the cost of I3D's logits of one clip, scaled to 224 x 224."""
    with torch.device("meta"):
        network, clip = I3D(), torch.empty(1, 3, num_frames, 224, 224)
    return count(lambda: network(clip))


@cache
def _discriminator(gan: GANConfig, num_frames: int, size: int) -> Cost:
    with torch.device("meta"):
        network, clips = VideoDiscriminator(gan), torch.empty(2, num_frames, 3, size, size)
    return count(lambda: network(clips), 2)


@cache
def _captioner(config: CaptionerConfig, num_frames: int, size: int, batch: int) -> Cost:
    with torch.device("meta"):
        network = Captioner(config, VOCABULARIES["text"], num_frames)
        clips = torch.empty(batch, num_frames, 3, size, size)
        captions = torch.zeros(batch, config.max_tokens, dtype=torch.int64)
    return count(lambda: network(clips, captions), batch)


def _training_step(clip: Cost, train: TrainConfig) -> Work:
    memory = trained_bytes(clip.parameters, ema=train.ema_decay is not None)
    memory += _activation_bytes(clip.activations, train)
    return Work(TRAINING_FACTOR * train.batch_size * clip.flops, clip.parameters, memory)


def _activation_bytes(per_clip: int, train: TrainConfig) -> int:
    value = FLOAT if train.precision == "fp32" else 2
    return train.batch_size // train.gradient_accumulation * per_clip * value
