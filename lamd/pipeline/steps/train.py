"""How the cells that train are built: data, both stages, the baselines; and how data is opened."""

import json
import shutil
from pathlib import Path
from typing import Any

from lamd.base.files import write_atomically
from lamd.config import DataConfig, Target, TrainConfig
from lamd.data.packed import PackedVideos, open_packed
from lamd.data.real import SPLITS, real_root
from lamd.evaluate import resolve_device
from lamd.pipeline.cells import PARTIAL

DATA = "data.json"
LATENTS = "posteriors"


def build_data(folder: Path, inputs: dict[str, Path], target: Target) -> dict:
    """Simulate or find the videos and pack them; the content hash covers both splits.

    The facts count videos and disjoint clips of L frames, and list what was left out and why.
    """
    from lamd.base.rng import derive_seed
    from lamd.data import open_dataset, read_stand_in, simulate_dataset
    from lamd.weights import cache_root

    data = target.data
    simulated = data.source == "simulated"
    raw = folder / "raw" if simulated else real_root(data.name)
    packed = folder / "packed" if simulated else cache_root() / "packed"
    if simulated:
        simulate_dataset(
            data.name,
            raw,
            num_train=data.num_train,
            num_test=data.num_test,
            seed=data.simulation_seed,
            **_simulation_options(data),
        )
    # Not the config but the files decide: a stand-in under LAMD_DATA stays a stand-in.
    stand_in = read_stand_in(raw, data.name)
    splits = {
        split: open_dataset(
            data.name, root=raw, cache=packed, split=split, **_pack_options(data, split)
        )
        for split in SPLITS
    }
    if simulated:
        shutil.rmtree(raw)  # made again from its seed at any time
    places = {
        split: str(videos.path.relative_to(folder) if simulated else videos.path)
        for split, videos in splits.items()
    }
    write_atomically(folder / DATA, json.dumps(places, indent=1) + "\n")
    hashes = {split: videos.content_hash for split, videos in splits.items()}
    length = data.num_frames
    return {
        "content_hash": f"{derive_seed(*hashes.values()):016x}",
        "content": hashes,
        "videos": {split: len(videos) for split, videos in splits.items()},
        "clips": {split: len(videos.windows(length, length)) for split, videos in splits.items()},
        "left_out": {split: videos.left_out for split, videos in splits.items()},
        "stand_in": None if stand_in is None else str(stand_in),
    }


def _simulation_options(data: DataConfig) -> dict[str, Any]:
    # Small clips need no frames of the real size: a few times the pixels kept are enough (ours).
    small = {
        "landscape": (256, 144),
        "cater_v1": (96, 72),
        "cater_v2": (96, 72),
        "natops": (160, 120),
        "mug": (128, 128),
    }
    if data.name in small and data.size <= 64:
        return {"frame_size": small[data.name]}
    return {"frame_size": (256, 256)} if data.name == "mug" and data.size <= 128 else {}


def _pack_options(data: DataConfig, split: str) -> dict[str, Any]:
    # All that was simulated for this cell is used, short videos apart.
    limit = {"train": data.num_train, "test": data.num_test}[split]
    common = {"size": data.size, "limit": limit if data.source == "real" else None}
    if data.name == "bair":
        return {**common, "camera": data.camera}
    common["broken"] = data.broken
    if data.name == "landscape":
        return {**common, "min_frames": data.num_frames}
    common["num_frames"] = data.num_frames
    if data.frame_interval is not None:
        common |= {"frame_interval": data.frame_interval, "captions": data.captions}
    return common


def open_split(folder: Path, split: str) -> PackedVideos:
    """Open a split of a finished data cell."""
    places = json.loads((folder / DATA).read_text(encoding="utf-8"))
    return open_packed(folder / places[split])  # an absolute place stays as it is


def build_vae(folder: Path, inputs: dict[str, Path], target: Target, device: str) -> dict:
    """Train stage I."""
    from lamd.training import train_vae

    train = open_split(inputs["data"], "train")
    train_vae(target, train, folder, **_run(folder, device))
    return {}


def build_latents(folder: Path, inputs: dict[str, Path], target: Target, device: str) -> dict:
    """Encode the training windows of stage II."""
    from lamd.training import encode_latents

    encode_latents(
        target, open_split(inputs["data"], "train"), inputs["vae"], folder / LATENTS,
        **_run(folder, device),
    )  # fmt: skip
    return {}


def build_dmg(folder: Path, inputs: dict[str, Path], target: Target, device: str) -> dict:
    """Train stage II on the latents of the frozen MCD-VAE."""
    from lamd.training import train_dmg

    train_dmg(
        target, open_split(inputs["data"], "train"), inputs["vae"], inputs["latents"] / LATENTS,
        folder, **_run(folder, device),
    )  # fmt: skip
    return {}


def build_captioner(folder: Path, inputs: dict[str, Path], target: Target, device: str) -> dict:
    """Train the captioner."""
    from lamd.training import train_captioner

    train = open_split(inputs["data"], "train")
    train_captioner(target, train, folder, **_run(folder, device))
    return {}


def build_pixel(
    folder: Path, inputs: dict[str, Path], target: Target, options: TrainConfig, device: str
) -> dict:
    """Train the pixel-space baseline for one budget."""
    from lamd.training import train_pixel

    train = open_split(inputs["data"], "train")
    train_pixel(target, options, train, folder, **_run(folder, device))
    return {}


def build_video_vae(folder: Path, inputs: dict[str, Path], target: Target, device: str) -> dict:
    """Train stage I of the latent-video baseline."""
    from lamd.training import train_video_vae

    train = open_split(inputs["data"], "train")
    train_video_vae(target, train, folder, **_run(folder, device))
    return {}


def build_video_latents(folder: Path, inputs: dict[str, Path], target: Target, device: str) -> dict:
    """Encode the training windows of stage II of the latent-video baseline."""
    from lamd.training import encode_latents

    encode_latents(
        target, open_split(inputs["data"], "train"), inputs["video_vae"], folder / LATENTS,
        stage="video_vae", **_run(folder, device),
    )  # fmt: skip
    return {}


def build_latent_video(
    folder: Path, inputs: dict[str, Path], target: Target, options: TrainConfig, device: str
) -> dict:
    """Train stage II of the latent-video baseline for one budget."""
    from lamd.training import train_latent_video

    train_latent_video(
        target, options, open_split(inputs["data"], "train"), inputs["video_vae"],
        inputs["video_latents"] / LATENTS, folder, **_run(folder, device),
    )  # fmt: skip
    return {}


def _run(folder: Path, device: str) -> dict[str, str | None]:
    """Return what every training is told of its cell."""
    # The folder's name ends in the cell's key, which hashes all that the result depends on.
    return {
        "identity": folder.name.removesuffix(PARTIAL),
        "device": None if device == "auto" else resolve_device(device),
    }
