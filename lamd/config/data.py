"""The videos and clips of a table."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from lamd.base.limits import MOST_CLIP, MOST_VIDEOS
from lamd.config import registries
from lamd.config.registries import DATA_OPTIONS
from lamd.config.strict import Count, Size, Strict

Videos = Annotated[Count, Field(le=MOST_VIDEOS)]
# Windows of L frames of a test video: `disjoint` from frames 0, L, 2 L, ..., the `first`, or `all`
Windows = Literal["disjoint", "first", "all"]


class AugmentConfig(Strict):
    """Random changes to training clips, drawn once per variant and equal in both stages."""

    variants: int = Field(ge=2, le=1000)  # of each training window; the first is unchanged
    flip: bool  # mirrors left and right, half of the others
    crop: float = Field(ge=0.5, le=1.0)  # least side of a random square, resized to the whole; ours
    time_jitter: bool  # frame i of L is drawn from the i-th L-th of the video, not fixed (LFDM's)

    @property
    def used(self) -> list[str]:
        """The keys that change clips."""
        used = {"flip": self.flip, "crop": self.crop < 1.0, "time_jitter": self.time_jitter}
        return [key for key, value in used.items() if value]

    def problems(self) -> Iterator[str]:
        if not self.used:
            yield "changes nothing; set flip, crop or time_jitter, or augment to null"


class DataConfig(Strict):
    """The videos that are used; a data set's own keys, such as `camera`, follow the common ones."""

    model_config = ConfigDict(extra="allow")  # own keys are checked by the data set's options

    name: registries.DataName
    source: Literal["real", "simulated"]
    num_frames: Size  # L
    size: Size  # H = W, pixels
    num_train: Videos | None  # None = the whole split
    num_test: Videos | None
    simulation_seed: int | None = None
    # left out of hashes while there is none
    augment: AugmentConfig | None = Field(None, exclude_if=lambda augment: augment is None)

    @classmethod
    def known_keys(cls) -> set[str]:
        """Return the common keys and those of all data sets."""
        return super().known_keys().union(*(own.model_fields for own in DATA_OPTIONS.values()))

    @property
    def own(self) -> dict[str, Any]:
        """The data set's own keys."""
        return dict(self.model_extra or {})

    @property
    def num_variants(self) -> int:
        """The number of clips that stages train on per training window."""
        return 1 if self.augment is None else self.augment.variants

    @model_validator(mode="before")
    @classmethod
    def _check_own(cls, tree: Any) -> Any:
        options = DATA_OPTIONS.get(str(tree.get("name"))) if isinstance(tree, dict) else None
        if options is None:
            return tree
        common = {key: value for key, value in tree.items() if key in cls.model_fields}
        unset = {key for key in cls.known_keys() if tree.get(key) is None}  # as `camera: null`
        own = {key: value for key, value in tree.items() if key not in {*common, *unset}}
        return common | options.model_validate(own).model_dump(exclude_none=True)

    def problems(self) -> Iterator[str]:
        simulated = self.source == "simulated"
        if simulated != (self.simulation_seed is not None):
            yield "simulation_seed is needed with source: simulated, and only there"
        if simulated and (self.num_train is None or self.num_test is None):
            yield "source: simulated needs num_train and num_test"
        yield from clip_problems(self.num_frames, self.size)
        resized = "resize" in DATA_OPTIONS[self.name].model_fields
        if resized and simulated != (self.own.get("resize") is None):
            yield "resize is needed with source: real, and only there"
        for key in self.augment.used if self.augment else ():
            if key not in DATA_OPTIONS[self.name].augmentations:
                yield f"augment.{key} would falsify the clips of {self.name}; switch it off"


def clip_problems(num_frames: int, size: int) -> Iterator[str]:
    """Yield that a clip of so many frames and pixels is larger than may be, if it is."""
    if num_frames * size**2 * 3 > MOST_CLIP:
        yield f"a clip of {num_frames:,} frames of {size:,} pixels is above {MOST_CLIP:,} bytes"
