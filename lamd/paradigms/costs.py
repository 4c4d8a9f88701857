"""FLOPs, parameters and activations of a paradigm's passes, per clip.

A target's networks are built on the meta device and counted once per process and configuration.
"""

import json
from collections.abc import Callable
from functools import reduce
from typing import Any, cast

import torch
from torch import Tensor

from lamd.config import Target, is_baseline, split_row
from lamd.data.vocabulary import Kind, Vocabulary
from lamd.diffusion import num_passes
from lamd.flops import Cost, Meter, count
from lamd.losses import generator_adversarial, reconstruction_terms
from lamd.metrics.frames import meta_lpips
from lamd.models.discriminator import VideoDiscriminator
from lamd.paradigms.base import Paradigm
from lamd.paradigms.registry import PARADIGMS

# The vocabularies are known once the data is: tokens of captions (MAGE's larger one), classes.
WORDS: dict[Kind, tuple[str, ...]] = {
    "text": tuple(map(str, range(47))),
    "class": tuple(map(str, range(24))),
}
VOCABULARIES = {kind: Vocabulary.build(kind, words) for kind, words in WORDS.items()}
_CLIPS = 2  # counted at once: in training, a group norm refuses a single value per channel
_counted: dict[str, dict[str, Cost]] = {}
_trained: dict[str, int] = {}


def costs(target: Target, name: str = "latent_motion") -> dict[str, Cost]:
    """Return the costs of a paradigm's passes; zero where it has none.

    To sample: `first_frame`, its encoding; `condition`, what the denoiser keeps for all steps; one
    `step`; `decode`. Else: `posterior`, the encoding of a clip; `autoencoder` and `denoiser`, the
    forward passes of their training.
    """
    key = _key(target, name)
    if key not in _counted:
        _counted[key] = _count(target, PARADIGMS[name])
    return _counted[key]


def training_flops(target: Target, name: str, network: str, *, adversary: bool = False) -> int:
    """Return the FLOPs per clip of a step's passes, forward and backward.

    `network` is `autoencoder`, with its losses, or `denoiser`, with the encoder of first frames;
    `adversary` says whether the discriminator takes part, as from gan.start_step on.
    """
    scored = {"lpips_backbone", "lpips_frames", "gan"} if network == "autoencoder" else set()
    loss = target.loss.model_dump(mode="json", include=scored)
    key = json.dumps([_key(target, name), network, adversary, loss, bool(target.loss.lpips_weight)])
    if key not in _trained:
        step = _autoencoder_step if network == "autoencoder" else _denoiser_step
        with Meter() as meter:
            step(target, PARADIGMS[name], adversary)
        _trained[key] = meter.flops // _CLIPS
    return _trained[key]


def _key(target: Target, name: str) -> str:
    """Return what the passes of a paradigm's networks depend on."""
    networks, shape = PARADIGMS[name].networks, (target.data.num_frames, target.data.size)
    configs = {stage: network.config(target) for stage, network in networks.items()}
    return json.dumps([name, shape, configs])


def row_parts(target: Target, row: str) -> dict[str, Cost]:
    """Return the costs of `encode`, one denoising `step` and `decode` of a sampled row."""
    parts = costs(target, split_row(row)[0] if is_baseline(row) else "latent_motion")
    encode = parts["first_frame"] + parts["condition"]
    return {"encode": encode, "step": parts["step"], "decode": parts["decode"]}


def sampling_flops(target: Target, row: str) -> int:
    """Return the FLOPs of a sampling run per clip: the conditions, all passes, and decoding."""
    name = split_row(row)[0] if is_baseline(row) else "latent_motion"
    parts, sampler = costs(target, name), PARADIGMS[name].sampler(target)
    conditions = 1 if sampler.guidance_scale is None else 2  # without the prompt too
    conditions *= 1 if sampler.autoguidance is None else 2
    passes = num_passes(sampler, target.dmg.num_train_steps)
    flops = parts["first_frame"].flops + conditions * parts["condition"].flops
    return flops + passes * parts["step"].flops + parts["decode"].flops


def _build(
    target: Target, kind: type[Paradigm]
) -> tuple[Paradigm, Tensor, Tensor, Tensor, list[str] | None]:
    """Return a paradigm with its networks, clips, latents, steps t and prompts, on meta."""
    vocabulary = prompts = autoencoder = None
    if target.dmg.prompt is not None:
        vocabulary, prompts = VOCABULARIES[target.dmg.prompt.kind], ["0"] * _CLIPS
    with torch.device("meta"):
        if kind.autoencoder_stage is not None:
            autoencoder = kind.networks[kind.autoencoder_stage].build(target, None)
        network = kind.networks[kind.denoiser_stage].build(target, vocabulary)
        paradigm = kind.of(target, network, autoencoder)
        x = torch.empty(_CLIPS, target.data.num_frames, 3, *[target.data.size] * 2)
        z = torch.empty(_CLIPS, *paradigm.latent_shape)
        return paradigm, x, z, torch.zeros(_CLIPS, dtype=torch.int64), prompts


def _count(target: Target, kind: type[Paradigm]) -> dict[str, Cost]:
    paradigm, x, z, t, prompts = _build(target, kind)
    autoencoder: Any = paradigm.autoencoder
    with torch.device("meta"):
        given = paradigm.encode(x[:, 0])
        denoiser = paradigm.denoiser(given, prompts, None)
    parts: dict[str, Callable[[], object]] = {
        "first_frame": lambda: paradigm.encode(x[:, 0]),
        "condition": lambda: paradigm.denoiser(given, prompts, None),
        "step": lambda: denoiser(z, t),
        "decode": lambda: paradigm.decode(z, given),
    }
    if autoencoder is not None:
        parts["posterior"] = lambda: autoencoder.encode(x)
        parts["autoencoder"] = lambda: autoencoder(x, z)
    counted = {name: count(run, _CLIPS) for name, run in parts.items()}
    counted["denoiser"] = counted["condition"] + counted["step"]
    return dict.fromkeys(("posterior", "autoencoder"), Cost()) | counted


def _denoiser_step(target: Target, kind: type[Paradigm], _: bool) -> None:
    paradigm, x, z, t, prompts = _build(target, kind)
    with torch.no_grad():
        given = paradigm.encode(x[:, 0])
    paradigm.denoiser(given, prompts, None)(z, t).sum().backward()


def _autoencoder_step(target: Target, kind: type[Paradigm], adversary: bool) -> None:
    paradigm, x, z, _, _ = _build(target, kind)
    autoencoder: Any = paradigm.autoencoder
    loss, gan = target.loss, cast(Any, target.loss.gan)
    lpips_net = meta_lpips(loss.lpips_backbone) if loss.lpips_weight else None
    output = autoencoder(x, z)
    terms = reconstruction_terms(x, output, loss, lpips_net, torch.zeros(x.shape[:2]))
    total = reduce(torch.add, terms.values())
    if not adversary:
        total.backward()
        return
    with torch.device("meta"):
        judge = VideoDiscriminator(gan)
    judge.requires_grad_(False)
    fooled = generator_adversarial(judge(output.x_hat), gan.loss)
    judge.requires_grad_(True)
    for term in (total, fooled) if gan.adaptive else ():  # as `adaptive_weight`
        torch.autograd.grad(term, autoencoder.last_layer, retain_graph=True)
    (total + fooled).backward()
    judge(torch.cat([x, output.x_hat.detach()])).sum().backward()
