"""What a target needs: its cells, in an order in which parents come first."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lamd.base.errors import LamdError
from lamd.config import Target, is_baseline
from lamd.data.real import real_files
from lamd.data.stand_in import GENERATORS
from lamd.metrics.rules import CAPTION_METRICS, CLASS_METRICS, PROTOCOLS, Protocol
from lamd.pipeline.baselines import plan_clips, plan_stages
from lamd.pipeline.cells import Cell
from lamd.pipeline.kinds import build_by_name, make_cell

UNPAIRED_ROWS = ("real_train",)  # nothing to compare frame by frame
DIAGNOSED_CLIPS = 256  # at most, at even distances (ours)
ROW_CLIPS = {"real_test": "test"}  # the clip set of a row that does not bear its name


@dataclass(frozen=True)
class Plan:
    """The cells of one target: stages and clip sets by name, one `values` cell a row.

    `diagnostics` tells why the rows are as they are; sweeps make it when they ask for it. `not_run`
    tells why a protocol is left out, by its name.
    """

    stages: dict[str, Cell]
    clips: dict[str, Cell]
    rows: dict[str, Cell]
    grid: tuple[Cell, ...]
    diagnostics: Cell
    not_run: dict[str, str]

    def cells(self) -> list[Cell]:
        """Return all cells, parents first, each once."""
        found: dict[str, Cell] = {}
        for last in (*self.stages.values(), *self.grid, *self.rows.values()):
            for cell in (*last.ancestors(), last):
                found[cell.name] = cell
        return list(found.values())


def make_plan(target: Target, device: str) -> Plan:
    """Expand a target into cells; builds run on `device`."""
    check_protocols(target.evaluate.protocols, "evaluate.protocols")
    metrics = {PROTOCOLS[name].metric for name in target.evaluate.protocols}
    if "diversity" in metrics and target.evaluate.samples_per_clip < 2:
        raise LamdError("evaluate.samples_per_clip: diversity needs 2 or more; raise it")
    if metrics & set(CLASS_METRICS):
        _check_classes(target)
    if metrics & set(CAPTION_METRICS) and target.captioner is None:
        raise LamdError("evaluate.protocols: precisions need a captioner; add it or take them out")
    stages = _stages(target, device)
    stages |= plan_stages(target, device, stages["data"])
    clips = _clip_sets(target, device, stages)
    clips |= plan_clips(target, device, clips["test"], stages)
    not_run = missing_weights(target.evaluate.protocols)
    rows = {
        row: values_cell(
            ROW_CLIPS.get(row, row),
            [name for name in row_protocols(target, row) if name not in not_run],
            clips,
            device,
            num_frames=target.data.num_frames,
            samples=target.evaluate.samples_per_clip if is_sampled(row) else 1,
            captioner=stages.get("captioner"),
        )
        for row in target.rows
    }
    grid = tuple(clips[name] for name in _grid_sets(target))
    diagnostics = make_cell(
        "diagnostics",
        {"clips": DIAGNOSED_CLIPS},
        (clips["test"], stages["vae"]),
        partial(build_by_name, "diagnostics", "measure_latent", target=target, device=device),
    )
    return Plan(stages, clips, rows, grid, diagnostics, not_run)


def _check_classes(target: Target) -> None:
    from lamd.data.gestures.reader import GESTURE_SETS

    data = target.data
    if data.name not in GESTURE_SETS:
        raise LamdError(
            f"evaluate.protocols: cfvd needs classes, {data.name} has none; take it out"
        )
    least = 2 * len(GESTURE_SETS[data.name].classes)
    if data.num_test is not None and data.num_test < least:
        raise LamdError(f"data.num_test {data.num_test}: cfvd needs {least}, two a class; raise it")


def check_protocols(names: Sequence[str], place: str) -> None:
    """Raise LamdError on an unknown protocol; `place` is the config key that names it."""
    for name in names:
        if name not in PROTOCOLS:
            close = difflib.get_close_matches(name, PROTOCOLS, n=1)
            hint = f", did you mean {close[0]!r}?" if close else ""
            raise LamdError(f"{place}: unknown {name!r}{hint}; mend the value")


def row_protocols(target: Target, row: str) -> list[str]:
    """Return the protocols that apply to a row, in the target's order.

    Raises:
        LamdError: when none does.
    """

    def applies(protocol: Protocol) -> bool:
        if row == "real_test":  # the test clips against themselves: only what their captions say
            return protocol.metric in CAPTION_METRICS
        if protocol.metric == "diversity":
            return is_sampled(row)
        return row not in UNPAIRED_ROWS or not protocol.paired

    names = [name for name in target.evaluate.protocols if applies(PROTOCOLS[name])]
    if not names:
        needed = "a precision" if row == "real_test" else "FVD"
        raise LamdError(
            f"evaluate.protocols: row {row!r} needs {needed}; add one or take the row out"
        )
    return names


def is_sampled(row: str) -> bool:
    """Tell whether a row has `evaluate.samples_per_clip` clips for each real one."""
    return row == "lamd" or is_baseline(row)


def missing_weights(names: Sequence[str]) -> dict[str, str]:
    """Return why protocols cannot run, by name: those whose weights a user has to bring."""
    from lamd import weights

    reasons = {}
    for name in names:
        if PROTOCOLS[name].metric == "fid" and not weights.weights_path("inception").exists():
            reasons[name] = "weights missing, see `lamd weights fetch inception`"
    return reasons


def values_cell(
    name: str,
    protocols: Sequence[str],
    clips: dict[str, Cell],
    device: str,
    *,
    num_frames: int,
    samples: int = 1,
    captioner: Cell | None = None,
) -> Cell:
    """Plan the values of the clip set `name` against the real test clips, and what they need.

    Clips have `num_frames` frames; the set has `samples` of them in a row for each real one.
    `captioner` tells what they show, for the metrics that ask for it.
    """
    parents: dict[str, Cell] = {}
    for protocol in (PROTOCOLS[one] for one in protocols):
        for one in ("test", name):
            needed = [clips[one]]
            if protocol.metric == "fvd" or protocol.metric in CLASS_METRICS:
                features = features_cell(one, clips[one], protocol.first_frame, device)
                needed = [features] if protocol.metric == "fvd" else [features, clips[one]]
            elif protocol.metric in CAPTION_METRICS:
                needed = [clips["test"], _captions_cell(name, clips[name], captioner, device)]
            parents.update({cell.name: cell for cell in needed if cell.name not in parents})
    build = partial(
        build_by_name,
        "values",
        "row_values",
        row=name,
        protocols=list(protocols),
        num_frames=num_frames,
        samples=samples,
        device=device,
    )
    config = {"protocols": list(protocols)}  # the parents' keys tell frames and samples
    return make_cell(f"values {name}", config, tuple(parents.values()), build)


def features_cell(name: str, clips: Cell, first_frame: int, device: str) -> Cell:
    """Plan the I3D features of the clip set `name` from a frame on."""
    config = {"weights": "i3d-kinetics-400", "first_frame": first_frame}
    build = partial(
        build_by_name,
        "values",
        "i3d_features",
        source=clips.name,
        first_frame=first_frame,
        device=device,
    )
    return make_cell(feature_name(name, first_frame), config, (clips,), build)


def _captions_cell(name: str, clips: Cell, captioner: Cell, device: str) -> Cell:
    build = partial(build_by_name, "captions", "tell", source=clips.name, device=device)
    return make_cell(f"captions {name}", {}, (clips, captioner), build)


def feature_name(name: str, first_frame: int) -> str:
    """Return the name of the cell with the I3D features of a clip set from a frame on."""
    return f"features {name}" + (f" from frame {first_frame}" if first_frame else "")


def _stages(target: Target, device: str) -> dict[str, Cell]:
    dump = target.model_dump(mode="json")
    shape = {"num_frames": target.data.num_frames, "size": target.data.size}
    if target.data.source == "simulated":
        dump["data"]["generator"] = GENERATORS[target.data.name]
    else:
        dump["data"]["files"] = real_files(target.data.name)
    stage = partial(partial, build_by_name, "train", target=target)
    data = make_cell("data", dump["data"], (), stage("build_data"), states_content=True)
    vae = make_cell(
        "vae",
        {"data": shape, "vae": dump["vae"], "loss": dump["loss"], "train": dump["train_vae"]},
        (data,),
        stage("build_vae", device=device),
        collective=True,
    )
    windows = ("window_stride", "num_validation_clips")
    latents = make_cell(
        "latents",
        {key: dump["train_dmg"][key] for key in windows},
        (data, vae),
        stage("build_latents", device=device),
    )
    # Without what is None: a key that a later version adds must not make trained models stale.
    dmg = make_cell(
        "dmg",
        {"dmg": target.dmg.model_dump(mode="json", exclude_none=True), "train": dump["train_dmg"]},
        (data, vae, latents),
        stage("build_dmg", device=device),
        collective=True,
    )
    cells = [data, vae, latents, dmg]
    if target.captioner is not None:
        cells.append(
            make_cell(
                "captioner",
                {"captioner": dump["captioner"], "train": dump["train_captioner"]},
                (data,),
                stage("build_captioner", device=device),
                collective=True,
            )
        )
    return {cell.name: cell for cell in cells}


def _clip_sets(target: Target, device: str, stages: dict[str, Cell]) -> dict[str, Cell]:
    data, vae, dmg = stages["data"], stages["vae"], stages["dmg"]
    clips = partial(partial, build_by_name, "clips")
    sampler = target.sampler.model_dump(mode="json", exclude_none=True)

    def real(name: str, split: str) -> Cell:
        config = {"real": split, "num_frames": target.data.num_frames}
        return make_cell(name, config, (data,), clips("real_clips", target=target, split=split))

    def reconstructed(name: str, config: dict[str, Any], given_kept: bool) -> Cell:
        build = clips("reconstructed_clips", target=target, device=device, given_kept=given_kept)
        return make_cell(name, config, (test, vae), build)

    def generated(
        name: str, first: int, limit: int | None, samples: int = 1, **options: bool
    ) -> Cell:
        config = {"generated": sampler, "sample": first, "limit": limit, **options}
        if samples > 1:
            config["samples"] = samples
        build = clips(
            "generated_clips", target=target, device=device,
            samples=range(first, first + samples), limit=limit, **options,
        )  # fmt: skip
        return make_cell(name, config, (test, vae, dmg), build)

    test = real("clips test", "test")
    cells = [
        test,
        real("clips real_train", "train"),
        make_cell("clips copy_first_frame", {"repeat": 0}, (test,), clips("repeated_clips")),
        reconstructed("clips reconstruction", {"reconstruction": "posterior mean"}, True),
        reconstructed("clips decoded", {"reconstruction": "posterior mean, every frame"}, False),
        generated("clips lamd", 0, None, target.evaluate.samples_per_clip),
        generated("clips lamd again", 1, target.evaluate.grid_clips),
    ]
    if target.dmg.prompt is not None:
        cells.append(generated("clips permuted_prompts", 0, None, permuted=True))
    return {cell.name.removeprefix("clips "): cell for cell in cells}


def _grid_sets(target: Target) -> list[str]:
    names = ["test"]
    if "reconstruction" in target.rows:
        names.append("reconstruction")
    if "lamd" in target.rows:
        names += ["lamd", "lamd again"]
    return names + [row for row in target.rows if row == "permuted_prompts" or is_baseline(row)]
