"""Targets about cost: what a sampling run takes by paradigm, and what quality its steps buy."""

from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from lamd.config.baselines import BaselineRow, is_baseline, split_row
from lamd.config.derived import Derived
from lamd.config.schema import Target
from lamd.config.strict import Count, Strict

Paradigm = Literal[
    "latent-motion",
    "latent-video-full",
    "latent-video-factorised",
    "pixel-full",
    "pixel-factorised",
]
Triple = tuple[Count, Count, Count]
Sampler = Literal["ddim", "ddpm", "dpmpp_2m"]
SampledRow = Literal["lamd"] | BaselineRow


class WidthsConfig(Strict):
    """The one width of all denoisers, and those of the autoencoders at f_s = 4."""

    base_channels: Count
    channel_multipliers: tuple[Count, ...]
    num_res_blocks: Count
    attention_factors: tuple[Count, ...]
    head_channels: Count
    context_channels: Count
    image_channels: Triple
    motion_encoder_channels: tuple[Count, Count]
    decoder_channels: Triple


class SamplingCost(Strict):
    """A table of what sampling costs by paradigm, frames and pixels; nothing is trained."""

    target: str
    kind: Literal["cost"]
    title: str
    paradigms: tuple[Paradigm, ...]
    widths: WidthsConfig
    shapes: tuple[tuple[Count, Count], ...]  # frames, pixels
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
        for name in ("paradigms", "shapes"):
            if len(set(getattr(self, name))) != len(getattr(self, name)) or not self.shapes:
                raise ValueError(f"{name}: needs entries, each once")
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


class CostFigure(Strict):
    """Cost over frames, from the very measurement that the table in `sources` shows."""

    target: str
    kind: Literal["cost_figure"]
    title: str
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

    sampler: Sampler
    num_steps: Count


class QualityFigure(Derived):
    """FVD against seconds and FLOPs a clip, over samplers and their numbers of steps."""

    kind: Literal["quality"]
    series: Annotated[dict[SampledRow, dict[Sampler, tuple[Count, ...]]], Field(min_length=1)]  # K
    fast: Choice  # is its FVD within the interval of `reference`, and in what share of the time?
    reference: Choice
    rounds: Annotated[int, Field(ge=2)]
    batch_size: Count  # clips timed at once
    threads: Count  # of the CPU, while timing

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.points)) != len(self.points):
            raise ValueError("series: a number of steps stands twice")
        for key in ("fast", "reference"):
            one = getattr(self, key)
            if (one.sampler, one.num_steps) not in {point[1:] for point in self.points}:
                raise ValueError(f"{key}: {one.sampler} {one.num_steps} is in none of the series")
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
        for row in filter(is_baseline, self.series):
            baseline, _ = split_row(row)
            if target.baselines is None or target.baselines.of(baseline) is None:
                raise ValueError(f"series: {name} has no baselines.{baseline} for {row}")

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
        """Return a source with the row and sampler of a point; DDIM keeps the source's eta."""
        target = self.sources[source]
        eta = (target.sampler.eta or 0.0) if point.sampler == "ddim" else None
        changes = {"name": point.sampler, "num_steps": point.num_steps, "eta": eta}
        changed = {"rows": (point.row,), "sampler": target.sampler.model_copy(update=changes)}
        if is_baseline(point.row):
            baseline, _ = split_row(point.row)
            same = {"num_sampling_steps": None}  # the sampler's
            options = target.baselines.of(baseline).model_copy(update=same)
            changed["baselines"] = target.baselines.model_copy(update={baseline: options})
        return target.model_copy(update=changed)
