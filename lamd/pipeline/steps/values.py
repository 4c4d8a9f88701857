"""From clip sets to values: I3D features once a set, then every protocol of the target."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from lamd.base.files import write_atomically
from lamd.evaluate import resolve_device
from lamd.metrics.rules import CAPTION_METRICS, CLASS_METRICS, PROTOCOLS
from lamd.pipeline.graph import feature_name
from lamd.pipeline.steps.captions import read_captions
from lamd.pipeline.steps.clips import read_clips, read_keys, read_prompts

FEATURES, VALUES = "features.npy", "values.json"


def i3d_features(
    folder: Path, inputs: dict[str, Path], source: str, first_frame: int, device: str
) -> dict:
    """Write the I3D logits, float32 (N, 400), of the clip set `source` from `first_frame` on."""
    from lamd.metrics.i3d import features

    rows = features(
        read_clips(inputs[source])[:, first_frame:],
        device=resolve_device(device),
        progress=f"I3D features, {source}",
    )
    np.save(folder / FEATURES, rows, allow_pickle=False)
    return {"clips": len(rows)}


def row_values(
    folder: Path,
    inputs: dict[str, Path],
    row: str,
    protocols: list[str],
    num_frames: int,
    samples: int,
    device: str,
) -> dict:
    """Write one value for each protocol, of the clip set of `row` against the real test clips.

    Clips have `num_frames` frames. The set has `samples` of them in a row for each real one; paired
    metrics compare each of them.
    """
    from lamd.data.gestures.reader import gesture_class
    from lamd.metrics.protocols import (
        measure,
        measure_class_features,
        measure_diversity,
        measure_features,
        measure_precision,
    )

    values = []
    for name in protocols:
        metric, first = PROTOCOLS[name].metric, PROTOCOLS[name].first_frame
        if metric == "fvd" or metric in CLASS_METRICS:
            folders = [inputs[feature_name(s, first)] for s in ("test", row)]
            real, fake = (np.load(folder / FEATURES) for folder in folders)
            options = {"num_frames": num_frames - first, "samples_per_condition": samples}
            if metric == "fvd":
                value = measure_features(name, real, fake, **options)
            else:
                keys = (read_keys(inputs[f"clips {s}"]) for s in ("test", row))
                real_classes, fake_classes = ([gesture_class(key) for key in each] for each in keys)
                value = measure_class_features(
                    name, real, real_classes, fake, fake_classes, **options
                )
        elif metric == "diversity":
            fake = read_clips(inputs[f"clips {row}"])
            grouped = fake.reshape(-1, samples, *fake.shape[1:])
            value = measure_diversity(grouped, device=resolve_device(device), progress=True)
        elif metric in CAPTION_METRICS:
            true = [one for one in read_prompts(inputs["clips test"]) for _ in range(samples)]
            value = measure_precision(name, true, read_captions(inputs[f"captions {row}"]))
        else:
            real, fake = (read_clips(inputs[f"clips {s}"]) for s in ("test", row))
            if samples > 1:
                real = np.repeat(real, samples, axis=0)
            value = measure(name, real, fake, device=resolve_device(device), progress=True)
        values.append(asdict(value))
    write_atomically(folder / VALUES, json.dumps(values, indent=1) + "\n")
    return {}


def read_values(folder: Path) -> list[dict]:
    """Return the values of a finished `values` cell, as dictionaries of MetricValue's fields."""
    return json.loads((folder / VALUES).read_text(encoding="utf-8"))
