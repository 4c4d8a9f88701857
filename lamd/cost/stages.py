"""What a target's training steps and batches of inference cost, from its config alone.

The backward pass takes twice the FLOPs of the forward pass, and once where gradients flow through a
frozen network; norms, optimisers and the input gradients that first layers save are not counted.
Memory is what the tensors take at least: weights, gradients, Adam's two moments, the weight
average, and what the layers write for the backward pass.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from lamd.config import Target, TrainConfig
from lamd.cost.autoencoders import image_encoder, motion_encoder, video_decoder
from lamd.cost.denoisers import dmg_condition, dmg_step
from lamd.cost.layers import Cost
from lamd.cost.networks import captioner, discriminator, lpips

FLOAT = 4  # bytes
TRAINING_FACTOR = 3  # forward passes that one training step costs
# The vocabularies are known once the data is: words of captions (MAGE's larger one), classes.
WORDS = {"text": 50, "class": 25}


@dataclass(frozen=True)
class Work:
    """One training step over the whole batch, or one batch of inference.

    Attributes:
        flops: forward and backward.
        parameters: of the networks that are trained, or used.
        memory: bytes that its tensors take at least.
    """

    flops: int
    parameters: int
    memory: int


def trained_bytes(parameters: int, *, ema: bool) -> int:
    """Return the bytes of weights, gradients, Adam's moments and the weight average."""
    return FLOAT * parameters * (5 if ema else 4)


def mcd_vae(target: Target, batch: int) -> Cost:
    """Return E_I, E_M and D_V on a batch of clips."""
    options = _vae_options(target) | {"batch": batch}
    return image_encoder(**options) + motion_encoder(**options) + video_decoder(**options)


def dmg(target: Target, batch: int) -> Cost:
    """Return one pass of the DMG on a batch of latents, condition and prompts included."""
    options = _dmg_options(target) | {"batch": batch}
    return dmg_condition(**options) + dmg_step(**options)


def vae_step(
    target: Target, *, adversary: bool, network: Callable[[Target, int], Cost] = mcd_vae
) -> Work:
    """Return a step of stage I, or of another `network` under its losses.

    `adversary` from gan.start_step on.
    """
    train, loss = target.train_vae, target.loss
    batch, frames = train.batch_size, target.data.num_frames
    alone = training_step(partial(network, target), train)
    flops, memory = alone.flops, alone.memory
    picture = 0  # FLOPs of the gradient of LPIPS at the reconstruction
    if loss.lpips_weight:
        trunk, heads = lpips(
            loss.lpips_backbone, frames=batch * (loss.lpips_frames or frames), size=target.data.size
        )
        picture = trunk.flops + heads.flops
        flops += 2 * trunk.flops + heads.flops + picture
        memory += FLOAT * (trunk.parameters + heads.parameters)
        memory += 2 * activation_bytes(trunk, train) // train.gradient_accumulation
    if loss.gan is not None:
        judge = discriminator(
            batch=batch,
            num_frames=frames,
            size=target.data.size,
            base_channels=loss.gan.base_channels,
            num_layers=loss.gan.num_layers,
        )
        memory += trained_bytes(judge.parameters, ema=False)
        if adversary:  # a frozen pass on x_hat, a trained one on x and x_hat
            flops += 2 * judge.flops + TRAINING_FACTOR * 2 * judge.flops
            memory += activation_bytes(judge, train) // train.gradient_accumulation
            if loss.gan.adaptive:  # both gradients at the last layer
                flops += picture + judge.flops
    return Work(flops, alone.parameters, memory)


def dmg_training_step(target: Target) -> Work:
    """Return a step of stage II, E_I's pass over the first frames included."""
    train = target.train_dmg
    content = image_encoder(batch=train.batch_size, **_vae_options(target))
    step = training_step(partial(dmg, target), train)
    frozen = FLOAT * mcd_vae(target, 1).parameters
    return Work(step.flops + content.flops, step.parameters, step.memory + frozen)


def captioner_step(target: Target) -> Work:
    """Return a step of the captioner's training."""
    options = {
        "num_frames": target.data.num_frames,
        "size": target.data.size,
        "num_words": WORDS["text"],
        **target.captioner.model_dump(),
    }
    return training_step(lambda batch: captioner(batch=batch, **options), target.train_captioner)


def training_step(network: Callable[[int], Cost], train: TrainConfig) -> Work:
    """Return a step of a network alone, given what a batch costs."""
    model, part = (
        network(train.batch_size),
        network(train.batch_size // train.gradient_accumulation),
    )
    memory = trained_bytes(model.parameters, ema=train.ema_decay is not None)
    return Work(
        TRAINING_FACTOR * model.flops, model.parameters, memory + activation_bytes(part, train)
    )


def encode(target: Target, batch: int) -> Work:
    """Return E_M on a batch of clips."""
    return inference(motion_encoder(batch=batch, **_vae_options(target)))


def reconstruct(target: Target, batch: int) -> Work:
    """Return E_M, E_I and D_V on a batch of clips."""
    return inference(mcd_vae(target, batch))


def sample(target: Target, batch: int) -> Work:
    """Return a whole sampling run of a batch of clips: E_I, K denoising steps, D_V."""
    options, vae = _dmg_options(target), _vae_options(target)
    guided = 2 if target.sampler.guidance_scale is not None else 1
    once = dmg_condition(batch=batch, **options)
    step = dmg_step(batch=batch, **options)
    ends = image_encoder(batch=batch, **vae) + video_decoder(batch=batch, **vae)
    flops = ends.flops + guided * (once.flops + target.sampler.num_steps * step.flops)
    parameters = ends.parameters + once.parameters + step.parameters
    return Work(flops, parameters, FLOAT * parameters)


def sampling_parts(target: Target) -> dict[str, Cost]:
    """Return what one clip of LaMD costs: encode (E_I, the condition), one step, decode (D_V)."""
    options, vae = _dmg_options(target) | {"batch": 1}, _vae_options(target) | {"batch": 1}
    return {
        "encode": image_encoder(**vae) + dmg_condition(**options),
        "step": dmg_step(**options),
        "decode": video_decoder(**vae),
    }


def inference(cost: Cost) -> Work:
    """Return a batch of inference that costs so much."""
    return Work(cost.flops, cost.parameters, FLOAT * cost.parameters)


def activation_bytes(cost: Cost, train: TrainConfig) -> int:
    """Return the bytes of what the layers write for the backward pass."""
    return cost.activations * (FLOAT if train.precision == "fp32" else 2)


def _vae_options(target: Target) -> dict:
    data = target.data
    return {"num_frames": data.num_frames, "size": data.size, **target.vae.model_dump()}


def _dmg_options(target: Target) -> dict:
    config = target.dmg
    options = {
        "size": target.data.size // target.vae.spatial_downsampling,
        "motion_channels": target.vae.motion_channels,
        "content_channels": target.vae.image_channels[-1],
        "num_latent_frames": target.data.num_frames // target.vae.temporal_downsampling,
        **config.model_dump(exclude=config.beside_network),
    }
    if config.prompt is not None:
        options |= {
            "num_words": WORDS[config.prompt.kind],
            "max_prompt_tokens": config.prompt.max_tokens or 1,
            "num_prompt_layers": config.prompt.num_layers or 0,
            "pooled_prompt": config.prompt.pooled,
        }
    return options
