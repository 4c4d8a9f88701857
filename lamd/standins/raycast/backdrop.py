"""What never moves in a clip, cast once for each camera: the ground and what is fixed on it."""

from dataclasses import dataclass

import numpy as np

from lamd.standins.raycast.cast import BLOCKING, STATIC, Fan, Stage
from lamd.standins.raycast.shadow import SLACK, Place, ShadowMap, unit
from lamd.standins.raycast.view import Camera, Painted, View

# one ray through the middle and three around it, no two in one row or column
SUBPIXELS = ((0.0, 0.0), (-0.375, -0.125), (0.25, -0.25), (0.125, 0.375))
TILE = 2


@dataclass(frozen=True)
class Backdrop:
    """The static picture of one camera; a colour is `base + visibility * lit`, float32.

    `fan`, `depth` (P,) and `place` (in the shadow map) belong to the pixels' middles, `base` and
    `lit` (P, 3) to whole pixels, the `sub_` arrays (P, 3, ...) to the three rays around each
    middle. `raised` numbers the pixels that show no ground.
    """

    fan: Fan
    depth: np.ndarray
    base: np.ndarray
    lit: np.ndarray
    place: Place
    raised: np.ndarray
    raised_place: Place
    sub_rays: np.ndarray
    sub_depth: np.ndarray
    sub_base: np.ndarray
    sub_lit: np.ndarray

    def visibility(self, shadow: ShadowMap, frame: int) -> np.ndarray:
        """Return the share of the light that moving geoms leave to each pixel, float32 (P,)."""
        visible = shadow.ground_visibility(self.place, frame)
        visible[self.raised] = shadow.visibility(self.raised_place, frame)
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
    on_floor = middle.geom == scene.model.geom("real_train").id
    lift = np.where(on_floor[:, None], 0.0, middle.normal)
    place = shadow.place(points.T.astype(np.float32), lift.T.astype(np.float32))
    sun = shadow.ground_visibility(place, shadow.static_frame)
    raised = np.flatnonzero(~on_floor)
    sun[raised] = _sunlit(stage, view.light, points[raised])
    uneven = _around(~on_floor, frame_size)
    geom, depth, facing = _subpixels(stage, eye, rays, uneven, unit(view.light - points))
    albedo = view.static_albedo(scene, geom, eye[:2] + rays[..., :2] * depth[..., None])
    base = albedo * view.ambient
    lit = albedo * (np.maximum(facing, 0) * sun[:, None])[..., None] * view.light_color
    base_mean, lit_mean = (np.einsum("psc->pc", a) / len(SUBPIXELS) for a in (base, lit))
    # rows are taken from these often, which is quick only where they are contiguous
    around = (np.ascontiguousarray(a[:, 1:]) for a in (rays, depth, base, lit))
    return Backdrop(
        fan, middle.depth, base_mean, lit_mean, place, raised, place.take(raised), *around
    )


def _subpixels(
    stage: Stage, eye: np.ndarray, rays: np.ndarray, uneven: np.ndarray, to_light: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return geom, depth and cosine towards the light of `rays` (pixels, subpixels, 3).

    Only the pixels `uneven` are cast; elsewhere rays meet the ground. The light's
    direction hardly changes within a pixel.
    """
    geom = np.full(rays.shape[:2], stage.model.geom("real_train").id)
    depth = -eye[2] / rays[..., 2]
    facing = np.repeat(to_light[:, 2:].astype(np.float32), rays.shape[1], axis=1)
    hits = stage.cast(eye, rays[uneven].reshape(-1, 3), STATIC)
    geom[uneven] = hits.geom.reshape(-1, rays.shape[1])
    depth[uneven] = hits.depth.reshape(-1, rays.shape[1])
    normal = hits.normal.reshape(-1, *rays.shape[1:])
    facing[uneven] = np.einsum("psc,pc->ps", normal, to_light[uneven])
    return geom, depth, facing


def _sunlit(stage: Stage, light: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Tell which `points` no static geom hides from the light; exact, for points of those geoms."""
    reach = np.linalg.norm(points - light, axis=1)
    return stage.cast(light, unit(points - light), BLOCKING).depth > reach - SLACK


def _around(mask: np.ndarray, frame_size: tuple[int, int]) -> np.ndarray:
    """Number the pixels within one pixel of `mask`."""
    wide = np.pad(mask.reshape(frame_size[::-1]), 1)
    tall = wide[:-2] | wide[1:-1] | wide[2:]
    return np.flatnonzero(tall[:, :-2] | tall[:, 1:-1] | tall[:, 2:])
