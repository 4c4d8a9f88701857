"""What the smaller commands print: targets, cells, data sets, metric values."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from lamd.base.errors import LamdError
from lamd.config import PROFILES, AnyTarget, Sweep, config_hash
from lamd.data.real import SPLITS, real_root
from lamd.pipeline.cells import Cell, Store
from lamd.report.results import AnyReport, CostReport, FigureReport, Report

if TYPE_CHECKING:
    from lamd.metrics import MetricValue

# ours: MAGE draws an interval of 3 to 6
_CATER: dict[str, str | int] = {
    "captions": "explicit",
    "size": 128,
    "num_frames": 16,
    "frame_interval": 4,
    "broken": "stop",
}
# what the paper profiles pack
_PREPARE: dict[str, dict[str, str | int]] = {
    "bair": {"camera": "image_aux1", "size": 64},
    "landscape": {"size": 128, "min_frames": 32, "broken": "stop"},
    "cater_v1": _CATER,
    "cater_v2": _CATER,
    "natops": {"size": 128, "num_frames": 16, "broken": "stop"},
    "mug": {"size": 128, "num_frames": 16, "broken": "stop"},
}


def target_rows(paths: Sequence[Path]) -> list[list[str]]:
    """Return name, profiles and title of each target."""
    rows = []
    for path in paths:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        profiles = PROFILES if "sources" in tree else tree.get("profiles", {})
        rows.append([path.stem, ", ".join(profiles), str(tree.get("title", ""))])
    return rows


def config_text(target: AnyTarget) -> str:
    """Return the resolved config as YAML, its hash on top."""
    text = yaml.safe_dump(target.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return f"# config {config_hash(target)}\n{text}"


def state_table(target: AnyTarget, store: Store) -> list[list[str]]:
    """Return, with a header, the state of each point of a sweep, or of each cell of the others."""
    from lamd.targets.reproduce import planned_cells

    if isinstance(target, Sweep):
        from lamd.targets.sweep import grid_table

        return grid_table(target, "auto", store)
    return [["cell", "state", "folder"], *_cell_rows(planned_cells(target, "auto"), store)]


def outcome_table(report: AnyReport) -> tuple[list[list[str]], list[str]]:
    """Return what was measured, as a table with a header, and lines that explain it."""
    from lamd.report.cost_tables import cost_caption, growth, step_table
    from lamd.report.sweep_tables import sweep_table
    from lamd.report.tables import caption, measured_table

    if isinstance(report, CostReport):
        return step_table(report), [cost_caption(report), *growth(report)]
    if isinstance(report, FigureReport):
        pictures = [f"{report.title}, {one.dataset}: {one.caption}" for one in report.pictures]
        return [[]], pictures
    table = measured_table if isinstance(report, Report) else sweep_table
    return table(report), [caption(report)]


def _cell_rows(cells: Mapping[str, Sequence[Cell]], store: Store) -> list[list[str]]:
    """Return name, state and folder of each cell of each source; a source's name stands before."""
    rows = []
    for source, ones in cells.items():
        for cell in ones:
            folder = store.folder(cell)
            place = folder.name if folder else f"{cell.kind}-(key known once the data is made)"
            name = f"{source}: {cell.name}" if source else cell.name
            rows.append([name, store.state(cell), place])
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


def prepare(dataset: str, **asked: str | int | None) -> Iterator[str]:
    """Pack the real data set and yield one line a split; an option that is None has its default.

    Raises:
        LamdError: on an unknown data set, an option it does not have, or when it is not under
            LAMD_DATA.
    """
    from lamd.data import check_dataset, open_dataset
    from lamd.weights import cache_root

    check_dataset(dataset)
    given = {name: value for name, value in asked.items() if value is not None}
    options = _PREPARE[dataset] | given
    for name in given.keys() - _PREPARE[dataset].keys():
        raise LamdError(f"--{name.replace('_', '-')}: has no effect on {dataset}; leave it out")
    root = real_root(dataset)
    for split in SPLITS:
        packed = cache_root() / "packed"
        videos = open_dataset(dataset, root=root, cache=packed, split=split, **options)
        left_out = f", {len(videos.left_out)} left out" if videos.left_out else ""
        counts = f"{len(videos)} videos, {videos.lengths.sum()} frames{left_out}"
        yield f"{dataset}/{split}: {counts}, {videos.content_hash[:12]}, {videos.path}"


def verify(dataset: str, root: Path | None) -> tuple[str, bool]:
    """Check the real data set; return the text to print and whether all is as expected."""
    from lamd.data import check_dataset, verify_dataset

    check_dataset(dataset)
    report = verify_dataset(dataset, root or real_root(dataset))
    return str(report), report.ok
