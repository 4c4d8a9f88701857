"""The static part of a clip, cast once for each camera: the ground and all that is fixed on it."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation

from lamd.standins.raycast.cast import BLOCKING, STATIC, Fan, Stage
from lamd.standins.raycast.shadow import SLACK, ShadowMap, Spot, unit
from lamd.standins.raycast.view import Camera, Painted, View

# one ray through the middle and three around it, no two in one row or column
SUBPIXELS = ((0.0, 0.0), (-0.375, -0.125), (0.25, -0.25), (0.125, 0.375))
TILE = 2


@dataclass(frozen=True)
class Backdrop:
    """The static picture of one camera; a colour is `base + visibility * lit`, float32.

    `fan`, `depth` (P,) and `spot` (in the shadow map) belong to the pixels' middles, `base` and
    `lit` (P, 3) to whole pixels, the `sub_` arrays (P, 3, ...) to the three rays around each
    middle. `raised` numbers the pixels that show no ground.
    """

    fan: Fan
    depth: np.ndarray
    base: np.ndarray
    lit: np.ndarray
    spot: Spot
    raised: np.ndarray
    raised_spot: Spot
    sub_rays: np.ndarray
    sub_depth: np.ndarray
    sub_base: np.ndarray
    sub_lit: np.ndarray

    def visibility(self, shadow: ShadowMap, frame: int) -> np.ndarray:
        """Return the share of the light that moving geoms leave to each pixel, float32 (P,)."""
        visible = shadow.ground_visibility(self.spot, frame)
        visible[self.raised] = shadow.visibility(self.raised_spot, frame)
        return visible


def make_backdrop(
    scene: Painted,
    view: View,
    camera: Camera,
    frame_size: tuple[int, int],
    stage: Stage,
    shadow: ShadowMap,
) -> Backdrop:
    """Cast and shade the static geoms as `camera` sees them."""
    eye = camera.position
    rays = camera.directions(frame_size, SUBPIXELS)
    fan = Fan(eye, rays, frame_size, TILE)
    middle = stage.cast(eye, fan.rays, STATIC)
    points = eye + fan.rays * middle.depth[:, None]
    on_floor = middle.geom == scene.model.geom("floor").id
    lift = np.where(on_floor[:, None], 0.0, middle.normal)
    spot = shadow.locate(points.T.astype(np.float32), lift.T.astype(np.float32))
    sun = shadow.ground_visibility(spot, shadow.static_frame)
    raised = np.flatnonzero(~on_floor)
    # exact for points of static geoms: whether none of these hides them from the light
    reach = np.linalg.norm(points[raised] - view.light, axis=1)
    hits = stage.cast(view.light, unit(points[raised] - view.light), BLOCKING)
    sun[raised] = hits.depth > reach - SLACK
    uneven = np.flatnonzero(binary_dilation(~on_floor.reshape(frame_size[::-1]), np.ones((3, 3))))
    geom, depth, facing = _subpixels(stage, eye, rays, uneven, unit(view.light - points))
    albedo = view.static_albedo(scene, geom, eye[:2] + rays[..., :2] * depth[..., None])
    base = albedo * view.ambient
    lit = albedo * (np.maximum(facing, 0) * sun[:, None])[..., None] * view.light_color
    base_mean, lit_mean = (np.einsum("psc->pc", a) / len(SUBPIXELS) for a in (base, lit))
    # rows are taken from these often, which is quick only where they are contiguous
    around = (np.ascontiguousarray(a[:, 1:]) for a in (rays, depth, base, lit))
    return Backdrop(
        fan, middle.depth, base_mean, lit_mean, spot, raised, spot.take(raised), *around
    )


def _subpixels(
    stage: Stage, eye: np.ndarray, rays: np.ndarray, uneven: np.ndarray, to_light: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return geom, depth and cosine towards the light of `rays` (pixels, subpixels, 3).

    Only the pixels `uneven` are cast; elsewhere rays meet the ground.
    """
    geom = np.full(rays.shape[:2], stage.model.geom("floor").id)
    depth = -eye[2] / rays[..., 2]
    facing = np.repeat(to_light[:, 2:].astype(np.float32), rays.shape[1], axis=1)
    hits = stage.cast(eye, rays[uneven].reshape(-1, 3), STATIC)
    geom[uneven] = hits.geom.reshape(-1, rays.shape[1])
    depth[uneven] = hits.depth.reshape(-1, rays.shape[1])
    normal = hits.normal.reshape(-1, *rays.shape[1:])
    facing[uneven] = np.einsum("psc,pc->ps", normal, to_light[uneven])
    return geom, depth, facing
