"""The protocol of every kind of target: plan cells, collect their values, render files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

from lamd.config import KINDS as CONFIG_KINDS
from lamd.config import AnyTarget, SamplingCost, Target, config_hash
from lamd.pipeline.cell import Cell, with_ancestors
from lamd.pipeline.graph import TablePlan
from lamd.pipeline.store import CellFailed, Store
from lamd.report.results import Results

Config = TypeVar("Config", bound=AnyTarget, contravariant=True)
Failed = Mapping[str, CellFailed]  # by plan hash, dependants among them


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The cells of a target.

    Attributes:
        targets: the config behind each source: a table's own, a figure's sources, a sweep's points.
        wanted: the cells that the results are collected from, by source.
        extra: further cells, without which the rest is still reported.
        plans: the plan of each source that trains models.
    """

    targets: Mapping[str, Target | SamplingCost]
    wanted: Mapping[str, Sequence[Cell]]
    extra: Mapping[str, Sequence[Cell]] = field(default_factory=dict)
    plans: Mapping[str, TablePlan] = field(default_factory=dict)

    def cells(self) -> dict[str, list[Cell]]:
        """Return all cells of each source, parents first, equal ones of a source once."""
        return {
            source: with_ancestors([*cells, *self.extra.get(source, ())])
            for source, cells in self.wanted.items()
        }


@dataclass(frozen=True)
class Run:
    """One run of a target, for the record: its store, profile and overrides."""

    store: Store
    profile: str
    overrides: tuple[str, ...]
    device: str

    def header(self, config: AnyTarget) -> dict[str, Any]:
        """Return the fields of `Results` that every kind has."""
        return {
            "kind": config.kind,
            "target": config.target,
            "title": config.title,
            "profile": self.profile,
            "config": config.model_dump(mode="json"),
            "config_hash": config_hash(config),
            "overrides": self.overrides,
        }


class Kind(Protocol[Config]):
    """One kind of target; `render` draws what `collect` returns."""

    name: ClassVar[str]

    def plan(self, config: Config, device: str) -> Any:
        """Return the cells, as a `Graph`; check what can be checked before the work.

        Raises:
            LamdError: on a config that names something unknown.
        """

    def collect(self, config: Config, graph: Any, run: Run, failed: Failed) -> "Collected":
        """Return the results of the finished cells; a failed cell becomes a missing value."""

    def render(self, collected: "Collected") -> dict[str, bytes]:
        """Return the files of a results folder by name, `record.json` aside."""


@dataclass(frozen=True)
class Collected:
    """Results, and the arrays that are drawn next to them: a grid, panels, values per clip."""

    results: Results
    pictures: Any = None
    per_clip: list[dict[str, Any]] = field(default_factory=list)

    def per_clip_file(self) -> dict[str, bytes]:
        """Return `per_clip.parquet`; nothing without values per clip."""
        from lamd.report.frame import write_per_clip

        return {"per_clip.parquet": write_per_clip(self.per_clip)} if self.per_clip else {}


KINDS: dict[str, Kind] = {}


def register(kind: Kind, config: type[AnyTarget]) -> None:
    """Add a kind of target, with the config class that its YAMLs are checked by."""
    KINDS[kind.name] = kind
    CONFIG_KINDS[kind.name] = config
