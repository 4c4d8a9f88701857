import hashlib
import json
import math

import av
import numpy as np
import pytest

from lamd.base.errors import LamdError
from lamd.data.cater import CATER_V1, CATER_V2
from lamd.data.cater.captions import COLORS, moves_of, parse, scene_caption
from lamd.data.stand_in import read_stand_in
from lamd.standins.blocks.scene import (
    CAMERA,
    CONTAINED,
    LAST_MOVING_FRAME,
    LIFT,
    MARGIN,
    MIN_DISTANCE,
    NUM_FRAMES,
    RGB,
    ROTATING,
    Studio,
    build,
    draw_plan,
    poses,
    scene_json,
)
from lamd.standins.blocks.write import _Job
from lamd.standins.raycast.render import render_clip
from lamd.standins.writer import Request

COUNTS = {"num_train": 3, "num_test": 1}
SIZE = (64, 48)


def hashes(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("sim")
    CATER_V1.simulate(root, **COUNTS, seed=5, num_workers=1, frame_size=SIZE)
    return root


@pytest.fixture(scope="module", params=["v1", "v2"])
def plans(request):
    return [draw_plan(np.random.default_rng(seed), request.param) for seed in range(300)]


def test_layout_is_cater_gens_own_and_sound(root):
    stem = "cater_gen_v1/{}/CATER_{}_000000.{}"
    assert {stem.format("videos", "train", "avi"), stem.format("scenes", "test", "json")} <= set(
        hashes(root)
    )
    report = CATER_V1.verify(root)
    assert report.ok, str(report)
    assert read_stand_in(root).counts == {"train": 3, "test": 1}
    ambiguous = CATER_V1.list_split(root, "train", captions="ambiguous").videos
    explicit = CATER_V1.list_split(root, "train", captions="explicit").videos
    for one, other in zip(ambiguous, explicit, strict=True):
        assert one.path == other.path
        actions = [[m.action for m in parse(video.condition)] for video in (one, other)]
        assert actions[0] == actions[1]
        assert not set(COLORS) & set(one.condition.split() + other.condition.split())


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_number_of_workers(root, tmp_path):
    CATER_V1.simulate(tmp_path, **COUNTS, seed=5, num_workers=2, frame_size=SIZE)
    assert hashes(tmp_path) == hashes(root)


def test_a_killed_run_goes_on_and_ends_the_same(root, tmp_path, monkeypatch):
    from lamd.standins.blocks import write

    def stops(job):
        if job.number == 2:
            raise KeyboardInterrupt
        whole(job)

    whole = write._write_video
    options = {**COUNTS, "seed": 5, "num_workers": 1, "frame_size": SIZE}
    with monkeypatch.context() as patch:
        patch.setattr(write, "_write_video", stops)
        with pytest.raises(KeyboardInterrupt):
            CATER_V1.simulate(tmp_path, **options)
    assert not list(tmp_path.rglob("*_explicit.json"))
    CATER_V1.simulate(tmp_path, **options)
    assert hashes(tmp_path) == hashes(root)
    with monkeypatch.context() as patch:
        patch.setattr(write, "_write_video", lambda job: pytest.fail("simulated again"))
        CATER_V1.simulate(tmp_path, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 6}, "choose another folder"),
        ({"num_train": 4}, "choose another folder"),
        ({"frame_size": (96, 72)}, "choose another folder"),
        ({"frame_size": (64, 64)}, "give 64x48 or larger"),
        ({"frame_size": (60, 45)}, "give 64x48 or larger"),
        ({"num_test": 0}, "ask for at least 1"),
    ],
)
def test_other_data_is_not_overwritten(root, options, message):
    before = hashes(root)
    asked = {**COUNTS, "seed": 5, "num_workers": 1, "frame_size": SIZE} | options
    with pytest.raises(LamdError, match=message):
        CATER_V1.simulate(root, **asked)
    assert hashes(root) == before


def test_real_data_is_not_overwritten(tmp_path):
    (tmp_path / "cater_gen_v2").mkdir()
    with pytest.raises(LamdError, match="exists and is no stand-in"):
        CATER_V2.simulate(tmp_path, **COUNTS, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["cater_gen_v2"]  # no lock either


def test_scenes_follow_caters_rules(plans):
    for plan in plans:
        shapes = [(thing.shape, thing.size) for thing in plan.things]
        first = [("spl", "small"), ("cone", "medium"), ("cone", "large")]
        assert shapes[:3] == first[: len(shapes)]
        assert 1 <= len(plan.moves) <= 2
        by_name = {thing.instance: thing for thing in plan.things}
        assert len(by_name) == len(plan.things)
        for name, move in plan.moves.items():
            thing = by_name[name]
            assert 20 <= move.end - move.start <= 30
            assert 0 <= move.start <= 10
            assert move.end <= LAST_MOVING_FRAME
            if move.action == "_rotate":
                assert thing.shape in ROTATING
            if move.action == "_contain":
                inner = by_name[move.other]
                assert (thing.shape, inner.shape in CONTAINED) == ("cone", True)
                assert thing.sized > inner.sized
                assert move.other not in plan.moves


def test_all_actions_and_objects_occur(plans):
    actions = {move.action for plan in plans for move in plan.moves.values()}
    assert actions == {"_slide", "_pick_place", "_rotate", "_contain"}
    counts = {len(plan.things) for plan in plans}
    assert counts in ({2}, set(range(3, 9)))
    assert {1, 2} == {len(plan.moves) for plan in plans}


def test_nothing_passes_through_anything(plans):
    for plan in plans:
        inside = {frozenset((name, move.other)) for name, move in plan.moves.items() if move.other}
        for i, one in enumerate(plan.things):
            for j, other in enumerate(plan.things[:i]):
                apart = plan.places[i] - plan.places[j]
                assert np.abs(apart[0, :2]).min() >= MARGIN
                if frozenset((one.instance, other.instance)) in inside:
                    continue
                gap = np.linalg.norm(apart, axis=1).min() - one.sized - other.sized
                assert gap >= MIN_DISTANCE - 1e-9


def test_paths_are_those_of_the_moves(plans):
    for plan in plans:
        for thing, places, tilts in zip(plan.things, plan.places, plan.tilts, strict=True):
            assert len(places) == NUM_FRAMES
            assert np.abs(places[:, :2]).max() <= 3
            move = plan.moves.get(thing.instance)
            if move is None:
                assert (places == places[0]).all()
                continue
            assert (places[: move.start + 1] == places[0]).all()
            assert (places[move.end :] == places[-1]).all()
            high = places[:, 2].max() - thing.sized
            lifted = move.action in ("_pick_place", "_contain")
            assert math.isclose(high, LIFT if lifted else 0, abs_tol=1e-12)
            assert places[-1, 2] == thing.sized
            assert math.isclose(tilts[-1], math.pi / 2 if move.action == "_rotate" else 0)
            if move.action == "_contain":
                inner = [t.instance for t in plan.things].index(move.other)
                assert (places[-1, :2] == plan.places[inner, -1, :2]).all()


def test_captions_of_thousands_of_scenes_survive_the_round_trip():
    rng = np.random.default_rng(0)
    for seed in range(1000):
        plan = draw_plan(np.random.default_rng(seed), "v2")
        scene = json.loads(json.dumps(scene_json(plan, "train", seed, "a.avi", SIZE)))
        moves = parse(scene_caption(scene, "v2", "explicit", rng))
        assert moves == moves_of(scene, "explicit")
        assert len(moves) == len(plan.moves)


def test_the_video_keeps_what_was_rendered(root):
    """At ffmpeg's default bit rate it was 36 dB, and FVD to the rendered clips 704 (now 17)."""
    counts = read_stand_in(root).counts
    job = _Job(Request(CATER_V1, root, counts, 5, 1, SIZE), "test", 0)
    plan = draw_plan(job.random("scene"), "v1")
    rendered = render_clip(build(plan), Studio(job.random("look")), poses(plan), SIZE)[CAMERA]
    with av.open(job.video) as file:
        read = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
    error = np.square(read.astype(float) - rendered).mean()
    assert 10 * math.log10(255**2 / error) > 45


def test_the_scene_json_points_at_the_objects_pixels():
    size, hits = (128, 96), []
    for seed in range(12):
        plan = draw_plan(np.random.default_rng(seed), "v2")
        view = Studio(np.random.default_rng(seed))
        picture = render_clip(build(plan), view, poses(plan)[:1], size)[CAMERA][0].astype(float)
        for thing in scene_json(plan, "train", seed, "a.avi", size)["objects"]:
            # the ground is gray, too
            if thing["shape"] not in ("cube", "sphere", "cylinder") or thing["color"] == "gray":
                continue
            x, y, _ = thing["pixel_coords"]
            places = [(x, y), (x + 12, y), (x - 12, y), (x, y + 12), (x, y - 12)]
            pixels = np.stack([picture[int(row), int(column)] for column, row in places])
            color = np.array(RGB[thing["color"]], float)
            likeness = pixels @ color / np.linalg.norm(pixels, axis=1) / np.linalg.norm(color)
            hits.append(likeness > 0.95)
    right, *shifted = np.mean(hits, axis=0)
    assert len(hits) > 20
    assert right >= 0.8
    assert max(shifted) < 0.3


def test_metal_and_rubber_look_different():
    plan = draw_plan(np.random.default_rng(1), "v2")
    painted, view = build(plan), Studio(np.random.default_rng(0))
    assert set(painted.metal) == {0.0, 1.0}
    same = {name: getattr(painted, name) for name in ("model", "albedo")}
    rubber, metal = (
        type(painted)(
            **same,
            specular=np.full_like(painted.specular, specular),
            metal=np.full_like(painted.metal, shine),
        )
        for specular, shine in ((0.05, 0.0), (1.2, 1.0))
    )
    pictures = [
        render_clip(one, view, poses(plan)[:1], SIZE)[CAMERA].astype(int) for one in (rubber, metal)
    ]
    difference = np.abs(pictures[0] - pictures[1]).max(axis=-1)
    assert np.percentile(difference[difference > 0], 50) > 20


@pytest.mark.parametrize("seed", range(3))
def test_a_frame_looks_the_same_whatever_came_before(seed):
    plan = draw_plan(np.random.default_rng(seed), "v2")
    painted, view = build(plan), Studio(np.random.default_rng(seed))
    clip = render_clip(painted, view, poses(plan), SIZE)[CAMERA]
    for frame in (4, 15, 30):
        alone = render_clip(painted, view, poses(plan)[[frame]], SIZE)[CAMERA]
        assert (clip[frame] == alone[0]).all()


def test_only_what_moves_changes_the_picture():
    plan = draw_plan(np.random.default_rng(2), "v2")
    view = Studio(np.random.default_rng(0))
    clip = render_clip(build(plan), view, poses(plan), SIZE)[CAMERA].astype(int)
    start = min(move.start for move in plan.moves.values())
    end = max(move.end for move in plan.moves.values())
    assert (clip[: start + 1] == clip[0]).all()
    assert (clip[end:] == clip[-1]).all()
    changed = (np.abs(clip - clip[0]).max(axis=(0, 3)) > 8).mean()
    assert 0.01 < changed < 0.6
