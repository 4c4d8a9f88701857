import hashlib
import itertools
import re

import numpy as np
import pytest
from PIL import Image

from lamd.base.errors import LamdError
from lamd.base.rng import numpy_generator
from lamd.data.sky import LANDSCAPE
from lamd.data.stand_in import read_stand_in
from lamd.standins.sky import write
from lamd.standins.sky.clouds import EvolvingNoise
from lamd.standins.sky.look import Look
from lamd.standins.sky.render import Renderer
from lamd.standins.sky.write import CLIP_FRAMES, plan_split

SIZE = (64, 36)
REQUEST = {"num_train": 2, "num_test": 1, "seed": 3, "frame_size": SIZE}


def hashes(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*.jpg")
    }


def number(path):
    return int(re.fullmatch(r".*_frames_(\d{8})\.jpg", path.name)[1])


@pytest.fixture(scope="module", autouse=True)
def short_clips():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "LONGEST", CLIP_FRAMES)
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("sky")
    LANDSCAPE.simulate(root, **REQUEST, num_workers=1)
    return root


def draw(look_seed, change_seed, times, size=SIZE):
    renderer = Renderer(
        Look(numpy_generator("look", look_seed)), size, 0.0,
        scenery=numpy_generator("scenery"), state=numpy_generator("state"),
        change=numpy_generator("change", change_seed),
    )  # fmt: skip
    return np.stack([np.asarray(picture, int) for picture in renderer.frames(times)])


def test_layout_is_the_real_one(root):
    for split, count in (("train", 2), ("test", 1)):
        folders = sorted((root / f"sky_{split}").glob("*/*"))
        assert read_stand_in(root).counts[split] == len(folders) >= count
        lengths = []
        for folder in folders:
            name = folder.parent.name
            assert re.fullmatch(rf"{name}_\d+", folder.name)
            frames = list(folder.iterdir())
            assert all(frame.name.startswith(f"{name}_frames_") for frame in frames)
            assert sorted(frames, key=number) == sorted(frames)
            with Image.open(frames[0]) as picture:
                assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", SIZE)
            lengths.append(len(frames))
        assert sum(length >= CLIP_FRAMES for length in lengths) == count
    assert not list(root.rglob(".*.tmp")) and not list(root.glob(".*.partial"))


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_number_of_workers(root, tmp_path):
    LANDSCAPE.simulate(tmp_path, **REQUEST, num_workers=2)
    assert hashes(tmp_path) == hashes(root)


def test_a_larger_set_contains_the_smaller_and_another_seed_is_another_set(root, tmp_path):
    LANDSCAPE.simulate(tmp_path / "more", **REQUEST | {"num_train": 3}, num_workers=1)
    assert hashes(root).items() < hashes(tmp_path / "more").items()
    LANDSCAPE.simulate(tmp_path / "other", **REQUEST | {"seed": 4}, num_workers=1)
    assert not set(hashes(root).values()) & set(hashes(tmp_path / "other").values())


def test_the_plan_has_long_videos_gaps_and_short_videos(monkeypatch):
    monkeypatch.setattr(write, "LONGEST", 96)
    plan = plan_split(LANDSCAPE.generator, 0, "train", 400)
    assert plan[: len(shorter := plan_split(LANDSCAPE.generator, 0, "train", 50))] == shorter
    lengths = np.array([len(video.frames) for video in plan])
    assert (lengths >= CLIP_FRAMES).sum() == 400
    assert 0.02 < (lengths < CLIP_FRAMES).mean() < 0.08
    assert lengths.min() >= 2 and lengths.max() <= 96
    steps = [np.diff(video.frames) for video in plan]
    assert min(step.min() for step in steps) == 1
    assert 0.2 < np.mean([step.max() > 1 for step in steps]) < 0.5
    assert len({video.frames[0] for video in plan}) > 300
    parts = [len(list(group)) for _, group in itertools.groupby(plan, lambda v: v.long_video)]
    assert 1.5 < np.mean(parts) < 3.5
    for one, two in itertools.pairwise(plan):
        assert one.long_video < two.long_video or one.frames[-1] < two.frames[0]


def test_the_first_frame_does_not_determine_the_motion():
    one, two = (
        np.stack([draw(look, change, range(0, 32, 8)) for look in range(4)]) for change in (0, 1)
    )
    np.testing.assert_array_equal(one[:, 0], two[:, 0])
    apart = np.abs(one - two).mean(axis=(2, 3, 4))
    assert (apart[:, -1] > 5).all()
    assert (apart[:, -1] > apart[:, 1]).all() and (apart[:, 1] > 0).all()


def test_skies_differ_move_and_do_not_flicker():
    clips = [draw(look, 0, (0, 1, 16, 31)) for look in range(8)]
    step, far = (
        np.array([np.abs(clip[k] - clip[0]).mean() for clip in clips]) for k in (1, 3)
    )  # fmt: skip
    assert np.median(far) > 8 and far.min() > 1
    assert (step < 0.6 * far).all()
    firsts = [clip[0] for clip in clips]
    assert min(np.abs(a - b).mean() for a, b in itertools.combinations(firsts, 2)) > 5


def test_frame_size_changes_sharpness_not_content():
    small, large = draw(0, 0, [0, 10]), draw(0, 0, [0, 10], (256, 144))
    means = large.reshape(2, 36, 4, 64, 4, 3).mean(axis=(2, 4))
    assert np.abs(means - small).mean() < 14 < np.abs(means[:, ::-1] - small).mean()


def test_noise_keeps_its_variance_and_forgets():
    noise = EvolvingNoise(
        numpy_generator("a"), numpy_generator("b"),
        weights=np.ones(4), lifetimes=np.full(4, 20.0), size=64,
    )  # fmt: skip
    tiles = [noise.at(frame) for frame in (0, 2, 10, 20, 40)]
    assert 0.8 < np.mean([tile.std() for tile in tiles]) < 1.2
    alike = [np.corrcoef(tiles[0].ravel(), tile.ravel())[0, 1] for tile in tiles]
    assert alike[1] > 0.95 and 0.55 < alike[2] < 0.85 and abs(alike[3]) < 0.2


def test_an_interrupted_run_looks_incomplete_and_goes_on(root, tmp_path, monkeypatch):
    drawn = []

    def stops(request, split, video):
        for k, picture in enumerate(write_draw(request, split, video)):
            if drawn and k == 3:
                raise KeyboardInterrupt
            yield picture
        drawn.append(video)

    write_draw = write._draw
    with monkeypatch.context() as patch:
        patch.setattr(write, "_draw", stops)
        with pytest.raises(KeyboardInterrupt):
            LANDSCAPE.simulate(tmp_path, **REQUEST, num_workers=1)
    assert len(drawn) == 1
    assert not list(tmp_path.glob("sky_*"))
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob(f"*/{drawn[0].folder}/*")}
    LANDSCAPE.simulate(tmp_path, **REQUEST, num_workers=1)
    assert hashes(tmp_path) == hashes(root)
    assert kept
    for path, time in kept.items():
        assert (tmp_path / "sky_train" / path.relative_to(tmp_path).relative_to(
            ".sky_train.partial")).stat().st_mtime_ns == time  # fmt: skip


def test_a_second_run_writes_nothing(root, monkeypatch):
    monkeypatch.setattr(write, "_draw", lambda *_: pytest.fail("drawn again"))
    LANDSCAPE.simulate(root, **REQUEST, num_workers=1)


def test_bad_requests_are_one_line(root, tmp_path):
    def refused(place, match, **change):
        with pytest.raises(LamdError, match=match) as caught:
            LANDSCAPE.simulate(place, **{**REQUEST, **change})
        assert "\n" not in str(caught.value)

    (tmp_path / "file").write_text("")
    refused(tmp_path / "file", "not a folder")
    refused(tmp_path / "file" / "below", "choose")
    (tmp_path / "real" / "sky_test").mkdir(parents=True)
    refused(tmp_path / "real", "is no stand-in")
    refused(root, "choose another folder", seed=9)
    refused(root, "choose another folder", num_train=3)
    refused(root, "choose another folder", frame_size=(128, 72))
    refused(tmp_path / "x", "num_test: 0", num_test=0)
    refused(tmp_path / "x", "num_workers: 0", num_workers=0)
    refused(tmp_path / "x", "frame_size: 64x64", frame_size=(64, 64))
    assert not (tmp_path / "x").exists()
