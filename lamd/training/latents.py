"""Posteriors of all training windows, encoded once by a frozen autoencoder for stage II."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from rich.console import Console
from rich.progress import track
from torch import Tensor

from lamd.base.errors import LamdError
from lamd.base.rng import torch_generator
from lamd.config import Target
from lamd.data.packed import PackedVideos
from lamd.io.video import to_model
from lamd.models.latent import Posterior, ScaledLatent
from lamd.models.latent_video import VideoAutoencoder
from lamd.models.mcd_vae import MCDVAE
from lamd.training.batches import read_windows, training_windows
from lamd.training.final import load_vae, load_video_vae, read_info
from lamd.training.integrity import (
    check_sha256,
    read_json,
    replace_folder,
    sha256_of,
    write_json,
)

_BATCH = 16
_STATISTICS_WINDOWS = 1024
_MEND = "delete the folder and encode the latents again"
_FILES = ("posterior.npy", "windows.npy")
Encode = Callable[[ScaledLatent, Tensor], Posterior]  # of clips (B, L, 3, H, W)
_AUTOENCODERS = {
    "vae": (load_vae, MCDVAE.encode_motion),
    "video_vae": (load_video_vae, VideoAutoencoder.encode),
}


@dataclass(frozen=True)
class Latents:
    """Stored posteriors.

    Attributes:
        folder: where they lie.
        posterior: (N, 2, d, h, w), or (N, 2, d, l, h, w), float32, mean and logvar; a read-only
            memory map.
        windows: (N, 2) int64, video and first frame.
        vae_sha256: hash of the weights that made them.
    """

    folder: Path
    posterior: np.ndarray
    windows: np.ndarray
    vae_sha256: str

    def __len__(self) -> int:
        return len(self.windows)


def encode_latents(
    target: Target,
    train: PackedVideos,
    vae_folder: Path,
    folder: Path,
    *,
    identity: str,
    stage: str = "vae",
    device: str | None = None,
) -> Path:
    """Encode every window that stage II trains on; return `folder`, complete or absent.

    Args:
        target: `train_dmg.window_stride` and `num_validation_clips` say which windows.
        train: the train split.
        vae_folder: of `train_vae`, or `train_video_vae`.
        folder: made here; left as it is when it is already complete and of this identity.
        identity: hash of all that the posteriors depend on.
        stage: `vae`, or `video_vae` for the latent-video baseline.
        device: `cpu`, `cuda` or None for the best there is.

    Raises:
        LamdError: on a damaged or other MCD-VAE, or a damaged or other `folder`.
    """
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    with PartialState(cpu=place == "cpu").main_process_first():
        if folder.is_dir():
            open_latents(folder, identity=identity)
            return folder
        load, encode = _AUTOENCODERS[stage]
        vae = load(vae_folder, target, device=place)
        sha256 = read_info(vae_folder, stage=stage)["sha256"]
        windows = training_windows(train, target.train_dmg, target.data)

        def fill(temporary: Path) -> None:
            _encode(vae, encode, train, windows, temporary)
            hashes = {name: sha256_of(temporary / name) for name in _FILES}
            meta = {"identity": identity, "vae_sha256": sha256, "sha256": hashes}
            write_json(temporary / "latents.json", meta)

        replace_folder(folder, fill)
    return folder


def _encode(
    vae: ScaledLatent, encode: Encode, train: PackedVideos, windows: np.ndarray, folder: Path
) -> None:
    shape = (len(windows), 2, *vae.latent_shape)
    stored = np.lib.format.open_memmap(
        folder / "posterior.npy", mode="w+", dtype=np.float32, shape=shape
    )
    console, total = Console(stderr=True), -(-len(windows) // _BATCH)
    for rows, posterior in track(
        _posteriors(vae, encode, train, windows),
        "latents",
        total,
        console=console,
        disable=not console.is_terminal,
    ):
        stored[rows] = torch.stack([posterior.mean, posterior.logvar], dim=1).cpu().numpy()
    stored.flush()
    np.save(folder / "windows.npy", windows, allow_pickle=False)


def open_latents(folder: Path, *, identity: str | None = None) -> Latents:
    """Open and verify stored posteriors.

    Raises:
        LamdError: when a file is missing or damaged, or was made under another identity.
    """
    meta = read_json(folder / "latents.json", _MEND)
    if identity not in (None, meta["identity"]):
        raise LamdError(
            f"{folder}: made by another MCD-VAE or from other data ({meta['identity']} there, "
            f"{identity} here); {_MEND}"
        )
    for name in _FILES:
        check_sha256(folder / name, meta["sha256"][name], _MEND)
    posterior, windows = (
        np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in _FILES
    )
    return Latents(folder, posterior, np.asarray(windows), meta["vae_sha256"])


def latent_statistics(
    vae: ScaledLatent, encode: Encode, videos: PackedVideos, windows: np.ndarray, *, seed: int
) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (d,) of sampled z_m, measured in float64.

    At most 1024 windows, evenly spread over `windows`, are encoded: with h * w values a channel and
    window the error of the mean is far below one percent of the deviation.
    """
    count = min(len(windows), _STATISTICS_WINDOWS)
    chosen = windows[np.linspace(0, len(windows) - 1, count).astype(np.int64)]
    total, squares, n = 0.0, 0.0, 0
    for rows, posterior in _posteriors(vae, encode, videos, chosen):
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
    vae: ScaledLatent, encode: Encode, videos: PackedVideos, windows: np.ndarray
) -> Iterator[tuple[slice, Posterior]]:
    device, num_frames = next(vae.parameters()).device, vae.clip_shape[0]
    for first in range(0, len(windows), _BATCH):
        rows = slice(first, min(first + _BATCH, len(windows)))
        video = read_windows(videos, windows[rows], num_frames).to(device)
        yield rows, encode(vae, to_model(video))
