"""A plan as CATER's scene JSON."""

from typing import Any

import numpy as np

from lamd.standins.blocks.plan import Plan
from lamd.standins.blocks.stage import UNIT, camera

NEAR = 0.2  # CATER's: objects closer than this along a direction are not related


def scene_json(
    plan: Plan, split: str, index: int, video: str, frame_size: tuple[int, int]
) -> dict[str, Any]:
    """Return the scene in CATER's schema; `pixel_coords` are (x, y, depth) in the video."""
    objects = [
        {
            "shape": thing.shape,
            "size": thing.size,
            "sized": thing.sized,
            "material": thing.material,
            "3d_coords": places[0].tolist(),
            "rotation": float(np.degrees(thing.yaw)),
            "pixel_coords": _pixel(places[0], frame_size),
            "color": thing.color,
            "instance": thing.instance,
            "locations": {str(frame): place for frame, place in enumerate(places.tolist())},
        }
        for thing, places in zip(plan.things, plan.places, strict=True)
    ]
    directions = {
        "behind": [0.0, 1.0, 0.0],
        "front": [0.0, -1.0, 0.0],
        "left": [-1.0, 0.0, 0.0],
        "right": [1.0, 0.0, 0.0],
        "above": [0.0, 0.0, 1.0],
        "below": [0.0, 0.0, -1.0],
    }
    return {
        "split": split,
        "image_index": index,
        "image_filename": video,
        "objects": objects,
        "directions": directions,
        "relationships": {
            name: _related(plan, np.array(directions[name]))
            for name in ("behind", "front", "left", "right")
        },
        "movements": _movements(plan),
    }


def _movements(plan: Plan) -> dict[str, list[list]]:
    moves = {thing.instance: plan.moves.get(thing.instance) for thing in plan.things}
    return {
        name: [] if move is None else [[move.action, move.other, move.start, move.end]]
        for name, move in moves.items()
    }


def _related(plan: Plan, direction: np.ndarray) -> list[list[int]]:
    """List, for each object, those that lie in `direction` of it."""
    along = plan.places[:, 0] @ direction
    return [np.flatnonzero(along > own + NEAR).tolist() for own in along]


def _pixel(place: np.ndarray, frame_size: tuple[int, int]) -> list[float]:
    seen = camera()
    right, up, depth = seen.axes @ (place * UNIT - seen.position)
    width, height = frame_size
    scale = height / 2 / seen.half_side / depth
    return [width / 2 + right * scale, height / 2 - up * scale, depth / UNIT]
