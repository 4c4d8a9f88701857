"""Long clips: what `fig_rollout_*` measures and draws, chunk by chunk and at the seams."""

from pathlib import Path

import numpy as np

from lamd.config import Figure
from lamd.generate import roll_out
from lamd.pipeline.graph import feature_name
from lamd.pipeline.steps.clips import read_clips, read_keys
from lamd.pipeline.steps.panels import Panels, frame_change, write_panels
from lamd.pipeline.steps.values import FEATURES
from lamd.report.plots import save_figure

PROTOCOL = "fvd.clips.v1"


def build_rollout(
    folder: Path, inputs: dict[str, Path], figure: Figure, source: str, device: str
) -> dict:
    """Continue every test clip and measure FVD of each chunk against the real test clips.

    Chunk c holds frames c (L - 1) to c (L - 1) + L - 1. The first clips are kept to be shown.
    """
    from lamd.metrics.i3d import features
    from lamd.metrics.protocols import measure_features
    from lamd.pipeline.trained import Trained

    shown, target = figure.figure, figure.sources[source]
    trained = Trained(target, inputs, device)
    real, keys = read_clips(inputs["clips test"]), read_keys(inputs["clips test"])
    clips = roll_out(trained.generate, real[:, 0], [f"{key}#0" for key in keys], shown.chunks)
    reference = np.load(inputs[feature_name("test", 0)] / FEATURES)
    length, values = target.data.num_frames, []
    for c in range(shown.chunks):
        start = c * (length - 1)
        rows = features(
            clips[:, start : start + length],
            device=trained.device,
            progress=f"I3D features, chunk {c + 1}",
        )
        values.append(measure_features(PROTOCOL, reference, rows))
    intervals = [value.interval or (value.value, value.value) for value in values]
    numbers = {
        "fvd": [value.value for value in values],
        "fvd_low": [low for low, _ in intervals],
        "fvd_high": [high for _, high in intervals],
        "change_by_frame": frame_change(clips).mean(axis=0).tolist(),
        "real_change": [frame_change(np.asarray(real)).mean()],
        "seam": [seam_ratio(clips, length)],
    }
    write_panels(folder, Panels(("sample",), clips[None, : shown.clips], numbers))
    return {"clips": len(clips)}


def seam_ratio(clips: np.ndarray, length: int) -> float:
    """Return the mean change from frame to frame just after a seam over that inside chunks.

    1 is a seam that cannot be told by its size. The step into each chunk's first new frame counts
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


def draw_distance(numbers: dict[str, list[float]], length: int, name: str, title: str) -> dict:
    """Return `<name>_distance.png` and `.svg`: FVD a chunk and change a frame over distance."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    style = {"svg.hashsalt": name, "font.size": 9, "axes.grid": True, "grid.alpha": 0.3}
    with rc_context(style):
        canvas = Canvas(figsize=(9, 3.2), layout="constrained")
        left, right = canvas.subplots(1, 2)
        starts = np.arange(len(numbers["fvd"])) * (length - 1)
        low, high = (
            np.abs(np.subtract(numbers[k], numbers["fvd"])) for k in ("fvd_low", "fvd_high")
        )
        left.errorbar(starts, numbers["fvd"], yerr=(low, high), fmt="o-", capsize=3)
        left.set(xlabel="first frame of the chunk", ylabel="FVD (lower is better)", title=title)
        left.set_ylim(bottom=0)
        right.plot(np.arange(1, len(numbers["change_by_frame"]) + 1), numbers["change_by_frame"])
        for seam in starts[1:]:
            right.axvline(seam + 1, linestyle=":", color="#8a8a8a")
        right.axhline(
            numbers["real_change"][0], linestyle="--", color="#c44e52", label="real clips"
        )
        right.set(xlabel="frame", ylabel="change from the frame before, grey levels")
        right.set_title("dotted: first new frame of a chunk")
        right.set_ylim(bottom=0)
        right.legend()
        return {f"{name}_distance.{kind}": save_figure(canvas, kind) for kind in ("png", "svg")}
