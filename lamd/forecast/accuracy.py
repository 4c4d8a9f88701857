"""Earlier predictions against the time that cells took; light, since every run ends with it.

Predictions are kept in `predictions.json` of the run folder, by plan hash, until the cell is made.
"""

import json
from collections.abc import Sequence

from lamd.base.errors import LamdError
from lamd.base.origin import CellInfo
from lamd.config import AnyTarget
from lamd.pipeline.store import Store
from lamd.targets.kind import KINDS

PREDICTIONS = "predictions.json"


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
    pairs = [(kept[key], store.info(cell)) for key, cell in made.items() if key in kept]
    return compared(pairs)


def compared(pairs: Sequence[tuple[float, CellInfo]]) -> str | None:
    """Return a line on predicted and actual seconds; None without a cell made in one piece."""
    whole = [(seconds, info.seconds) for seconds, info in pairs if not info.resumed]
    if not whole:
        return None
    predicted, took = map(sum, zip(*whole, strict=True))
    return (
        f"cells planned before and finished since: {len(whole)}; predicted {duration(predicted)}, "
        f"took {duration(took)}" + (f" ({took / predicted:.2f} times as long)" if predicted else "")
    )


def duration(seconds: float) -> str:
    """Return e.g. `12.3 s`, `45 min` or `3 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds else "0 s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def read_predictions(store: Store) -> dict[str, float]:
    """Return predicted seconds by plan hash.

    Raises:
        LamdError: when the file is damaged.
    """
    path = store.runs / PREDICTIONS
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(seconds, int | float) for seconds in kept.values()):
            raise ValueError("seconds by cell are expected")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise LamdError(f"{path}: not readable ({error}); delete it and plan again") from None
    return kept
