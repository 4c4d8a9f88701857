"""What config models are made of: the strict base, numbers with their range, a UNet's widths."""

from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

Count = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0.0)]
Positive = Annotated[float, Field(gt=0.0)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class Strict(BaseModel):
    """Base of all config models.

    A dump, and with it the hash of a config, leaves out the fields of `later` that have the value
    there: a config that does not use them has the hash that it had before there were such fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    later: ClassVar[dict[str, Any]] = {}

    @model_serializer(mode="wrap")
    def _dump(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        later = self.later
        return {k: v for k, v in dump(self).items() if k not in later or v != later[k]}


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
