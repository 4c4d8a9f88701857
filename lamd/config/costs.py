"""Targets about cost: of a sampling run by paradigm, and against the quality that it buys."""

from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from lamd.config.derived import Derived
from lamd.config.registries import ROW_RULES, SAMPLERS, RowName, SamplerName
from lamd.config.strict import DISTINCT, AnyTarget, Count, Strict, UNetWidths
from lamd.config.table import Target

Paradigm = Literal[
    "latent-motion",
    "latent-video-full",
    "latent-video-factorised",
    "pixel-full",
    "pixel-factorised",
]
SPATIAL_DOWNSAMPLING = 4  # f_s of both autoencoders
TEMPORAL_DOWNSAMPLING = 4  # f_t of latent video; the MCD-VAE's is the number of frames
Triple = tuple[Count, Count, Count]


class WidthsConfig(UNetWidths):
    """The width of all denoisers, and those of the autoencoders at f_s = 4."""

    context_channels: Count
    image_channels: Triple
    motion_encoder_channels: tuple[Count, Count]
    decoder_channels: Triple


class SamplingCost(AnyTarget):
    """A table of sampling costs by paradigm, frames and pixels; nothing is trained."""

    kind: Literal["cost"]
    paradigms: Annotated[tuple[Paradigm, ...], DISTINCT]
    widths: WidthsConfig
    shapes: Annotated[tuple[tuple[Count, Count], ...], DISTINCT]  # frames, pixels
    num_steps: Count  # K
    num_train_steps: Count  # T
    timed_steps: Count  # of the K; each costs the same
    rounds: Annotated[int, Field(ge=2)]  # in each, everything is timed once
    batch_size: Count
    threads: Count  # of the CPU

    @model_validator(mode="after")
    def _check(self) -> Self:
        if "latent-motion" not in self.paradigms:
            raise ValueError("paradigms: needs latent-motion, to which the others are compared")
        if not self.timed_steps <= self.num_steps <= self.num_train_steps:
            raise ValueError("needs timed_steps <= num_steps (K) <= num_train_steps (T)")
        multiple = 4 * 2 ** (len(self.widths.channel_multipliers) - 1)
        for frames, size in self.shapes:
            if frames < 4 or frames & (frames - 1) or size % multiple:
                raise ValueError(
                    f"shapes: {frames} frames of {size} pixels; frames are a power of two from 4 "
                    f"on, pixels a multiple of {multiple} here"
                )
        return self

    @property
    def swept(self) -> tuple[int, ...]:
        """The frame counts at the first shape's size, ascending."""
        return tuple(sorted(frames for frames, size in self.shapes if size == self.shapes[0][1]))


class CostFigure(AnyTarget):
    """Cost over frames, from the same measurement as the table in `sources`."""

    kind: Literal["cost_figure"]
    sources: dict[str, SamplingCost]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.sources) != 1:
            raise ValueError("sources: a cost figure has one table; name one")
        if len(self.source.swept) < 2:
            raise ValueError(
                "sources: needs two or more frame counts at the size of the first shape"
            )
        return self

    @property
    def source(self) -> SamplingCost:
        """The table."""
        return next(iter(self.sources.values()))


class Point(NamedTuple):
    """One point of a quality figure: a row of the tables, sampled in K steps."""

    row: str
    sampler: str
    num_steps: int

    def __str__(self) -> str:
        return f"{self.row} {self.sampler} {self.num_steps}"


class Choice(Strict):
    """One of the points, without its row."""

    sampler: SamplerName
    num_steps: Count


class QualityFigure(Derived):
    """FVD against seconds and FLOPs per clip, over samplers and their numbers of steps."""

    kind: Literal["quality"]
    series: Annotated[dict[RowName, dict[SamplerName, tuple[Count, ...]]], Field(min_length=1)]  # K
    fast: Choice  # is its FVD within the interval of `reference`, and in what share of the time?
    reference: Choice
    rounds: Annotated[int, Field(ge=2)]
    batch_size: Count  # clips timed at once
    threads: Count  # of the CPU, while timing

    @model_validator(mode="after")
    def _check(self) -> Self:
        for row in self.series:
            if not ROW_RULES[row].sampled:
                raise ValueError(f"series: row {row} is not sampled in steps; delete it")
        if len(set(self.points)) != len(self.points):
            raise ValueError("series: a number of steps appears twice")
        for key in ("fast", "reference"):
            choice = getattr(self, key)
            if (choice.sampler, choice.num_steps) not in {point[1:] for point in self.points}:
                raise ValueError(
                    f"{key}: {choice.sampler} {choice.num_steps} is in none of the series"
                )
        for name, target in self.sources.items():
            self._check_source(name, target)
        return self

    def _check_source(self, name: str, target: Target) -> None:
        most, limit = max(point.num_steps for point in self.points), target.dmg.num_train_steps
        if most > limit:
            raise ValueError(f"series: K = {most} exceeds T = {limit} of {name}")
        if target.dmg.prompt is not None:
            raise ValueError(
                f"sources: no cost model for the prompts of {name}; name another target"
            )
        if not any(protocol.startswith("fvd.") for protocol in target.evaluate.protocols):
            raise ValueError(f"sources: {name} measures no FVD; name another target")
        for row in self.series:
            needed = ROW_RULES[row].baseline
            if needed and (target.baselines is None or target.baselines.of(needed) is None):
                raise ValueError(f"series: {name} has no baselines.{needed} for {row}")

    @property
    def points(self) -> tuple[Point, ...]:
        """All points, row by row, sampler by sampler."""
        return tuple(
            Point(row, sampler, num_steps)
            for row, samplers in self.series.items()
            for sampler, steps in samplers.items()
            for num_steps in steps
        )

    def at(self, source: str, point: Point) -> Target:
        """Return a source with the row and sampler of a point; eta, if taken, is the source's."""
        target = self.sources[source]
        eta = (target.sampler.eta or 0.0) if SAMPLERS[point.sampler].takes_eta else None
        changes = {"name": point.sampler, "num_steps": point.num_steps, "eta": eta}
        changed = {"rows": (point.row,), "sampler": target.sampler.model_copy(update=changes)}
        baseline = ROW_RULES[point.row].baseline
        if target.baselines is not None and baseline is not None:
            same = {"num_sampling_steps": None}  # the sampler's
            options = target.denoiser(baseline).model_copy(update=same)
            changed["baselines"] = target.baselines.model_copy(update={baseline: options})
        return target.model_copy(update=changed)
