"""A cell: one step of a target, made once, with all that its result depends on.

A cell pickles, with its ancestors, in a few kilobytes, so that a worker can make it without
planning its target again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from lamd.config import config_hash

# Raise the number of a kind when its code changes what it makes: cells made by the older code are
# then left alone. tests/test_code_versions.py fails when the code of a kind moved without that.
CODE_VERSIONS = {
    "data": 2,
    "vae": 2,  # 2: four channels per group of a norm; rate and ramp of the adversary
    "latents": 1,
    "dmg": 3,  # 2: two channels per group after the step embedding; 3: four, strata of t
    "captioner": 2,  # of this kind and the next three, 2 and 3: as of vae and dmg
    "pixel": 3,
    "video_vae": 2,
    "video_latents": 1,
    "latent_video": 2,
    "clips": 3,  # 2: a repeated frame is stored once; 3: samples are normalised as latents are
    "captions": 1,
    "tracks": 1,
    "features": 2,  # 2: a shorter side of exactly 224
    "values": 4,  # 4: intervals keep clips and videos together; pseudo-values are kept
    "diagnostics": 2,  # 2: linear_probe_r2 and zero_latent_change by these names
    "figure": 2,  # 2: intervals of a rollout resample source videos
    "latency": 3,  # 2: the model of the tables; 3: pixel space attends where LaMD does
}


@dataclass(frozen=True)
class Step:
    """A call of `package.module:function` with `(folder, inputs, **options)`, imported by then.

    Planning and runs whose cells are all cached therefore import neither torch nor MuJoCo.
    """

    function: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, folder: Path, inputs: Mapping[str, Path]) -> dict[str, Any] | None:
        return resolve_name(self.function)(folder, inputs, **self.options)


def step_of(function: str, **options: Any) -> Step:
    """Return the step of a function below `lamd.pipeline.steps`."""
    return Step(f"lamd.pipeline.steps.{function}", options)


@dataclass(frozen=True, eq=False, kw_only=True)
class Cell:
    """One step and its place among the others."""

    kind: str  # a key of `CODE_VERSIONS`, or another word with version 1
    config: Mapping[str, Any]  # the part of the config that the result depends on
    step: Step = field(repr=False)  # fills a folder, given the parents' folders by role
    row: str = ""  # clip set or row of a table that it is about; "" for the stages
    detail: str = ""  # for people, where two cells share kind and row
    parents: Mapping[str, "Cell"] = field(default_factory=dict)  # by role
    # The step returns {"content_hash": ...}, which stands for the cell in its children's keys.
    states_content: bool = False
    split: str | None = None  # of the data, where the step reads one alone: only that counts
    collective: bool = False  # every process of a multi-process launch takes part
    weights: tuple[str, ...] = ()  # external network weights that the step loads

    @property
    def name(self) -> str:
        """Kind, row and detail, for people."""
        return " ".join(filter(None, (self.kind, self.row, self.detail)))

    @property
    def version(self) -> int:
        """The version of the code of this kind."""
        return CODE_VERSIONS.get(self.kind, 1)

    @cached_property
    def plan_hash(self) -> str:
        """Equal for two cells that are one; unlike the key it is known before the data is."""
        return self.hash_with({role: cell.plan_hash for role, cell in self.parents.items()})

    def hash_with(self, parents: Mapping[str, str]) -> str:
        """Return the hash of kind, version, config and the parents' hashes by role."""
        fields = {"kind": self.kind, "version": self.version, "config": self.config}
        return config_hash(fields | {"parents": dict(parents)})


def with_ancestors(cells: Iterable[Cell]) -> list[Cell]:
    """Return `cells` and all their ancestors, parents first, equal ones once."""
    ordered: dict[str, Cell] = {}

    def visit(cell: Cell) -> None:
        if cell.plan_hash not in ordered:
            for parent in cell.parents.values():
                visit(parent)
            ordered[cell.plan_hash] = cell

    for cell in cells:
        visit(cell)
    return list(ordered.values())
