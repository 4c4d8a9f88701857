"""From finished cells to a `Report`: records with their verdicts, holes, published rows."""

from collections.abc import Sequence

from lamd.config import Target, config_hash
from lamd.errors import LamdError
from lamd.harness.cells import Cell, CellFailed, Facts, Store
from lamd.harness.plan import Plan
from lamd.harness.published import load_published, verdict
from lamd.harness.tables import metric_of
from lamd.harness.values import read_values
from lamd.records import Hole, PublishedRow, Record, Report, RowInfo, Verdict

BAIR_CAMERA, BAIR_SIZE = "image_aux1", 64  # of every published BAIR value listed
_ROWS = {
    "floor": ("Real train clips (floor)", "as many real train clips against the real test clips"),
    "trivial": ("Repeat the first frame (trivial)", "the given frame shown at every time"),
    "reconstruction": (
        "MCD-VAE reconstruction (ceiling)",
        "each test clip through E_M, E_I and D_V, posterior mean",
    ),
    "lamd": ("LaMD (K = {k})", "generated from the given frame by {sampler}"),
}


def assemble(
    target: Target,
    profile: str,
    overrides: Sequence[str],
    plan: Plan,
    store: Store,
    failed: dict[str, CellFailed],
) -> Report:
    """Collect the values of all rows that were made; the others become holes with their reason.

    Args:
        failed: what `Runner.run_each` returned for the plan's rows.
    """
    from lamd.metrics.rules import PROTOCOLS

    published = published_rows(target)
    names = target.evaluate.protocols
    records = [
        record
        for row, cell in plan.rows.items()
        if cell.name not in failed
        for record in _records(target, profile, row, plan, store, published)
    ]
    return Report(
        target=target.target,
        title=target.title,
        profile=profile,
        data=_data_kind(store.facts(plan.stages["data"])),
        scale=target.scale,
        dataset=target.data.name,
        config=target.model_dump(mode="json"),
        config_hash=config_hash(target),
        overrides=tuple(overrides),
        metrics=tuple(dict.fromkeys(metric_of(name) for name in names)),
        protocols={name: PROTOCOLS[name].describe().removeprefix(f"{name}: ") for name in names},
        rows=tuple(_row_info(target, row) for row in plan.rows),
        records=tuple(records),
        holes=tuple(
            _hole(row, cell, failed[cell.name])
            for row, cell in plan.rows.items()
            if cell.name in failed
        ),
        published=tuple(published.values()),
        cells=tuple(store.info(cell) for cell in plan.cells() if store.is_complete(cell)),
    )


def published_rows(target: Target) -> dict[str, PublishedRow]:
    """Return the published rows of a target: the paper's own under `lamd` and `reconstruction`.

    Raises:
        LamdError: when the target names a cell or group that published.yaml does not have.
    """
    groups = load_published()
    rows = {}
    for row, group in (("lamd", "paper"), ("reconstruction", "reconstruction")):
        if target.published in groups[group]:
            rows[row] = groups[group][target.published]
        elif row == "lamd":
            known = ", ".join(groups["paper"])
            raise LamdError(f"published: no cell {target.published!r}; it has: {known}")
    if target.rivals is not None:
        if target.rivals not in groups:
            raise LamdError(f"rivals: no group {target.rivals!r}; it has: {', '.join(groups)}")
        rows |= {f"rival {key}": row for key, row in groups[target.rivals].items()}
    return rows


def _records(
    target: Target,
    profile: str,
    row: str,
    plan: Plan,
    store: Store,
    published: dict[str, PublishedRow],
) -> list[Record]:
    cell = plan.rows[row]
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
            data=_data_kind(data),
            scale=target.scale,
            deviations=deviations,
            published=published.get(row),
        )
        records.append(
            Record(
                target=target.target,
                profile=profile,
                row=row,
                metric=metric,
                deviations=deviations,
                data=_data_kind(data),
                scale=target.scale,
                dataset=target.data.name,
                split="test",
                content_hash=data["content"]["test"],
                clips_asked=target.data.num_test or data["clips"]["test"],
                clips_used=value["n_fake"],
                seeds=_seeds(target),
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
    """Return where the data departs from what every published BAIR value is measured on."""
    data = target.data
    camera = () if data.camera == BAIR_CAMERA else (f"camera {data.camera}",)
    return camera + (() if data.size == BAIR_SIZE else (f"{data.size}x{data.size} pixels",))


def _hole(row: str, cell: Cell, failure: CellFailed) -> Hole:
    reason = failure.reason
    if failure.name != cell.name:
        reason = f"needs {failure.name}, which failed: {reason}"
    return Hole(row=row, reason=reason, verdict=Verdict(kind="not run", reason=reason))


def _row_info(target: Target, row: str) -> RowInfo:
    sampler = target.sampler
    words = f"{sampler.name.upper()}, {sampler.num_steps} of {target.dmg.num_train_steps} steps"
    if sampler.eta is not None:
        words += f", eta {sampler.eta:g}"
    label, description = _ROWS[row]
    return RowInfo(
        name=row,
        label=label.format(k=sampler.num_steps),
        description=description.format(sampler=words),
    )


def _seeds(target: Target) -> dict[str, int]:
    seeds = {
        "train_vae": target.train_vae.seed,
        "train_dmg": target.train_dmg.seed,
        "sampler": target.sampler.seed,
    }
    if target.data.simulation_seed is not None:
        seeds["simulation"] = target.data.simulation_seed
    return seeds


def _data_kind(facts: Facts) -> str:
    return "real" if facts["stand_in"] is None else "stand-in"
