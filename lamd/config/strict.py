"""What config models are made of: the strict base, numbers with their range, a UNet's widths."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0.0)]
Positive = Annotated[float, Field(gt=0.0)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class Strict(BaseModel):
    """Base of all config models."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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
        return self


def is_power_of_two(value: int) -> bool:
    """Say whether a positive number can be halved down to 1."""
    return value & (value - 1) == 0
