"""Numbers printed in papers, and the verdict on a measured value next to one of them."""

from importlib import resources

import yaml
from pydantic import TypeAdapter, ValidationError

from lamd.base.errors import LamdError
from lamd.metrics.registry import METRICS
from lamd.report.results import PublishedRow, Source, VerdictKind, first_problem

Groups = dict[str, dict[str, PublishedRow]]  # group -> key -> row, in the file's order


def load_published() -> Groups:
    """Read the packaged `published.yaml`.

    Raises:
        LamdError: naming the group and key of a row without metrics, source or verified flag.
    """
    text = (resources.files("lamd.report") / "published.yaml").read_text(encoding="utf-8")
    return parse_published(text)


def parse_published(text: str) -> Groups:
    """Check the text of a `published.yaml`; see `load_published`."""
    try:
        return TypeAdapter(Groups).validate_python(yaml.safe_load(text))
    except ValidationError as error:
        raise LamdError(f"published.yaml: {first_problem(error)}; fix the row") from None


def judge(
    metric: str,
    value: float,
    protocol: str,
    source: Source,
    deviations: tuple[str, ...],
    published: PublishedRow | None,
) -> tuple[VerdictKind, str]:
    """Judge a value by the published one of the same metric; return the verdict and its reason.

    `reproduced` and `deviates` need real data, full scale, and the protocol (and, of LPIPS, the
    backbone) that the metric's own published cell states; they differ by the tolerance of the
    metric, relative to the published value.
    """
    name, _, backbone = metric.partition("-")
    cells = published.metrics if published else {}
    cell = cells.get(metric) or cells.get(name)
    if cell is None:
        return "not comparable", "no published value"
    reasons = []
    if source.data != "real":
        reasons.append("simulated stand-in data")
    if source.scale != "full":
        reasons.append("reduced scale")
    reasons += deviations
    if cell.protocol is None:
        reasons.append("published protocol not stated")
    elif cell.protocol != protocol:
        reasons.append(f"published under {cell.protocol}")
    if name == "lpips" and metric not in cells and cell.backbone != backbone:
        stated = f"is {cell.backbone}" if cell.backbone else "not stated"
        reasons.append(f"published LPIPS backbone {stated}")
    if reasons:
        return "not comparable", "; ".join(reasons)
    change, tolerance = (value - cell.value) / cell.value, METRICS[metric].tolerance
    if tolerance is None:
        return "not comparable", "no tolerance is set for this metric"
    if abs(change) <= tolerance:
        return "reproduced", ""
    return "deviates", f"{change:+.0%} of {cell.value:g}, tolerance {tolerance:.0%}"
