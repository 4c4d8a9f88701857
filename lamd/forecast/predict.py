"""`lamd plan`: the cost of a target's missing cells, and how far off earlier predictions were.

Predicted times are kept in `predictions.json` of the run folder, by plan hash. Every run ends with
`accuracy`, so what imports PyTorch is imported by `forecast` alone.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import FiniteFloat

from lamd.base.errors import LamdError
from lamd.base.files import dump_json, free_disk, load_json
from lamd.base.origin import CellInfo
from lamd.base.progress import duration
from lamd.config import AnyTarget
from lamd.pipeline.cell import Cell
from lamd.pipeline.store import Store
from lamd.targets.kind import KINDS
from lamd.weights import cache_root

if TYPE_CHECKING:
    from lamd.forecast.probe import Times
    from lamd.forecast.work import Unit, Work

PREDICTIONS = "predictions.json"
_HEADER = ["cell", "state", "TFLOP", "parameters", "time", "memory", "disk", "took"]


class CellCost(NamedTuple):
    """The predicted or actual cost of one cell.

    `seconds` is the prediction, of a finished cell the earlier one; None where there is none.
    """

    name: str
    state: str
    work: "Work"
    seconds: float | None
    made: CellInfo | None
    reason: str = ""  # why there is no time


def forecast(
    target: AnyTarget, store: Store, device: str, *, limit: float | None = None
) -> list[CellCost]:
    """Predict the cost of a target's cells, each once, and keep the predicted times for later.

    The probe may take `limit` seconds; None predicts no times.
    """
    from lamd.forecast import probe, work

    kept, graph = read_predictions(store), KINDS[target.kind].plan(target, device)
    planned: dict[str, tuple[str, Cell, Work]] = {}  # by plan hash, parents first
    wanted: dict[Unit, Any] = {}
    for source, cells in graph.cells().items():
        table = graph.plans[source].target if source in graph.plans else None
        for cell in cells:
            config = cell.step.options.get("target", table)  # that of a figure may sample otherwise
            if cell.plan_hash in planned:
                continue
            needed = work.work_of(cell, config, cells[0], store)
            name = f"{source}: {cell.name}" if source else cell.name
            planned[cell.plan_hash] = name, cell, needed
            wanted |= dict.fromkeys((unit for unit, _ in needed.units or ()), config)
    times = {} if limit is None or not wanted else probe.probe(wanted, device, limit)
    costs = []
    for key, (name, cell, needed) in planned.items():
        made = store.info(cell) if store.is_complete(cell) else None
        seconds, reason = _seconds(needed, times)
        if made is not None:
            seconds = kept.get(key)
        elif seconds is not None:
            kept[key] = seconds
        costs.append(CellCost(name, store.state(cell), needed, seconds, made, reason))
    if limit is not None:
        dump_json(store.runs / PREDICTIONS, kept)
    return costs


def accuracy(target: AnyTarget, store: Store, device: str) -> str | None:
    """Return a line that compares predicted with actual times of finished cells; None without.

    Unreadable predictions are reported in the line: they are no failure of a finished run.
    """
    try:
        kept = read_predictions(store)
    except LamdError as error:
        return str(error)
    graph = KINDS[target.kind].plan(target, device) if kept else None
    cells = [cell for own in graph.cells().values() for cell in own] if graph else []
    made = {cell.plan_hash: cell for cell in cells if store.is_complete(cell)}
    return _compared((kept[key], store.info(cell)) for key, cell in made.items() if key in kept)


def forecast_table(costs: Sequence[CellCost], store: Store) -> tuple[list[list[str]], list[str]]:
    """Return a table with a header and one row per cell, and lines that sum it up."""
    missing = [cost for cost in costs if cost.made is None]
    lines, reasons = [_total(costs, missing)], dict[str, list[str]]()
    places, needed = {"--runs": store.runs, "LAMD_CACHE": cache_root()}, Counter[int]()
    for cost in missing:
        root = places["LAMD_CACHE" if cost.work.cached else "--runs"]
        needed[free_disk(root)[1].stat().st_dev] += cost.work.disk or 0
    for name, root in places.items():
        free, folder = free_disk(root)
        if needed.pop(folder.stat().st_dev, 0) > free:
            lines.append(f"{folder}: {_bytes(free)} of disk are free; choose another with {name}")
    for cost in missing:
        if cost.seconds is None:
            reasons.setdefault(cost.reason, []).append(cost.name)
    for reason, names in reasons.items():
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        lines.append(f"no time for {', '.join(names[:4])}{more}: {reason}")
    pairs = ((c.seconds, c.made) for c in costs if c.made and c.seconds is not None)
    if line := _compared(pairs):
        lines.append(line)
    return [_HEADER, *map(_row, costs)], lines


def read_predictions(store: Store) -> dict[str, float]:
    """Return predicted seconds by plan hash; LamdError when the file is damaged."""
    path = store.runs / PREDICTIONS
    if not path.exists():
        return {}
    return load_json(path, dict[str, FiniteFloat], "delete it and plan again")


def _seconds(work: "Work", times: "Times") -> tuple[float | None, str]:
    """Return the seconds of all units, or None and the reason."""
    if work.units is None:
        return None, work.reason
    total = 0.0
    for unit, number in work.units:
        measured = times.get(unit, "not probed")
        seconds = _by_flops(unit, times) if isinstance(measured, str) else measured
        if seconds is None:
            return None, str(measured)
        total += number * seconds
    return total, ""


def _by_flops(unit: "Unit", times: "Times") -> float | None:
    """Seconds of a unit that was not measured, from the nearest of its kind that was."""
    alike = {
        other: seconds
        for other, seconds in times.items()
        if other[:2] == unit[:2]  # kind and subject
        and other.flops
        and not isinstance(seconds, str)
    }
    if not alike or not unit.flops:
        return None
    nearest = min(alike, key=lambda other: abs(other.flops - unit.flops))
    return alike[nearest] * unit.flops / nearest.flops


def _compared(pairs: Iterable[tuple[float, CellInfo]]) -> str | None:
    """Return a line on predicted and actual seconds; None without a cell made in one piece."""
    whole = [(seconds, info.seconds) for seconds, info in pairs if not info.resumed]
    if not whole:
        return None
    predicted, took = map(sum, zip(*whole, strict=True))
    return (
        f"cells planned before and finished since: {len(whole)}; predicted {duration(predicted)}, "
        f"took {duration(took)}" + (f" ({took / predicted:.2f} times as long)" if predicted else "")
    )


def _total(costs: Sequence[CellCost], missing: Sequence[CellCost]) -> str:
    if not missing:
        return f"all {len(costs)} cells are made: nothing to do"
    heaviest = max(missing, key=lambda cost: cost.work.memory)
    flops = sum(cost.work.flops for cost in missing)
    timed = [cost.seconds for cost in missing if cost.seconds is not None and cost.work.units]
    time = f"{duration(sum(timed))} for {len(timed)} of them" if timed else "no times"
    return (
        f"to be made: {len(missing)} of {len(costs)} cells; {flops / 1e12:,.1f} TFLOP, "
        f"{time}; tensors take at least {_bytes(heaviest.work.memory)} ({heaviest.name}); "
        f"{_bytes(sum(cost.work.disk or 0 for cost in missing))} of disk"
    )


def _row(cost: CellCost) -> list[str]:
    work, predicted = cost.work, "-" if cost.seconds is None else duration(cost.seconds)
    time, took = predicted, ""
    if cost.made is not None:
        time, took = "0 s", duration(cost.made.seconds)
        took += f", predicted {predicted}" if cost.seconds is not None else ""
    flops = f"{work.flops / 1e12:,.2f}" if work.flops else ""
    return [
        cost.name,
        cost.state,
        flops if work.units is not None else "-",
        f"{work.parameters / 1e6:.1f} M" if work.parameters else "",
        time,
        _bytes(work.memory) if work.memory else "",
        "-" if work.disk is None else _bytes(work.disk),
        took,
    ]


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
