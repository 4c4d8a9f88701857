"""The manifest that tells a simulated stand-in from the real data set."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from lamd.base.errors import LamdError

MANIFEST = "stand_in.json"
# A new number is new data: it names every random stream, and stands in the key of the data.
GENERATORS = {
    "bair": "bair_sim.v1",
    "landscape": "landscape_sim.v3",
    "cater_v1": "cater_v1_sim.v2",
    "cater_v2": "cater_v2_sim.v2",
    "natops": "natops_sim.v1",
    "mug": "mug_sim.v1",
}


@dataclass(frozen=True)
class StandIn:
    """Which stand-in a folder holds: `counts` maps split to number of videos."""

    dataset: str
    generator: str
    seed: int
    counts: Mapping[str, int]

    def __str__(self) -> str:
        sizes = " + ".join(f"{count} {split}" for split, count in self.counts.items())
        return f"{self.generator}, seed {self.seed}, {sizes}"


def read_stand_in(root: Path, dataset: str | None = None) -> StandIn | None:
    """Read the manifest of the data set below `root`; None means real data.

    Raises:
        LamdError: when there is a manifest that cannot be understood, or is of another data set
            than `dataset`.
    """
    path = root / MANIFEST
    if not path.exists():
        return None
    try:
        fields = json.loads(path.read_text())
        found = StandIn(**fields)
        counts = {str(split): int(count) for split, count in found.counts.items()}
        found = StandIn(str(found.dataset), str(found.generator), int(found.seed), counts)
    except (OSError, ValueError, TypeError, AttributeError):
        raise LamdError(
            f"{path}: not a stand-in's manifest; delete the folder and simulate it again"
        ) from None
    if dataset not in (None, found.dataset):
        raise LamdError(f"{path}: of {found.dataset}, not {dataset}; give each a root of its own")
    return found


def write_stand_in(root: Path, stand_in: StandIn) -> None:
    """Write the manifest into `root` in one step."""
    root.mkdir(parents=True, exist_ok=True)
    temporary = root / f".{MANIFEST}.{os.getpid()}.tmp"
    temporary.write_text(json.dumps(asdict(stand_in), indent=2) + "\n")
    os.replace(temporary, root / MANIFEST)
