"""How the cells of the method are built: data, MCD-VAE, latents, DMG; and how they are opened."""

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from lamd.config import Target
from lamd.data.packed import PackedVideos, open_packed
from lamd.errors import LamdError
from lamd.evaluate import resolve_device
from lamd.harness.cells import PARTIAL
from lamd.records import write_atomically

if TYPE_CHECKING:
    from lamd.models.dmg import DMG
    from lamd.models.mcd_vae import MCDVAE

SPLITS = ("train", "test")
DATA = "data.json"
LATENTS = "posteriors"


def real_root() -> Path:
    """Return the root of the real data set.

    Raises:
        LamdError: when LAMD_DATA is not set or holds no BAIR.
    """
    what = (
        "download BAIR robot pushing (softmotion30_44k, about 30 GB) and put it at "
        "$LAMD_DATA/softmotion30_44k/{train,test}/traj_*.tfrecords"
    )
    root = os.environ.get("LAMD_DATA")
    if not root:
        raise LamdError(f"data.source real: LAMD_DATA is not set; {what}")
    folder = Path(root).expanduser() / "softmotion30_44k"
    for split in SPLITS:
        if not any((folder / split).glob("*.tfrecords")):
            raise LamdError(f"{folder / split}: no TFRecord files there; {what}")
    return folder.parent


def real_files() -> list[list[str | int]] | None:
    """Return name, size and time of each real TFRecord file; None when there is no real data.

    Part of the data cell's key, so that other files are other data.
    """
    try:
        root = real_root()
    except LamdError:
        return None
    paths = sorted((root / "softmotion30_44k").glob("*/*.tfrecords"))
    return [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in paths]


def build_data(folder: Path, inputs: dict[str, Path], target: Target) -> dict:
    """Simulate or find the trajectories and pack them; the content hash covers both splits."""
    from lamd.artifacts import cache_root
    from lamd.data import open_dataset, read_stand_in
    from lamd.rng import derive_seed

    data = target.data
    limits = {"train": data.num_train, "test": data.num_test}
    if data.source == "real":
        raw, packed = real_root(), cache_root() / "packed"
    else:
        from lamd.data.simulated import simulate_bair

        raw, packed = folder / "raw", folder / "packed"
        simulate_bair(
            raw,
            num_train=data.num_train,
            num_test=data.num_test,
            seed=data.simulation_seed,
        )
    # Not the config but the files decide: a stand-in under LAMD_DATA stays a stand-in.
    stand_in = read_stand_in(raw)
    splits = {
        split: open_dataset(
            data.name,
            root=raw,
            cache=packed,
            split=split,
            camera=data.camera,
            limit=limits[split],
            size=data.size,
        )
        for split in SPLITS
    }
    if data.source == "simulated":
        shutil.rmtree(raw)  # made again from its seed at any time
    places = {
        split: str(videos.path.relative_to(folder) if data.source == "simulated" else videos.path)
        for split, videos in splits.items()
    }
    write_atomically(folder / DATA, json.dumps(places, indent=1) + "\n")
    hashes = {split: videos.content_hash for split, videos in splits.items()}
    return {
        "content_hash": f"{derive_seed(*hashes.values()):016x}",
        "content": hashes,
        "clips": {split: len(videos) for split, videos in splits.items()},
        "stand_in": None if stand_in is None else str(stand_in),
    }


def open_split(folder: Path, split: str) -> PackedVideos:
    """Open a split of a finished data cell."""
    places = json.loads((folder / DATA).read_text(encoding="utf-8"))
    return open_packed(folder / places[split])  # an absolute place stays as it is


def build_vae(folder: Path, inputs: dict[str, Path], target: Target, device: str) -> dict:
    """Train stage I."""
    from lamd.training import train_vae

    train = open_split(inputs["data"], "train")
    train_vae(target, train, folder, identity=_identity(folder), device=_training_device(device))
    return {}


def build_latents(folder: Path, inputs: dict[str, Path], target: Target, device: str) -> dict:
    """Encode the training windows of stage II."""
    from lamd.training import encode_latents

    encode_latents(
        target, open_split(inputs["data"], "train"), inputs["vae"], folder / LATENTS,
        identity=_identity(folder), device=_training_device(device),
    )  # fmt: skip
    return {}


def build_dmg(folder: Path, inputs: dict[str, Path], target: Target, device: str) -> dict:
    """Train stage II on the latents of the frozen MCD-VAE."""
    from lamd.training import train_dmg

    train_dmg(
        target, open_split(inputs["data"], "train"), inputs["vae"], inputs["latents"] / LATENTS,
        folder, identity=_identity(folder), device=_training_device(device),
    )  # fmt: skip
    return {}


def load_models(
    target: Target, inputs: dict[str, Path], device: str, *, with_dmg: bool
) -> "tuple[MCDVAE, DMG | None]":
    """Load the trained MCD-VAE and, if asked, the DMG, frozen and in eval mode."""
    from lamd.training import load_dmg, load_vae

    place = resolve_device(device)
    vae = load_vae(inputs["vae"], target, device=place)
    return vae, load_dmg(inputs["dmg"], target, device=place) if with_dmg else None


def _training_device(device: str) -> str | None:
    return None if device == "auto" else resolve_device(device)


def _identity(folder: Path) -> str:
    # The folder's name ends in the cell's key, which hashes all that the result depends on.
    return folder.name.removesuffix(PARTIAL)
