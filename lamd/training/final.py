"""The result of a stage: `model.safetensors` and `model.json`, written last and checked on load."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lamd.config import Target
from lamd.data.vocabulary import Vocabulary
from lamd.errors import LamdError
from lamd.models.captioner import Captioner, build_captioner
from lamd.models.dmg import DMG, build_dmg
from lamd.models.mcd_vae import MCDVAE, build_vae
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
    saved = _checked_target(folder, info, target, {"data": _CLIP, "vae": True})
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
    saved = _checked_target(folder, info, target, {"data": _CLIP, "vae": True, "dmg": True})
    return _filled(build_dmg(saved, _vocabulary(folder, info)), folder, info, device)


def load_captioner(
    folder: Path,
    *,
    identity: str | None = None,
    device: torch.device | str = "cpu",
) -> Captioner:
    """Load a trained captioner, frozen and in eval mode; arguments and errors as for `load_vae`."""
    info = read_info(folder, stage="captioner", identity=identity)
    saved = _checked_target(folder, info, None, {})
    model = build_captioner(saved.captioner, saved.data, _vocabulary(folder, info))
    return _filled(model, folder, info, device)


def _vocabulary(folder: Path, info: dict[str, Any]) -> Vocabulary | None:
    if "vocabulary" not in info:
        return None
    try:
        return Vocabulary.from_json(info["vocabulary"])
    except LamdError as error:
        raise LamdError(f"{folder / 'model.json'}: {error}") from None


def _checked_target(
    folder: Path, info: dict[str, Any], target: Target | None, parts: dict[str, Any]
) -> Target:
    saved = Target.model_validate(info["target"])
    if target is not None:
        ours, theirs = (t.model_dump(mode="json", include=parts) for t in (target, saved))
        difference = first_difference(theirs, ours)
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
