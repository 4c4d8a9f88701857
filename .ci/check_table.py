"""Check a `table_bair` folder: all files, no missing value, and scores of a working method."""

import sys
from pathlib import Path

from lamd.report.results import read_results

FILES = (
    "table.md", "table.tex", "values.csv", "fvd_by_row.png", "clips.webp", "per_clip.parquet",
    "record.json",
)  # fmt: skip
RECONSTRUCTION_GAIN_DB = 4.0
FVD = {"real_train": 349.5, "copy_first_frame": 920.5}  # committed; nothing is trained for them
TOLERANCE = 0.01  # of the value; kinds of CPU differ by rounding


def problems(folder: Path) -> list[str]:
    """Return one line for everything that is wrong."""
    lines = [
        f"{name} is missing or empty"
        for name in FILES
        if not (folder / name).is_file() or not (folder / name).stat().st_size
    ]
    if "record.json is missing or empty" in lines:
        return lines
    results = read_results(folder / "record.json")
    lines += [f"row {missing.row}: {missing.reason}" for missing in results.missing]
    if results.missing:
        return lines
    values = {(value.row, value.metric): value.value for value in results.values}
    worse = {entry.row: entry.low for entry in results.differences if entry.metric == "fvd"}
    if (worse.get("copy_first_frame") or 0.0) <= 0:
        lines.append("the FVD of the repeated frame is not above LaMD's on the same clips")
    for row, committed in FVD.items():
        if abs(values[row, "fvd"] / committed - 1) > TOLERANCE:
            lines.append(f"FVD of {row} is {values[row, 'fvd']:.1f}, committed {committed}")
    gain = values["reconstruction", "psnr"] - values["copy_first_frame", "psnr"]
    if gain < RECONSTRUCTION_GAIN_DB:
        lines.append(
            f"reconstruction is {gain:.2f} dB PSNR above the repeated frame, "
            f"expected {RECONSTRUCTION_GAIN_DB:g}"
        )
    return lines


def main() -> int:
    """Print what is wrong and return the exit code."""
    lines = problems(Path(sys.argv[1]))
    for line in lines:
        print(f"FAILED: {line}", file=sys.stderr)
    print("table: " + ("wrong" if lines else "as expected"))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
