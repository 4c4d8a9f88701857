"""FLOPs, parameters and activations of a target's networks, per clip.

Each network is built on the meta device and counted once per process and configuration.
"""

from functools import cache
from typing import Any

import torch

from lamd.config import (
    Baseline,
    Target,
    VAEConfig,
    VideoAutoencoderConfig,
    denoised_shape,
    is_baseline,
    split_row,
    unet_options,
)
from lamd.data.vocabulary import Vocabulary
from lamd.flops import Cost, count
from lamd.models.dmg import DMG, dmg_options
from lamd.models.latent_video import VideoAutoencoder
from lamd.models.mcd_vae import MCDVAE
from lamd.models.unet import UNet3d

# The vocabularies are known once the data is: words of captions (MAGE's larger one), classes.
VOCABULARIES = {
    "text": Vocabulary("text", tuple(map(str, range(50)))),
    "class": Vocabulary("class", tuple(map(str, range(25)))),
}
_CLIPS = 2  # counted at once: in training, a group norm refuses a single value per channel


def mcd_vae_costs(target: Target) -> dict[str, Cost]:
    """Return the costs of `image_encoder`, `motion_encoder` and `video_decoder`."""
    return _mcd_vae(target.vae, target.data.num_frames, target.data.size)


def dmg_costs(target: Target) -> dict[str, Cost]:
    """Return the costs of `condition`, paid once per clip, and of one denoising `step`."""
    vocabulary = None if target.dmg.prompt is None else VOCABULARIES[target.dmg.prompt.kind]
    size = target.data.size // target.vae.spatial_downsampling
    return _dmg(size, **dmg_options(target, vocabulary))


def autoencoder_costs(target: Target) -> dict[str, Cost]:
    """Return the costs of the video autoencoder's `encoder`, its `first_frame` and `decoder`."""
    assert target.baselines is not None and target.baselines.latent_video is not None
    options = target.baselines.latent_video.autoencoder
    return _autoencoder(options, target.data.num_frames, target.data.size)


def denoiser_cost(target: Target, name: Baseline) -> Cost:
    """Return the cost of one step of a baseline's denoiser."""
    return _unet3d(*denoised_shape(target, name), **unet_options(target, name))


def mcd_vae_cost(target: Target) -> Cost:
    """Return the cost of the whole MCD-VAE."""
    return sum(mcd_vae_costs(target).values(), Cost())


def dmg_cost(target: Target) -> Cost:
    """Return the cost of one training pass of the DMG, condition and prompts included."""
    return sum(dmg_costs(target).values(), Cost())


def autoencoder_cost(target: Target) -> Cost:
    """Return the cost of the whole video autoencoder."""
    costs = autoencoder_costs(target)
    return costs["encoder"] + costs["decoder"]


def row_parts(target: Target, row: str) -> dict[str, Cost]:
    """Return the costs of `encode`, one denoising `step` and `decode` of a sampled row."""
    if not is_baseline(row):
        vae, dmg = mcd_vae_costs(target), dmg_costs(target)
        encode, decode = vae["image_encoder"] + dmg["condition"], vae["video_decoder"]
        return {"encode": encode, "step": dmg["step"], "decode": decode}
    name, _ = split_row(row)
    encode = decode = Cost()
    if name == "latent_video":
        autoencoder = autoencoder_costs(target)
        encode, decode = autoencoder["first_frame"], autoencoder["decoder"]
    return {"encode": encode, "step": denoiser_cost(target, name), "decode": decode}


@cache
def _mcd_vae(config: VAEConfig, num_frames: int, size: int) -> dict[str, Cost]:
    with torch.device("meta"):
        vae = MCDVAE(num_frames=num_frames, size=size, **config.model_dump())
        x, z_m = torch.empty(_CLIPS, *vae.clip_shape), torch.empty(_CLIPS, *vae.latent_shape)
        content = vae.encode_image(x[:, 0])
    return {
        "image_encoder": count(lambda: vae.encode_image(x[:, 0]), _CLIPS),
        "motion_encoder": count(lambda: vae.encode_motion(x), _CLIPS),
        "video_decoder": count(lambda: vae.decode(z_m, *content), _CLIPS),
    }


@cache
def _dmg(size: int, **options: Any) -> dict[str, Cost]:
    with torch.device("meta"):
        dmg = DMG(**options)
        frames = (options["num_latent_frames"],) if options["num_latent_frames"] > 1 else ()
        z_t = torch.empty(_CLIPS, options["motion_channels"], *frames, size, size)
        t = torch.zeros(_CLIPS, dtype=torch.int64)
        y = [torch.empty(_CLIPS, options["content_channels"], size, size)]
        if dmg.prompt is not None:
            y.append(t[:, None].expand(-1, options["max_prompt_tokens"]))
        condition = dmg.condition(*y)
    return {
        "condition": count(lambda: dmg.condition(*y), _CLIPS),
        "step": count(lambda: dmg.denoise(z_t, t, condition), _CLIPS),
    }


@cache
def _autoencoder(config: VideoAutoencoderConfig, num_frames: int, size: int) -> dict[str, Cost]:
    with torch.device("meta"):
        model = VideoAutoencoder(num_frames=num_frames, size=size, **config.model_dump())
        x, z = torch.empty(_CLIPS, *model.clip_shape), torch.empty(_CLIPS, *model.latent_shape)
    return {
        "encoder": count(lambda: model.encode(x), _CLIPS),
        "first_frame": count(lambda: model.encode_image(x[:, 0]), _CLIPS),
        "decoder": count(lambda: model.decode(z), _CLIPS),
    }


@cache
def _unet3d(channels: int, frames: int, size: int, **options: Any) -> Cost:
    with torch.device("meta"):
        unet = UNet3d(channels=channels, **options)
        z_t = torch.empty(_CLIPS, channels, frames, size, size)
        t = torch.zeros(_CLIPS, dtype=torch.int64)
    return count(lambda: unet(z_t, t, z_t[:, :, 0]), _CLIPS)
