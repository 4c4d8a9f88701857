"""The drawn stand-ins of NATOPS and MUG: layout, bytes, rest, and classes that differ."""

import hashlib
import itertools
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from lamd.base.errors import LamdError
from lamd.base.rng import numpy_generator
from lamd.config import load_target
from lamd.data.dataset import DATASETS
from lamd.data.stand_in import read_stand_in
from lamd.standins.people import body, face, write
from lamd.standins.people.body import REST, SIGNALS, BodyLook, bend, body_frames, hand_path
from lamd.standins.people.face import FaceLook, face_frames
from lamd.standins.people.write import plan_split

SIZES = {"natops": (64, 48), "mug": (48, 48)}
ACTORS = {"natops": (BodyLook, body_frames), "mug": (FaceLook, face_frames)}
NAMES = sorted(SIZES)
BODY_FRAMES, FACE_FRAMES = body.FRAMES, face.FRAMES


def request(name):
    return {"num_train": 3, "num_test": 2, "seed": 3, "frame_size": SIZES[name]}


def hashes(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.suffix in (".png", ".jpg")
    }


@pytest.fixture(scope="module", autouse=True)
def short_clips():
    with pytest.MonkeyPatch.context() as patch:
        for module in (body, face):
            patch.setattr(module, "FRAMES", (6, 8))
        yield


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    roots = {name: tmp_path_factory.mktemp(name) for name in NAMES}
    for name, root in roots.items():
        DATASETS[name].simulate(root, **request(name), num_workers=1)
    return roots


def act(name, label, *, look=0, seed=0, size=None):
    draw, frames = ACTORS[name]
    looks, acts = numpy_generator("look", look), numpy_generator("act", seed)
    return np.stack(list(frames(draw(looks), label, acts, size or SIZES[name]))).astype(int)


@pytest.mark.parametrize("name", NAMES)
def test_layout_is_the_real_one(roots, name):
    root = roots[name]
    assert read_stand_in(root).counts == {"train": 3, "test": 2}
    assert DATASETS[name].verify(root).ok
    for split, count in (("train", 3), ("test", 2)):
        cache = root / "cache"
        packed = DATASETS[name].pack(
            root, cache, split=split, size=16, num_frames=4, on_corrupt="raise"
        )
        assert packed.left_out == []
        assert packed.conditions == DATASETS[name].classes[:count]
        assert packed.lengths.tolist() == [4] * count
    pattern = {
        "natops": r"natops/(g\d\ds\d\dp01)/\1-(\d{4})-\d{4}\.png",
        "mug": r"mug/\d{3}(/session0)?/[a-z]+/take000/img_\d{4}\.jpg",
    }[name]
    paths = hashes(root)
    assert all(re.fullmatch(pattern, path) for path in paths)
    with Image.open(root / next(iter(paths))) as picture:
        assert (picture.mode, picture.size) == ("RGB", SIZES[name])
    assert not list(root.rglob(".*.tmp")) and not list(root.glob(".*.partial"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_bytes_do_not_depend_on_the_number_of_workers(tmp_path, monkeypatch, name):
    for module, frames in ((body, BODY_FRAMES), (face, FACE_FRAMES)):
        monkeypatch.setattr(module, "FRAMES", frames)  # other processes know nothing of the patch
    for workers in (1, 2):
        DATASETS[name].simulate(tmp_path / str(workers), **request(name), num_workers=workers)
    assert hashes(tmp_path / "1") == hashes(tmp_path / "2")


@pytest.mark.parametrize("name", NAMES)
def test_a_larger_set_contains_the_smaller_and_another_seed_is_another_set(roots, tmp_path, name):
    asked = request(name) | {"num_workers": 1}
    DATASETS[name].simulate(tmp_path / "more", **asked | {"num_train": 4})
    assert hashes(roots[name]).items() < hashes(tmp_path / "more").items()
    DATASETS[name].simulate(tmp_path / "other", **asked | {"seed": 4, "num_train": 1})
    assert not set(hashes(roots[name]).values()) & set(hashes(tmp_path / "other").values())


def test_an_interrupted_run_looks_incomplete_and_goes_on(roots, tmp_path, monkeypatch):
    drawn, write_draw = [], write._draw

    def stops(*job):
        if drawn:
            raise KeyboardInterrupt
        drawn.append(job)
        return write_draw(*job)

    with monkeypatch.context() as patch:
        patch.setattr(write, "_draw", stops)
        with pytest.raises(KeyboardInterrupt):
            DATASETS["mug"].simulate(tmp_path, **request("mug"), num_workers=1)
    assert not (tmp_path / "mug").exists() and len(hashes(tmp_path)) > 1
    DATASETS["mug"].simulate(tmp_path, **request("mug"), num_workers=1)
    assert hashes(tmp_path) == hashes(roots["mug"])


@pytest.mark.parametrize("name", NAMES)
def test_the_first_frame_does_not_show_the_class(name):
    clips = [act(name, label) for label in range(len(DATASETS[name].classes))]
    for one, two in itertools.combinations(clips, 2):
        np.testing.assert_array_equal(one[0], two[0])
    middles = [clip[1:].mean(axis=0) for clip in clips]
    apart = [np.abs(a - b).mean() for a, b in itertools.combinations(middles, 2)]
    assert min(apart) > 0.2 and np.median(apart) > 0.8


@pytest.mark.parametrize("name", NAMES)
def test_repetitions_and_subjects_differ(name):
    first, again = act(name, 1, seed=0), act(name, 1, seed=1)
    stranger = act(name, 1, look=1, seed=0)
    length = min(map(len, (first, again, stranger)))
    assert np.abs(first[:length] - again[:length]).mean() > 1
    assert np.abs(first[0] - stranger[0]).mean() > 8


def test_only_neutral_faces_stay_as_they_are():
    moved = [np.abs(clip[-3] - clip[0]).mean() for clip in (act("mug", k) for k in range(7))]
    assert np.argmin(moved) == DATASETS["mug"].classes.index("neutral")


def test_frame_size_changes_sharpness_not_content():
    small, large = act("natops", 3), act("natops", 3, size=(256, 192))
    means = large.reshape(len(large), 48, 4, 64, 4, 3).mean(axis=(2, 4))
    assert np.abs(means - small).mean() < 2 < np.abs(means[:, :, ::-1] - small).mean()


def test_hands_go_from_rest_through_the_poses_to_rest():
    poses = SIGNALS[3].right
    path = hand_path(poses, 2, np.linspace(0, 1, 2001))
    np.testing.assert_allclose(path[[0, -1]], [REST, REST])
    for pose in poses:
        assert (np.abs(path - pose).max(axis=1) < 1e-3).any()
    assert np.abs(np.diff(path, axis=0)).max() < 0.02


def test_arms_keep_their_lengths():
    rng = np.random.default_rng(0)
    for wrist in rng.uniform(-1.2, 1.2, (200, 3)):
        elbow, hand = bend(wrist)
        assert np.linalg.norm(elbow) == pytest.approx(body.UPPER)
        assert np.linalg.norm(hand - elbow) == pytest.approx(1 - body.UPPER)
        assert np.cross(hand, wrist) == pytest.approx(np.zeros(3), abs=1e-9)


def test_bad_requests_are_one_line(roots, tmp_path):
    def refused(place, match, **change):
        with pytest.raises(LamdError, match=match) as caught:
            DATASETS["natops"].simulate(place, **{**request("natops"), **change})
        assert "\n" not in str(caught.value)

    (tmp_path / "real" / "natops").mkdir(parents=True)
    refused(tmp_path / "real", "is no stand-in")
    refused(roots["natops"], "choose another folder", seed=9)
    refused(roots["mug"], "holds mug_sim")
    refused(tmp_path / "x", "num_test: 0 clips", num_test=0)
    refused(tmp_path / "x", "ask for 1 to 4800", num_train=4801)
    refused(tmp_path / "x", "num_workers: 0", num_workers=0)
    refused(tmp_path / "x", "frame_size: 64x64", frame_size=(64, 64))
    with pytest.raises(LamdError, match="frame_size: 64x48; give 48x48 or larger"):
        DATASETS["mug"].simulate(tmp_path / "x", **request("mug") | {"frame_size": (64, 48)})
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("profile", ["quick", "standard"])
@pytest.mark.parametrize("name", NAMES)
def test_the_tables_ask_for_clips_that_there_are(name, profile):
    data = load_target(f"table_{name}", profile).data
    for split, count in (("train", data.num_train), ("test", data.num_test)):
        of_class = Counter(clip.label for clip in plan_split(DATASETS[name], split, count))
        assert len(set(of_class.values())) == 1 and len(of_class) == len(DATASETS[name].classes)
