"""What one unit of work takes on this machine: a few of each, at the target's shapes and batch.

The probe trains and samples networks with fresh weights on random clips, in a process of its own
that is ended when its time is up or its memory is gone.
"""

import multiprocessing
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection

from lamd.base.errors import LamdError
from lamd.base.processes import leave_with_parent
from lamd.config import Target

_STARTED = 60.0  # seconds that importing PyTorch may take beside the limit


@dataclass(frozen=True)
class Unit:
    """What is counted: a training step, or one clip of inference, simulation or comparison.

    Attributes:
        kind: a key of `probes.PROBES`.
        flops: closed form; 0 where arithmetic does not decide.
        memory: bytes that its tensors take at least.
        shape: what else decides how long it takes: batch, frames, pixels.
    """

    kind: str
    flops: int
    memory: int
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Measured:
    """Seconds a unit, by unit, and why the others were not measured."""

    seconds: dict[Unit, float]
    reasons: dict[Unit, str]


def probe(wanted: Mapping[Unit, Target], device: str, limit: float) -> Measured:
    """Time each unit on its target, the cheapest first, until `limit` seconds are over."""
    found = Measured({}, {})
    if not wanted:
        return found
    context = multiprocessing.get_context("spawn")
    results, theirs = context.Pipe(duplex=False)
    order = sorted(wanted, key=lambda unit: (unit.kind == "simulation", unit.flops))
    process = context.Process(
        target=_work, args=([(unit, wanted[unit]) for unit in order], device, limit, theirs)
    )
    process.start()
    theirs.close()
    deadline, late = time.monotonic() + limit + _STARTED, f"not reached in {limit:.0f} s"
    reason = late
    try:
        for unit in order:
            if not results.poll(max(0.0, deadline - time.monotonic())):
                break
            answer = results.recv()
            if isinstance(answer, str):
                found.reasons[unit] = answer
            else:
                found.seconds[unit] = answer
    except EOFError:  # done, or killed
        process.join()
        reason = late if process.exitcode == 0 else "the probe was killed, perhaps out of memory"
    finally:
        process.kill()
        process.join()
    for unit in order:
        if unit not in found.seconds:
            found.reasons.setdefault(unit, reason)
    return found


def _work(
    wanted: list[tuple[Unit, Target]], device: str, limit: float, results: Connection
) -> None:
    from lamd.forecast.probes import PROBES

    leave_with_parent()
    deadline = time.monotonic() + limit
    for unit, target in wanted:
        if time.monotonic() > deadline:
            return
        try:
            results.send(PROBES[unit.kind](target, unit, device))
        except Exception as error:  # whatever the run itself would say
            text = " ".join(str(error).split())
            known = isinstance(error, LamdError)
            results.send(text if known else f"{type(error).__name__}: {text[:200]}")
