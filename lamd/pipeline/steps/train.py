"""The cells of trained stages and of latents."""

from pathlib import Path
from typing import Any

from lamd.config import Target, TrainConfig
from lamd.evaluate import resolve_device
from lamd.pipeline.contents import Folders
from lamd.pipeline.steps.data import open_split
from lamd.pipeline.store import PARTIAL

LATENTS = "posteriors"


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
    if "latents" in parents:
        parents["latents"] /= LATENTS
    training.train(stage, target, videos, folder, parents, options=options, **_run(folder, device))
    return {}


def encode_latents(folder: Path, inputs: Folders, stage: str, target: Target, device: str) -> dict:
    """Encode the training windows of stage II by the autoencoder of `stage`."""
    from lamd import training

    videos, vae = open_split(inputs["data"], "train"), inputs["autoencoder"]
    run = _run(folder, device)
    training.encode_latents(target, videos, vae, folder / LATENTS, stage=stage, **run)
    return {}


def _run(folder: Path, device: str) -> dict[str, Any]:
    # The folder's name ends in the cell's key, which hashes all that the result depends on.
    return {
        "run_id": folder.name.removesuffix(PARTIAL),
        "device": None if device == "auto" else resolve_device(device),
    }
