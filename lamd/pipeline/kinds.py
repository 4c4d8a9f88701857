"""The kinds of cells, and how one is planned.

Raise a kind's number in `CODE_VERSIONS` when its code changes what it makes; cells made by the
older code are then left alone and new ones are made beside them.
"""

from typing import Any

from lamd.pipeline.cells import Cell

CODE_VERSIONS = {
    "data": 2,
    "vae": 1,
    "latents": 1,
    "dmg": 1,
    "captioner": 1,
    "pixel": 2,
    "video_vae": 1,
    "video_latents": 1,
    "latent_video": 1,
    "clips": 1,
    "captions": 1,
    "features": 1,
    "values": 2,
    "diagnostics": 1,
    "figure": 1,
    "latency": 1,
}


def make_cell(
    name: str, config: dict[str, Any], parents: tuple[Cell, ...], build: Any, **options: bool
) -> Cell:
    """Plan one cell; the first word of its name is its kind."""
    kind = name.split()[0]
    return Cell(name, kind, CODE_VERSIONS[kind], config, parents, build, **options)


def build_by_name(module: str, function: str, folder: Any, inputs: Any, **options: Any) -> Any:
    """Call a function of this package; partially applied, it is a cell's build."""
    # By name, so that planning, `lamd show` and a run with all cells cached import no torch.
    from importlib import import_module

    return getattr(import_module(f"lamd.pipeline.steps.{module}"), function)(
        folder, inputs, **options
    )
