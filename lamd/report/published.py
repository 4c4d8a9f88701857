"""Numbers from papers, and the verdict on a measured value beside one of them."""

from importlib import resources
from typing import Literal

import yaml
from pydantic import ValidationError

from lamd.base.errors import LamdError
from lamd.report.results import PublishedRow, Verdict

# How far a value may be from the published one and still count as reproduced (ours): FVD over
# 256 clips moves by about this much between two trainings and two sampling seeds.
TOLERANCE: dict[str, float] = {
    "fvd": 0.10,
    "cfvd": 0.10,
    "cfvd_spread": 0.25,
    "fid": 0.10,
    "psnr": 0.03,
    "ssim": 0.02,
    "lpips": 0.15,
    "action_precision": 0.05,
    "referring_expression_precision": 0.05,
}


def load_published() -> dict[str, dict[str, PublishedRow]]:
    """Read the packaged `published.yaml`: group -> key -> row, in the file's order.

    Raises:
        LamdError: naming the group and key of a row without source, verified flag or protocol key.
    """
    text = (resources.files("lamd.report") / "published.yaml").read_text(encoding="utf-8")
    return parse_published(text)


def parse_published(text: str) -> dict[str, dict[str, PublishedRow]]:
    """Check the text of a `published.yaml`; see `load_published`."""
    tree = yaml.safe_load(text)
    rows: dict[str, dict[str, PublishedRow]] = {}
    for group, members in tree.items():
        rows[group] = {}
        for key, value in members.items():
            try:
                rows[group][key] = PublishedRow.model_validate(value)
            except ValidationError as error:
                first = error.errors()[0]
                raise LamdError(
                    f"published.yaml: {group}.{key}.{'.'.join(map(str, first['loc']))}: "
                    f"{first['msg']}; mend the row"
                ) from None
    return rows


def verdict(
    *,
    metric: str,
    value: float,
    protocol: str,
    data: Literal["real", "stand-in"],
    scale: Literal["full", "reduced"],
    deviations: tuple[str, ...],
    published: PublishedRow | None,
) -> Verdict:
    """Judge a measured value: reproduced, off, or not comparable with every reason.

    `reproduced` and `off` need real data, full scale, the protocol unchanged and equal to the
    published one's, and differ by `TOLERANCE`, relative to the published value.
    """
    if published is None or metric not in published.metrics:
        return Verdict(kind="not comparable", reason="no published value")
    reasons = []
    if data != "real":
        reasons.append("simulated stand-in data")
    if scale != "full":
        reasons.append("reduced scale")
    reasons.extend(deviations)
    if published.protocol is None:
        reasons.append("published protocol not stated")
    elif published.protocol != protocol:
        reasons.append(f"published under {published.protocol}")
    if reasons:
        return Verdict(kind="not comparable", reason="; ".join(reasons))
    target = published.metrics[metric]
    change = (value - target) / target
    if abs(change) <= TOLERANCE[metric]:
        return Verdict(kind="reproduced", reason="")
    return Verdict(
        kind="off",
        reason=f"{change:+.0%} of {target:g}, tolerance {TOLERANCE[metric]:.0%}",
    )
