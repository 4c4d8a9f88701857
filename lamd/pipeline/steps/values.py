"""From clip sets to values: I3D features once per set, then every protocol of the target."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lamd.base.arrays import load_array
from lamd.base.batched import fill_batches
from lamd.base.files import dump_json, sync
from lamd.data.dataset import class_of
from lamd.evaluate import resolve_device
from lamd.metrics.measure import measure
from lamd.metrics.protocols import PROTOCOLS, metric_for
from lamd.metrics.values import Inputs
from lamd.pipeline import contents
from lamd.pipeline.contents import FIX, Folders

_FEATURES_BATCH = 32  # clips; a multiple of the network's own batches


def i3d_features(folder: Path, inputs: Folders, first_frame: int, label: str, device: str) -> dict:
    """Write the I3D logits, float32 (N, 400), of the set `clips` from `first_frame` on."""
    from lamd.metrics import i3d

    clips, options = contents.read_clips(inputs["clips"]), Inputs(device=resolve_device(device))
    network = i3d.load_i3d(options.device)

    def extract(at: slice) -> np.ndarray:
        return i3d.features(clips[at, first_frame:], options, network=network)

    array, shape = folder / contents.FEATURES, (len(clips), i3d.NUM_FEATURES)
    label = f"I3D features, {label}"
    is_first = fill_batches(array, shape, np.float32, _FEATURES_BATCH, extract, label)
    return {"clips": len(clips)} if is_first else {}


def row_values(
    folder: Path, inputs: Folders, protocols: list[str], num_frames: int, samples: int, device: str
) -> dict:
    """Write one value for each protocol, of the clip set `fake` against the set `real`.

    `values.json` grows protocol by protocol, next to `<protocol>.npy` of values per clip, so a
    killed run continues with the next protocol. `inputs` are folders by role, as the protocols
    need them: `real`, `fake`, `captions` of `fake`, `tracks` of `real`, and features of both from
    the first frame that counts, such as `real features 1`. Each clip of `real` has `samples` in
    `fake`, one after another.
    """
    values = contents.read_values(folder) if (folder / contents.VALUES).exists() else []
    measured = {value.protocol for value in values}
    videos, device = contents.read_videos(inputs["real"]), resolve_device(device)
    base = Inputs(
        num_frames=num_frames, samples=samples, videos=videos, device=device, progress=True
    )
    for name in (name for name in protocols if name not in measured):
        metric = metric_for(name)
        data: dict[str, Any] = {}
        if metric.needs == "i3d":
            roles = [f"{side} features {PROTOCOLS[name].first_frame}" for side in ("real", "fake")]
            files = [inputs[role] / contents.FEATURES for role in roles]
            data["features"] = tuple(load_array(file, np.float32, 2, FIX) for file in files)
        elif metric.needs == "captions":
            sides = (inputs["real"], contents.PROMPTS), (inputs["captions"], contents.CAPTIONS)
            data["captions"] = tuple(contents.read_texts(*side) for side in sides)
        else:
            data["clips"] = contents.read_clips(inputs["real"]), contents.read_clips(inputs["fake"])
        if metric.needs == "tracks":
            data["tracks"] = load_array(inputs["tracks"] / contents.TRACKS, np.float64, 4, FIX)
        if metric.per_class:
            data["classes"] = tuple(
                [class_of(key) for key in contents.read_keys(inputs[role])]
                for role in ("real", "fake")
            )
        value = measure(name, replace(base, **data))
        if value.per_clip is not None:
            np.save(folder / f"{name}.npy", value.per_clip)
            sync(folder / f"{name}.npy")
        values.append(value)
        dump_json(folder / contents.VALUES, [value.as_dict() for value in values])
    return {}
