"""The results folder of a target and profile: files written atomically, `record.json` last."""

from pathlib import Path

from lamd.base.errors import LamdError
from lamd.base.files import below, write_atomically
from lamd.report.results import RECORD, Results, read_results


def choose_folder(root: Path, results: Results) -> tuple[Path, str | None]:
    """Return where results belong, and a line that says why when another folder keeps its own.

    They belong in `root/<target>/<profile>`, or next to it in a folder named by their config hash
    where a record there has to be kept (docs/tables.md).
    """
    folder = below(root, results.target, results.profile)
    reason = _reason_to_keep(folder / RECORD, results)
    if reason is None:
        return folder, None
    name, number = f"{results.profile}-{results.config_hash}", 2
    other = below(root, results.target, name)
    while _reason_to_keep(other / RECORD, results):
        other = below(root, results.target, f"{name}-{number}")
        number += 1
    return other, f"{folder} is kept: {reason}; these results are in {other}"


def _reason_to_keep(record: Path, results: Results) -> str | None:
    if not record.is_file():
        return None
    try:
        kept = read_results(record)
    except LamdError:
        return "its record cannot be read"
    for name, source in results.sources.items():
        if (before := kept.sources.get(name)) is None:
            continue
        if before.data == "real" and source.data != "real":
            return f"its {name} is real data"
        if before.scale == "full" and source.scale != "full":
            return f"its {name} is at full scale"
    if _overrides(kept) != _overrides(results):
        return f"its overrides are {', '.join(kept.overrides) or 'none'}"
    lacking = sorted(_measured(kept) - _measured(results))
    if lacking:
        return f"it has {len(lacking)} more: {', '.join(lacking[:3])}"
    if len(kept.missing) < len(results.missing):
        lost = len(results.missing)
        return f"it lacks only {len(kept.missing)} values; these results lack {lost}"
    return None


def _overrides(results: Results) -> dict[str, str]:
    """Return the overrides that can change more than last bits, by key."""
    values = {}
    for key, _, value in (override.partition("=") for override in results.overrides):
        if "runtime" not in key.split(".")[:3:2]:  # nor `sources.<target>.runtime`
            values[key] = value
    return values


def _measured(results: Results) -> set[str]:
    rows = {f"row {row.name}" for row in results.rows}
    points = {f"point {point}" for point in results.points}
    columns = {f"value {value.row} {value.metric}" for value in results.values}
    return rows | points | columns | {f"picture {p.source}" for p in results.pictures}


def write_folder(folder: Path, results: Results, files: dict[str, bytes]) -> list[Path]:
    """Write files that changed, each whole, and the record last: its presence says all is there.

    Files of the record that was there before, and that are not among the new ones, are deleted.
    """
    record = folder / RECORD
    try:
        stale = set(read_results(record).files) - files.keys() if record.is_file() else set()
    except LamdError:
        stale = set()
    results = results.model_copy(update={"files": tuple(sorted(files))})
    for name in stale:  # first: killed later, nothing would name them any more
        (folder / name).unlink(missing_ok=True)
    for name, content in (files | {RECORD: results.to_json().encode()}).items():
        path = below(folder, name)
        if not path.is_file() or path.read_bytes() != content:
            write_atomically(path, content)
    return [folder / name for name in (*files, RECORD)]
