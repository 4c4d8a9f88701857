"""Time units of work on this machine, in a separate process that is ended when time is up."""

import multiprocessing
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from lamd.base.errors import LamdError
from lamd.base.processes import leave_with_parent
from lamd.config import Target
from lamd.forecast.units import Unit, time_unit

_STARTED = 60.0  # seconds that importing PyTorch may take in addition to the limit


@dataclass(frozen=True)
class Measured:
    """Seconds per unit, and why the others were not measured."""

    seconds: dict[Unit, float] = field(default_factory=dict)
    reasons: dict[Unit, str] = field(default_factory=dict)


def probe(wanted: Mapping[Unit, Target], device: str, limit: float) -> Measured:
    """Time each unit on its target, the cheapest first, until `limit` seconds are over."""
    measured, late = Measured(), f"not reached in {limit:.0f} s"
    if not wanted:
        return measured
    context = multiprocessing.get_context("spawn")
    results, theirs = context.Pipe(duplex=False)
    order = sorted(wanted.items(), key=lambda work: (work[0].kind == "simulation", work[0].flops))
    process = context.Process(target=_work, args=(order, device, limit, theirs))
    process.start()
    theirs.close()
    deadline, reason = time.monotonic() + limit + _STARTED, late
    try:
        for unit, _ in order:
            if not results.poll(max(0.0, deadline - time.monotonic())):
                break
            answer = results.recv()
            if isinstance(answer, str):
                measured.reasons[unit] = answer
            else:
                measured.seconds[unit] = answer
    except EOFError:  # done, or killed
        process.join()
        reason = late if process.exitcode == 0 else "the probe was killed, perhaps out of memory"
    finally:
        process.kill()
        process.join()
    missing = wanted.keys() - measured.seconds.keys() - measured.reasons.keys()
    measured.reasons.update(dict.fromkeys(missing, reason))
    return measured


def _work(
    wanted: list[tuple[Unit, Target]], device: str, limit: float, results: Connection
) -> None:
    leave_with_parent()
    deadline = time.monotonic() + limit
    for unit, target in wanted:
        if time.monotonic() > deadline:
            return
        try:
            results.send(time_unit(unit, target, device))
        except Exception as error:  # the run itself would fail likewise
            text = " ".join(str(error).split())
            known = isinstance(error, LamdError)
            results.send(text if known else f"{type(error).__name__}: {text[:200]}")
