"""Open registries of the data sets, rows and samplers that a YAML may name, and their rules."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator

from lamd.config.strict import Strict, closest

Baseline = Literal["pixel", "latent_video"]


@dataclass(frozen=True)
class RowRule:
    """Requirements of a row on its table, and the training of its models.

    `baseline` is the other paradigm that the row scores; of its samples, `budget` says what its
    training shares with LaMD's.
    """

    needs_prompt: bool = False
    sampled: bool = False  # samples_per_clip clips per real test clip
    simulated: bool = False  # drawn by the simulator, not by trained models in K steps
    baseline: Baseline | None = None
    budget: Literal["clips", "flops"] | None = None


@dataclass(frozen=True)
class SamplerRule:
    """Display name of a sampler, and whether it takes eta, the share of noise added per step."""

    label: str
    takes_eta: bool = False


ROW_RULES: dict[str, RowRule] = {
    "real_train": RowRule(),
    "another_future": RowRule(sampled=True, simulated=True),
    "copy_first_frame": RowRule(),
    "frames_permuted": RowRule(),
    "frames_reversed": RowRule(),
    "frozen_half_way": RowRule(),
    "real_test": RowRule(),  # scores the test clips' own captions
    "reconstruction": RowRule(),
    "latent_video_reconstruction": RowRule(baseline="latent_video"),
    "lamd": RowRule(sampled=True),
    "permuted_prompts": RowRule(needs_prompt=True),  # LaMD, with the prompts of other clips
    "pixel_clips": RowRule(sampled=True, baseline="pixel", budget="clips"),
    "pixel_flops": RowRule(sampled=True, baseline="pixel", budget="flops"),
    "latent_video_clips": RowRule(sampled=True, baseline="latent_video", budget="clips"),
    "latent_video_flops": RowRule(sampled=True, baseline="latent_video", budget="flops"),
}

SAMPLERS: dict[str, SamplerRule] = {
    "ddim": SamplerRule("DDIM", takes_eta=True),
    "ddpm": SamplerRule("DDPM"),
    "dpmpp_2m": SamplerRule("DPM-Solver++ (2M)"),
}


class DataOptions(Strict):
    """Base of a data set's own keys under `data:`.

    `augmentations` are the keys of `data.augment` that leave clip and condition true to each other.
    """

    augmentations: ClassVar[frozenset[str]] = frozenset()


# by data set; `lamd.data.dataset.register` fills it
DATA_OPTIONS: dict[str, type[DataOptions]] = {}


def _registered(registry: Mapping[str, Any], noun: str) -> AfterValidator:
    def check(name: str) -> str:
        if name not in registry:
            known = ", ".join(registry)
            raise ValueError(f"no {noun} {name!r} among {known}{closest(name, registry)}")
        return name

    return AfterValidator(check)


DataName = Annotated[str, _registered(DATA_OPTIONS, "data set")]
RowName = Annotated[str, _registered(ROW_RULES, "row")]
SamplerName = Annotated[str, _registered(SAMPLERS, "sampler")]


def is_baseline(row: str) -> bool:
    """Return whether a name is a row that scores samples of another paradigm than LaMD."""
    return row in ROW_RULES and ROW_RULES[row].budget is not None


def split_row(row: str) -> tuple[Baseline, Literal["clips", "flops"]]:
    """Return the baseline of a row for which `is_baseline`, and its budget shared with LaMD."""
    rule = ROW_RULES[row]
    assert rule.baseline is not None and rule.budget is not None, f"row {row!r} is no baseline's"
    return rule.baseline, rule.budget
