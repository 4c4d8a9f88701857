"""Long clips, generated chunk by chunk: FVD of each chunk and the change at the seams."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np

from lamd.config import Figure
from lamd.config.kinds import RolloutFigure
from lamd.evaluate import resolve_device
from lamd.generate import generate_clips, roll_out
from lamd.metrics.measure import measure
from lamd.metrics.values import Inputs
from lamd.pipeline.steps.clips import read_clips, read_keys
from lamd.pipeline.steps.panels import Panels, frame_change, write_panels
from lamd.pipeline.steps.values import FEATURES

PROTOCOL = "fvd.clips.v1"


def build_rollout(
    folder: Path, inputs: Mapping[str, Path], figure: Figure, source: str, device: str
) -> dict:
    """Continue every test clip and measure FVD of each chunk against the real test clips.

    Chunk c holds frames c (L - 1) to c (L - 1) + L - 1. The first clips are kept for display.
    """
    from lamd.metrics import i3d
    from lamd.training import load_paradigm

    options, target = cast(RolloutFigure, figure.figure), figure.sources[source]
    device = resolve_device(device)
    models = load_paradigm("latent_motion", target, inputs, device)
    size = target.runtime.sampling_batch_size
    extend = partial(generate_clips, models, target.sampler, batch_size=size)
    real, keys = read_clips(inputs["test"]), read_keys(inputs["test"])
    clips = roll_out(extend, real[:, 0], [f"{key}#0" for key in keys], options.chunks)
    reference = np.load(inputs["features"] / FEATURES)
    length, values = target.data.num_frames, []
    inference, network = Inputs(device=device, progress=True), i3d.load_i3d(device)
    for c in range(options.chunks):
        chunk = clips[:, c * (length - 1) :][:, :length]
        rows = i3d.features(chunk, inference, f"chunk {c + 1}", network)
        values.append(measure(PROTOCOL, Inputs(features=(reference, rows))))
    intervals = [value.interval or (value.value, value.value) for value in values]
    numbers = {
        "fvd": [value.value for value in values],
        "fvd_low": [low for low, _ in intervals],
        "fvd_high": [high for _, high in intervals],
        "change_by_frame": frame_change(clips).mean(axis=0).tolist(),
        "real_change": [frame_change(np.asarray(real)).mean()],
        "seam": [seam_ratio(clips, length)],
    }
    write_panels(folder, Panels(("sample",), clips[None, : options.clips], numbers))
    return {"clips": len(clips)}


def seam_ratio(clips: np.ndarray, length: int) -> float:
    """Return the mean change from frame to frame just after a seam over that inside chunks.

    1 is a seam that its size does not reveal. The step into each chunk's first new frame counts
    as the seam; the first chunk starts at a given frame and is left out.

    Args:
        clips: uint8 (N, L + c (L - 1), H, W, 3), c > 0, as `roll_out` returns them.
        length: L.
    """
    change = frame_change(clips).mean(axis=0)
    at_seam = np.zeros(len(change), bool)
    at_seam[length - 1 :: length - 1] = True
    inside = ~at_seam
    inside[: length - 1] = False
    return float(change[at_seam].mean() / change[inside].mean())
