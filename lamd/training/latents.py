"""Posteriors of all training windows, encoded once by a frozen autoencoder for stage II."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lamd.base.files import replace_folder, sha256_of
from lamd.base.progress import track
from lamd.base.rng import torch_generator
from lamd.config import Target
from lamd.data.packed import PackedVideos
from lamd.io.video import to_model
from lamd.models.latent import STATISTICS_WINDOWS, Posterior, ScaledLatent
from lamd.training.checkpoint import check_run_id, check_sha256, read_json, write_json
from lamd.training.networks import load_model, read_info
from lamd.training.stages import read_windows, training_windows

_BATCH = 16
_ADVICE = "delete the folder and encode the latents again"
_FILES = ("posterior.npy", "windows.npy")


@dataclass(frozen=True)
class Latents:
    """Stored posteriors."""

    folder: Path
    posterior: np.ndarray  # mean and logvar, float32 (N, 2, *latent_shape); a read-only memory map
    windows: np.ndarray  # (N, 2) int64, video and first frame
    vae_sha256: str  # of the weights that made them

    def __len__(self) -> int:
        return len(self.windows)


def encode_latents(
    target: Target,
    train: PackedVideos,
    vae_folder: Path,
    folder: Path,
    *,
    run_id: str,
    stage: str = "vae",
    device: str | None = None,
) -> Path:
    """Encode every window that stage II trains on; return `folder`, complete or absent.

    One process does it; the others of a launch must not call this at the same time. A folder that
    is already complete and of this run is left unchanged.

    Args:
        target: `train_dmg.window_stride` and `num_validation_clips` select the windows.
        vae_folder: of the trained autoencoder of `stage`, `vae` or `video_vae`.
        run_id: hash of all that the posteriors depend on.
        device: `cpu`, `cuda` or None for the best available.

    Raises:
        LamdError: on a damaged or other autoencoder, or a damaged or other `folder`.
    """
    if folder.is_dir():
        open_latents(folder, run_id=run_id)
        return folder
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    vae = load_model(vae_folder, stage, target, device=device)
    windows = training_windows(train, target.train_dmg, target.data)

    def fill(temporary: Path) -> None:
        posterior, shape = temporary / "posterior.npy", (len(windows), 2, *vae.latent_shape)
        stored = np.lib.format.open_memmap(posterior, mode="w+", dtype=np.float32, shape=shape)
        batches = _posteriors(vae, train, windows)
        for rows, q in track(batches, "latents", -(-len(windows) // _BATCH)):
            stored[rows] = torch.stack([q.mean, q.logvar], dim=1).cpu().numpy()
        stored.flush()
        np.save(temporary / "windows.npy", windows, allow_pickle=False)
        meta = {
            "identity": run_id,
            "vae_sha256": read_info(vae_folder, stage=stage)["sha256"],
            "sha256": {name: sha256_of(temporary / name) for name in _FILES},
        }
        write_json(temporary / "latents.json", meta)

    replace_folder(folder, fill)
    return folder


def open_latents(folder: Path, *, run_id: str | None = None) -> Latents:
    """Open and verify stored posteriors.

    Raises:
        LamdError: when a file is missing or damaged, or was made by another run.
    """
    meta = read_json(folder / "latents.json", _ADVICE)
    check_run_id(folder, meta, run_id)
    for name in _FILES:
        check_sha256(folder / name, meta["sha256"][name], _ADVICE)
    posterior, windows = (
        np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in _FILES
    )
    return Latents(folder, posterior, np.asarray(windows), meta["vae_sha256"])


def latent_statistics(
    vae: ScaledLatent, videos: PackedVideos, windows: np.ndarray, *, seed: int
) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (d,) of sampled z_m, measured in float64.

    At most 1024 windows, evenly spread over `windows`, are encoded: with h * w values per channel
    and window, the error of the mean is far below one percent of the deviation.
    """
    count = min(len(windows), STATISTICS_WINDOWS)
    chosen = windows[np.linspace(0, len(windows) - 1, count).astype(np.int64)]
    total = squares = torch.zeros_like(vae.latent_mean, dtype=torch.float64)
    n = 0
    for rows, posterior in _posteriors(vae, videos, chosen):
        generator = torch_generator(seed, "statistics", int(rows.start))
        eps = torch.randn(posterior.mean.shape, generator=generator).to(posterior.mean.device)
        z_m = vae.normalise(posterior.sample(eps)).double()
        over = (0, *range(2, z_m.ndim))
        total, squares = total + z_m.sum(over), squares + z_m.square().sum(over)
        n += z_m.numel() // z_m.shape[1]
    mean = total / n
    return mean.float(), (squares / n - mean.square()).sqrt().float()


@torch.no_grad()
def _posteriors(
    vae: ScaledLatent, videos: PackedVideos, windows: np.ndarray
) -> Iterator[tuple[slice, Posterior]]:
    device = vae.latent_mean.device
    for first in range(0, len(windows), _BATCH):
        rows = slice(first, min(first + _BATCH, len(windows)))
        video = read_windows(videos, windows[rows], vae.clip_shape[0]).to(device)
        yield rows, vae.encode(to_model(video))
