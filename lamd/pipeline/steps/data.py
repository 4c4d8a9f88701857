"""The data cell: videos simulated or found, then packed; its splits are opened here."""

import shutil
from pathlib import Path

from lamd.base.files import dump_json, load_json
from lamd.base.rng import derive_seed
from lamd.config import Target
from lamd.data.dataset import find_dataset
from lamd.data.listing import SPLITS
from lamd.data.packed import PackedVideos, open_packed
from lamd.data.stand_in import read_stand_in
from lamd.weights import cache_root

DATA = "data.json"


def build_data(folder: Path, inputs: dict[str, Path], target: Target) -> dict:
    """Simulate or find the videos and pack them; the content hash covers both splits.

    The facts count videos and disjoint clips of L frames, and list what was left out and why.
    """
    data, dataset = target.data, find_dataset(target.data.name)
    limits = {"train": data.num_train, "test": data.num_test}
    simulated = data.source == "simulated"
    if simulated:
        assert data.num_train and data.num_test and data.simulation_seed is not None
        raw, packed = folder / "raw", folder / "packed"
        dataset.simulate(
            raw, num_train=data.num_train, num_test=data.num_test, seed=data.simulation_seed,
            frame_size=dataset.simulated_size(data.size),
        )  # fmt: skip
        limits = dict.fromkeys(SPLITS)  # all that was simulated is used, short videos apart
    else:
        raw, packed = dataset.locate(), cache_root() / "packed"
    # Not the config but the files decide: a stand-in under LAMD_DATA stays a stand-in.
    stand_in = read_stand_in(raw, data.name)
    options = {"size": data.size, "num_frames": data.num_frames, **data.own}
    splits = {s: dataset.pack(raw, packed, split=s, limit=limits[s], **options) for s in SPLITS}
    if simulated:
        shutil.rmtree(raw)  # simulated again from its seed at any time
    paths = {
        split: str(videos.path.relative_to(folder) if simulated else videos.path)
        for split, videos in splits.items()
    }
    dump_json(folder / DATA, paths)
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


def open_split(folder: Path, split: str) -> PackedVideos:
    """Open a split of a finished data cell."""
    path = load_json(folder / DATA)[split]
    return open_packed(folder / path)  # an absolute path stays as it is
