"""Sweeps: the points of a grid over the config keys of one table, as docs/sweeps.md shows them."""

import itertools
import math
from collections import ChainMap, Counter
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from lamd.base.errors import LamdError
from lamd.config.kinds import Derived
from lamd.config.schema import Target
from lamd.config.strict import NonNegative, Size, Strict, Tree, explain, nest

MOST_POINTS = 1000
VARIANT = "variant"  # the coordinate on an axis whose values have names
Point = dict[str, Any]  # config key -> value


class Column(Strict):
    """A metric of a row."""

    row: str
    metric: str


class CurvesFigure(Strict):
    """One panel per column over the first axis, one line for each value of the others.

    `reference` is drawn in every panel of its metric, such as a row that no axis changes.
    """

    name: Literal["curves"]
    columns: Annotated[tuple[Column, ...], Field(min_length=1)]
    reference: Column | None = Field(default=None, exclude_if=lambda column: column is None)


class TradeoffFigure(Strict):
    """y over each axis, one curve per value of the other, and a map of x and of y."""

    name: Literal["tradeoff"]
    x: Column
    y: Column


class WorkerConfig(Strict):
    """Resources of a cell, however many run at once; in no hash."""

    threads: Size  # values depend on it in the last bits
    gpus: NonNegative  # requested from a cluster


class Sweep(Derived):
    """A grid over the keys of one table: one row per point, seeds averaged."""

    kind: Literal["sweep"]
    points: tuple[Point, ...]
    variants: dict[str, Point] = Field(default={}, exclude_if=lambda variants: not variants)
    published: str | None  # group of published.yaml
    runtime: WorkerConfig
    diagnostics: bool = False  # whether each point's z_m is diagnosed
    figure: Annotated[CurvesFigure | TradeoffFigure, Field(discriminator="name")]

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if len(self.sources) != 1:
            yield "sources: a sweep has one table; name one"
        if "rows" in self.points[0]:
            yield "sweep: rows is no axis; name all rows in overrides"
        if self.figure.name == "tradeoff" and len(self.axes) != 2:
            yield "figure: a tradeoff needs two axes apart from the seeds"

    @property
    def source(self) -> Target:
        """The table that the points change."""
        return next(iter(self.sources.values()))

    @property
    def axes(self) -> tuple[str, ...]:
        """The coordinates that are not seeds."""
        return tuple(key for key in coordinates(self.points[0], self.variants) if not is_seed(key))

    def targets(self, sweep: Tree | None = None) -> dict[str, Target]:
        """Return the target of each point by the point's name.

        LamdError on a key or value that a target does not have, with its line in `sweep`.
        """
        sweep = sweep or Tree(source=self.target)
        return {
            point_name(coordinates(point, self.variants)): self._target(point, sweep)
            for point in self.points
        }

    def _target(self, point: Point, sweep: Tree) -> Target:
        tree = Tree(self.source.model_dump(mode="json"), source=sweep.at("sweep"))
        for key, value in point.items():
            tree.lay(nest(key, value, sweep.at("sweep", key)))
        try:
            return Target.model_validate(tree.data)
        except ValidationError as error:
            raise LamdError(explain(error, Target, tree)) from None


def is_seed(key: str) -> bool:
    """Return whether a key is a seed: points that differ in seeds alone make one row."""
    return key.rpartition(".")[2] in ("seed", "simulation_seed")


def point_name(point: Point) -> str:
    """Return e.g. `vae.motion_channels=1, train_vae.seed=0`."""
    return ", ".join(f"{key}={value}" for key, value in point.items()) or "all"


def coordinates(point: Point, variants: dict[str, Point]) -> Point:
    """Return a point with the name of its variant in place of the keys that the variants set."""
    for name, values in variants.items():
        if all(point.get(key) == value for key, value in values.items()):
            return {VARIANT: name} | {k: v for k, v in point.items() if k not in values}
    return point


def expand(grid: Any, sweep: Tree) -> tuple[tuple[Point, ...], dict[str, Point]]:
    """Return the points of a `sweep:` block, and the values that have names.

    The points are in the order of its axes, the last one fastest. LamdError on a block that is no
    grid, a point that appears twice, or too many points.
    """
    at, variants = sweep.at("sweep"), dict[str, Point]()
    if isinstance(grid, dict) and grid:
        sides = []
        for keys, values in grid.items():
            named = isinstance(values, dict) and all(isinstance(v, list) for v in values.values())
            if named and variants:
                raise LamdError(f"{at}: sweep: two axes have names; take those of one out")
            sides.append(_axis(keys, [*values.values()] if named else values, sweep))
            variants |= zip(map(str, values), sides[-1], strict=True) if named else {}
        _limit(math.prod(map(len, sides)), at)
        points = tuple(dict(ChainMap(*steps[::-1])) for steps in itertools.product(*sides))
    elif isinstance(grid, list) and grid and all(isinstance(p, dict) and p for p in grid):
        _limit(len(grid), at)
        if any(point.keys() != grid[0].keys() for point in grid):
            raise LamdError(f"{at}: sweep: each point names the same keys; add the missing ones")
        points = tuple({str(key): point[key] for key in grid[0]} for point in grid)
    else:
        raise LamdError(f"{at}: sweep: needs axes (key: values) or a list of points; add one")
    ((name, count),) = Counter(map(point_name, points)).most_common(1)
    if count > 1:
        raise LamdError(f"{at}: sweep: point {name} appears twice; delete one")
    return points, variants


def _axis(keys: str, values: Any, sweep: Tree) -> list[Point]:
    line = sweep.at("sweep", keys)
    at, names = f"{line}: sweep.{keys}", [key.strip() for key in str(keys).split(",")]
    if isinstance(values, dict):
        values = _range(values, at)
    if not isinstance(values, list) or not values or not all(names):
        raise LamdError(f"{at}: needs a list or {{from, to, step}}; fix the value")
    sweep.lines |= {("sweep", name): line for name in names}
    steps = []
    for value in values:
        row = value if len(names) > 1 and isinstance(value, list) else [value] * len(names)
        if len(row) != len(names):
            raise LamdError(f"{at}: {value} is not one value per key; give {len(names)}")
        steps.append(dict(zip(names, row, strict=True)))
    return steps


def _range(limits: dict, at: str) -> list[int | float]:
    if set(limits) != {"from", "to", "step"}:
        raise LamdError(f"{at}: a range has from, to and step; fix it")
    first, last, step = limits["from"], limits["to"], limits["step"]
    if not all(type(n) in (int, float) and math.isfinite(n) for n in (first, last, step)):
        raise LamdError(f"{at}: from, to and step are numbers; fix them")
    if step <= 0 or last < first:
        raise LamdError(f"{at}: needs step above 0 and from at or below to; fix them")
    count = (last - first) / step + 1 + 1e-9  # so that 0.3 / 0.1 are three steps
    _limit(count, at)
    # A float keeps fifteen digits: 0.1 + 2 * 0.1 is 0.3 as written by hand.
    values = (first + i * step for i in range(int(count)))
    return [value if type(value) is int else float(f"{value:.15g}") for value in values]


def _limit(count: float, at: str) -> None:
    if count >= MOST_POINTS + 1:
        raise LamdError(f"{at}: {count:.0f} points, at most {MOST_POINTS}; make it smaller")
