"""`lamd evaluate`: metrics between two sets of clips that need not come from this package."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from lamd import weights
from lamd.base.errors import LamdError
from lamd.base.files import load_json
from lamd.base.origin import current_origin, device_name
from lamd.base.processes import launch_number
from lamd.config import closest
from lamd.data.cater.captions import MOST_CHARACTERS, parse
from lamd.io.clips import Clips, load_clips, size_text
from lamd.metrics.measure import measure
from lamd.metrics.protocols import PROTOCOLS, Protocol, metric_for
from lamd.metrics.values import Inputs, MetricValue

FORMAT = "lamd.evaluation.v1"


def short_names() -> dict[str, str]:
    """Return, for each metric, the first protocol that needs nothing but two sets of clips."""
    names: dict[str, str] = {}
    for name in _clip_protocols():
        names.setdefault(metric_for(name).name, name)
    return names


def _clip_protocols() -> list[str]:
    metrics = {name: metric_for(name) for name in PROTOCOLS}
    return [
        name
        for name, metric in metrics.items()
        if metric.needs not in ("captions", "tracks")
        and not (metric.per_class or metric.sampled_only)
    ]


def evaluate_paths(
    real: Path | str, fake: Path | str, metrics: list[str], **options: Any
) -> list[MetricValue]:
    """Return the values of `measure_paths`, whose arguments and errors these are."""
    return list(measure_paths(real, fake, metrics, **options))


def measure_paths(
    real: Path | str,
    fake: Path | str,
    metrics: list[str],
    *,
    samples: int | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    seed: int = 0,
    cache: Path | None = None,
    progress: bool = True,
) -> Iterator[MetricValue]:
    """Yield one value for each metric of the clips at `fake` against those at `real`.

    LamdError on an unknown metric or device, on clips that cannot be read or do not match, or when
    weights are missing.

    Args:
        real, fake: what `load_clips` takes. PSNR, SSIM and LPIPS compare clip with clip, in
            natural order; smoothness measures `fake` alone.
        metrics: keys of `short_names` or names of protocols.
        samples: fake clips of each real clip, which follow each other; by default the protocol's
            number. Intervals take them and their real clip as one, and KVD leaves their pairs out.
        device: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:1".
        batch_size: clips (FVD) or frames (FID, LPIPS) at a time; moves values by rounding only.
        seed, cache, progress: as in `Inputs`.
    """
    names = list(dict.fromkeys(_protocol_name(name) for name in metrics))
    if not names:
        raise LamdError(f"--metrics: no metric named; choose among {', '.join(short_names())}")
    device = resolve_device(device)
    real_clips, fake_clips = load_clips(real), load_clips(fake)
    for name in names:
        _check(PROTOCOLS[name], real_clips, fake_clips, samples)
    # Missing or damaged weights are reported before an hour of other metrics.
    for artifact in dict.fromkeys(key for name in names for key in metric_for(name).weights):
        weights.load(artifact)
    clips = real_clips.videos, fake_clips.videos
    inputs = Inputs(
        clips=clips, samples=samples or 0, device=device, batch_size=batch_size, seed=seed,
        cache=cache, progress=progress,
    )  # fmt: skip
    return (_with_remarks(measure(name, inputs), real_clips, fake_clips, samples) for name in names)


def evaluate_captions(true: Path, predicted: Path, *, seed: int = 0) -> list[MetricValue]:
    """Score captions of generated clips, of any captioner, against the true ones.

    `true` and `predicted` are JSON lists of N captions, in the same order; `seed` names the draws
    of intervals. LamdError on a file that is no such list, on lists that differ in length, or on a
    true caption that is none of CATER-GEN's.
    """
    captions = (_read_captions(true), _read_captions(predicted))
    n, m = map(len, captions)
    if n != m:
        raise LamdError(f"{predicted}: {m} captions, but {true} has {n}; make the numbers equal")
    for number, caption in enumerate(captions[0]):
        try:
            if not parse(caption):
                raise LamdError("caption: empty; say what moves")
        except LamdError as error:
            raise LamdError(f"{true}: number {number}, {error}") from None
    inputs = Inputs(captions=captions, seed=seed)
    names = [name for name in PROTOCOLS if metric_for(name).needs == "captions"]
    return [measure(name, inputs) for name in names]


def _read_captions(path: Path) -> list[str]:
    fix = 'give a list of captions, such as ["the cone is rotating."]'
    captions = load_json(path, list[str], fix)
    if not captions:
        raise LamdError(f"{path}: an empty list; {fix}")
    for number, caption in enumerate(captions):
        if len(caption) > MOST_CHARACTERS:
            reason = f"caption {number} has more than {MOST_CHARACTERS:,} characters"
            raise LamdError(f"{path}: {reason}; shorten it")
    return captions


def to_json(
    real: Path | str, fake: Path | str, values: list[MetricValue], device: str,
    metrics: Iterable[str] = (),
) -> dict:  # fmt: skip
    """Return values as plain data with all that explains them: protocols, versions, commit.

    Of `metrics`, those that have no value are named as `not_measured`.
    """
    asked = dict.fromkeys(map(_protocol_name, metrics))
    missing = [name for name in asked if name not in {value.protocol for value in values}]
    return {
        "format": FORMAT,
        "real": str(real),
        "fake": str(fake),
        **({"not_measured": missing} if missing else {}),
        "values": [value.as_dict() for value in values],
        "protocols": {v.protocol: PROTOCOLS[v.protocol].as_dict() for v in values},
        "origin": current_origin(device_name(resolve_device(device))).model_dump(mode="json"),
    }


def resolve_device(device: str) -> str:
    """Return the torch device meant by `device`; "auto" is CUDA where there is one.

    LamdError when it is unknown or not on this machine.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", device):
        raise LamdError(f"--device {device}: unknown; choose auto, cpu, cuda or cuda:N")
    index = int(device.partition(":")[2] or 0)
    if device != "cpu" and index >= torch.cuda.device_count():
        raise LamdError(f"--device {device}: not on this machine; choose auto or cpu")
    if device == "cuda" and "LOCAL_RANK" in os.environ:  # one GPU per process of a launch
        torch.cuda.set_device(launch_number("LOCAL_RANK", 0) % torch.cuda.device_count())
    return device


def _protocol_name(name: str) -> str:
    """Return the protocol meant by a metric's or protocol's name, upper or lower case."""
    short, known = short_names(), _clip_protocols()
    lower = name.lower()
    if lower in short or lower in known:
        return short.get(lower, lower)
    backbones = [full for full in short if full.startswith(f"{lower}-")]
    hint = closest(lower, [*short, *known])
    if backbones:
        hint = f"; it has several networks: {' or '.join(backbones)}"
    raise LamdError(f"--metrics: unknown metric {name!r}{hint}; choose among {', '.join(short)}")


def _check(protocol: Protocol, real: Clips, fake: Clips, samples: int | None) -> None:
    """Refuse clips that do not match each other or are too few, short or small to be measured."""
    (n, *shape), (m, *other) = real.videos.shape[:4], fake.videos.shape[:4]
    metric = metric_for(protocol.name)
    if shape != other:
        raise LamdError(
            f"{fake.path}: clips of {size_text(other)}, but {real.path} has {size_text(shape)}; "
            "make length and size equal"
        )
    if samples and m != n * samples:
        raise LamdError(
            f"--samples {samples}: {fake.path} has {m} clips, {real.path} has {n}; give "
            f"{samples} fake clips for each real one"
        )
    per_real = samples or protocol.samples_per_condition
    if metric.from_features:
        windows = protocol.windows_per_video or 1
        for clips, block in ((real, windows), (fake, windows * per_real)):
            count = len(clips.videos)
            if count < metric.min_clips or count % block:
                needed = f"a multiple of {block}" if block > 1 else f"at least {metric.min_clips}"
                raise LamdError(
                    f"{clips.path}: {count} clips, {protocol.name} needs {needed}; change the set"
                )
    elif metric.paired and m != n * per_real:
        several = m > n and m % n == 0
        fix = f"give --samples {m // n}, or make" if several else "make"
        raise LamdError(
            f"{fake.path}: {m} clips, but {real.path} has {n}; "
            f"{metric.name} compares clip with clip, {fix} the numbers equal"
        )
    elif metric.paired and per_real == 1 and (common := {*real.names} & {*fake.names}):
        for ours, theirs in ((real, fake), (fake, real)):
            if alone := next((name for name in ours.names if name not in common), None):
                raise LamdError(
                    f"{theirs.path}: has no clip {alone!r}, which {ours.path} has; "
                    f"{metric.name} compares clip with clip, give each one its partner"
                )
    counted = shape[0] - protocol.first_frame
    if counted < metric.min_frames:
        raise LamdError(
            f"{fake.path}: {counted} frames that count, {metric.name} needs at least "
            f"{metric.min_frames}; give longer clips"
        )
    if min(shape[1:]) < metric.min_size:
        raise LamdError(
            f"{fake.path}: frames of {shape[1]} x {shape[2]}, {metric.name} needs at least "
            f"{metric.min_size} x {metric.min_size}; give larger ones or leave it out"
        )


def _with_remarks(value: MetricValue, real: Clips, fake: Clips, samples: int | None) -> MetricValue:
    coded = [c.path.name or str(c.path) for c in (real, fake) if not c.lossless]
    deviations = [f"{name} is read from coded files, not lossless" for name in dict.fromkeys(coded)]
    metric, notes = metric_for(value.protocol), [value.note] if value.note else []
    n, m = len(real.videos), len(fake.videos)
    per_real = samples or PROTOCOLS[value.protocol].samples_per_condition
    partners = tuple(name for name in real.names for _ in range(per_real))
    pairs_up = m == n * per_real and (metric.paired or metric.from_features)
    if pairs_up and partners and fake.names and partners != fake.names:
        pairs = zip(fake.names, partners, strict=True)
        pair = next(names for names in pairs if names[0] != names[1])
        what = "paired" if metric.paired else "the interval pairs them"
        notes.append(f"names differ: {what} in natural order, e.g. {pair[0]} with {pair[1]}")
    elif m != n * per_real and m > n and m % n == 0 and metric.from_features:
        notes.append(f"if {m // n} clips in a row belong to one real clip, give --samples {m // n}")
    elif metric.paired and bool(real.names) != bool(fake.names):
        notes.append("an .npy has no names: its clips are paired with the files in natural order")
    height, width = real.videos.shape[2:4]
    if metric.needs == "i3d" and height != width:
        cut = 100 * (1 - min(height, width) / max(height, width))
        side = "width" if width > height else "height"
        notes.append(f"the network sees the central square: {cut:.0f} % of the {side} is cut off")
    return replace(value, deviations=(*value.deviations, *deviations), note="; ".join(notes))
