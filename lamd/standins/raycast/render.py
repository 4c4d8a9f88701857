"""Ray-cast pictures of a clip, without OpenGL.

A frame casts one ray per pixel at the moving geoms, three more to the pixels on an outline, and a
shadow map from the light that serves all cameras, each only where something has changed since the
frame before; everything else is the backdrop. Colours are computed at the end, for all frames.
"""

from typing import NamedTuple

import mujoco
import numpy as np

from lamd.standins.raycast.backdrop import SUBPIXELS, Backdrop, make_backdrop
from lamd.standins.raycast.cast import MOVING, Bounds, Hits, Stage
from lamd.standins.raycast.shadow import ShadowMap
from lamd.standins.raycast.view import Painted, View

NUM_FURTHER = len(SUBPIXELS) - 1
# of metal: brightness above and below the horizon, its sharpness, share of the sky's own colour,
# share of the diffuse light that is lost
SKY, GROUND, SHARPNESS, PALE, MIRRORED = 2.4, 0.3, 2.0, 0.4, 0.6


class _Fragments(NamedTuple):
    """Rays that met a moving geom, with the `row` of the colour buffer that each one paints.

    `normal` and `ray` are (n, 3) as they are cast, (3, n) when they are shaded.
    """

    row: np.ndarray
    geom: np.ndarray
    depth: np.ndarray
    normal: np.ndarray
    ray: np.ndarray


def render_clip(
    scene: Painted, view: View, qpos: np.ndarray, frame_size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Draw the poses `qpos` (n, nq) with every camera: uint8 (n, height, width, 3) each.

    `frame_size` is (width, height), even numbers of pixels.
    """
    stage = Stage(scene.model, mujoco.MjData(scene.model))
    mujoco.mj_kinematics(scene.model, stage.data)
    bounds = Bounds(scene.model)
    shadow = ShadowMap(view, stage, len(qpos))
    films = {}
    for name, camera in view.cameras.items():
        backdrop = make_backdrop(scene, view, camera, frame_size, stage, shadow)
        films[name] = _Film(backdrop, stage, frame_size)
    for frame, pose in enumerate(qpos):
        stage.data.qpos[:] = pose
        mujoco.mj_kinematics(scene.model, stage.data)
        spheres, radii = bounds.changes(stage.data)
        shadow.expose(frame, spheres, radii)
        for film in films.values():
            film.expose(frame, spheres, radii)
    return {name: film.develop(scene, view, shadow) for name, film in films.items()}


class _Film:
    """Exposures of one camera: fragments of pixels' middles and of the further rays on outlines."""

    def __init__(self, backdrop: Backdrop, stage: Stage, frame_size: tuple[int, int]) -> None:
        self.backdrop, self.stage = backdrop, stage
        self.width, self.height = frame_size
        self.num_pixels = self.width * self.height
        self.seen = Hits.none(self.num_pixels)  # by the pixels' middles, now
        self.around = Hits.none(self.num_pixels * NUM_FURTHER)  # by the further rays, where known
        self.known = np.zeros(self.num_pixels, bool)
        self.further = np.arange(self.num_pixels * NUM_FURTHER).reshape(-1, NUM_FURTHER)
        self.middles: list[_Fragments] = []
        self.outlines: list[_Fragments] = []
        self.edges: list[np.ndarray] = []
        self.num_edges = 0

    def expose(self, frame: int, spheres: np.ndarray, radii: np.ndarray) -> None:
        """Cast the rays of one frame where something has changed within `spheres` (k, 3)."""
        back, seen = self.backdrop, self.seen
        near = back.fan.near(spheres, radii)
        seen.put(near, self._cast(back.fan.rays.take(near, axis=0)))
        self.known[near] = False
        in_front = seen.depth < back.depth
        front = np.flatnonzero(in_front)
        first = frame * self.num_pixels
        self.middles.append(_fragments(front + first, seen, front, back.fan.rays))
        geom = np.where(in_front, seen.geom, -1)
        edge = _edges(geom.reshape(self.height, self.width))
        fresh = edge[~self.known[edge]]
        fresh_rays = back.sub_rays.take(fresh, axis=0).reshape(-1, 3)
        self.around.put(self.further[fresh].ravel(), self._cast(fresh_rays))
        self.known[fresh] = True
        further = self.further[edge].ravel()
        front = np.flatnonzero(
            self.around.depth.take(further) < back.sub_depth.ravel().take(further)
        )
        rows = front + self.num_edges * NUM_FURTHER
        rays = back.sub_rays.reshape(-1, 3)
        self.outlines.append(_fragments(rows, self.around, further.take(front), rays))
        self.edges.append(edge + first)
        self.num_edges += len(edge)

    def _cast(self, rays: np.ndarray) -> Hits:
        return self.stage.cast(self.backdrop.fan.origin, rays, MOVING)

    def develop(self, scene: Painted, view: View, shadow: ShadowMap) -> np.ndarray:
        """Compute the colours of all frames: uint8 (n, height, width, 3)."""
        back, eye = self.backdrop, self.backdrop.fan.origin
        num_frames = len(self.edges)
        visible = np.empty((num_frames, self.num_pixels, 1), np.float32)
        color: np.ndarray = np.empty((num_frames, self.num_pixels, 3), np.float32)
        for frame in range(num_frames):
            visible[frame, :, 0] = back.visibility(shadow, frame)
            color[frame] = back.base + back.lit * visible[frame]
        color = color.reshape(-1, 3)
        seen = _join(self.middles)
        color[seen.row] = _colors(scene, view, shadow, eye, seen, seen.row // self.num_pixels).T
        edge = np.concatenate(self.edges)
        pixel = edge % self.num_pixels
        further = back.sub_lit.take(pixel, axis=0) * visible.reshape(-1, 1, 1).take(edge, axis=0)
        further += back.sub_base.take(pixel, axis=0)
        seen = _join(self.outlines)
        frames = edge.take(seen.row // NUM_FURTHER) // self.num_pixels
        further.reshape(-1, 3)[seen.row] = _colors(scene, view, shadow, eye, seen, frames).T
        total = color.take(edge, axis=0) + np.einsum("nsc->nc", further)
        color[edge] = total / len(SUBPIXELS)
        video = np.empty((num_frames, self.height, self.width, 3), np.uint8)
        for picture, values in zip(video, color.reshape(video.shape), strict=True):
            picture[:] = np.clip(values, 0, 1) * 255 + 0.5
        return video


def _fragments(rows: np.ndarray, seen: Hits, chosen: np.ndarray, rays: np.ndarray) -> _Fragments:
    hits = seen.take(chosen)
    return _Fragments(rows, hits.geom, hits.depth, hits.normal, rays.take(chosen, axis=0))


def _join(parts: list[_Fragments]) -> _Fragments:
    row, geom, *geometry = map(np.concatenate, zip(*parts, strict=True))
    return _Fragments(row, geom, *(np.ascontiguousarray(a.T, np.float32) for a in geometry))


def _colors(
    scene: Painted,
    view: View,
    shadow: ShadowMap,
    eye: np.ndarray,
    seen: _Fragments,
    frames: np.ndarray,
) -> np.ndarray:
    """Shade moving geoms: hemisphere ambient, Lambert and a Blinn highlight; float32 (3, n)."""
    points = eye.astype(np.float32)[:, None] + seen.ray * seen.depth
    toward = _unit_columns(points - shadow.light[:, None])
    facing = np.maximum(-np.einsum("in,in->n", seen.normal, toward), 0)
    visible = shadow.visibility(shadow.locate(points, seen.normal), frames)
    half = _unit_columns(toward + seen.ray)
    gleam = np.maximum(-np.einsum("in,in->n", seen.normal, half), 0)
    gleam_24 = ((gleam * gleam * gleam) ** 2) ** 2
    gleam_24 *= gleam_24
    albedo = np.ascontiguousarray(scene.albedo.T).take(seen.geom, axis=1)
    sky = 0.75 + 0.25 * seen.normal[2]
    direct = (albedo * facing + scene.specular.take(seen.geom) * gleam_24) * visible
    ambient = albedo * view.ambient[:, None] * sky
    if scene.metal is not None:
        metal = scene.metal.take(seen.geom)
        ambient += metal * (_reflection(albedo, seen) * view.ambient[:, None] - ambient)
        direct *= 1 - MIRRORED * metal
    return ambient + direct * view.light_color[:, None]


def _reflection(albedo: np.ndarray, seen: _Fragments) -> np.ndarray:
    """Mirror a bright sky over a dim ground, tinted by the metal's colour; float32 (3, n)."""
    facing = np.einsum("in,in->n", seen.normal, seen.ray)
    upward = seen.ray[2] - 2 * facing * seen.normal[2]
    sky = np.clip(upward * SHARPNESS + 0.5, 0, 1)
    return (albedo + PALE * sky) * (GROUND + (SKY - GROUND) * sky)


def _unit_columns(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.sqrt(np.einsum("in,in->n", vectors, vectors))


def _edges(geom: np.ndarray) -> np.ndarray:
    """Number the pixels whose geom differs from that of one of the four neighbours."""
    edge = np.zeros(geom.shape, bool)
    down, right = geom[1:] != geom[:-1], geom[:, 1:] != geom[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return np.flatnonzero(edge)
