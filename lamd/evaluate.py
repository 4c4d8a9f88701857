"""`lamd evaluate`: metrics between two sets of clips that need not come from this package."""

import difflib
import json
import re
from dataclasses import asdict, replace
from pathlib import Path

from lamd import weights
from lamd.base.errors import LamdError
from lamd.base.origin import current_origin
from lamd.io.clips import Clips, load_clips, load_videos, size_text
from lamd.metrics import MetricValue
from lamd.metrics.rules import CAPTION_METRICS, CLASS_METRICS, PROTOCOLS, Protocol

__all__ = [
    "METRICS",
    "evaluate_captions",
    "evaluate_paths",
    "load_videos",
    "resolve_device",
    "to_json",
]

FORMAT = "lamd.evaluation.v1"
# Short names of the protocols that ask nothing of where the clips come from.
METRICS = {
    "fvd": "fvd.clips.v1",
    "lpips-alex": "lpips-alex.v1",
    "lpips-vgg": "lpips-vgg.v1",
    "psnr": "psnr.v1",
    "ssim": "ssim.v1",
    "smoothness": "smoothness.linear.v1",
    "fid": "fid.frames.v1",
}


def evaluate_paths(
    real: Path | str,
    fake: Path | str,
    metrics: list[str],
    *,
    device: str = "auto",
    batch_size: int | None = None,
    seed: int = 0,
    cache: Path | None = None,
    progress: bool = True,
) -> list[MetricValue]:
    """Measure the clips at `fake` against those at `real`, one value for each metric.

    Args:
        real, fake: what `load_videos` takes. PSNR, SSIM and LPIPS compare clip with clip, in
            natural order, and need equal numbers; smoothness measures `fake` alone.
        metrics: keys of `METRICS` or names of protocols.
        device: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:1".
        batch_size: clips (FVD) or frames (FID, LPIPS) at a time; changes no value.
        seed: names the draws of intervals and extrapolation.
        cache: folder of features, `$LAMD_CACHE/features` by default.
        progress: show bars on stderr when it is a terminal.

    Raises:
        LamdError: on an unknown metric or device, on clips that cannot be read or do not match, or
            when weights are missing.
    """
    from lamd.metrics.protocols import measure

    protocols = [_protocol(name) for name in dict.fromkeys(metrics)]
    if not protocols:
        raise LamdError(f"--metrics: none given; choose among {', '.join(METRICS)}")
    device = resolve_device(device)
    real_clips, fake_clips = load_clips(real), load_clips(fake)
    for protocol in protocols:
        _check(protocol, real_clips, fake_clips)
    if any(protocol.metric == "fid" for protocol in protocols):
        weights.fetch("inception")  # missing weights are told before an hour of other metrics
    found = [
        measure(protocol.name, real_clips.videos, fake_clips.videos, device=device, seed=seed,
                batch_size=batch_size, cache=cache, progress=progress)
        for protocol in protocols
    ]  # fmt: skip
    return [_with_remarks(value, real_clips, fake_clips) for value in found]


def evaluate_captions(true: Path, told: Path, *, seed: int = 0) -> list[MetricValue]:
    """Score captions of generated clips, of any captioner, against the true ones.

    Args:
        true, told: JSON lists of N captions each, in the same order.
        seed: names the draws of intervals.

    Raises:
        LamdError: on a file that is no such list, other numbers, or a true caption that is none of
            CATER-GEN's.
    """
    from lamd.metrics.protocols import measure_precision

    lists = [_read_captions(path) for path in (true, told)]
    n, m = map(len, lists)
    if n != m:
        raise LamdError(f"{told}: {m} captions, but {true} has {n}; make the numbers equal")
    return [measure_precision(f"{metric}.v1", *lists, seed=seed) for metric in CAPTION_METRICS]


def _read_captions(path: Path) -> list[str]:
    try:
        captions = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise LamdError(f"{path}: not readable JSON ({reason}); give a list of captions") from None
    if not isinstance(captions, list) or not captions or not all(map(_is_text, captions)):
        raise LamdError(f'{path}: not a list of captions; give one, ["the cone is rotating."]')
    return captions


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def to_json(real: Path | str, fake: Path | str, values: list[MetricValue], device: str) -> dict:
    """Return values as plain data with all that explains them: protocols, versions, commit."""
    return {
        "format": FORMAT,
        "real": str(real),
        "fake": str(fake),
        "values": [asdict(value) for value in values],
        "protocols": {v.protocol: PROTOCOLS[v.protocol].as_dict() for v in values},
        "origin": current_origin(device).model_dump(mode="json"),
    }


def resolve_device(device: str) -> str:
    """Return the torch device meant by `device`; "auto" is CUDA where there is one.

    Raises:
        LamdError: when it is unknown or not there.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise LamdError(f"--device {device}: unknown; choose auto, cpu, cuda or cuda:N")
    index = int(device.partition(":")[2] or 0)
    if device != "cpu" and index >= torch.cuda.device_count():
        raise LamdError(f"--device {device}: not on this machine; choose auto or cpu")
    return device


def _protocol(name: str) -> Protocol:
    beyond = ("diversity", *CLASS_METRICS, *CAPTION_METRICS)  # need more than two sets of clips
    known = [n for n, protocol in PROTOCOLS.items() if protocol.metric not in beyond]
    if name not in METRICS and name not in known:
        close = difflib.get_close_matches(name, [*METRICS, *known], n=1, cutoff=0.0)[0]
        raise LamdError(
            f"--metrics: unknown metric {name!r}, closest is {close!r}; "
            f"choose among {', '.join(METRICS)}"
        )
    return PROTOCOLS[METRICS.get(name, name)]


def _check(protocol: Protocol, real: Clips, fake: Clips) -> None:
    """Refuse clips that do not match each other or are too few, short or small to be measured."""
    (n, *shape), (m, *other), who = real.videos.shape[:4], fake.videos.shape[:4], protocol.metric
    if shape != other:
        raise LamdError(
            f"{fake.path}: clips of {size_text(other)}, but {real.path} has {size_text(shape)}; "
            "make length and size equal"
        )
    if who in ("fvd", "fid"):
        windows = protocol.windows_per_video
        blocks = (windows, windows * protocol.samples_per_condition)
        for clips, count, block in zip((real, fake), (n, m), blocks, strict=True):
            if count < 2 or count % block:
                asked = f"a multiple of {block}" if block > 1 else "at least 2"
                raise LamdError(f"{clips.path}: {count} clips, {protocol.name} needs {asked}")
    elif protocol.paired and n != m:
        raise LamdError(
            f"{fake.path}: {m} clips, but {real.path} has {n}; "
            f"{who} compares clip with clip, make the numbers equal"
        )
    least_frames, least_size = _least(who)
    counted = shape[0] - protocol.first_frame
    if counted < least_frames:
        raise LamdError(
            f"{fake.path}: {counted} frames that count, {who} needs at least {least_frames}; "
            "give longer clips"
        )
    if min(shape[1:]) < least_size:
        raise LamdError(
            f"{fake.path}: frames of {shape[1]} x {shape[2]}, {who} needs at least "
            f"{least_size} x {least_size}; give larger ones or leave it out"
        )


def _least(metric: str) -> tuple[int, int]:
    """Return the least number of frames and the least side of a frame."""
    from lamd.metrics import i3d, smoothness
    from lamd.metrics.frames import MIN_LPIPS_SIZE, MIN_SSIM_SIZE

    frames = {"fvd": i3d.MIN_FRAMES, "smoothness": smoothness.MIN_FRAMES}
    sizes = {f"lpips-{name}": size for name, size in MIN_LPIPS_SIZE.items()}
    return frames.get(metric, 1), (sizes | {"ssim": MIN_SSIM_SIZE}).get(metric, 1)


def _with_remarks(value: MetricValue, real: Clips, fake: Clips) -> MetricValue:
    coded = [c.path.name for c in (real, fake) if not c.lossless]
    deviations = [f"{name} is read from coded files, not lossless" for name in dict.fromkeys(coded)]
    note = value.note
    paired = PROTOCOLS[value.protocol].paired
    if paired and real.names and fake.names and real.names != fake.names:
        note = f"names differ: paired in natural order, {fake.names[0]} with {real.names[0]}"
    return replace(value, deviations=(*value.deviations, *deviations), note=note)
