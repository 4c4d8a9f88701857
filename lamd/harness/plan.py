"""What a target needs: its cells, in an order in which parents come first.

Raise a kind's number in `CODE_VERSIONS` when its code changes what it makes; cells made by the
older code are then left alone and new ones are made beside them.
"""

import difflib
from dataclasses import dataclass
from functools import partial
from typing import Any

from lamd.config import Target
from lamd.errors import LamdError
from lamd.harness.cells import Cell
from lamd.harness.stages import real_files
from lamd.metrics.rules import PROTOCOLS

CODE_VERSIONS = {
    "data": 1,
    "vae": 1,
    "latents": 1,
    "dmg": 1,
    "clips": 1,
    "features": 1,
    "values": 1,
}
UNPAIRED_ROWS = ("floor",)  # nothing to compare frame by frame


@dataclass(frozen=True)
class Plan:
    """The cells of one target: stages by name, one `values` cell a row, clip sets for the grid."""

    stages: dict[str, Cell]
    rows: dict[str, Cell]
    grid: tuple[Cell, ...]

    def cells(self) -> list[Cell]:
        """Return all cells, parents first, each once."""
        found: dict[str, Cell] = {}
        for last in (*self.stages.values(), *self.grid, *self.rows.values()):
            for cell in (*last.ancestors(), last):
                found[cell.name] = cell
        return list(found.values())


def make_plan(target: Target, device: str) -> Plan:
    """Expand a target into cells; builds run on `device`."""
    stages = _stages(target, device)
    clips = _clip_sets(target, device, stages)
    first_frame = _first_frame(target)
    extract = partial(
        partial, _build, "values", "i3d_features", first_frame=first_frame, device=device
    )
    features = {
        name: _cell(
            f"features {name}",
            {"weights": "i3d-kinetics-400", "first_frame": first_frame},
            (cell,),
            extract(source=cell.name),
        )
        for name, cell in clips.items()
        if name == "test" or name in target.rows
    }
    rows = {row: _row(target, row, clips, features, device) for row in target.rows}
    grid = tuple(clips[name] for name in _grid_sets(target))
    return Plan(stages=stages, rows=rows, grid=grid)


def row_protocols(target: Target, row: str) -> list[str]:
    """Return the protocols that apply to a row, in the target's order.

    Raises:
        LamdError: on an unknown protocol.
    """
    for name in target.evaluate.protocols:
        if name not in PROTOCOLS:
            close = difflib.get_close_matches(name, PROTOCOLS, n=1)
            hint = f", did you mean {close[0]!r}?" if close else ""
            raise LamdError(f"evaluate.protocols: unknown {name!r}{hint}; mend the value")
    return [
        name
        for name in target.evaluate.protocols
        if row not in UNPAIRED_ROWS or PROTOCOLS[name].metric == "fvd"
    ]


def _first_frame(target: Target) -> int:
    """Return the first frame that FVD counts; all FVD protocols of a target share it."""
    rules = [PROTOCOLS[name] for name in row_protocols(target, UNPAIRED_ROWS[0])]
    first = {rule.first_frame for rule in rules}
    if len(first) != 1:
        raise LamdError("evaluate.protocols: needs FVD protocols that count the same frames")
    return first.pop()


def _stages(target: Target, device: str) -> dict[str, Cell]:
    dump = target.model_dump(mode="json")
    shape = {"num_frames": dump["data"].pop("num_frames"), "size": target.data.size}
    if target.data.source == "real":
        dump["data"]["files"] = real_files()
    stage = partial(partial, _build, "stages", target=target)
    data = _cell("data", dump["data"], (), stage("build_data"), states_content=True)
    vae = _cell(
        "vae",
        {"data": shape, "vae": dump["vae"], "loss": dump["loss"], "train": dump["train_vae"]},
        (data,),
        stage("build_vae", device=device),
        collective=True,
    )
    windows = ("window_stride", "num_validation_clips")
    latents = _cell(
        "latents",
        {key: dump["train_dmg"][key] for key in windows},
        (data, vae),
        stage("build_latents", device=device),
    )
    dmg = _cell(
        "dmg",
        {"dmg": dump["dmg"], "train": dump["train_dmg"]},
        (data, vae, latents),
        stage("build_dmg", device=device),
        collective=True,
    )
    return {cell.name: cell for cell in (data, vae, latents, dmg)}


def _clip_sets(target: Target, device: str, stages: dict[str, Cell]) -> dict[str, Cell]:
    data, vae, dmg = stages["data"], stages["vae"], stages["dmg"]
    clips = partial(partial, _build, "clips")
    sampler = target.sampler.model_dump(mode="json", exclude={"batch_size"})

    def real(name: str, split: str) -> Cell:
        config = {"real": split, "num_frames": target.data.num_frames}
        return _cell(name, config, (data,), clips("real_clips", target=target, split=split))

    def generated(name: str, sample: int, limit: int | None) -> Cell:
        return _cell(
            name,
            {"generated": sampler, "sample": sample, "limit": limit},
            (test, vae, dmg),
            clips("generated_clips", target=target, device=device, sample=sample, limit=limit),
        )

    test = real("clips test", "test")
    cells = [
        test,
        real("clips floor", "train"),
        _cell("clips trivial", {"repeat": 0}, (test,), clips("repeated_clips")),
        _cell(
            "clips reconstruction",
            {"reconstruction": "posterior mean"},
            (test, vae),
            clips("reconstructed_clips", target=target, device=device),
        ),
        generated("clips lamd", 0, None),
        generated("clips lamd again", 1, target.evaluate.grid_clips),
    ]
    return {cell.name.removeprefix("clips "): cell for cell in cells}


def _row(
    target: Target, row: str, clips: dict[str, Cell], features: dict[str, Cell], device: str
) -> Cell:
    protocols = row_protocols(target, row)
    parents = [features["test"], features[row]]
    if row not in UNPAIRED_ROWS:
        parents += [clips["test"], clips[row]]
    build = partial(_build, "values", "row_values", row=row, protocols=protocols, device=device)
    return _cell(f"values {row}", {"protocols": protocols}, tuple(parents), build)


def _grid_sets(target: Target) -> list[str]:
    names = ["test"]
    if "reconstruction" in target.rows:
        names.append("reconstruction")
    if "lamd" in target.rows:
        names += ["lamd", "lamd again"]
    return names


def _cell(
    name: str, config: dict[str, Any], parents: tuple[Cell, ...], build: Any, **options: bool
) -> Cell:
    kind = name.split()[0]
    return Cell(name, kind, CODE_VERSIONS[kind], config, parents, build, **options)


def _build(module: str, function: str, folder: Any, inputs: Any, **options: Any) -> Any:
    # By name, so that planning, `lamd show` and a run with all cells cached import no torch.
    from importlib import import_module

    return getattr(import_module(f"lamd.harness.{module}"), function)(folder, inputs, **options)
