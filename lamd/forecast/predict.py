"""`lamd plan`: the cost of a target's missing cells."""

import json
from dataclasses import dataclass
from typing import NamedTuple

from lamd.base.files import write_atomically
from lamd.base.origin import CellInfo
from lamd.config import AnyTarget, Target
from lamd.forecast.accuracy import PREDICTIONS, compared, duration, read_predictions
from lamd.forecast.probe import Measured, probe
from lamd.forecast.units import Unit
from lamd.forecast.workload import Workload, frames_of, workload
from lamd.pipeline.cell import Cell
from lamd.pipeline.store import Store
from lamd.targets.kind import KINDS


@dataclass(frozen=True)
class CellCost:
    """The predicted or actual cost of one cell.

    `seconds` is the prediction, of a finished cell the earlier one; None where there is none.
    """

    name: str
    state: str
    work: Workload
    seconds: float | None
    made: CellInfo | None
    reason: str = ""  # why there is no time


@dataclass(frozen=True)
class Forecast:
    """All cells of a target, each once."""

    cells: tuple[CellCost, ...]

    @property
    def missing(self) -> list[CellCost]:
        """The cells still to be made."""
        return [cell for cell in self.cells if cell.made is None]

    @property
    def seconds(self) -> float:
        """Predicted seconds of the missing cells, those without a prediction left out."""
        return sum(cell.seconds or 0.0 for cell in self.missing)


class _Planned(NamedTuple):
    name: str
    cell: Cell
    target: Target | None  # None for a measurement of time
    data: Cell  # of its source; all other cells descend from it


def forecast(
    target: AnyTarget, store: Store, device: str, *, limit: float | None = None
) -> Forecast:
    """Predict the cost of a target's missing cells, and keep the predicted times for later.

    Args:
        limit: seconds that the probe may take; None predicts no times.
    """
    kept, planned = read_predictions(store), _planned(target, device)
    works = {key: _work(plan, store) for key, plan in planned.items()}
    wanted = {
        unit: plan.target
        for key, plan in planned.items()
        if plan.target is not None
        for unit, _ in works[key].units or ()
    }
    measured = Measured() if limit is None else probe(wanted, device, limit)
    costs = []
    for key, (name, cell, *_) in planned.items():
        made = store.info(cell) if store.is_complete(cell) else None
        seconds, reason = _seconds(works[key], measured)
        if made is not None:
            seconds = kept.get(key)
        elif seconds is not None:
            kept[key] = seconds
        costs.append(CellCost(name, store.state(cell), works[key], seconds, made, reason))
    if limit is not None:
        write_atomically(store.runs / PREDICTIONS, json.dumps(kept, indent=1) + "\n")
    return Forecast(tuple(costs))


def forecast_table(forecast: Forecast) -> tuple[list[list[str]], list[str]]:
    """Return a table with a header and one row per cell, and lines that sum it up."""
    header = ["cell", "state", "TFLOP", "parameters", "time", "memory", "disk", "took"]
    lines, reasons = [_total(forecast)], dict[str, list[str]]()
    for cell in forecast.missing:
        if cell.seconds is None:
            reasons.setdefault(cell.reason, []).append(cell.name)
    for reason, names in reasons.items():
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        lines.append(f"no time for {', '.join(names[:4])}{more}: {reason}")
    pairs = [(c.seconds, c.made) for c in forecast.cells if c.made and c.seconds is not None]
    if line := compared(pairs):
        lines.append(line)
    return [header, *map(_row, forecast.cells)], lines


def _planned(target: AnyTarget, device: str) -> dict[str, _Planned]:
    """Return the cells by plan hash, parents first."""
    graph = KINDS[target.kind].plan(target, device)
    planned: dict[str, _Planned] = {}
    for source, cells in graph.cells().items():
        config = graph.plans[source].target if source in graph.plans else None
        for cell in cells:
            name = f"{source}: {cell.name}" if source else cell.name
            plan = _Planned(name, cell, config, cells[0])
            planned.setdefault(cell.plan_hash, plan)
    return planned


def _work(plan: _Planned, store: Store) -> Workload:
    if store.is_complete(plan.cell):
        return Workload((), 0)
    if plan.target is None:
        return Workload(None, 0, reason="it is a measurement of time itself")
    return workload(plan.cell, plan.target, frames_of(plan.target, plan.data, store))


def _seconds(work: Workload, measured: Measured) -> tuple[float | None, str]:
    if work.units is None:
        return None, work.reason
    total = 0.0
    for unit, count in work.units:
        rate = measured.seconds.get(unit, _by_flops(unit, measured))
        if rate is None:
            return None, measured.reasons.get(unit, "not probed")
        total += count * rate
    return total, ""


def _by_flops(unit: Unit, measured: Measured) -> float | None:
    """Seconds of a unit that was not measured, from the nearest of its kind that was."""
    alike = [other for other in measured.seconds if other.kind == unit.kind and other.flops]
    if not alike or not unit.flops:
        return None
    nearest = min(alike, key=lambda other: abs(other.flops - unit.flops))
    return measured.seconds[nearest] * unit.flops / nearest.flops


def _total(forecast: Forecast) -> str:
    missing, count = forecast.missing, len(forecast.cells)
    if not missing:
        return f"all {count} cells are made: nothing to do"
    heaviest = max(missing, key=lambda cell: cell.work.memory)
    flops = sum(cell.work.flops for cell in missing)
    timed = [cell for cell in missing if cell.seconds is not None and cell.work.units]
    time = f"{duration(forecast.seconds)} for {len(timed)} of them" if timed else "no times"
    return (
        f"to be made: {len(missing)} of {count} cells; {flops / 1e12:,.1f} TFLOP, "
        f"{time}; tensors take at least {_bytes(heaviest.work.memory)} ({heaviest.name}); "
        f"{_bytes(sum(cell.work.disk or 0 for cell in missing))} of disk"
    )


def _row(cell: CellCost) -> list[str]:
    work, predicted = cell.work, "-" if cell.seconds is None else duration(cell.seconds)
    time, took = predicted, ""
    if cell.made is not None:
        time, took = "0 s", duration(cell.made.seconds)
        took += f", predicted {predicted}" if cell.seconds is not None else ""
    flops = f"{work.flops / 1e12:,.2f}" if work.flops else ""
    return [
        cell.name,
        cell.state,
        flops if work.units is not None else "-",
        f"{work.parameters / 1e6:.1f} M" if work.parameters else "",
        time,
        _bytes(work.memory) if work.memory else "",
        "-" if work.disk is None else _bytes(work.disk),
        took,
    ]


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
