"""From finished cells to a `Report`: records with their verdicts, holes, published rows."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from lamd.base.errors import LamdError
from lamd.config import (
    SamplerConfig,
    Target,
    baseline_sampler,
    config_hash,
    is_baseline,
    split_row,
)
from lamd.cost import row_budget
from lamd.metrics.precision import precisions
from lamd.metrics.rules import CAPTION_METRICS, PROTOCOLS
from lamd.pipeline.cells import Cell, CellFailed, Facts, Store
from lamd.pipeline.graph import Plan, row_protocols
from lamd.pipeline.steps.clips import other_prompts, read_prompts
from lamd.pipeline.steps.values import read_values
from lamd.report.published import load_published, verdict
from lamd.report.results import Hole, PublishedRow, Record, Report, RowInfo, Verdict
from lamd.report.tables import metric_of, plain_label
from lamd.targets.request import Request

BAIR_CAMERA = "image_aux1"  # of every published BAIR value listed
PUBLISHED_SIZES = {
    "bair": 64, "landscape": 128, "cater_v1": 128, "cater_v2": 128, "natops": 128, "mug": 256
}  # fmt: skip
_ROWS = {
    "real_train": (
        "Real train clips (floor)",
        "as many real train clips against the real test clips",
    ),
    "copy_first_frame": ("Repeat the first frame (trivial)", "the given frame shown at every time"),
    "real_test": ("Real test clips (ceiling of the captions)", "what is told of the test clips"),
    "reconstruction": (
        "MCD-VAE reconstruction (ceiling)",
        "each test clip through E_M, E_I and D_V, posterior mean",
    ),
    "lamd": ("LaMD (K = {k})", "generated from the given frame{prompt} by {sampler}"),
    "permuted_prompts": (
        "LaMD, permuted prompts",
        "as LaMD, each clip with another prompt than its own, held against its own",
    ),
}
_BASELINES = {"pixel": "Pixel-space diffusion", "latent_video": "Latent-video diffusion"}
_EQUAL = {
    "clips": ("equal clips", "as many clips as the DMG"),
    "flops": ("equal training FLOPs", "the FLOPs of LaMD's two stages"),
}
SAMPLER_NAMES = {"ddim": "DDIM", "ddpm": "DDPM", "dpmpp_2m": "DPM-Solver++ (2M)"}


def assemble(target: Target, request: Request, plan: Plan, failed: dict[str, CellFailed]) -> Report:
    """Collect the values of all rows that were made; the others become holes with their reason.

    Args:
        failed: what `Runner.run_each` returned for the plan's rows.
    """
    published, store = published_rows(target), request.store
    done = {row: cell for row, cell in plan.rows.items() if cell.name not in failed}
    return Report(
        **request.written(target),
        data=data_kind(store.facts(plan.stages["data"])),
        scale=target.scale,
        dataset=target.data.name,
        metrics=columns(target.evaluate.protocols),
        protocols=described(target.evaluate.protocols),
        rows=tuple(_row_info(target, row) for row in plan.rows),
        records=tuple(
            record
            for row, cell in done.items()
            for record in row_records(
                target, target.target, request.profile, row, cell, plan, store, published.get(row)
            )
        ),
        holes=(
            *(failed_row(row, cell, failed[cell.name]) for row, cell in plan.rows.items()
              if row not in done),
            *(hole for row in done
              for hole in not_run(row, row_protocols(target, row), plan.not_run)),
        ),
        published=tuple(published.values()),
        notes=(
            *data_notes(store.facts(plan.stages["data"]), target),
            *(prompt_notes(target, store.folder(plan.clips["test"])) if "permuted_prompts" in done else ()),
        ),
        cells=tuple(store.info(cell) for cell in plan.cells() if store.is_complete(cell)),
    )  # fmt: skip


def columns(protocols: Iterable[str]) -> tuple[str, ...]:
    """Return the metric columns of protocols, in their order."""
    return tuple(dict.fromkeys(metric_of(name) for name in protocols))


def described(protocols: Iterable[str]) -> dict[str, str]:
    """Return the rules of each protocol in words."""
    return {name: PROTOCOLS[name].describe().removeprefix(f"{name}: ") for name in protocols}


def data_notes(facts: Facts, target: Target) -> Iterator[str]:
    """Tell how many clips there are and which videos were left out, and why."""
    name = target.data.name.upper()
    counts = ", ".join(
        f"{split}: {facts['clips'][split]:,} clips of {target.data.num_frames} frames from "
        f"{facts['videos'][split]:,} videos"
        for split in facts["videos"]
    )
    yield f"{name} data: {counts}"
    for split, left_out in facts["left_out"].items():
        if left_out:
            first = "; ".join(f"{key} ({reason})" for key, reason in left_out[:3])
            more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
            yield f"{name} {split}, left out: {first}{more}"


def prompt_notes(target: Target, clips: Path) -> Iterator[str]:
    """Tell what the shuffled captions score by themselves, a floor that no clip comes into."""
    scored = [metric for metric in columns(target.evaluate.protocols) if metric in CAPTION_METRICS]
    if scored:
        prompts = read_prompts(clips)
        values = precisions(prompts, other_prompts(prompts))
        told = ", ".join(f"{plain_label(name)} {values[name].mean():.3f}" for name in scored)
        yield f"{_ROWS['permuted_prompts'][0]}: the other captions by themselves have {told}"


def published_rows(target: Target) -> dict[str, PublishedRow]:
    """Return the published rows of a target: the paper's own under `lamd` and `reconstruction`.

    Raises:
        LamdError: when the target names a cell or group that published.yaml does not have.
    """
    groups = load_published()
    rows = {}
    for row, group in (("lamd", "paper"), ("reconstruction", "reconstruction")):
        if target.published is None:
            break
        if target.published in groups[group]:
            rows[row] = groups[group][target.published]
        elif row == "lamd":
            known = ", ".join(groups["paper"])
            raise LamdError(f"published: no cell {target.published!r}; it has: {known}")
    if target.compare_with is not None:
        if target.compare_with not in groups:
            raise LamdError(
                f"compare_with: no group {target.compare_with!r}; it has: {', '.join(groups)}"
            )
        rows |= {f"rival {key}": row for key, row in groups[target.compare_with].items()}
    return rows


def row_records(
    target: Target,
    table: str,
    profile: str,
    row: str,
    cell: Cell,
    plan: Plan,
    store: Store,
    published: PublishedRow | None,
) -> list[Record]:
    """Return the records of one finished `values` cell.

    Args:
        target: whose data and models they are; `table` is the target that shows them.
        published: the paper's row to judge them by.
    """
    behind = [*cell.ancestors(), cell]
    infos = [store.info(one) for one in behind]
    data = store.facts(plan.stages["data"])
    own = _deviations(target)
    records = []
    for value in read_values(store.folder(cell)):
        metric = metric_of(value["protocol"])
        deviations = (*value.pop("deviations"), *own)
        judged = verdict(
            metric=metric.split("-")[0],
            value=value["value"],
            protocol=value["protocol"],
            data=data_kind(data),
            scale=target.scale,
            deviations=deviations,
            published=published,
        )
        records.append(
            Record(
                target=table,
                profile=profile,
                row=row,
                metric=metric,
                deviations=deviations,
                data=data_kind(data),
                scale=target.scale,
                dataset=target.data.name,
                split="test",
                content_hash=data["content"]["test"],
                clips_asked=data["clips"]["test"],
                clips_used=value["n_fake"],
                seeds=seeds_of(target),
                config_hash=config_hash(target),
                origin=infos[-1].origin,
                cells=tuple(info.key for info in infos),
                seconds=round(sum(info.seconds for info in infos), 2),
                peak_memory_mb=max(info.peak_memory_mb for info in infos),
                verdict=judged,
                **value,
            )
        )
    return records


def _deviations(target: Target) -> tuple[str, ...]:
    """Return where the data departs from what the published values are measured on."""
    data, found = target.data, []
    if data.name == "bair" and data.camera != BAIR_CAMERA:
        found.append(f"camera {data.camera}")
    if data.size != PUBLISHED_SIZES[data.name]:
        found.append(f"{data.size}x{data.size} pixels")
    return tuple(found)


def failed_row(row: str, cell: Cell, failure: CellFailed) -> Hole:
    """Return the hole that a failed cell leaves."""
    reason = failure.reason
    if failure.name != cell.name:
        reason = f"needs {failure.name}, which failed: {reason}"
    return Hole(row=row, reason=reason, verdict=Verdict(kind="not run", reason=reason))


def not_run(row: str, protocols: Iterable[str], reasons: dict[str, str]) -> Iterator[Hole]:
    """Yield the holes of single metrics of a row."""
    for name in protocols:
        if name in reasons:
            verdict = Verdict(kind="not run", reason=reasons[name])
            yield Hole(row=row, metric=metric_of(name), reason=reasons[name], verdict=verdict)


def _row_info(target: Target, row: str) -> RowInfo:
    if is_baseline(row):
        return _baseline_info(target, row)
    label, description = _ROWS[row]
    words = _sampler_words(target, target.sampler)
    return RowInfo(
        name=row,
        label=label.format(k=target.sampler.num_steps),
        description=description.format(sampler=words, prompt=_prompt_words(target)),
    )


def _baseline_info(target: Target, row: str) -> RowInfo:
    name, rule = split_row(row)
    budget, sampler = row_budget(target, row), baseline_sampler(target, name)
    train = budget.train
    numbers = {
        "steps": train.num_steps,
        "clips": train.num_steps * train.batch_size,
        "tflops": budget.flops / 1e12,
        "autoencoder_tflops": budget.autoencoder_flops / 1e12,
        "lamd_tflops": budget.lamd_flops / 1e12,
        "parameters": budget.parameters,
        "dmg_parameters": budget.dmg_parameters,
    }
    spent = f"{_rounded(numbers['tflops'])} TFLOPs"
    if budget.autoencoder_flops:
        spent += f" after {_rounded(numbers['autoencoder_tflops'])} for its autoencoder"
    conv3d = target.baselines.of(name).conv3d
    return RowInfo(
        name=row,
        label=f"{_BASELINES[name]}, {_EQUAL[rule][0]} (K = {sampler.num_steps})",
        description=(
            f"3-D UNet ({conv3d}) of {budget.parameters / 1e6:.3g} M parameters, the DMG has "
            f"{budget.dmg_parameters / 1e6:.3g} M; {_EQUAL[rule][1]}: {train.num_steps:,} steps of "
            f"{train.batch_size} clips, {spent}, LaMD {_rounded(numbers['lamd_tflops'])} (a step "
            f"counts as three forward passes of what it trains); {_sampler_words(target, sampler)}"
        ),
        budget=numbers,
    )


def _rounded(tflops: float) -> str:
    return f"{tflops:,.0f}" if tflops >= 1000 else f"{tflops:.4g}"


def _sampler_words(target: Target, sampler: SamplerConfig) -> str:
    words = (
        f"{SAMPLER_NAMES[sampler.name]}, {sampler.num_steps} of {target.dmg.num_train_steps} steps"
    )
    return words if sampler.eta is None else f"{words}, eta {sampler.eta:g}"


def _prompt_words(target: Target) -> str:
    prompt = target.dmg.prompt
    if prompt is None:
        return ""
    scale = target.sampler.guidance_scale
    guided = "" if scale is None else f", guidance scale {scale:g},"
    return f" and {'caption' if prompt.kind == 'text' else 'class'}{guided}"


def seeds_of(target: Target) -> dict[str, int]:
    """Return the seeds that a target's results depend on."""
    seeds = {
        "train_vae": target.train_vae.seed,
        "train_dmg": target.train_dmg.seed,
        "sampler": target.sampler.seed,
    }
    if target.data.simulation_seed is not None:
        seeds["simulation"] = target.data.simulation_seed
    return seeds


def data_kind(facts: Facts) -> str:
    """Return whether a data cell holds real data, by its facts."""
    return "real" if facts["stand_in"] is None else "stand-in"
