"""What all config models are made of: the strict base and numbers with their range."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0.0)]
Positive = Annotated[float, Field(gt=0.0)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class Strict(BaseModel):
    """Base of all config models."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def is_power_of_two(value: int) -> bool:
    """Say whether a positive number can be halved down to 1."""
    return value & (value - 1) == 0
