"""The result of a stage: `model.safetensors` and `model.json`, written last and checked on load."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lamd.base.errors import LamdError
from lamd.config import Baseline, Target, denoiser_config
from lamd.data.vocabulary import Vocabulary
from lamd.models.captioner import Captioner, build_captioner
from lamd.models.dmg import DMG, build_dmg
from lamd.models.latent_video import (
    VideoAutoencoder,
    build_latent_video,
    build_video_autoencoder,
)
from lamd.models.mcd_vae import MCDVAE, build_vae
from lamd.models.pixel_diffusion import build_pixel
from lamd.models.unet3d import UNet3d
from lamd.training.integrity import (
    DamagedFile,
    check_sha256,
    first_difference,
    load_weights,
    read_json,
    save_weights,
    sha256_of,
    write_atomic,
    write_json,
)

FORMAT = 1
_MEND = "delete the folder and train again, or restore the file"
_CLIP = {"num_frames", "size"}
_DENOISERS = {"pixel": build_pixel, "latent_video": build_latent_video}


def write_final(folder: Path, weights: dict[str, Tensor], info: dict[str, Any]) -> None:
    """Write weights, then `model.json`, whose presence says that the stage is complete."""
    path = folder / "model.safetensors"
    write_atomic(path, lambda temporary: save_weights(temporary, weights))
    info = {"format": FORMAT, "sha256": sha256_of(path), **info}
    write_atomic(folder / "model.json", lambda temporary: write_json(temporary, info))


def is_complete(folder: Path) -> bool:
    """Tell whether a stage has finished in `folder`."""
    return (folder / "model.json").is_file()


def read_info(folder: Path, *, stage: str, identity: str | None = None) -> dict[str, Any]:
    """Read and check `model.json`: target, identity, sha256, step, validation, parameters, seconds.

    Raises:
        LamdError: when it is missing, damaged, of another stage or identity.
    """
    path = folder / "model.json"
    info = read_json(path, _MEND)
    if info["format"] != FORMAT:
        raise LamdError(
            f"{path}: format {info['format']}, this version reads {FORMAT}; train again"
        )
    if info["stage"] != stage:
        raise LamdError(
            f"{path}: a model of stage {info['stage']!r}, not of {stage!r}; name the other folder"
        )
    if identity is not None and info["identity"] != identity:
        raise LamdError(
            f"{path}: made from other data or another parent ({info['identity']} there, "
            f"{identity} here); train in another folder"
        )
    return info


def load_vae(
    folder: Path,
    target: Target | None = None,
    *,
    identity: str | None = None,
    device: torch.device | str = "cpu",
) -> MCDVAE:
    """Load a trained MCD-VAE, frozen and in eval mode.

    Args:
        folder: of `train_vae`.
        target: when given, its `vae` and clip shape must be the trained ones.
        identity: when given, must be the one it was trained under.
        device: where to.

    Raises:
        LamdError: on a missing or damaged file or another config (first differing key named).
    """
    info = read_info(folder, stage="vae", identity=identity)
    saved = _checked_target(folder, info, target, _parts(vae=True))
    return _filled(build_vae(saved.vae, saved.data), folder, info, device)


def load_dmg(
    folder: Path,
    target: Target | None = None,
    *,
    identity: str | None = None,
    device: torch.device | str = "cpu",
) -> DMG:
    """Load a trained DMG, frozen and in eval mode; arguments and errors as for `load_vae`."""
    info = read_info(folder, stage="dmg", identity=identity)
    saved = _checked_target(folder, info, target, _parts(vae=True, dmg=True))
    return _filled(build_dmg(saved, _vocabulary(folder, info)), folder, info, device)


def load_captioner(
    folder: Path,
    *,
    identity: str | None = None,
    device: torch.device | str = "cpu",
) -> Captioner:
    """Load a trained captioner, frozen and in eval mode; arguments and errors as for `load_vae`."""
    info = read_info(folder, stage="captioner", identity=identity)
    saved = Target.model_validate(info["target"])
    model = build_captioner(saved.captioner, saved.data, _vocabulary(folder, info))
    return _filled(model, folder, info, device)


def load_video_vae(
    folder: Path,
    target: Target | None = None,
    *,
    device: torch.device | str = "cpu",
) -> VideoAutoencoder:
    """Load a trained video autoencoder, frozen; arguments and errors as for `load_vae`."""
    info = read_info(folder, stage="video_vae")
    network = _parts(baselines={"latent_video": {"autoencoder"}})
    saved = _checked_target(folder, info, target, network)
    return _filled(build_video_autoencoder(saved), folder, info, device)


def load_denoiser(
    name: Baseline,
    folder: Path,
    target: Target | None = None,
    *,
    device: torch.device | str = "cpu",
) -> UNet3d:
    """Load a baseline's trained denoiser, frozen; arguments and errors as for `load_vae`."""
    info = read_info(folder, stage=name)
    saved = _checked_target(folder, info, target, lambda target: denoiser_config(target, name))
    return _filled(_DENOISERS[name](saved), folder, info, device)


def _vocabulary(folder: Path, info: dict[str, Any]) -> Vocabulary | None:
    if "vocabulary" not in info:
        return None
    try:
        return Vocabulary.from_json(info["vocabulary"])
    except LamdError as error:
        raise LamdError(f"{folder / 'model.json'}: {error}") from None


def _parts(**parts: Any) -> Callable[[Target], dict[str, Any]]:
    include = {"data": _CLIP, **parts}
    return lambda target: target.model_dump(mode="json", include=include)


def _checked_target(
    folder: Path,
    info: dict[str, Any],
    target: Target | None,
    network: Callable[[Target], dict[str, Any]],
) -> Target:
    """Return the saved target; `network` is what it must have in common with `target`."""
    saved = Target.model_validate(info["target"])
    if target is not None:
        difference = first_difference(network(saved), network(target))
        if difference:
            raise LamdError(
                f"{folder / 'model.json'}: a model of another config: {difference}; "
                "change the config or train in another folder"
            )
    return saved


def _filled(
    model: nn.Module, folder: Path, info: dict[str, Any], device: torch.device | str
) -> Any:
    path = folder / "model.safetensors"
    check_sha256(path, info["sha256"], _MEND)
    try:
        model.load_state_dict(load_weights(path, _MEND))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise DamagedFile(f"{path}: other tensors than the model has ({reason}); {_MEND}") from None
    return model.to(device).eval().requires_grad_(False)
