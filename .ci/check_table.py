"""Check a `table_bair` folder: all files, no hole, and LaMD where a working method must be."""

import sys
from pathlib import Path

from lamd.report.results import read_report

FILES = (
    "table.md", "table.csv", "table.tex", "figure.png", "figure.svg", "grid.gif", "grid.mp4",
    "record.json",
)  # fmt: skip
RECONSTRUCTION_GAIN_DB = 4.0


def problems(folder: Path) -> list[str]:
    """Return one line for everything that is wrong."""
    found = [
        f"{name} is missing or empty"
        for name in FILES
        if not (folder / name).is_file() or not (folder / name).stat().st_size
    ]
    if "record.json is missing or empty" in found:
        return found
    report = read_report(folder / "record.json")
    found += [f"row {hole.row}: {hole.verdict}" for hole in report.holes]
    if report.holes:
        return found

    def value(row: str, metric: str) -> float:
        return report.find(row, metric).value

    lamd, trivial = value("lamd", "fvd"), value("copy_first_frame", "fvd")
    if lamd >= trivial:
        found.append(f"LaMD's FVD {lamd:.1f} is not below {trivial:.1f} of the repeated frame")
    gain = value("reconstruction", "psnr") - value("copy_first_frame", "psnr")
    if gain < RECONSTRUCTION_GAIN_DB:
        found.append(
            f"reconstruction is {gain:.2f} dB PSNR above the repeated frame, "
            f"expected {RECONSTRUCTION_GAIN_DB:g}"
        )
    return found


def main() -> int:
    """Print what is wrong and return the exit code."""
    found = problems(Path(sys.argv[1]))
    for line in found:
        print(f"FAILED: {line}", file=sys.stderr)
    print("table: " + ("wrong" if found else "as expected"))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
