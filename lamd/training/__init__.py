"""Training of all stages: `engine` is the loop, the `*_stage` files say what a step does."""

from pathlib import Path
from typing import Required, TypedDict, Unpack

from lamd.base.errors import LamdError
from lamd.config import Target, TrainConfig
from lamd.data.packed import PackedVideos
from lamd.training.baseline_stages import LatentVideoStage, PixelStage, VideoVAEStage
from lamd.training.captioner_stage import CaptionerStage
from lamd.training.dmg_stage import DMGStage
from lamd.training.engine import train_stage
from lamd.training.final import (
    load_captioner,
    load_denoiser,
    load_dmg,
    load_vae,
    load_video_vae,
    read_info,
)
from lamd.training.latents import Latents, encode_latents, open_latents
from lamd.training.vae_stage import VAEStage

__all__ = [
    "Latents",
    "encode_latents",
    "load_captioner",
    "load_denoiser",
    "load_dmg",
    "load_vae",
    "load_video_vae",
    "open_latents",
    "train_captioner",
    "train_dmg",
    "train_latent_video",
    "train_pixel",
    "train_vae",
    "train_video_vae",
]


class RunOptions(TypedDict, total=False):
    """Options of `engine.train_stage` that every training takes."""

    identity: Required[str]
    device: str | None
    max_steps: int | None


def train_vae(target: Target, train: PackedVideos, folder: Path, **run: Unpack[RunOptions]) -> Path:
    """Train the MCD-VAE (stage I) in `folder`; arguments and errors as for `engine.train_stage`."""
    return train_stage(VAEStage(target, train), folder, target=target, **run)


def train_dmg(
    target: Target,
    train: PackedVideos,
    vae_folder: Path,
    latents_folder: Path,
    folder: Path,
    **run: Unpack[RunOptions],
) -> Path:
    """Train the DMG (stage II) in `folder` on the posteriors of `encode_latents`.

    Arguments and errors as for `engine.train_stage`.
    """
    latents = _latents_of(vae_folder, latents_folder, "vae")
    return train_stage(
        DMGStage(target, train, load_vae(vae_folder, target), latents), folder, target=target, **run
    )


def train_captioner(
    target: Target,
    train: PackedVideos,
    folder: Path,
    **run: Unpack[RunOptions],
) -> Path:
    """Train the captioner in `folder`; arguments and errors as for `engine.train_stage`."""
    return train_stage(CaptionerStage(target, train), folder, target=target, **run)


def train_pixel(
    target: Target,
    options: TrainConfig,
    train: PackedVideos,
    folder: Path,
    **run: Unpack[RunOptions],
) -> Path:
    """Train the pixel-space baseline for a row's budget, `options`; else as `train_vae`."""
    return train_stage(PixelStage(target, options, train), folder, target=target, **run)


def train_video_vae(
    target: Target,
    train: PackedVideos,
    folder: Path,
    **run: Unpack[RunOptions],
) -> Path:
    """Train the latent-video baseline's autoencoder; arguments and errors as for `train_vae`."""
    return train_stage(VideoVAEStage(target, train), folder, target=target, **run)


def train_latent_video(
    target: Target,
    options: TrainConfig,
    train: PackedVideos,
    vae_folder: Path,
    latents_folder: Path,
    folder: Path,
    **run: Unpack[RunOptions],
) -> Path:
    """Train the latent-video baseline's denoiser for a row's budget; else as `train_dmg`."""
    latents = _latents_of(vae_folder, latents_folder, "video_vae")
    autoencoder = load_video_vae(vae_folder, target)
    return train_stage(
        LatentVideoStage(target, options, train, autoencoder, latents), folder, target=target, **run
    )


def _latents_of(vae_folder: Path, latents_folder: Path, stage: str) -> Latents:
    latents, model = open_latents(latents_folder), {"vae": "MCD-VAE"}.get(stage, stage)
    if latents.vae_sha256 != read_info(vae_folder, stage=stage)["sha256"]:
        raise LamdError(
            f"{latents_folder}: encoded by another {model} than {vae_folder}; "
            "encode the latents into another folder"
        )
    return latents
