"""The mean brightness of the frames of small stand-ins, by data set and split.

After an intended change of a simulator, whose `generator` then has another version:
`python tests/golden_stand_ins.py`.
"""

import tempfile
from pathlib import Path
from typing import Any

import lamd.targets  # noqa: F401  registers the data sets
from lamd.base.files import dump_json
from lamd.config import load_target
from lamd.data.dataset import DATASETS
from lamd.data.listing import SPLITS

GOLDEN = Path(__file__).with_name("golden") / "stand_ins.json"
SIZES = {
    "bair": None, "landscape": (64, 36), "cater_v1": (64, 48), "cater_v2": (64, 48),
    "natops": (64, 48), "mug": (48, 48),
}  # fmt: skip


def own_options(name: str) -> dict[str, Any]:
    """Return the data set's own options in its quick table."""
    return load_target(f"table_{name}", "quick").data.own


def brightness(name: str, root: Path) -> dict[str, list[float]]:
    """Return the mean grey level of each frame of the first video of each split."""
    data, asked = DATASETS[name], {"seed": 7, "num_workers": 1, "frame_size": SIZES[name]}
    data.simulate(root / "data", num_train=1, num_test=1, **asked)
    means = {}
    for split in SPLITS:
        options = {"size": 32, "num_frames": 16, **own_options(name)}
        videos = data.pack(root / "data", root / "packed", split=split, **options)
        frames = videos.clip(0, 0, 16).mean(axis=(1, 2, 3))
        means[split] = [round(float(mean), 3) for mean in frames]
    return means


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        values = {name: brightness(name, Path(folder) / name) for name in SIZES}
    dump_json(GOLDEN, values)
