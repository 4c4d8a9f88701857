"""The rows that a table can have; adding one is one `register` call."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lamd.config import (
    ROW_RULES,
    SAMPLERS,
    RowRule,
    SamplerConfig,
    Target,
    baseline_sampler,
    split_row,
)
from lamd.config.registries import Baseline
from lamd.paradigms.budget import row_budget
from lamd.pipeline.cell import Cell, step_of

if TYPE_CHECKING:
    from lamd.pipeline.graph import TablePlan


@dataclass(frozen=True, kw_only=True)
class Row:
    """Everything that any layer asks about a row.

    Attributes:
        name: as in `rows:` of a config.
        clips: plans the clip set that is measured against the real test clips.
        label: for people, by target.
        description: how its clips were made, by target.
        short: above its clips in the grid; "" leaves it out of the grid.
        paired: clip i belongs to real test clip i.
        captions_only: only metrics of captions apply.
        published: group of published.yaml whose cell of the target is this row's; "" for none.
        budget: numbers of the training, by target; None where the table does not state them.
        rule: what a config must have for this row; a `sampled` one has
            `evaluate.samples_per_clip` clips per real test clip.
    """

    name: str
    clips: Callable[["TablePlan"], Cell]
    label: Callable[[Target], str]
    description: Callable[[Target], str]
    short: str = ""
    paired: bool = True
    captions_only: bool = False
    published: str = ""
    budget: Callable[[Target], dict[str, float]] | None = None
    rule: RowRule = ROW_RULES["reconstruction"]


ROWS: dict[str, Row] = {}


def register(row: Row) -> Row:
    """Add a row under its name."""
    ROWS[row.name] = row
    ROW_RULES[row.name] = row.rule
    return row


def generated(
    plan: "TablePlan",
    row: str,
    *,
    paradigm: Baseline | None = None,
    samples: range | None = None,
    **options: Any,
) -> Cell:
    """Plan generated clips.

    Args:
        paradigm: whose training has the name of the row; None: LaMD.
        samples: numbers of the samples per test clip; None: those of the table.
        options: of the step `generated_clips`, in the key.
    """
    target, stages = plan.target, plan.stages
    samples = samples or range(target.evaluate.samples_per_clip)
    sampler = baseline_sampler(target, paradigm) if paradigm else target.sampler
    parents = {"test": plan.test, "denoiser": stages[row if paradigm else "dmg"]}
    if paradigm != "pixel":
        parents["autoencoder"] = stages["video_vae" if paradigm else "vae"]
    return Cell(
        kind="clips",
        row=row,
        config={
            "generated": sampler.model_dump(mode="json", exclude_none=True),
            "samples": [samples.start, samples.stop],
            **options,
        },
        parents=parents,
        step=step_of(
            "clips:generated_clips",
            target=target,
            paradigm=paradigm or "latent_motion",
            device=plan.device,
            samples=samples,
            **options,
        ),
        collective=True,
    )


def reconstructed(plan: "TablePlan", row: str, *, given_kept: bool) -> Cell:
    """Plan D_V(posterior mean) of each test clip; `given_kept` keeps the real frame 0."""
    kept = "frame 0 kept" if given_kept else "every frame decoded"
    options = {"target": plan.target, "device": plan.device, "given_kept": given_kept}
    return Cell(
        kind="clips",
        row=row,
        config={"reconstruction": f"posterior mean, {kept}"},
        parents={"test": plan.test, "autoencoder": plan.stages["vae"]},
        step=step_of("clips:reconstructed_clips", **options),
        collective=True,
    )


def _copied_first_frames(plan: "TablePlan") -> Cell:
    return Cell(
        kind="clips",
        row="copy_first_frame",
        config={"repeat": 0},
        parents={"test": plan.test},
        step=step_of("clips:repeated_clips"),
    )


def _sampler_words(target: Target, sampler: SamplerConfig) -> str:
    """Return e.g. `DDIM, 200 of 1000 steps, eta 0`."""
    steps = f"{sampler.num_steps} of {target.dmg.num_train_steps} steps"
    words = f"{SAMPLERS[sampler.name].label}, {steps}"
    return words if sampler.eta is None else f"{words}, eta {sampler.eta:g}"


def _lamd_words(target: Target) -> str:
    prompt, condition = target.dmg.prompt, ""
    if prompt is not None:
        scale = target.sampler.guidance_scale
        guided = "" if scale is None else f", guidance scale {scale:g},"
        condition = f" and {'caption' if prompt.kind == 'text' else 'class'}{guided}"
    sampler = _sampler_words(target, target.sampler)
    return f"generated from the given frame{condition} by {sampler}"


def _baseline_budget(target: Target, row: str) -> dict[str, float]:
    """Return what a baseline row trains, for the record."""
    budget = row_budget(target, row)
    return {
        "steps": budget.train.num_steps,
        "clips": budget.train.num_steps * budget.train.batch_size,
        "tflops": budget.flops / 1e12,
        "autoencoder_tflops": budget.autoencoder_flops / 1e12,
        "lamd_tflops": budget.lamd_flops / 1e12,
        "parameters": budget.parameters,
        "dmg_parameters": budget.dmg_parameters,
    }


def _baseline_row(row: str, label: str, short: str, equal: str) -> Row:
    baseline, _ = split_row(row)

    def describe(target: Target) -> str:
        numbers, options = _baseline_budget(target, row), target.denoiser(baseline)
        batch = numbers["clips"] / numbers["steps"]
        spent = f"{_rounded(numbers['tflops'])} TFLOPs"
        if numbers["autoencoder_tflops"]:
            spent += f" after {_rounded(numbers['autoencoder_tflops'])} for its autoencoder"
        return (
            f"3-D UNet ({options.conv3d}) of {numbers['parameters'] / 1e6:.3g} M parameters, the "
            f"DMG has {numbers['dmg_parameters'] / 1e6:.3g} M; {equal}: "
            f"{numbers['steps']:,} steps of {batch:g} clips, {spent}, LaMD "
            f"{_rounded(numbers['lamd_tflops'])} (a step counts as three forward passes of the "
            f"trained network); {_sampler_words(target, baseline_sampler(target, baseline))}"
        )

    return Row(
        name=row,
        clips=lambda plan: generated(plan, row, paradigm=baseline),
        label=lambda target: f"{label} (K = {baseline_sampler(target, baseline).num_steps})",
        description=describe,
        short=short,
        budget=lambda target: _baseline_budget(target, row),
        rule=ROW_RULES[row],
    )


def _rounded(tflops: float) -> str:
    return f"{tflops:,.0f}" if tflops >= 1000 else f"{tflops:.4g}"


_EQUAL = {
    "clips": ("clips", "equal clips", "as many clips as the DMG"),
    "flops": ("FLOPs", "equal training FLOPs", "the FLOPs of LaMD's two stages"),
}

for _row in (
    Row(
        name="real_train",
        clips=lambda plan: plan.real("train"),
        label=lambda _: "Real train clips (floor)",
        description=lambda _: "as many real train clips against the real test clips",
        paired=False,
    ),
    Row(
        name="copy_first_frame",
        clips=_copied_first_frames,
        label=lambda _: "Repeat the first frame (trivial)",
        description=lambda _: "the given frame shown at every time",
    ),
    Row(
        name="real_test",
        clips=lambda plan: plan.test,
        label=lambda _: "Real test clips (ceiling of the captions)",
        description=lambda _: "captions of the test clips themselves",
        captions_only=True,
    ),
    Row(
        name="reconstruction",
        clips=lambda plan: reconstructed(plan, "reconstruction", given_kept=True),
        label=lambda _: "MCD-VAE reconstruction (ceiling)",
        description=lambda _: "each test clip through E_M, E_I and D_V, posterior mean",
        short="reconstruction",
        published="reconstruction",
    ),
    Row(
        name="lamd",
        clips=lambda plan: generated(plan, "lamd"),
        label=lambda target: f"LaMD (K = {target.sampler.num_steps})",
        description=_lamd_words,
        short="LaMD",
        published="paper",
        rule=ROW_RULES["lamd"],
    ),
    Row(
        name="permuted_prompts",
        clips=lambda plan: generated(plan, "permuted_prompts", samples=range(1), permuted=True),
        label=lambda _: "LaMD, permuted prompts",
        description=lambda _: (
            "as LaMD, each clip with another clip's prompt, compared with its own"
        ),
        short="permuted prompt",
        rule=ROW_RULES["permuted_prompts"],
    ),
    *(
        _baseline_row(f"{name}_{budget}", f"{label}, {equal}", f"{short}, {shared}", words)
        for name, label, short in (
            ("pixel", "Pixel-space diffusion", "pixel"),
            ("latent_video", "Latent-video diffusion", "lat. video"),
        )
        for budget, (shared, equal, words) in _EQUAL.items()
    ),
):
    register(_row)
