"""What the smaller commands print: targets, cells, data sets, metric values."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from lamd.config import Target, config_hash
from lamd.errors import LamdError
from lamd.harness.cells import Store
from lamd.harness.plan import Plan
from lamd.harness.stages import SPLITS, real_root

if TYPE_CHECKING:
    from lamd.metrics import MetricValue

DATASETS = ("bair",)


def target_rows(paths: Sequence[Path]) -> list[list[str]]:
    """Return name, profiles and title of each target."""
    rows = []
    for path in paths:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        rows.append([path.stem, ", ".join(tree.get("profiles", {})), str(tree.get("title", ""))])
    return rows


def config_text(target: Target) -> str:
    """Return the resolved config as YAML, its hash on top."""
    text = yaml.safe_dump(target.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return f"# config {config_hash(target)}\n{text}"


def cell_rows(plan: Plan, store: Store) -> list[list[str]]:
    """Return name, state and folder of each cell."""
    rows = []
    for cell in plan.cells():
        folder = store.folder(cell)
        place = folder.name if folder else f"{cell.kind}-(key known once the data is made)"
        rows.append([cell.name, store.state(cell), place])
    return rows


def value_rows(values: Sequence["MetricValue"]) -> list[list[str]]:
    """Return protocol, value, interval, extrapolation and counts of each value."""
    rows = []
    for value in values:
        interval = "[{:.4g}, {:.4g}]".format(*value.interval) if value.interval else "-"
        limit = "-" if value.extrapolated is None else f"{value.extrapolated:.4f}"
        number = f"{value.value:.4f} {value.unit}".rstrip()
        counts = [str(value.n_real), str(value.n_fake)]
        rows.append([value.protocol, number, interval, limit, *counts])
    return rows


def prepare(dataset: str, camera: str) -> Iterator[str]:
    """Pack the real data set and yield one line a split.

    Raises:
        LamdError: on an unknown data set, or when it is not under LAMD_DATA.
    """
    from lamd.artifacts import cache_root
    from lamd.data import open_dataset

    root = real_root()
    for split in SPLITS:
        packed = cache_root() / "packed"
        videos = open_dataset(dataset, root=root, cache=packed, split=split, camera=camera)
        yield f"{dataset}/{split}: {len(videos)} clips, {videos.content_hash[:12]}, {videos.path}"


def verify(dataset: str, root: Path | None) -> tuple[str, bool]:
    """Check the real data set; return the text to print and whether all is as expected."""
    from lamd.data import verify_bair

    check_dataset(dataset)
    report = verify_bair(root or real_root())
    return str(report), report.ok


def check_dataset(dataset: str) -> None:
    """Raise LamdError on an unknown data set."""
    if dataset not in DATASETS:
        raise LamdError(f"{dataset}: unknown data set; known are {', '.join(DATASETS)}")
