"""Numbers printed in papers, and the verdict on measured values next to one of them."""

from collections.abc import Sequence
from importlib import resources

import yaml
from pydantic import TypeAdapter

from lamd.metrics.registry import METRICS
from lamd.report.results import PublishedRow, Source, Value, VerdictKind

Groups = dict[str, dict[str, PublishedRow]]  # group -> key -> row, in the file's order


def load_published() -> Groups:
    """Read the packaged `published.yaml`."""
    text = (resources.files("lamd.report") / "published.yaml").read_text(encoding="utf-8")
    return TypeAdapter(Groups).validate_python(yaml.safe_load(text))


def judge(
    seeds: Sequence[Value], source: Source, published: PublishedRow | None
) -> tuple[VerdictKind, str]:
    """Judge the values of a metric, one per seed; return the verdict and its reason.

    They compare on real data, at full scale, under the protocol (and, for LPIPS, the backbone)
    that the metric's published cell states. The rules of the verdicts: docs/tables.md.
    """
    metric, protocol = seeds[0].metric, seeds[0].protocol
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
    reasons += dict.fromkeys(deviation for value in seeds for deviation in value.deviations)
    if cell.protocol is None:
        reasons.append("published protocol not stated")
    elif cell.protocol != protocol:
        reasons.append(f"published under {cell.protocol}")
    if name == "lpips" and metric not in cells and cell.backbone != backbone:
        stated = f"is {cell.backbone}" if cell.backbone else "not stated"
        reasons.append(f"published LPIPS backbone {stated}")
    if reasons:
        return "not comparable", "; ".join(reasons)
    tolerance = METRICS[metric].tolerance
    if tolerance is None:
        return "not comparable", "no tolerance is set for this metric"
    changes = [value.value / cell.value - 1 for value in seeds]
    words = (
        f"{', '.join(f'{change:+.0%}' for change in changes)} of {cell.value:g}, "
        f"tolerance {tolerance:.0%}"
    )
    if len(seeds) < 2:
        return "one seed", f"{words}; a verdict needs two seeds"
    intervals = [(v.low, v.high) for v in seeds if v.low is not None and v.high is not None]
    if len(intervals) < len(seeds):
        return "undecided", f"{words}; no interval"
    if all(abs(change) <= tolerance for change in changes):
        return "reproduced", words
    margin = tolerance * abs(cell.value)
    if all(low > cell.value + margin or high < cell.value - margin for low, high in intervals):
        return "deviates", words
    return "undecided", f"{words}; intervals reach it"
