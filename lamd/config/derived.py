"""Targets that show what other targets trained: figures, and tables over several data sets.

They name their sources under `sources:` and train nothing themselves, so that a figure never
retrains what a table trained. Resolved, `sources` holds each source in full.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lamd.config.strict import AnyTarget, Count, NonNegative, Strict
from lamd.config.table import Target


class _Shown(Strict):
    clips: Count  # test clips shown, the first ones, not chosen
    frames: Count  # frames of a clip in the still picture, at even distances


class DecodedFigure(_Shown):
    """Real clips next to their reconstruction, or the motion of clip B on the first frame of A."""

    name: Literal["reconstruction", "motion_transfer"]


class SamplesFigure(_Shown):
    """Several samples of one first frame, and where they differ."""

    name: Literal["samples"]
    samples: Annotated[int, Field(ge=2)]


class PromptsFigure(_Shown):
    """Samples of one first frame under several prompts, and of the first one with other noise."""

    name: Literal["prompts"]
    prompts: Annotated[tuple[str, ...], Field(min_length=1)]
    samples: Count  # of the first prompt


class TimestepsFigure(_Shown):
    """Clips decoded from z_m^t along one sampling run; of the steps visited the nearest to each."""

    name: Literal["timesteps"]
    steps: tuple[Annotated[int, Field(ge=0)], ...]


class InterpolationFigure(_Shown):
    """Clips between two motion latents of one first frame; weight 0 is the first of the two."""

    name: Literal["interpolation"]
    weights: tuple[Annotated[float, Field(ge=0.0, le=1.0)], ...]


class ScalingFigure(_Shown):
    """Clips whose motion latent is scaled; factor 0 is stillness, 1 the clip's own motion."""

    name: Literal["scaling"]
    factors: tuple[NonNegative, ...]


class RolloutFigure(_Shown):
    """Clips continued from their last frame `chunks` - 1 times, measured chunk by chunk."""

    name: Literal["rollout"]
    chunks: Annotated[int, Field(ge=2)]


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

    @model_validator(mode="after")
    def _check_sources(self) -> Self:
        names = [source.data.name for source in self.sources.values()]
        if len(set(names)) != len(names):
            raise ValueError("sources: two sources of one data set; delete one of them")
        return self


class Figure(Derived):
    """A figure: one picture and one animation for each source."""

    kind: Literal["figure"]
    figure: FigureConfig

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, source in self.sources.items():
            if self.figure.frames > source.data.num_frames:
                raise ValueError(f"figure.frames: {name} has {source.data.num_frames} frames")
            if self.figure.name == "prompts" and source.dmg.prompt is None:
                raise ValueError(f"figure.prompts: {name} takes no prompts; name another target")
        return self


class ReconstructionTable(Derived):
    """Reconstruction by the MCD-VAEs of several targets: one row per source."""

    kind: Literal["reconstruction_table"]
    protocols: dict[str, tuple[str, ...]]  # by source

    @model_validator(mode="after")
    def _check(self) -> Self:
        missing = self.sources.keys() - self.protocols  # sources=[NAME] leaves lists without source
        if missing:
            raise ValueError(f"protocols: needs one list for each of {', '.join(sorted(missing))}")
        return self
