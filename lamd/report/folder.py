"""The files of a results folder, written atomically: tables, figure, moving grid, `record.json`."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lamd.base.errors import LamdError
from lamd.base.files import write_atomically
from lamd.config import PROFILES
from lamd.pipeline.cells import Store
from lamd.pipeline.graph import Plan, is_sampled
from lamd.pipeline.steps.clips import read_clips
from lamd.report.media import comparison_grid, encode_gif, encode_mp4
from lamd.report.plots import render_figure
from lamd.report.results import AnyReport, Report, read_report
from lamd.report.tables import render_csv, render_latex, render_markdown

RECORD = "record.json"
TABLES = {"table.md": render_markdown, "table.csv": render_csv, "table.tex": render_latex}
_COLUMNS = {
    "clips test": "real",
    "clips reconstruction": "reconstruction",
    "clips lamd": "LaMD",
    "clips lamd again": "LaMD, 2nd sample",
    "clips permuted_prompts": "another's prompt",
    "clips pixel_clips": "pixel, clips",
    "clips pixel_flops": "pixel, FLOPs",
    "clips latent_video_clips": "lat. video, clips",
    "clips latent_video_flops": "lat. video, FLOPs",
}


def choose_folder(root: Path, report: AnyReport) -> Path:
    """Return where a report belongs: `root/<target>`, or a folder inside it.

    A smaller profile, or results with holes or fewer rows, do not overwrite larger or whole ones:
    they go into `<profile>/`, or `incomplete/`, beside them.
    """
    folder = root / report.target
    if not (folder / RECORD).is_file():
        return folder
    try:
        there = read_report(folder / RECORD)
    except LamdError:  # of an older format, or damaged: never lost silently either
        return folder / report.profile
    if PROFILES.index(report.profile) < PROFILES.index(there.profile):
        return folder / report.profile
    if len(report.holes) > len(there.holes) or _row_names(there) - _row_names(report):
        return folder / "incomplete"
    return folder


def _row_names(report: AnyReport) -> set[str]:
    return {row.name for row in report.rows} if isinstance(report, Report) else set()


def write_results(folder: Path, report: Report, grid: np.ndarray | None) -> list[Path]:
    """Write all files of a table; `grid` is uint8 (L, H, W, 3), None when its clips are missing."""
    contents: dict[str, bytes] = {name: make(report).encode() for name, make in TABLES.items()}
    contents |= render_figure(report)
    if grid is not None:
        contents |= encode_moving(grid, folder, "grid")
    return write_files(folder, report, contents)


def write_files(folder: Path, report: AnyReport, contents: dict[str, bytes]) -> list[Path]:
    """Write files that changed, each whole, and the record last: its presence says all is there."""
    contents = contents | {RECORD: report.to_json().encode()}
    for name, content in contents.items():
        if _read(folder / name) != content:
            write_atomically(folder / name, content)
    return [folder / name for name in contents]


def encode_moving(frames: np.ndarray, folder: Path, name: str) -> dict[str, bytes]:
    """Return `<name>.gif` and `<name>.mp4` of uint8 (L, H, W, 3)."""
    gif, there = encode_gif(frames), _read(folder / f"{name}.mp4")
    # The H.264 encoder does not always give the same bytes: an MP4 of the same pictures is kept.
    keep = there is not None and _read(folder / f"{name}.gif") == gif
    return {f"{name}.gif": gif, f"{name}.mp4": there if keep else encode_mp4(frames)}


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def make_grid(report: Report, plan: Plan, store: Store) -> np.ndarray | None:
    """Lay out the first test clips beside what the method makes of them; None if any is missing."""
    if not all(store.is_complete(cell) for cell in plan.grid):
        return None
    columns = dict(_grid_columns(report, plan, store))
    data = "real" if report.data == "real" else "simulated stand-in for"
    caption = f"{data} {report.dataset.upper()}, first test clips, not chosen"
    return comparison_grid(columns, caption)


def _grid_columns(report: Report, plan: Plan, store: Store) -> Iterator[tuple[str, np.ndarray]]:
    count = report.config["evaluate"]["grid_clips"]
    for cell in plan.grid:
        clips = read_clips(store.folder(cell))
        if is_sampled(cell.name.removeprefix("clips ")):
            clips = clips[:: report.config["evaluate"]["samples_per_clip"]]
        yield _COLUMNS[cell.name], np.asarray(clips[:count])
