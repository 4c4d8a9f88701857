"""The network of every training stage, and the result of a training: written and loaded.

model.safetensors   the weights
model.json          target, stage, hash of the weights; written last: the stage is complete
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from lamd.base.errors import LamdError
from lamd.base.files import replace_file, sha256_of
from lamd.config import Target
from lamd.config.strict import Count
from lamd.data.vocabulary import Vocabulary
from lamd.generate import compile_denoiser
from lamd.models.captioner import Captioner
from lamd.paradigms.base import Network, Paradigm
from lamd.paradigms.registry import PARADIGMS
from lamd.training import checkpoint
from lamd.training.averages import coefficients, single, weighted_average

WEIGHTS, INFO = "model.safetensors", "model.json"
_ADVICE = "delete the folder and train again, or restore the file"


class ModelInfo(checkpoint.Saved, frozen=True):
    """The content of `model.json`."""

    sha256: str  # of the weights
    stage: str
    target: Target
    step: int
    validation: dict[str, float] | None
    num_parameters: int
    seconds: float
    vocabulary: str | None = None
    autoencoder_sha256: str | None = None  # of the latents' encoder; None in older files too
    snapshots: dict[Count, str] = Field(default_factory=dict)  # SHA-256 by step


def _captioner(target: Target, vocabulary: Vocabulary | None) -> nn.Module:
    assert target.captioner is not None and vocabulary is not None, "checked with the config"
    return Captioner(target.captioner, vocabulary, target.data.num_frames)


NETWORKS = {
    stage: network for kind in PARADIGMS.values() for stage, network in kind.networks.items()
}
NETWORKS["captioner"] = Network(
    _captioner, lambda target: target.model_dump(mode="json", include={"captioner"})
)


def write_final(folder: Path, weights: dict[str, Tensor], info: dict[str, Any]) -> None:
    """Write the weights, then `model.json`."""
    path = folder / WEIGHTS
    replace_file(path, lambda temporary: checkpoint.save_weights(temporary, weights))
    checkpoint.write_json(folder / INFO, {"sha256": sha256_of(path), **info})


def read_info(folder: Path, *, stage: str, run_id: str | None = None) -> ModelInfo:
    """Read and check `model.json`; LamdError if missing, damaged, or of another stage or run."""
    path = folder / INFO
    info = checkpoint.read_json(path, ModelInfo, _ADVICE)
    if info.stage != stage:
        raise LamdError(
            f"{path}: a model of stage {info.stage[:80]!r}, not of {stage!r}; "
            f"pass the folder of a {stage} model"
        )
    checkpoint.check_run_id(path, info, run_id)
    return info


def load_model(
    folder: Path,
    stage: str,
    target: Target | None = None,
    *,
    run_id: str | None = None,
    ema_length: float | None = None,
    snapshot: int | None = None,
    device: torch.device | str = "cpu",
) -> Any:
    """Load the network that `train` left in `folder`, frozen and in eval mode, onto `device`.

    Network and clip shape of a `target`, and a `run_id`, must be those that it was trained for.
    With `ema_length` its weights are that average's, of the snapshots of the training; with
    `snapshot` those of this one, for autoguidance. LamdError on a missing or damaged file or
    another config (first differing key named), or no snapshots.
    """
    info, network = read_info(folder, stage=stage, run_id=run_id), NETWORKS[stage]
    meta, saved, clip = folder / INFO, info.target, {"data": {"num_frames", "size"}}
    if target is not None:
        trained, wanted = (
            config.model_dump(mode="json", include=clip) | network.config(config)
            for config in (saved, target)
        )
        checkpoint.check_config(meta, trained, wanted)
    vocabulary = None
    if info.vocabulary is not None:
        try:
            vocabulary = Vocabulary.from_json(info.vocabulary)
        except LamdError as error:
            raise LamdError(f"{meta}: {error}") from None
    model = network.build(saved, vocabulary)
    expected = model.state_dict()
    steps, factors = sorted(info.snapshots), None
    for key, chosen in (("autoguidance", snapshot), ("ema_length", ema_length)):
        if chosen is not None and not steps:
            raise LamdError(f"{meta}: trained without ema_snapshots; take sampler.{key} out")
    if snapshot is not None:
        factors = single(snapshot, steps)
    elif ema_length is not None:
        factors = coefficients(ema_length, steps)
    if factors is None:
        weights = checkpoint.load_weights(folder / WEIGHTS, info.sha256, expected, _ADVICE)
    else:
        weights = weighted_average(factors, folder, info.snapshots, expected, _ADVICE)
    model.load_state_dict(weights)
    return model.to(device).eval().requires_grad_(False)


def load_paradigm(
    name: str, target: Target, folders: Mapping[str, Path], device: torch.device | str = "cpu"
) -> Paradigm:
    """Load the trained networks of a paradigm, ready to sample; errors as for `load_model`.

    The folders are those of the `denoiser` and, except in pixel space, the `autoencoder`, which
    must be the one it was trained on; without a denoiser clips can be encoded and decoded.
    """
    kind, sampler = PARADIGMS[name], target.sampler
    denoiser = earlier = autoencoder = None
    if "denoiser" in folders:
        load = partial(load_model, folders["denoiser"], kind.denoiser_stage, target, device=device)
        denoiser = load(ema_length=sampler.ema_length)
        if sampler.autoguidance is not None:
            earlier = load(snapshot=sampler.autoguidance.snapshot)
        if target.runtime.compile:
            for network in filter(None, (denoiser, earlier)):
                compile_denoiser(network)
    if kind.autoencoder_stage is not None:
        folder = folders["autoencoder"]
        autoencoder = load_model(folder, kind.autoencoder_stage, target, device=device)
        if "denoiser" in folders:
            trained = read_info(folders["denoiser"], stage=kind.denoiser_stage).autoencoder_sha256
            if trained not in (None, read_info(folder, stage=kind.autoencoder_stage).sha256):
                raise LamdError(
                    f"{folders['denoiser'] / INFO}: trained on the latents of another "
                    f"{kind.autoencoder_stage} than {folder}; give the two of one training"
                )
    paradigm = kind.of(target, denoiser, autoencoder)
    if earlier is not None:
        paradigm.earlier = kind.of(target, earlier, autoencoder)
    return paradigm
