"""What every kind of target is told: how it is asked for, and where its cells and results go."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamd.config import AnyTarget, config_hash
from lamd.pipeline.cells import Runner, Store


@dataclass(frozen=True)
class Request:
    """One run of a target.

    Attributes:
        overrides: as given with `--set`; recorded.
        results: folder that holds one folder a target.
        device: `cpu`, `cuda` or `auto`.
        say: takes one line of progress.
    """

    profile: str
    overrides: tuple[str, ...]
    store: Store
    results: Path
    device: str
    say: Callable[[str], None]

    def runner(self) -> Runner:
        """Return a maker of cells in this process."""
        return Runner(self.store, self.device, self.say)

    def written(self, target: AnyTarget) -> dict[str, Any]:
        """Return what every report says of its target and of how it was asked for."""
        return {
            "target": target.target,
            "title": target.title,
            "profile": self.profile,
            "config": target.model_dump(mode="json"),
            "config_hash": config_hash(target),
            "overrides": self.overrides,
        }
