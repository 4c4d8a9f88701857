"""The target kinds other than tables and sweeps: figures, tables over data sets, and costs.

Those with `sources:` show what these targets trained, and train nothing themselves, so that a
figure never retrains what a table trained. Resolved, `sources` holds each source in full.
"""

from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from lamd.config.data import clip_problems
from lamd.config.networks import UNetWidths
from lamd.config.registries import ROW_RULES, SAMPLERS, RowName, SamplerName
from lamd.config.schema import AnyTarget, Target, most_clips
from lamd.config.strict import DISTINCT, Count, CountOrZero, Layers, NonNegative, Size, Strict

Several = Annotated[Size, Field(ge=2)]
_COLUMNS = 48  # of clips, in a WebP


class _Shown(Strict):
    clips: Size  # test clips shown, the first ones
    frames: Size  # frames of a clip in the still picture, at even distances


class DecodedFigure(_Shown):
    """Real clips next to their reconstruction, or the motion of clip B on the first frame of A."""

    name: Literal["reconstruction", "motion_transfer"]


class SamplesFigure(_Shown):
    """Several samples of one first frame, and where they differ."""

    name: Literal["samples"]
    samples: Annotated[Several, Field(le=_COLUMNS)]


class PromptsFigure(_Shown):
    """Samples of one first frame under several prompts, and of the first one with other noise."""

    name: Literal["prompts"]
    prompts: Annotated[tuple[str, ...], Field(min_length=1, max_length=_COLUMNS // 2)]
    samples: Annotated[Size, Field(le=_COLUMNS // 2)]  # of the first prompt


class TimestepsFigure(_Shown):
    """Clips decoded from z_m^t along one sampling run; of the steps visited the nearest to each."""

    name: Literal["timesteps"]
    steps: Annotated[tuple[CountOrZero, ...], Field(max_length=_COLUMNS)]


class InterpolationFigure(_Shown):
    """Clips between two motion latents of one first frame; weight 0 is the first of the two."""

    name: Literal["interpolation"]
    weights: Annotated[
        tuple[Annotated[float, Field(ge=0.0, le=1.0)], ...],
        Field(min_length=1, max_length=_COLUMNS),
    ]


class ScalingFigure(_Shown):
    """Clips whose motion latent is scaled; factor 0 is stillness, 1 the clip's own motion."""

    name: Literal["scaling"]
    factors: Annotated[tuple[NonNegative, ...], Field(max_length=_COLUMNS)]


class RolloutFigure(_Shown):
    """Clips continued from their last frame `chunks` - 1 times, measured chunk by chunk."""

    name: Literal["rollout"]
    chunks: Several


FigureConfig = Annotated[
    DecodedFigure
    | SamplesFigure
    | PromptsFigure
    | TimestepsFigure
    | InterpolationFigure
    | ScalingFigure
    | RolloutFigure,
    Field(discriminator="name"),
]


class Derived(AnyTarget):
    """Base of targets that show others: `sources` are those targets, resolved."""

    sources: dict[str, Target]

    def problems(self) -> Iterator[str]:
        names = [source.data.name for source in self.sources.values()]
        if len(set(names)) != len(names):
            yield "sources: two sources of one data set; delete one of them"


class Figure(Derived):
    """A figure: one picture and one animation for each source."""

    kind: Literal["figure"]
    figure: FigureConfig

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        for name, source in self.sources.items():
            if self.figure.frames > source.data.num_frames:
                yield f"figure.frames: {name} has {source.data.num_frames} frames"
            if (most := most_clips(source.data.size)) < self.figure.clips:
                yield f"figure.clips: {most} clips of {name} fit into a picture"
            if self.figure.name == "prompts" and source.dmg.prompt is None:
                yield f"figure.prompts: {name} takes no prompts; name another target"


class ReconstructionTable(Derived):
    """Reconstruction by the MCD-VAEs of several targets: one row per source."""

    kind: Literal["reconstruction_table"]
    protocols: dict[str, tuple[str, ...]]  # by source

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        missing = self.sources.keys() - self.protocols  # sources=[NAME] leaves lists without source
        if missing:
            yield f"protocols: needs one list for each of {', '.join(sorted(missing))}"


Paradigm = Literal[
    "latent-motion",
    "latent-video-full",
    "latent-video-factorised",
    "pixel-full",
    "pixel-factorised",
]
SPATIAL_DOWNSAMPLING = 4  # f_s of both autoencoders
TEMPORAL_DOWNSAMPLING = 4  # f_t of latent video; the MCD-VAE's is the number of frames
Triple = tuple[Size, Size, Size]


class WidthsConfig(UNetWidths):
    """The width of all denoisers, and those of the autoencoders at f_s = 4, as in a table.

    Scales and `attention_factors` are those of the latents. Pixel space has two scales more, of the
    last width, and attends at the same resolutions.
    """

    context_channels: Size
    condition: Literal["cross_attention", "concat", "both", "none"]  # of the DMG
    image_channels: Triple
    motion_encoder_channels: tuple[Size, Size]
    decoder_channels: Triple
    vae_res_blocks: tuple[Layers, Layers, Layers]  # of E_I and D_V, finest first
    fusion: Literal["spade", "add"]


class SamplingCost(AnyTarget):
    """A table of sampling costs by paradigm, frames and pixels; nothing is trained."""

    kind: Literal["cost"]
    paradigms: Annotated[tuple[Paradigm, ...], DISTINCT]
    widths: WidthsConfig
    shapes: Annotated[tuple[tuple[Size, Size], ...], DISTINCT]  # frames, pixels
    num_steps: Count  # K
    num_train_steps: Size  # T
    timed_steps: Count  # of the K; each costs the same
    rounds: Several  # in each, everything is timed once
    batch_size: Size
    threads: Size  # of the CPU

    def problems(self) -> Iterator[str]:
        if "latent-motion" not in self.paradigms:
            yield "paradigms: needs latent-motion, to which the others are compared"
        if not self.timed_steps <= self.num_steps <= self.num_train_steps:
            yield "needs timed_steps <= num_steps (K) <= num_train_steps (T)"
        multiple = 4 * 2 ** (len(self.widths.channel_multipliers) - 1)
        for frames, size in self.shapes:
            yield from clip_problems(frames, size)
            if frames < 4 or frames & (frames - 1) or size % multiple:
                yield (
                    f"shapes: {frames} frames of {size} pixels; frames are a power of two from 4 "
                    f"on, pixels a multiple of {multiple} here"
                )


class CostFigure(AnyTarget):
    """Cost over frames, from the same measurement as the table in `sources`."""

    kind: Literal["cost_figure"]
    sources: dict[str, SamplingCost]

    def problems(self) -> Iterator[str]:
        if len(self.sources) != 1:
            yield "sources: a cost figure has one table; name one"
        sizes = [size for _, size in self.source.shapes]
        if sizes.count(sizes[0]) < 2:
            yield "sources: needs two or more frame counts at the size of the first shape"

    @property
    def source(self) -> SamplingCost:
        """The table that is shown."""
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
    rounds: Several
    batch_size: Size  # clips timed at once
    threads: Size  # of the CPU, while timing

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        for row in self.series:
            if not ROW_RULES[row].sampled or ROW_RULES[row].simulated:
                yield f"series: row {row} is not sampled in steps; delete it"
        if len(set(self.points)) != len(self.points):
            yield "series: a number of steps appears twice"
        for key, choice in (("fast", self.fast), ("reference", self.reference)):
            if (choice.sampler, choice.num_steps) not in {point[1:] for point in self.points}:
                yield f"{key}: {choice.sampler} {choice.num_steps} is in none of the series"
        most = max(point.num_steps for point in self.points)
        for name, target in self.sources.items():
            if most > target.dmg.num_train_steps:
                yield f"series: K = {most} exceeds T = {target.dmg.num_train_steps} of {name}"
            if target.dmg.prompt is not None:
                yield f"sources: no cost model for the prompts of {name}; name another target"
            if not any(protocol.startswith("fvd.") for protocol in target.evaluate.protocols):
                yield f"sources: {name} measures no FVD; name another target"
            for row in self.series:
                needed = ROW_RULES[row].baseline
                if needed and target.baseline(needed) is None:
                    yield f"series: {name} has no baselines.{needed} for {row}"

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
