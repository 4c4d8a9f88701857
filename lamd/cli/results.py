"""`lamd results`: the values of all records below a folder, as one tidy table."""

from pathlib import Path
from typing import Annotated

import typer

from lamd.base.files import write_atomically

COLUMNS = ["target", "profile", "source", "row", "point", "part", "metric", "value", "low", "high"]


def results(
    paths: Annotated[list[Path] | None, typer.Argument(help="Records or folders.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write all columns here.")] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write all columns here.")] = None,
) -> None:
    """Print the values of all records below PATHS (results/ by default), or write them."""
    from lamd.report.frame import load_results

    frame = load_results(paths or [Path("results")])
    for path, write in ((csv, frame.to_csv), (parquet, frame.to_parquet)):
        if path is not None:
            write_atomically(path, write(index=False))
            print(f"{path}: {len(frame)} values")
    if csv is None and parquet is None:
        print(frame[COLUMNS].to_string(index=False))
