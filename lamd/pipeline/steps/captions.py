"""What the captioner says that clips show."""

import json
from pathlib import Path

import numpy as np

from lamd.base.files import write_atomically
from lamd.evaluate import resolve_device
from lamd.pipeline.steps.clips import read_clips

CAPTIONS = "captions.json"
_BATCH = 32


def tell(folder: Path, inputs: dict[str, Path], source: str, device: str) -> dict:
    """Write a caption for each clip of the set `source`."""
    import torch

    from lamd.io.video import to_model
    from lamd.training import load_captioner

    place = resolve_device(device)
    captioner, clips = load_captioner(inputs["captioner"], device=place), read_clips(inputs[source])
    told: list[str] = []
    for first in range(0, len(clips), _BATCH):
        video = torch.from_numpy(np.array(clips[first : first + _BATCH]))
        told += captioner.caption(to_model(video.to(place)))
    write_atomically(folder / CAPTIONS, json.dumps(told, indent=1) + "\n")
    return {"clips": len(told)}


def read_captions(folder: Path) -> list[str]:
    """Return the captions of a finished `captions` cell."""
    return json.loads((folder / CAPTIONS).read_text(encoding="utf-8"))
