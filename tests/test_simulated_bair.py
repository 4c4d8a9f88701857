import hashlib
import multiprocessing
from pathlib import Path

import mujoco
import numpy as np
import pytest

from lamd.base.errors import LamdError
from lamd.base.processes import leave_with_parent
from lamd.base.rng import numpy_generator
from lamd.data.bair import BAIR, CAMERAS, FOLDER, read_trajectory
from lamd.data.listing import SPLITS
from lamd.data.stand_in import read_stand_in
from lamd.standins.robot import write
from lamd.standins.robot.motion import REACH, draw_path, draw_start, joint_angles, roll_out
from lamd.standins.robot.scene import draw_scene
from lamd.standins.writer import Request

COUNTS = {"num_train": 3, "num_test": 2}


def files_below(root):
    return sorted(path for path in root.rglob("*") if path.is_file())


def hashes(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files_below(root)
        if path.suffix != ".lock"
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("sim")
    BAIR.simulate(root, **COUNTS, seed=5, num_workers=1)
    return root


@pytest.fixture(scope="module")
def trajectories(root):
    videos = [video for split in SPLITS for video in BAIR.list_split(root, split).videos]
    return [read_trajectory(video.path, video.span) for video in videos]


def test_layout_is_bairs_own_and_sound(root):
    names = {str(path.relative_to(root)) for path in files_below(root)}
    assert names >= {
        f"{FOLDER}/train/traj_0_to_2.tfrecords",
        f"{FOLDER}/test/traj_0_to_1.tfrecords",
        "stand_in.json",
    }
    report = BAIR.verify(root)
    assert report.ok, str(report)
    assert read_stand_in(root).counts == {"train": 3, "test": 2}


def test_bytes_do_not_depend_on_the_number_of_workers(root, tmp_path):
    BAIR.simulate(tmp_path, **COUNTS, seed=5, num_workers=2)
    assert hashes(tmp_path) == hashes(root)


def test_bytes_depend_on_seed_split_and_number(root, trajectories):
    pixels = [t["image_aux1"].tobytes() for t in trajectories]
    assert len(set(pixels)) == len(pixels)
    other, same = (
        write.simulate_trajectory(Request(BAIR, Path(), {}, seed, 1, None), "train", 0)
        for seed in (6, 5)
    )
    assert other["image_aux1"].tobytes() != pixels[0]
    assert same["image_aux1"].tobytes() == pixels[0]


def test_a_second_run_writes_nothing_and_a_killed_one_goes_on(root, tmp_path, monkeypatch):
    BAIR.simulate(tmp_path, **COUNTS, seed=5, num_workers=1)
    times = {path: path.stat().st_mtime_ns for path in files_below(tmp_path)}
    with monkeypatch.context() as patch:
        patch.setattr(write, "_record", lambda *_: pytest.fail("simulated again"))
        BAIR.simulate(tmp_path, **COUNTS, seed=5, num_workers=1)
    train = tmp_path / FOLDER / "train" / "traj_0_to_2.tfrecords"
    train.unlink()
    (train.parent / f".{train.name}.123.tmp").write_bytes(b"half a file")
    BAIR.simulate(tmp_path, **COUNTS, seed=5, num_workers=1)
    assert hashes(tmp_path) == hashes(root)
    test = tmp_path / FOLDER / "test" / "traj_0_to_1.tfrecords"
    assert test.stat().st_mtime_ns == times[test]


def test_an_interrupted_file_is_not_there(tmp_path, monkeypatch):
    record = write._record

    def stops(request, split, i):
        if i == 1:
            raise KeyboardInterrupt
        return record(request, split, i)

    monkeypatch.setattr(write, "_record", stops)
    with pytest.raises(KeyboardInterrupt):
        BAIR.simulate(tmp_path, **COUNTS, seed=5, num_workers=1)
    assert not list(tmp_path.rglob("*.tfrecords"))
    assert not list(tmp_path.rglob("*.tmp"))


def test_other_requests_for_the_same_folder_are_refused(root, tmp_path):
    for change in ({"seed": 6}, {"num_train": 4}):
        with pytest.raises(LamdError, match="choose another folder"):
            BAIR.simulate(root, **{**COUNTS, "seed": 5, **change})
    (tmp_path / FOLDER).mkdir()
    with pytest.raises(LamdError, match="is no stand-in"):
        BAIR.simulate(tmp_path, **COUNTS, seed=5)
    for other in (".mug.partial", "notes.txt"):  # of another request, of the user
        root = tmp_path / f"with {other}"
        (root / other).mkdir(parents=True)
        with pytest.raises(LamdError, match="is no stand-in; choose another folder"):
            BAIR.simulate(root, **COUNTS, seed=5)
        assert {path.name for path in root.iterdir()} == {other}
    with pytest.raises(LamdError, match="num_test: 0"):
        BAIR.simulate(tmp_path, num_train=1, num_test=0, seed=5)
    with pytest.raises(LamdError, match="num_workers: 0"):
        BAIR.simulate(tmp_path, **COUNTS, seed=5, num_workers=0)


def test_pictures_move_but_do_not_flicker(trajectories):
    for trajectory in trajectories:
        for camera in CAMERAS:
            video = trajectory[camera].astype(int)
            change = np.abs(np.diff(video, axis=0)).max(axis=-1)
            assert np.abs(video[0] - video[15]).mean() > 2.0
            moving = (change > 8).mean(axis=(1, 2))
            assert moving.max() > 0.03
            assert moving.max() < 0.6
            assert (change.max(axis=0) <= 1).mean() > 0.1
            assert video.std() > 20
            assert np.unique(video[0].reshape(-1, 3), axis=0).shape[0] > 300


def test_clips_look_different(trajectories):
    firsts = np.stack([t["image_aux1"][0] for t in trajectories]).astype(int)
    assert np.abs(firsts[:-1] - firsts[1:]).mean(axis=(1, 2, 3)).min() > 10


def test_objects_are_pushed_and_stay_in_the_tray():
    moved = []
    for i in range(8):
        rollout = roll_out(numpy_generator("push", i))
        position = rollout.qpos[:, 7:].reshape(30, -1, 7)[..., :3]
        moved.append((np.linalg.norm(position[15] - position[0], axis=1) > 0.02).sum())
        assert np.abs(position[..., 0]).max() < 0.31
        assert np.abs(position[..., 1]).max() < 0.25
        assert position[..., 2].min() > 0.005
    assert np.mean(moved) >= 1
    assert np.mean(np.array(moved) > 0) >= 0.5


def test_first_frame_does_not_determine_the_motion():
    ends = []
    start = draw_start(numpy_generator("start"))
    for i in range(6):
        path = draw_path(numpy_generator("path", i), start, np.zeros((0, 2)), 30)
        assert np.allclose(path(np.zeros(1))[0], start, atol=1e-9)
        ends.append(path(np.array([15.0]))[0, :2])
    assert np.std(ends, axis=0).min() > 0.03


def test_actions_lead_the_gripper(trajectories):
    for trajectory in trajectories:
        tip, action = trajectory["endeffector_pos"], trajectory["action"]
        assert np.abs(tip[:, :2]).max() < REACH.max() + 0.03
        step = np.diff(tip[:, :2], axis=0)
        commanded = action[:-1, :2]
        assert np.corrcoef(step.ravel(), commanded.ravel())[0, 1] > 0.8
        assert np.isfinite(action).all()


def test_inverse_kinematics_puts_the_tips_where_asked():
    rng = numpy_generator("ik")
    targets = np.stack([draw_start(rng) for _ in range(20)])
    model = draw_scene(rng, targets[0]).model
    data = mujoco.MjData(model)
    for target, angles in zip(targets, joint_angles(targets), strict=True):
        data.qpos[:7] = angles
        mujoco.mj_kinematics(model, data)
        np.testing.assert_allclose(data.site("tip").xpos, target[:3], atol=1e-9)


def test_packs_like_any_other_bair(root, tmp_path, trajectories):
    packed = BAIR.pack(root, tmp_path, split="test", size=64, camera="image_aux1")
    np.testing.assert_array_equal(packed.clip(1, 0, 30), trajectories[4]["image_aux1"])


def test_workers_leave_when_the_parent_is_killed():
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    parent = context.Process(target=_parent_with_a_watched_child, args=(writer,))
    parent.start()
    writer.close()
    assert reader.recv() == "up"
    parent.kill()
    parent.join()
    assert reader.poll(20), "the child lives on"
    with pytest.raises(EOFError):
        reader.recv()


def _parent_with_a_watched_child(writer):
    child = multiprocessing.get_context("spawn").Process(target=_watched_child, args=(writer,))
    child.start()
    child.join()


def _watched_child(writer):
    leave_with_parent()
    writer.send("up")
    multiprocessing.Event().wait(60)
