"""Training of all stages: `engine` is the loop, the `*_stage` files say what a step does."""

from pathlib import Path

from lamd.config import Target
from lamd.data.packed import PackedVideos
from lamd.errors import LamdError
from lamd.training.captioner_stage import CaptionerStage
from lamd.training.dmg_stage import DMGStage
from lamd.training.engine import train_stage
from lamd.training.final import load_captioner, load_dmg, load_vae, read_info
from lamd.training.latents import Latents, encode_latents, open_latents
from lamd.training.vae_stage import VAEStage

__all__ = [
    "Latents",
    "encode_latents",
    "load_captioner",
    "load_dmg",
    "load_vae",
    "open_latents",
    "train_captioner",
    "train_dmg",
    "train_vae",
]


def train_vae(
    target: Target,
    train: PackedVideos,
    folder: Path,
    *,
    identity: str,
    device: str | None = None,
    max_steps: int | None = None,
) -> Path:
    """Train the MCD-VAE (stage I) in `folder`; arguments and errors as for `engine.train_stage`."""
    stage = VAEStage(target, train)
    return train_stage(
        stage, folder, target=target, identity=identity, device=device, max_steps=max_steps
    )


def train_dmg(
    target: Target,
    train: PackedVideos,
    vae_folder: Path,
    latents_folder: Path,
    folder: Path,
    *,
    identity: str,
    device: str | None = None,
    max_steps: int | None = None,
) -> Path:
    """Train the DMG (stage II) in `folder` on the posteriors of `encode_latents`.

    Arguments and errors as for `engine.train_stage`.
    """
    vae, latents = load_vae(vae_folder, target), open_latents(latents_folder)
    if latents.vae_sha256 != read_info(vae_folder, stage="vae")["sha256"]:
        raise LamdError(
            f"{latents_folder}: encoded by another MCD-VAE than {vae_folder}; "
            "encode the latents into another folder"
        )
    stage = DMGStage(target, train, vae, latents)
    return train_stage(
        stage, folder, target=target, identity=identity, device=device, max_steps=max_steps
    )


def train_captioner(
    target: Target,
    train: PackedVideos,
    folder: Path,
    *,
    identity: str,
    device: str | None = None,
    max_steps: int | None = None,
) -> Path:
    """Train the captioner in `folder`; arguments and errors as for `engine.train_stage`."""
    stage = CaptionerStage(target, train)
    return train_stage(
        stage, folder, target=target, identity=identity, device=device, max_steps=max_steps
    )
