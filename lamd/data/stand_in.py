"""The manifest that marks a simulated stand-in of a data set."""

from pathlib import Path

from lamd.base.errors import LamdError
from lamd.base.files import write_atomically
from lamd.config.strict import Strict

MANIFEST = "stand_in.json"


class StandIn(Strict):
    """The stand-in in a folder: `counts` maps split to number of videos."""

    dataset: str
    generator: str
    seed: int
    counts: dict[str, int]

    def __str__(self) -> str:
        sizes = " + ".join(f"{count} {split}" for split, count in self.counts.items())
        return f"{self.generator}, seed {self.seed}, {sizes}"


def read_stand_in(root: Path, dataset: str | None = None) -> StandIn | None:
    """Read the manifest of the data set below `root`; None means real data.

    LamdError on a manifest that cannot be understood, or is of another data set than `dataset`.
    """
    path = root / MANIFEST
    if not path.exists():
        return None
    try:
        stand_in = StandIn.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        raise LamdError(
            f"{path}: not a stand-in's manifest; delete the folder and simulate it again"
        ) from None
    if dataset not in (None, stand_in.dataset):
        raise LamdError(f"{path}: of {stand_in.dataset}, not {dataset}; give each its own root")
    return stand_in


def write_stand_in(root: Path, stand_in: StandIn) -> None:
    """Write the manifest into `root` in one step."""
    write_atomically(root / MANIFEST, stand_in.model_dump_json(indent=2) + "\n")
