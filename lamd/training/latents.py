"""Posteriors of all training windows, encoded once by a frozen autoencoder for stage II."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lamd.base.arrays import load_array
from lamd.base.batched import fill_batches
from lamd.base.errors import LamdError
from lamd.base.files import sha256_of, sync
from lamd.base.rng import torch_generator
from lamd.config import Target, TrainConfig
from lamd.data.packed import PackedVideos
from lamd.io.video import to_model
from lamd.models.latent import STATISTICS_WINDOWS, Posterior, ScaledLatent
from lamd.training.augment import read_rows
from lamd.training.checkpoint import Saved, check_run_id, check_sha256, read_json, write_json
from lamd.training.networks import load_model, read_info
from lamd.training.stages import training_windows

_BATCH = 16
_ADVICE = "delete the folder and encode the latents again"
_FILES, _INFO = ("posterior.npy", "windows.npy"), "latents.json"  # written last: complete


class _Info(Saved, frozen=True):
    vae_sha256: str
    sha256: dict[str, str]


@dataclass(frozen=True)
class Latents:
    """Stored posteriors."""

    folder: Path
    posterior: np.ndarray  # mean and logvar, float32 (N, 2, *latent_shape); a read-only memory map
    windows: np.ndarray  # (N, 2) int64, video and first frame
    vae_sha256: str  # of the weights that made them


def encode_latents(
    target: Target,
    train: PackedVideos,
    vae_folder: Path,
    folder: Path,
    *,
    run_id: str,
    stage: str = "vae",
    device: str = "cpu",
) -> Path:
    """Encode every window that stage II trains on in `folder`, of this run alone; return it.

    A killed encoding continues. The processes of a launch share the work; the first one returns
    when it is complete. A complete folder of this run is left unchanged. LamdError when the
    autoencoder or `folder` is damaged or another one.

    Args:
        target: `train_dmg.window_stride` and the videos it holds out select the windows.
        vae_folder: of the trained autoencoder of `stage`, `vae` or `video_vae`.
        run_id: hash of all that the posteriors depend on.
    """
    if (folder / _INFO).is_file():
        open_latents(folder, run_id=run_id)
        return folder
    vae = load_model(vae_folder, stage, target, device=device)
    windows = training_windows(train, target.train_dmg, target.data)

    def encode(at: slice) -> np.ndarray:
        q = _posterior(vae, read_rows(train, windows, np.arange(len(windows))[at], target.data))
        return torch.stack([q.mean, q.logvar], dim=1).cpu().numpy()

    posterior, shape = folder / "posterior.npy", (len(windows), 2, *vae.latent_shape)
    size = encoding_batch_size(target.train_vae)
    if fill_batches(posterior, shape, np.float32, size, encode, "latents"):
        np.save(folder / "windows.npy", windows, allow_pickle=False)
        sync(folder / "windows.npy")
        meta = {
            "identity": run_id,
            "vae_sha256": read_info(vae_folder, stage=stage).sha256,
            "sha256": {name: sha256_of(folder / name) for name in _FILES},
        }
        write_json(folder / _INFO, meta)
    return folder


def open_latents(folder: Path, *, run_id: str | None = None) -> Latents:
    """Open and verify stored posteriors; LamdError if any is missing, damaged or of another run."""
    meta = read_json(folder / _INFO, _Info, _ADVICE)
    check_run_id(folder, meta, run_id)
    for name in _FILES:
        check_sha256(folder / name, meta.sha256.get(name, ""), _ADVICE)
    windows = load_array(folder / "windows.npy", np.int64, 2, _ADVICE)
    posterior = load_array(folder / "posterior.npy", np.float32, None, _ADVICE, mapped=True)
    if windows.shape[1] != 2 or posterior.shape[:2] != (len(windows), 2):
        raise LamdError(f"{folder}: {posterior.shape} posteriors of other windows; {_ADVICE}")
    return Latents(folder, posterior, windows, meta.vae_sha256)


def latent_statistics(
    vae: ScaledLatent, read: Callable[[np.ndarray], Tensor], num_windows: int, train: TrainConfig
) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (d,) of sampled z_m, measured in float64.

    At most 1024 windows, evenly spread over all, are encoded: with h * w values per channel and
    window, the error of the mean is far below one percent of the deviation. `read` returns windows
    by number as uint8 video (B, L, H, W, 3); `train` is the autoencoder's (most clips at once).
    """
    count = min(num_windows, STATISTICS_WINDOWS)
    chosen = np.linspace(0, num_windows - 1, count).astype(np.int64)
    total = squares = torch.zeros_like(vae.latent_mean, dtype=torch.float64)
    n, size = 0, encoding_batch_size(train)
    for first in range(0, count, size):
        posterior = _posterior(vae, read(chosen[first : first + size]))
        generator = torch_generator(train.seed, "statistics", first)
        eps = torch.randn(posterior.mean.shape, generator=generator, device="cpu")
        z_m = vae.normalise(posterior.sample(eps.to(posterior.mean.device))).double()
        over = (0, *range(2, z_m.ndim))
        total, squares = total + z_m.sum(over), squares + z_m.square().sum(over)
        n += z_m.numel() // z_m.shape[1]
    mean = total / n
    return mean.float(), (squares / n - mean.square()).sqrt().float()


def encoding_batch_size(train: TrainConfig) -> int:
    """Return how many clips an autoencoder, trained as `train` says, encodes at once."""
    return min(_BATCH, train.micro_batch_size or _BATCH)


@torch.no_grad()
def _posterior(vae: ScaledLatent, video: Tensor) -> Posterior:
    return vae.encode(to_model(video.to(vae.latent_mean.device)))
