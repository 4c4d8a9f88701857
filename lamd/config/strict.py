"""Parts of config models: the strict base, the base of all kinds, numbers with their range."""

from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError(f"{value} is not a power of two")
    return value


def _distinct(values: tuple) -> tuple:
    if not values or len(set(values)) != len(values):
        raise ValueError("needs entries, none of which may appear twice")
    return values


DISTINCT = AfterValidator(_distinct)
Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
PowerOfTwo = Annotated[Count, AfterValidator(_power_of_two)]
NonNegative = Annotated[float, Field(ge=0.0)]
Positive = Annotated[float, Field(gt=0.0)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class Strict(BaseModel):
    """Base of all config models."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def known_keys(cls) -> set[str]:
        """Return the keys that a mistyped one may stand for."""
        return set(cls.model_fields)


class AnyTarget(Strict):
    """Base of all kinds of target; a kind narrows `kind` to its own name."""

    target: str
    kind: str
    title: str


class UNetWidths(Strict):
    """The skeleton of a denoiser."""

    base_channels: Count
    channel_multipliers: tuple[Count, ...]
    num_res_blocks: Count
    attention_factors: tuple[Count, ...]  # down-sampling factors that get attention
    head_channels: Count

    @model_validator(mode="after")
    def _check_factors(self) -> Self:
        factors = {2**level for level in range(len(self.channel_multipliers))}
        if not set(self.attention_factors) <= factors:
            raise ValueError(f"attention_factors must be among {sorted(factors)}")
        deepest = len(self.channel_multipliers) - 1  # always attends
        for level, multiplier in enumerate(self.channel_multipliers):
            width = self.base_channels * multiplier
            attends = level == deepest or 2**level in self.attention_factors
            if attends and width % max(1, width // self.head_channels):
                raise ValueError(
                    f"head_channels: {width} channels cannot be split into heads of "
                    f"{self.head_channels}; use a divisor of base_channels ({self.base_channels})"
                )
        return self


class BatchConfig(Strict):
    """A batch, global over all processes and `gradient_accumulation` parts, and its step size."""

    batch_size: Count
    gradient_accumulation: Count
    learning_rate: Positive

    @model_validator(mode="after")
    def _check_batch(self) -> Self:
        if self.batch_size % self.gradient_accumulation:
            raise ValueError("batch_size must be a multiple of gradient_accumulation")
        return self
