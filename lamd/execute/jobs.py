"""A job: one cell as plain data, which a worker plans again and makes.

What travels is the target's YAML, profile and overrides and the cell's name; results go through
the shared run folder.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Workers:
    """Who makes the cells of a sweep."""

    executor: str = "process"
    jobs: int | None = None  # processes; None: one
    ray_address: str | None = None  # None: as RAY_ADDRESS says, else a local cluster
    slurm: tuple[str, ...] = ()  # key=value for submitit, e.g. slurm_partition=gpu
    retry_failed: bool = False


@dataclass(frozen=True)
class Job:
    """One cell of a target, for any process that sees the same files."""

    target: str  # absolute path of the YAML
    profile: str
    overrides: tuple[str, ...]
    source: str  # point of a sweep
    cell: str
    runs: str  # absolute
    device: str
    threads: int


@dataclass(frozen=True)
class Ending:
    """How a job ended; `lost` means that its worker died, so that another may try."""

    kind: Literal["made", "failed", "lost"]
    reason: str = ""
    user_error: bool = False
    key: str | None = None  # of the cell that was made


def run_job(job: Job) -> Ending:
    """Make the job's cell in this process, from now on with `job.threads` threads."""
    import torch

    from lamd.base.errors import LamdError
    from lamd.config import load_target
    from lamd.pipeline.cells import CellFailed, Runner, Store
    from lamd.targets.reproduce import planned_cells

    def say(line: str) -> None:
        print(f"lamd: {job.source}: {line}", file=sys.stderr, flush=True)

    torch.set_num_threads(job.threads)
    try:
        target = load_target(job.target, job.profile, job.overrides)
        cells = planned_cells(target, job.device)[job.source]
        wanted = next(cell for cell in cells if cell.name == job.cell)
        store = Store(Path(job.runs))
        Runner(store, job.device, say).run(wanted)
        return Ending("made", key=store.key(wanted))
    except CellFailed as failure:
        return Ending("failed", failure.reason, failure.user_error)
    except LamdError as error:
        return Ending("failed", str(error), True)
    except Exception as error:  # the driver goes on with the other cells
        return Ending("failed", f"{type(error).__name__}: {' '.join(str(error).split())}")
