"""Captions of clip sets by the trained captioner."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lamd.base.files import write_atomically
from lamd.base.progress import track
from lamd.evaluate import resolve_device
from lamd.pipeline.steps.clips import read_clips

CAPTIONS = "captions.json"
_BATCH = 32


def write_captions(folder: Path, inputs: Mapping[str, Path], device: str) -> dict:
    """Write a caption for each clip of the set `clips`, by the model `captioner`."""
    import torch

    from lamd.io.video import to_model
    from lamd.training import load_model

    device, clips = resolve_device(device), read_clips(inputs["clips"])
    captioner = load_model(inputs["captioner"], "captioner", device=device)
    captions: list[str] = []
    for first in track(range(0, len(clips), _BATCH), "captions"):
        video = torch.from_numpy(np.array(clips[first : first + _BATCH]))
        captions += captioner.caption(to_model(video.to(device)))
    write_atomically(folder / CAPTIONS, json.dumps(captions, indent=1) + "\n")
    return {"clips": len(captions)}


def read_captions(folder: Path) -> list[str]:
    """Return the captions of a finished `captions` cell."""
    return json.loads((folder / CAPTIONS).read_text(encoding="utf-8"))
