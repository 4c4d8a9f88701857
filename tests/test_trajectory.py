"""Trajectory error: stand-ins against their true tracks, and clips whose motion the test knows."""

import json

import cv2
import numpy as np
import pytest
from skimage.color import rgb2lab
from tiny import tiny_target

from lamd.base.errors import LamdError
from lamd.config import load_target
from lamd.data.dataset import DATASETS
from lamd.data.stand_in import Future
from lamd.metrics.measure import measure
from lamd.metrics.trajectory import colours, locate
from lamd.metrics.values import Inputs
from lamd.pipeline import contents
from lamd.pipeline.graph import TablePlan
from lamd.pipeline.steps.clips import real_clips, true_tracks
from lamd.pipeline.steps.data import build_data
from lamd.pipeline.steps.values import row_values
from lamd.standins.blocks.scene import draw_future, draw_plan
from lamd.standins.blocks.track import centre_tracks
from lamd.standins.raycast.view import Camera
from lamd.standins.robot.motion import roll_out
from lamd.standins.robot.scene import Look
from lamd.standins.robot.track import hand_track

NAME, SEED, LENGTH, SIZE, COUNT = "trajectory_error.v1", 5, 16, 32, 12
OWN = {
    "bair": {"camera": "image_aux1"},
    "cater_v2": {"captions": "ambiguous", "frame_interval": 2, "on_corrupt": "raise"},
}


def bair_future(i):
    data = DATASETS["bair"]
    streams = (data.random(SEED, "test", i, *name) for name in (["physics"], [0, "future", 0]))
    first, other = streams
    camera = Look(data.random(SEED, "test", i, "look")).cameras["image_aux1"]
    return hand_track(roll_out(first, 0, other), camera, SIZE)[:LENGTH]


def cater_future(i):
    data = DATASETS["cater_v2"]
    plan = draw_plan(data.random(SEED, "test", i, "scene"), "v2")
    other = draw_future(data.random(SEED, "test", i, "future", 0), plan, "ambiguous")
    return centre_tracks(other, SIZE)[np.minimum(np.arange(LENGTH) * 2, 32)]


@pytest.fixture(scope="module", params=OWN)
def simulated(request, tmp_path_factory):
    """Return clips and tracks of a stand-in, and of another future of the same first frames."""
    name, root = request.param, tmp_path_factory.mktemp(request.param)
    data, own, shape = DATASETS[name], OWN[request.param], {"size": SIZE, "num_frames": LENGTH}
    asked = {"num_test": COUNT, "seed": SEED, "num_workers": 1}
    asked["frame_size"] = data.simulated_size(SIZE)
    data.simulate(root / "data", num_train=1, **asked)
    data.simulate_future(root / "future", Future(0, LENGTH, own), **asked)
    clips = []
    for path in ("data", "future"):
        videos = data.pack(root / path, root / f"packed {path}", split="test", **shape, **own)
        clips.append(np.stack([videos.clip(i, 0, LENGTH) for i in range(COUNT)]))
    tracks = data.true_tracks(num_test=COUNT, seed=SEED, **shape, **own)
    assert list(tracks) == list(videos.keys)
    future = bair_future if name == "bair" else cater_future
    true = np.stack([tracks[key][:LENGTH] for key in videos.keys])
    return *clips, true, [future(i) for i in range(COUNT)]


def error(real, fake, tracks):
    return measure(NAME, Inputs(clips=(real, fake), tracks=tracks))


def test_real_clips_follow_their_tracks_with_noise_too(simulated):
    real, _, tracks, _ = simulated
    noise = np.random.default_rng(0).normal(0, 12, real.shape)
    noisy = np.clip(real + noise, 0, 255).astype(np.uint8)
    assert error(real, real, tracks).value < 0.15
    assert error(real, noisy, tracks).value < 0.5


def test_other_futures_are_found_on_their_own_tracks(simulated):
    real, fake, tracks, futures = simulated
    distances, apart = [], []
    for a, b, track, future in zip(real, fake, tracks, futures, strict=True):
        found = locate(a[1:], b[1:], track[1:], track[0])[:, : future.shape[1]]
        distances.append(np.linalg.norm(found - future[1:], axis=-1).mean())
        apart.append(np.linalg.norm(track[:, : future.shape[1]] - future, axis=-1).mean())
    assert np.mean(apart) > 1.5
    assert np.mean(distances) < 0.8
    assert np.median(distances) < 0.6


def test_repeated_frame_is_as_far_as_things_move(simulated):
    real, _, tracks, _ = simulated
    still = np.repeat(real[:, :1], LENGTH, axis=1)
    moved = np.linalg.norm(tracks[:, 1:] - tracks[:, :1], axis=-1)
    value = error(real, still, tracks)
    assert value.value > 2
    assert value.per_clip == pytest.approx(np.nanmean(moved, axis=(1, 2)), abs=0.5)


def test_a_shift_is_its_length():
    rng, size = np.random.default_rng(0), 48
    ground = rng.integers(0, 120, (size, size, 3), np.uint8)
    thing = rng.integers(100, 256, (15, 15, 3), np.uint8)
    at = np.stack([12 + 2 * np.arange(9), 20 + np.arange(9)], axis=1)

    def clip(shift):
        frames = []
        for number, (x, y) in enumerate(at):
            picture = ground.copy()
            picture[y - 7 : y + 8, x - 7 : x + 8] = thing
            picture = cv2.GaussianBlur(picture, (0, 0), 1.5)
            if number:
                move = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
                picture = cv2.warpAffine(
                    picture, move, (size, size), borderMode=cv2.BORDER_REPLICATE
                )
            frames.append(picture)
        return np.stack(frames)[None]

    tracks = (at + 0.5)[None, :, None]
    for shift in ((0, 0), (1, 0), (0, -3), (2, 2), (0.5, 0), (-1.5, 0.5)):
        value = error(clip((0, 0)), clip(shift), tracks)
        assert value.value == pytest.approx(np.hypot(*shift), abs=0.15)
    assert value.deviations == ("stand-ins only: comparable with no published value",)


def test_a_frame_of_one_colour_leaves_things_where_they_were():
    real = np.random.default_rng(0).integers(0, 256, (1, 4, 24, 24, 3), np.uint8)
    tracks = np.full((1, 4, 2, 2), 10.5)
    tracks[:, :, 1] = np.nan
    tracks[:, 3, 0] = 13.5, 14.5
    assert error(real, np.zeros_like(real), tracks).value == pytest.approx(5 / 3)


def test_colours_are_those_of_scikit_image():
    clip = np.zeros((1, 24, 24, 3), np.uint8)
    clip[:, 4:12, 4:12] = 255, 0, 0
    clip[:, 12:20, 12:20] = 0, 0, 255
    at = np.array([[[8.0, 8.0], [16.0, 16.0], [np.nan, 1.0]]])
    red, blue, none = colours(clip, at)[0]
    np.testing.assert_allclose(red, rgb2lab([1.0, 0.0, 0.0]), atol=0.05)
    np.testing.assert_allclose(blue, rgb2lab([0.0, 0.0, 1.0]), atol=0.05)
    assert np.isnan(none).all()


def test_colour_error_is_that_of_things_that_keep_their_track(simulated):
    real, _, tracks, _ = simulated

    def measured(fake):
        return measure("colour_error.v1", Inputs(clips=(real, fake), tracks=tracks)).value

    grey = np.repeat(real.mean(-1, keepdims=True), 3, axis=-1).astype(np.uint8)
    chroma = []  # of the things in the real clips, which grey ones lack
    for clip, at in zip(real[:, 1:], tracks[:, 1:], strict=True):
        chroma.append(np.nanmean(np.linalg.norm(colours(clip, at)[..., 1:], axis=-1)))
    assert measured(grey) == pytest.approx(np.mean(chroma), rel=0.35)
    still = np.repeat(real[:, :1], LENGTH, axis=1)
    assert measured(real) < 0.8  # not 0: things are located to a seventh of a pixel
    assert measured(still) > 6


def test_measure_refuses_clips_without_their_tracks():
    clips = np.zeros((2, 4, 24, 24, 3), np.uint8)
    for tracks in (None, np.zeros((1, 4, 1, 2))):
        with pytest.raises(ValueError, match=r"trajectory_error.v1 needs the tracks of \(2, 4\)"):
            error(clips, clips, tracks)


@pytest.mark.parametrize("frame_size", [(64, 64), (96, 72)])
def test_camera_projects_its_own_rays_to_their_pixels(frame_size):
    camera = Camera.at(np.array([0.4, -0.7, 0.6]), np.zeros(3), 0.4)
    rays = camera.directions(frame_size, [(0.25, -0.25)])[:, 0]
    x, y, _ = np.moveaxis(camera.project(camera.position + 3 * rays, frame_size), -1, 0)
    rows, columns = np.divmod(np.arange(len(rays)), frame_size[0])
    np.testing.assert_allclose([x, y], [columns + 0.75, rows + 0.25], atol=1e-9)


def test_row_is_measured_from_planned_tracks(tmp_path):
    target = tiny_target("evaluate.samples_per_clip=2")
    inputs = {role: tmp_path / role for role in ("data", "real", "tracks", "fake", "values")}
    for folder in inputs.values():
        folder.mkdir()
    build_data(inputs["data"], {}, target)
    real_clips(inputs["real"], {"data": inputs["data"]}, target, "test")
    true_tracks(inputs["tracks"], {"test": inputs["real"]}, target)
    real = contents.read_clips(inputs["real"])
    tracks = np.load(inputs["tracks"] / contents.TRACKS)
    assert tracks.shape == (28, 4, 1, 2)
    still = np.repeat(real[:, :1], 4, axis=1)
    pairs = np.stack([real, still], axis=1).reshape(-1, *real.shape[1:])
    np.save(inputs["fake"] / contents.CLIPS, pairs)
    row_values(inputs["values"], inputs, [NAME], 4, 2, "cpu")
    (value,) = json.loads((inputs["values"] / contents.VALUES).read_text())
    assert (value["n_real"], value["n_fake"], value["unit"]) == (28, 56, "px")
    assert value["interval"][0] < value["value"] < value["interval"][1]
    per_clip = contents.read_per_clip(inputs["values"])[NAME].reshape(-1, 2)
    assert per_clip[:, 0].max() < 0.3
    moved = np.linalg.norm(tracks[:, 1:] - tracks[:, :1], axis=-1).mean()
    assert per_clip[:, 1].mean() == pytest.approx(moved, abs=0.3)


def test_tracks_depend_on_the_test_clips_and_not_on_the_train_clips():
    def tracks(*overrides):
        fixed = ["rows=[lamd]", f"evaluate.protocols=[{NAME}]"]
        target = load_target("table_bair", "quick", [*fixed, *overrides])
        plan = TablePlan(target, "cpu")
        return plan.values["lamd"].parents["tracks"].config

    first = tracks()
    assert tracks("data.num_train=7") == first
    assert tracks("data.simulation_seed=1") != first


@pytest.mark.parametrize(
    ("name", "overrides", "needed"),
    [
        ("table_bair", ["data.source=real", "data.simulation_seed=null", "rows=[lamd]"],
         r"data\.source: simulated"),
        ("table_landscape", [], "true tracks, the simulator of landscape has none"),
    ],
)  # fmt: skip
def test_refused_without_a_simulator_that_has_tracks(name, overrides, needed):
    target = load_target(name, "quick", [f"evaluate.protocols=[{NAME}]", *overrides])
    with pytest.raises(LamdError, match=f"trajectory_error needs {needed}; take it out"):
        TablePlan(target, "cpu")
