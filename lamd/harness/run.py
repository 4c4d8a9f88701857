"""`reproduce` and `train`: plan a target, make its cells, write its results."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lamd.config import Target, load_target
from lamd.errors import LamdError
from lamd.harness.cells import CellFailed, Runner, Store
from lamd.harness.plan import Plan, make_plan
from lamd.harness.stages import real_root
from lamd.records import Report

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What a run of a table left: the report, its folder and files, the failures by cell."""

    report: Report
    folder: Path
    files: tuple[Path, ...]
    failed: tuple[CellFailed, ...]


def open_target(
    name: str, profile: str, overrides: Sequence[str], runs: Path, device: str
) -> tuple[Target, Plan, Store]:
    """Load a target, expand it into cells and open the store that holds them."""
    target = load_target(name, profile, overrides)
    return target, make_plan(target, device), Store(runs)


def reproduce(
    name: str,
    profile: str,
    overrides: Sequence[str] = (),
    *,
    runs: Path,
    results: Path,
    device: str = "auto",
    say: Say = print,
) -> Outcome | None:
    """Make what is missing of a target's cells and write its table, figure, grid and record.

    Returns:
        None in the other processes of a multi-process launch.

    Raises:
        LamdError: when the config or the data are wrong, or no row at all could be measured.
    """
    target, plan, store = open_target(name, profile, overrides, runs, device)
    if target.data.source == "real":
        real_root()
    from lamd.harness.reporting import assemble, published_rows

    published_rows(target)  # a wrong name is told before hours of training, not after
    runner = Runner(store, device, say)
    failed = runner.run_each((*plan.rows.values(), *plan.grid))
    if runner.rank:
        return None
    if all(cell.name in failed for cell in plan.rows.values()):
        raise next(iter(failed.values()))
    report = assemble(target, profile, overrides, plan, store, failed)

    from lamd.harness.results import choose_folder, make_grid, write_results

    folder = choose_folder(results, report)
    files = write_results(folder, report, make_grid(report, plan, store))
    unique = {failure.name: failure for failure in failed.values()}
    return Outcome(report, folder, tuple(files), tuple(unique.values()))


def train(
    name: str,
    profile: str,
    overrides: Sequence[str],
    stage: str,
    *,
    runs: Path,
    device: str = "auto",
    say: Say = print,
) -> Path:
    """Train one stage, and what it needs first; return the cell's folder.

    Raises:
        LamdError: on an unknown stage, wrong config or data.
        CellFailed: when the stage or one before it fails.
    """
    target, plan, store = open_target(name, profile, overrides, runs, device)
    if stage not in ("vae", "dmg"):
        raise LamdError(f"--stage {stage}: unknown; use vae or dmg")
    if target.data.source == "real":
        real_root()
    return Runner(store, device, say).run(plan.stages[stage])
