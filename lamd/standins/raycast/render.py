"""Ray-cast pictures of a clip, without OpenGL.

Static geoms are cast once per camera. A frame casts one ray per pixel at the moving geoms, three
more to the pixels on an outline, and a shadow map from the light that serves all cameras, each only
where something has changed since the frame before. Colours are computed at the end, for all frames.
"""

import mujoco
import numpy as np
from scipy.ndimage import binary_dilation

from lamd.standins.raycast import cast
from lamd.standins.raycast.cast import Bounds, Fan, Hits, ShadowMap, Spot, Stage, unit
from lamd.standins.raycast.view import SUBPIXELS, Camera, Painted, View

# of metal: brightness above and below the horizon, its sharpness, share of the sky's own colour,
# share of the diffuse light that is lost
SKY, GROUND, SHARPNESS, PALE, MIRRORED = 2.4, 0.3, 2.0, 0.4, 0.6


def render_clip(
    scene: Painted, view: View, qpos: np.ndarray, frame_size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Draw the poses `qpos` (n, nq) with every camera: uint8 (n, height, width, 3) each.

    `frame_size` is (width, height).
    """
    stage = Stage(scene.model, mujoco.MjData(scene.model))
    mujoco.mj_kinematics(scene.model, stage.data)
    bounds = Bounds(scene.model)
    shadow = ShadowMap(view, stage, len(qpos))
    films = {
        name: _Film(scene, camera, frame_size, shadow) for name, camera in view.cameras.items()
    }
    for frame, pose in enumerate(qpos):
        stage.data.qpos[:] = pose
        mujoco.mj_kinematics(scene.model, stage.data)
        spheres, radii = bounds.changes(stage.data)
        shadow.expose(frame, spheres, radii)
        for film in films.values():
            film.expose(frame, spheres, radii)
    return {name: film.develop() for name, film in films.items()}


class _Film:
    """The backdrop of one camera, and the rays that meet moving geoms before it, frame by frame.

    A pixel has four `rays` (P, 4, 3), the first one through its middle. The backdrop's `depth` is
    (P, 4), its colour `base + visibility * lit`, float32 (P, 4, 3); off the outlines the first ray
    represents the pixel, so its colour is the mean of all four. `spot` is in the shadow map;
    `raised` numbers the pixels that show no ground.
    """

    def __init__(
        self, scene: Painted, camera: Camera, frame_size: tuple[int, int], shadow: ShadowMap
    ) -> None:
        self.scene, self.shadow, self.view, self.stage = scene, shadow, shadow.view, shadow.stage
        self.shape, self.eye, rays = frame_size[::-1], camera.position, camera.rays(frame_size)
        spread = np.arccos(np.einsum("psc,pc->ps", rays, rays[:, 0]).min())
        self.fan, self.rays = Fan(self.eye, rays[:, 0], spread), rays.reshape(-1, 3)
        self.number = np.arange(len(self.rays)).reshape(rays.shape[:2])
        self.seen = Hits.none(len(self.rays))  # by first rays: now; by others: where `known`
        self.known = np.zeros(len(rays), bool)
        self.rows = shadow.num_frames * len(rays)  # of colours: all pixels, then further rays
        self.edges: list[np.ndarray] = []
        self.met: list[tuple[np.ndarray, ...]] = []  # frames, rows, rays, hits
        self._cast_backdrop(rays)

    def _cast_backdrop(self, rays: np.ndarray) -> None:
        scene, shadow, view, stage = self.scene, self.shadow, self.view, self.stage
        hits = stage.cast(self.eye, self.rays, cast.STATIC)
        geom, self.depth = (a.reshape(self.number.shape) for a in (hits.geom, hits.depth))
        normal = hits.normal.reshape(rays.shape)
        points = self.eye + rays[:, 0] * self.depth[:, :1]
        on_floor = geom[:, 0] == scene.model.geom("floor").id
        # all four rays of a pixel meet the ground where its neighbours in the picture do as well
        even = ~binary_dilation(~on_floor.reshape(self.shape), np.ones((3, 3))).ravel()
        geom[even], normal[even] = geom[even, :1], normal[even, :1]
        self.depth[even] = -self.eye[2] / rays[even, :, 2]
        lift = np.where(on_floor[:, None], 0.0, normal[:, 0])
        self.spot = shadow.locate(points.T.astype(np.float32), lift.T.astype(np.float32))
        self.raised = np.flatnonzero(~on_floor)
        self.raised_spot = Spot(*(a[..., self.raised] for a in self.spot))
        sun = shadow.ground_visibility(self.spot, shadow.num_frames)
        # exact for points of static geoms: whether none of these hides them from the light
        toward = points[self.raised] - view.light
        free = stage.cast(view.light, unit(toward), cast.BLOCKING).depth
        sun[self.raised] = free > np.linalg.norm(toward, axis=1) - cast.SLACK
        facing = np.einsum("psc,pc->ps", normal, unit(view.light - points)).astype(np.float32)
        ground = self.eye[:2] + rays[..., :2] * self.depth[..., None]
        albedo = view.static_albedo(scene, geom, ground)
        self.base = albedo * view.ambient
        self.lit = albedo * (np.maximum(facing, 0) * sun[:, None])[..., None] * view.light_color
        for color in (self.base, self.lit):
            color[:, 0] = np.einsum("psc->pc", color) / len(SUBPIXELS)

    def expose(self, frame: int, spheres: np.ndarray, radii: np.ndarray) -> None:
        """Cast the rays of one frame where something has changed within `spheres` (k, 3)."""
        near = self.fan.near(spheres, radii)
        self._cast(self.number[near, 0])
        self.known[near] = False
        first = self.number[:, 0]
        front = self.seen.depth[first] < self.depth[:, 0]
        edge = _edges(np.where(front, self.seen.geom[first], -1).reshape(self.shape))
        self._cast(self.number[edge[~self.known[edge]], 1:].ravel())
        self.known[edge] = True
        self.edges.append(frame * len(first) + edge)
        further = self.number[edge, 1:].ravel()
        for rays, row in ((first, frame * len(first)), (further, self.rows)):
            met = np.flatnonzero(self.seen.depth[rays] < self.depth.ravel()[rays])
            hits = (a.take(rays[met], axis=0) for a in self.seen)
            self.met.append((np.full(len(met), frame), row + met, rays[met], *hits))
        self.rows += len(further)

    def _cast(self, rays: np.ndarray) -> None:
        hits = self.stage.cast(self.eye, self.rays.take(rays, axis=0), cast.MOVING)
        for now, new in zip(self.seen, hits, strict=True):
            now[rays] = new

    def develop(self) -> np.ndarray:
        """Compute the colours of all frames: uint8 (n, height, width, 3)."""
        num_frames, num_pixels = len(self.edges), len(self.known)
        visible = np.empty((num_frames, num_pixels, 1), np.float32)
        for frame in range(num_frames):
            visible[frame, :, 0] = self.shadow.ground_visibility(self.spot, frame)
            visible[frame, self.raised, 0] = self.shadow.visibility(self.raised_spot, frame)
        edge = np.concatenate(self.edges)
        pixel = edge % num_pixels
        further = self.lit.take(pixel, axis=0) * visible.reshape(-1, 1, 1).take(edge, axis=0)
        further += self.base.take(pixel, axis=0)
        pictures = self.base[:, 0] + self.lit[:, 0] * visible
        color = np.concatenate([pictures.reshape(-1, 3), further[:, 1:].reshape(-1, 3)])
        frames, row, ray, *hits = map(np.concatenate, zip(*self.met, strict=True))
        color[row] = self._colors(self.rays.take(ray, axis=0), Hits(*hits), frames).T
        further = color[num_frames * num_pixels :].reshape(-1, len(SUBPIXELS) - 1, 3)
        color[edge] = (color.take(edge, axis=0) + np.einsum("nsc->nc", further)) / len(SUBPIXELS)
        video = np.clip(color[: num_frames * num_pixels], 0, 1) * 255 + 0.5
        return video.astype(np.uint8).reshape(num_frames, *self.shape, 3)

    def _colors(self, rays: np.ndarray, hits: Hits, frames: np.ndarray) -> np.ndarray:
        """Shade moving geoms: hemisphere ambient, Lambert and a Blinn highlight; float32 (3, n)."""
        scene, view, shadow = self.scene, self.view, self.shadow
        rays, normal = (np.ascontiguousarray(a.T, np.float32) for a in (rays, hits.normal))
        points = self.eye.astype(np.float32)[:, None] + rays * hits.depth.astype(np.float32)
        toward = _unit_columns(points - shadow.light[:, None])
        facing = np.maximum(-np.einsum("in,in->n", normal, toward), 0)
        visible = shadow.visibility(shadow.locate(points, normal), frames)
        half = _unit_columns(toward + rays)
        gleam = np.maximum(-np.einsum("in,in->n", normal, half), 0)
        gleam_24 = ((gleam * gleam * gleam) ** 2) ** 2
        gleam_24 *= gleam_24
        albedo = np.ascontiguousarray(scene.albedo.T).take(hits.geom, axis=1)
        sky = 0.75 + 0.25 * normal[2]
        direct = (albedo * facing + scene.specular.take(hits.geom) * gleam_24) * visible
        ambient = albedo * view.ambient[:, None] * sky
        if scene.metal is not None:
            metal = scene.metal.take(hits.geom)
            mirrored = _reflection(albedo, normal, rays) * view.ambient[:, None]
            ambient += metal * (mirrored - ambient)
            direct *= 1 - MIRRORED * metal
        return ambient + direct * view.light_color[:, None]


def _reflection(albedo: np.ndarray, normal: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Mirror a bright sky over a dim ground, tinted by the metal's colour; float32 (3, n)."""
    facing = np.einsum("in,in->n", normal, rays)
    upward = rays[2] - 2 * facing * normal[2]
    sky = np.clip(upward * SHARPNESS + 0.5, 0, 1)
    return (albedo + PALE * sky) * (GROUND + (SKY - GROUND) * sky)


def _unit_columns(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.sqrt(np.einsum("in,in->n", vectors, vectors))


def _edges(geom: np.ndarray) -> np.ndarray:
    """Number the pixels whose geom differs from that of one of the four neighbours."""
    wide = np.pad(geom, 1, mode="edge")
    around = (wide[2:, 1:-1], wide[:-2, 1:-1], wide[1:-1, 2:], wide[1:-1, :-2])
    return np.flatnonzero(np.any([geom != neighbour for neighbour in around], axis=0))
