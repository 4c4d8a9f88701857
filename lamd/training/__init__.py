"""Training of all stages: `engine` is the loop, the `*_stage` files are its steps."""

from collections.abc import Mapping
from pathlib import Path

from lamd.base.errors import LamdError
from lamd.config import Target, TrainConfig
from lamd.data.packed import PackedVideos
from lamd.paradigms.registry import PARADIGMS
from lamd.training.captioner_stage import CaptionerStage
from lamd.training.diffusion_stage import DiffusionStage
from lamd.training.engine import train_stage
from lamd.training.latents import Latents, encode_latents, open_latents
from lamd.training.networks import NETWORKS, load_model, load_paradigm, read_info
from lamd.training.stages import Stage
from lamd.training.vae_stage import VAEStage

__all__ = ["Latents", "encode_latents", "load_model", "load_paradigm", "open_latents", "train"]


def train(
    stage: str,
    target: Target,
    videos: PackedVideos,
    folder: Path,
    parents: Mapping[str, Path] | None = None,
    *,
    run_id: str,
    options: TrainConfig | None = None,
    device: str | None = None,
    max_steps: int | None = None,
) -> Path:
    """Train one stage in `folder`, continuing from its last good checkpoint; return `folder`.

    The folder receives checkpoints, `log.jsonl`, TensorBoard events, and at the end
    `model.safetensors` and `model.json`. LamdError on an unknown stage, missing parents, a
    non-finite loss or gradient (the last good checkpoint stays), a folder of another config,
    damaged checkpoints only, or latents of another autoencoder.

    Args:
        stage: vae, dmg, captioner, pixel, video_vae or latent_video.
        parents: folders of the `autoencoder` and of its `latents`, where the stage has one.
        run_id: hash of all that the result depends on.
        options: of a denoiser's training, `target.train_dmg` by default.
        device: `cpu`, `cuda` or None for the best available.
        max_steps: stop after this step with a checkpoint and without a final model.
    """
    if stage not in NETWORKS:
        raise LamdError(f"stage {stage!r}: unknown; use one of {', '.join(NETWORKS)}")
    denoisers = {kind.denoiser_stage: kind for kind in PARADIGMS.values()}
    built: Stage
    parents = parents or {}
    if stage == "captioner":
        built = CaptionerStage(target, videos)
    elif stage in denoisers:
        autoencoder = latents = None
        encoder = denoisers[stage].autoencoder_stage
        if encoder is not None:
            if missing := {"autoencoder", "latents"} - set(parents):
                raise LamdError(
                    f"stage {stage}: needs the folder of its {' and '.join(sorted(missing))}; "
                    "pass them as `parents`"
                )
            source, latents = parents["autoencoder"], open_latents(parents["latents"])
            if latents.vae_sha256 != read_info(source, stage=encoder).sha256:
                raise LamdError(
                    f"{latents.folder}: encoded by another {encoder} than {source}; "
                    "encode the latents into another folder"
                )
            autoencoder = load_model(source, encoder, target)
            if latents.posterior.shape[2:] != autoencoder.latent_shape:
                raise LamdError(
                    f"{latents.folder}: posteriors of {latents.posterior.shape[2:]}, {source} has "
                    f"{autoencoder.latent_shape}; encode the latents again"
                )
        own, kind = options or target.train_dmg, denoisers[stage]
        built = DiffusionStage(kind, target, own, videos, autoencoder, latents)
    else:
        built = VAEStage(target, videos, stage)
    return train_stage(built, folder, run_id=run_id, device=device, max_steps=max_steps)
