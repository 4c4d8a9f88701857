"""`lamd plan`: what a target's missing cells will take, and how far off earlier predictions were.

Predictions are kept in `predictions.json` of the run folder, by `identity`, until the cell is made.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamd.base.errors import LamdError
from lamd.base.files import write_atomically
from lamd.base.origin import CellInfo
from lamd.config import AnyTarget, CostFigure, SamplingCost, Sweep, Target
from lamd.execute.schedule import identity
from lamd.forecast.probe import Measured, Unit, probe
from lamd.forecast.workload import Workload, frames_of, workload
from lamd.pipeline.cells import Cell, Store
from lamd.targets.reproduce import planned_cells

PREDICTIONS = "predictions.json"


@dataclass(frozen=True)
class CellCost:
    """What one cell will take, or what it took.

    `seconds` is the prediction, of a finished cell the one made before; None where there is none.
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


def forecast(
    target: AnyTarget, store: Store, device: str, *, limit: float | None = None
) -> Forecast:
    """Predict what a target's missing cells take, and keep the prediction for later.

    Args:
        limit: seconds that the probe may take; None predicts no times.
    """
    kept, found = _read(store), _planned(target, store, device)
    works = {
        key: Workload((), 0) if store.is_complete(cell) else _work(cell, source, cells, store)
        for key, (_, cell, source, cells) in found.items()
    }
    wanted = {unit: found[key][2] for key, work in works.items() for unit, _ in work.units or ()}
    measured = Measured({}, {}) if limit is None else probe(wanted, device, limit)
    costs = []
    for key, (name, cell, _, _) in found.items():
        made = store.info(cell) if store.is_complete(cell) else None
        seconds, reason = _seconds(works[key], measured)
        if made is not None:
            seconds = kept.get(key)
        elif seconds is not None:
            kept[key] = seconds
        costs.append(CellCost(name, store.state(cell), works[key], seconds, made, reason))
    if limit is not None:
        write_atomically(_place(store), json.dumps(kept, indent=1) + "\n")
    return Forecast(tuple(costs))


def accuracy(target: AnyTarget, store: Store, device: str) -> str | None:
    """Return a line that sets predicted against actual times of finished cells; None without.

    Predictions that cannot be read are told in their place: a finished run is no failure for them.
    """
    try:
        kept = _read(store)
    except LamdError as error:
        return str(error)
    if not kept:
        return None
    found = _planned(target, store, device)
    made = {
        key: store.info(cell) for key, (_, cell, *_) in found.items() if store.is_complete(cell)
    }
    return _compared([(kept[key], info) for key, info in made.items() if key in kept])


def forecast_table(forecast: Forecast) -> tuple[list[list[str]], list[str]]:
    """Return a table with a header, one row a cell, and lines that sum it up."""
    header = ["cell", "state", "TFLOP", "parameters", "time", "memory", "disk", "took"]
    rows = [_row(cell) for cell in forecast.cells]
    missing = forecast.missing
    if not missing:
        lines = [f"all {len(rows)} cells are made: nothing to do"]
    else:
        lines = [_total(forecast)]
    silent = [cell for cell in missing if cell.seconds is None]
    for reason in dict.fromkeys(cell.reason for cell in silent):
        names = [cell.name for cell in silent if cell.reason == reason]
        lines.append(f"no time for {_some(names)}: {reason}")
    pairs = [(c.seconds, c.made) for c in forecast.cells if c.made and c.seconds is not None]
    return [header, *rows], lines + [line for line in [_compared(pairs)] if line]


def _planned(
    target: AnyTarget, store: Store, device: str
) -> dict[str, tuple[str, Cell, Target | SamplingCost, list[Cell]]]:
    """Return name, cell, target and the cells of its source by identity, parents first."""
    if isinstance(target, Target | SamplingCost):
        sources = {"": target}
    elif isinstance(target, CostFigure):
        sources = {"": target.source}
    else:
        sources = target.targets() if isinstance(target, Sweep) else target.sources
    found: dict[str, tuple[str, Cell, Target | SamplingCost, list[Cell]]] = {}
    for source, cells in planned_cells(target, device).items():
        for cell in cells:
            name = f"{source}: {cell.name}" if source else cell.name
            found.setdefault(identity(cell), (name, cell, sources[source], cells))
    return found


def _work(
    cell: Cell, target: Target | SamplingCost, cells: Iterable[Cell], store: Store
) -> Workload:
    if isinstance(target, SamplingCost):
        return Workload(None, 0, reason="it is a measurement of time itself")
    data = next(one for one in cells if one.kind == "data")
    return workload(cell, target, frames_of(target, data, store))


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
    alike = [one for one in measured.seconds if one.kind == unit.kind and one.flops]
    if not alike or not unit.flops:
        return None
    nearest = min(alike, key=lambda one: abs(one.flops - unit.flops))
    return measured.seconds[nearest] * unit.flops / nearest.flops


def _compared(pairs: list[tuple[float, CellInfo]]) -> str | None:
    whole = [(seconds, info) for seconds, info in pairs if not info.resumed]
    if not whole:
        return None
    predicted, took = sum(s for s, _ in whole), sum(info.seconds for _, info in whole)
    return (
        f"cells planned before and finished since: {len(whole)}; predicted {_time(predicted)}, "
        f"took {_time(took)}" + (f" ({took / predicted:.2f} times as long)" if predicted else "")
    )


def _total(forecast: Forecast) -> str:
    missing = forecast.missing
    heaviest = max(missing, key=lambda cell: cell.work.memory)
    flops = sum(cell.work.flops for cell in missing)
    timed = [cell for cell in missing if cell.seconds is not None and cell.work.units]
    time = f"{_time(forecast.seconds)} for {len(timed)} of them" if timed else "no times"
    return (
        f"to be made: {len(missing)} of {len(forecast.cells)} cells; {flops / 1e12:,.1f} TFLOP, "
        f"{time}; tensors take at least {_bytes(heaviest.work.memory)} ({heaviest.name}); "
        f"{_bytes(sum(cell.work.disk or 0 for cell in missing))} of disk"
    )


def _row(cell: CellCost) -> list[str]:
    took = "" if cell.made is None else _time(cell.made.seconds)
    if cell.made is not None and cell.seconds is not None:
        took += f", predicted {_time(cell.seconds)}"
    work, time = cell.work, "0 s" if cell.made else "-"
    if cell.made is None and cell.seconds is not None:
        time = _time(cell.seconds)
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


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds else "0 s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _place(store: Store) -> Path:
    return store.root.parent / PREDICTIONS


def _read(store: Store) -> dict[str, Any]:
    path = _place(store)
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(seconds, int | float) for seconds in kept.values()):
            raise ValueError("seconds by cell are expected")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise LamdError(f"{path}: not readable ({error}); delete it and plan again") from None
    return kept
