"""From clip sets to values: I3D features once per set, then every protocol of the target."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lamd.base.files import write_atomically
from lamd.data.dataset import class_of
from lamd.evaluate import resolve_device
from lamd.metrics.measure import measure
from lamd.metrics.protocols import metric_for
from lamd.metrics.values import Inputs
from lamd.pipeline.steps.batched import Batches
from lamd.pipeline.steps.captions import read_captions
from lamd.pipeline.steps.clips import read_clips, read_keys, read_prompts

_FEATURES_BATCH = 32  # clips; a multiple of the network's own batches
FEATURES, VALUES = "features.npy", "values.json"


def i3d_features(
    folder: Path, inputs: Mapping[str, Path], first_frame: int, label: str, device: str
) -> dict:
    """Write the I3D logits, float32 (N, 400), of the set `clips` from `first_frame` on."""
    from lamd.metrics import i3d

    clips, options = read_clips(inputs["clips"]), Inputs(device=resolve_device(device))
    network = i3d.load_i3d(options.device)

    def extract(at: slice) -> np.ndarray:
        return i3d.features(clips[at, first_frame:], options, network=network)

    shape = (len(clips), i3d.NUM_FEATURES)
    batches = Batches(folder, FEATURES, shape, np.float32, _FEATURES_BATCH)
    return {"clips": len(clips)} if batches.fill(extract, f"I3D features, {label}") else {}


def row_values(
    folder: Path,
    inputs: Mapping[str, Path],
    protocols: list[str],
    features: Mapping[str, tuple[str, str]],
    num_frames: int,
    samples: int,
    device: str,
) -> dict:
    """Write one value for each protocol, of the clip set `fake` against the set `real`.

    `values.json` grows protocol by protocol, next to `<protocol>.npy` of values per clip, so a
    killed run continues with the next protocol.

    Args:
        inputs: folders by role: the clip sets, `captions` of `fake` where a protocol needs them,
            and the roles in `features`.
        features: for each protocol of I3D features, the roles of those of `real` and `fake`.
        num_frames: of a clip.
        samples: consecutive clips of `fake` for each of `real`.
    """
    device = resolve_device(device)
    values = read_values(folder) if (folder / VALUES).is_file() else []
    measured = {value["protocol"] for value in values}
    base = Inputs(num_frames=num_frames, samples=samples, device=device, progress=True)
    for name in (name for name in protocols if name not in measured):
        metric = metric_for(name)
        data: dict[str, Any] = {}
        if metric.needs == "i3d":
            data["features"] = tuple(np.load(inputs[role] / FEATURES) for role in features[name])
        elif metric.needs == "captions":
            data["captions"] = read_prompts(inputs["real"]), read_captions(inputs["captions"])
        else:
            data["clips"] = read_clips(inputs["real"]), read_clips(inputs["fake"])
        if metric.per_class:
            data["classes"] = tuple(
                [class_of(key) for key in read_keys(inputs[role])] for role in ("real", "fake")
            )
        value = measure(name, replace(base, **data))
        if value.per_clip is not None:
            np.save(folder / f"{name}.npy", value.per_clip)
        values.append(value.as_dict())
        write_atomically(folder / VALUES, json.dumps(values, indent=1) + "\n")
    return {}


def read_values(folder: Path) -> list[dict]:
    """Return the values of a finished `values` cell, as `MetricValue.as_dict` gives them."""
    return json.loads((folder / VALUES).read_text(encoding="utf-8"))


def read_per_clip(folder: Path) -> dict[str, np.ndarray]:
    """Return the per-clip values of a finished `values` cell, float64 (N,) by protocol."""
    paths = {v["protocol"]: folder / f"{v['protocol']}.npy" for v in read_values(folder)}
    return {name: np.load(path) for name, path in paths.items() if path.is_file()}
