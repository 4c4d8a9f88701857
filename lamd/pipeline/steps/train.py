"""The cells of trained stages and of latents."""

import shutil
from pathlib import Path

from lamd.base.processes import rank_and_world
from lamd.config import Target, TrainConfig
from lamd.evaluate import resolve_device
from lamd.pipeline.contents import Folders
from lamd.pipeline.steps.data import open_split
from lamd.pipeline.store import CHECKPOINTS, PARTIAL


def train(
    folder: Path,
    inputs: Folders,
    stage: str,
    target: Target,
    device: str,
    options: TrainConfig | None = None,
) -> dict:
    """Train a stage; `options` are those of a baseline's budget."""
    from lamd import training

    videos = open_split(inputs["data"], "train")
    parents = {role: path for role, path in inputs.items() if role != "data"}
    training.train(
        stage, target, videos, folder, parents,
        run_id=_key(folder), options=options,
        device=None if device == "auto" else resolve_device(device),
    )  # fmt: skip
    if rank_and_world()[0] == 0:  # several times the size of the model, and no longer read
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    return {}


def encode_latents(folder: Path, inputs: Folders, stage: str, target: Target, device: str) -> dict:
    """Encode the training windows of stage II by the autoencoder of `stage`."""
    from lamd import training

    videos, vae = open_split(inputs["data"], "train"), inputs["autoencoder"]
    training.encode_latents(
        target, videos, vae, folder,
        run_id=_key(folder), stage=stage, device=resolve_device(device),
    )  # fmt: skip
    return {}


def _key(folder: Path) -> str:
    """Return kind and key of a cell, which hashes all that the result depends on."""
    return folder.name.removesuffix(PARTIAL)
