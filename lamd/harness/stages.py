"""How the cells of the method are built: data, MCD-VAE, latents, DMG; and how they are opened."""

import json
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

from lamd.config import DataConfig, Target
from lamd.data.packed import PackedVideos, open_packed
from lamd.errors import LamdError
from lamd.evaluate import resolve_device
from lamd.harness.cells import PARTIAL
from lamd.records import write_atomically

SPLITS = ("train", "test")
DATA = "data.json"
LATENTS = "posteriors"
_DOWNLOADS = {
    "bair": "download BAIR robot pushing (softmotion30_44k, about 30 GB) and put it at "
    "$LAMD_DATA/softmotion30_44k/{train,test}/traj_*.tfrecords",
    "landscape": "download Sky Time-lapse (sky_timelapse.zip) and unpack it to "
    "$LAMD_DATA/sky_timelapse/{sky_train,sky_test}/<video>/<video>_<n>/*.jpg",
    "natops": "get NATOPS, cut its videos by segmentation.txt, and put the frames at "
    "$LAMD_DATA/natops/gGGsSSpPP/*.png",
    "mug": "ask for MUG and put it at $LAMD_DATA/mug/<subject>/<expression>/<take>/*.jpg",
}


def real_root(name: str) -> Path:
    """Return the root of the real data set `name`.

    Raises:
        LamdError: when LAMD_DATA is not set or holds no such data set.
    """
    from lamd.data import check_dataset
    from lamd.data.gestures import GESTURE_SETS, gesture_folder
    from lamd.data.landscape import split_folder

    check_dataset(name)
    what = _DOWNLOADS[name]
    place = os.environ.get("LAMD_DATA")
    if not place:
        raise LamdError(f"data.source real: LAMD_DATA is not set; {what}")
    root = Path(place).expanduser()
    if name in GESTURE_SETS:
        gesture_folder(root, name)
        return root
    for split in SPLITS:
        if name == "landscape":
            split_folder(root, split)
        elif not any((folder := root / "softmotion30_44k" / split).glob("*.tfrecords")):
            raise LamdError(f"{folder}: no TFRecord files there; {what}")
    return root


def real_files(name: str) -> list[list[str | int]] | None:
    """Return name, size and time of each real file, for folders of frames one hash a split.

    Part of the data cell's key, so that other files are other data. None when there is no real
    data.
    """
    from lamd.data.gestures import open_gestures
    from lamd.data.landscape import open_landscape

    try:
        root = real_root(name)
        if name != "bair":
            opened = open_landscape if name == "landscape" else partial(open_gestures, name)
            found = [opened(root, split) for split in SPLITS]
            return [[one.split, one.num_frames, one.fingerprint] for one in found]
    except LamdError:
        return None
    paths = sorted((root / "softmotion30_44k").glob("*/*.tfrecords"))
    return [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in paths]


def build_data(folder: Path, inputs: dict[str, Path], target: Target) -> dict:
    """Simulate or find the videos and pack them; the content hash covers both splits.

    The facts count videos and disjoint clips of L frames, and list what was left out and why.
    """
    from lamd.artifacts import cache_root
    from lamd.data import open_dataset, read_stand_in, simulate_dataset
    from lamd.rng import derive_seed

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
    small = {"landscape": (256, 144), "natops": (160, 120), "mug": (128, 128)}
    if data.name in small and data.size <= 64:
        return {"frame_size": small[data.name]}
    return {"frame_size": (256, 256)} if data.name == "mug" and data.size <= 128 else {}


def _pack_options(data: DataConfig, split: str) -> dict[str, Any]:
    # All that was simulated for this cell is used, short videos apart.
    limit = {"train": data.num_train, "test": data.num_test}[split]
    common = {"size": data.size, "limit": limit if data.source == "real" else None}
    if data.name == "bair":
        return {**common, "camera": data.camera}
    length = "min_frames" if data.name == "landscape" else "num_frames"
    return {**common, length: data.num_frames, "broken": data.broken}


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


def _training_device(device: str) -> str | None:
    return None if device == "auto" else resolve_device(device)


def _identity(folder: Path) -> str:
    # The folder's name ends in the cell's key, which hashes all that the result depends on.
    return folder.name.removesuffix(PARTIAL)
