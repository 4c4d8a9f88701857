"""FLOPs, parameters and activations of a paradigm's passes, per clip.

A target's networks are built on the meta device and counted once per process and configuration.
"""

import json
from collections.abc import Callable
from typing import Any

import torch

from lamd.config import Target, is_baseline, split_row
from lamd.data.vocabulary import Vocabulary
from lamd.flops import Cost, count
from lamd.paradigms.base import Paradigm
from lamd.paradigms.registry import PARADIGMS

# The vocabularies are known once the data is: tokens of captions (MAGE's larger one), classes.
VOCABULARIES = {
    "text": Vocabulary.build("text", map(str, range(47))),
    "class": Vocabulary.build("class", map(str, range(24))),
}
_CLIPS = 2  # counted at once: in training, a group norm refuses a single value per channel
_counted: dict[str, dict[str, Cost]] = {}


def costs(target: Target, name: str = "latent_motion") -> dict[str, Cost]:
    """Return the costs of a paradigm's passes; zero where it has none.

    To sample: `first_frame`, its encoding; `condition`, what the denoiser keeps for all steps; one
    `step`; `decode`. Else: `posterior`, the encoding of a clip; `autoencoder` and `denoiser`, the
    forward passes of their training.
    """
    networks = PARADIGMS[name].networks
    shape = target.data.num_frames, target.data.size
    configs = {stage: network.config(target) for stage, network in networks.items()}
    key = json.dumps([name, shape, configs])
    if key not in _counted:
        _counted[key] = _count(target, PARADIGMS[name])
    return _counted[key]


def row_parts(target: Target, row: str) -> dict[str, Cost]:
    """Return the costs of `encode`, one denoising `step` and `decode` of a sampled row."""
    parts = costs(target, split_row(row)[0] if is_baseline(row) else "latent_motion")
    encode = parts["first_frame"] + parts["condition"]
    return {"encode": encode, "step": parts["step"], "decode": parts["decode"]}


def _count(target: Target, kind: type[Paradigm]) -> dict[str, Cost]:
    vocabulary = prompts = None
    autoencoder: Any = None
    if target.dmg.prompt is not None:
        vocabulary, prompts = VOCABULARIES[target.dmg.prompt.kind], ["0"] * _CLIPS
    frames, size = target.data.num_frames, target.data.size
    with torch.device("meta"):
        if kind.autoencoder_stage is not None:
            autoencoder = kind.networks[kind.autoencoder_stage].build(target, None)
        network = kind.networks[kind.denoiser_stage].build(target, vocabulary)
        paradigm = kind.of(target, network, autoencoder)
        x, t = torch.empty(_CLIPS, frames, 3, size, size), torch.zeros(_CLIPS, dtype=torch.int64)
        z = torch.empty(_CLIPS, *paradigm.latent_shape)
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
