"""Ratios taken within one run, and their comparison with a stored run.

Times of two days or machines do not compare; ratios do: each benchmark over a plain matrix product,
each paradigm over latent motion, ours over the public implementation. Larger is slower.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

SLOWDOWN = 1.5  # ours: shared machines move single ratios by a quarter
BASE = "latent-motion"
_SAME = ("scale", "device")


def ratios_of(benchmarks: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the ratios of a run by name.

    Args:
        benchmarks: `name`, `median` (s) and `extra_info` of each. In `extra_info`, `over_matmul` is
            a ratio; `<pair>_ratio`, theirs over ours, is one upside down; and what has a `paradigm`
            is compared with `latent-motion` at the same `place`.
    """
    ratios, medians = {}, {}
    for benchmark in benchmarks:
        name, info = benchmark["name"], benchmark["extra_info"]
        if "over_matmul" in info:
            ratios[f"{name} / matmul"] = info["over_matmul"]
        for key, value in info.items():
            if key.endswith("_ratio") and key != "work_ratio":
                ratios[f"{name} {key.removesuffix('_ratio')}: ours / theirs"] = 1 / value
        if "paradigm" in info:
            medians[info["paradigm"], info["place"]] = benchmark["median"]
    for (paradigm, place), median in medians.items():
        if paradigm != BASE and (BASE, place) in medians:
            ratios[f"{place}: {paradigm} / {BASE}"] = median / medians[BASE, place]
    return ratios


def compare(now: Mapping[str, float], stored: Mapping[str, float], slowdown: float) -> list[str]:
    """Return one line for each ratio that has grown beyond `slowdown` times the stored one."""
    return [
        f"{name}: {now[name]:.3g}, was {stored[name]:.3g} ({now[name] / stored[name]:.2f} times)"
        for name in sorted(now.keys() & stored.keys())
        if now[name] > slowdown * stored[name]
    ]


def write(path: Path, ratios: Mapping[str, float], where: Mapping[str, str]) -> None:
    """Store a run: its ratios, with their scale, device and PyTorch version."""
    content = {"where": dict(where), "ratios": dict(sorted(ratios.items()))}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read(path: Path, where: Mapping[str, str]) -> dict[str, float]:
    """Return the ratios of a stored run.

    Raises:
        ValueError: if the file is not a stored run, or is of another scale or device. Another
            version of PyTorch may be what a comparison is for.
    """
    fix = "store one with --store-ratios"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        ratios, stored = content["ratios"], {key: content["where"][key] for key in _SAME}
        if not ratios or not all(
            isinstance(value, int | float) and value > 0 for value in ratios.values()
        ):
            raise TypeError("ratios are numbers above 0")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a stored run ({error}); {fix}") from None
    for key, value in stored.items():
        if value != where[key]:
            raise ValueError(f"{path}: of {key} {value}, this run is of {where[key]}; {fix}")
    return ratios
