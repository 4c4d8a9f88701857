import json

import numpy as np
import pytest
from bair_files import example_features, flip, frame_pixels, write_file, write_split

from lamd.base.errors import LamdError
from lamd.data.bair import BAIR, CAMERAS, FOLDER, BairDecoder, read_trajectory
from lamd.data.bair.tfrecord import RecordError, index_records
from lamd.data.stand_in import MANIFEST, read_stand_in


def make_stand_in(root, train, test):
    counts = {"train": sum(train), "test": sum(test)}
    write_split(root, "train", train)
    write_split(root, "test", test, seed=100)
    manifest = {"dataset": "bair", "generator": "test.v1", "seed": 0, "counts": counts}
    (root / MANIFEST).write_text(json.dumps(manifest))


def test_reads_files_of_the_tfrecord_package(tmp_path):
    write_split(tmp_path, "test", [3])
    videos = BAIR.list_split(tmp_path, "test").videos
    assert [video.key for video in videos] == [f"bair/test/{i}" for i in range(3)]
    for i in (2, 0):
        trajectory = read_trajectory(videos[i].path, videos[i].span)
        for camera in CAMERAS:
            np.testing.assert_array_equal(trajectory[camera], frame_pixels(i, camera))
            decoded = BairDecoder(64, camera)(videos[i])
            np.testing.assert_array_equal(decoded, trajectory[camera])
        features = example_features(i)
        for frame in (0, 29):
            np.testing.assert_allclose(
                trajectory["action"][frame], features[f"{frame}/action"][0], rtol=1e-6
            )
            np.testing.assert_allclose(
                trajectory["endeffector_pos"][frame],
                features[f"{frame}/endeffector_pos"][0],
                rtol=1e-6,
            )


def test_files_come_in_natural_order(tmp_path):
    folder = tmp_path / FOLDER / "train"
    for first in (1024, 0, 256):
        write_file(folder / f"traj_{first}_to_{first}.tfrecords", 1, seed=first)
    (folder / "notes.txt").touch()
    videos = BAIR.list_split(tmp_path, "train").videos
    assert len(videos) == 3
    for video, first in zip(videos, (0, 256, 1024), strict=True):
        decoded = BairDecoder(64, "image_main")(video)
        np.testing.assert_array_equal(decoded, frame_pixels(first, "image_main"))


def drop(key):
    return lambda i, features: features.pop(key)


def replace(key, value, kind):
    return lambda i, features: features.update({key: (value, kind)})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (drop("17/image_aux1/encoded"), "missing key '17/image_aux1/encoded'"),
        (drop("0/action"), "missing key '0/action'"),
        (
            replace("3/image_main/encoded", [bytes(100)], "byte"),
            "key '3/image_main/encoded' has 100 bytes, expected 12288",
        ),
        (
            replace("3/image_main/encoded", [1.0], "float"),
            "key '3/image_main/encoded' holds float, not bytes",
        ),
        (
            replace("29/endeffector_pos", [1.0, 2.0], "float"),
            "key '29/endeffector_pos' has 2 values, expected 3",
        ),
        (replace("5/action", [1, 2, 3, 4], "int"), "key '5/action' holds int, not float"),
        (replace("30/image_main/encoded", [bytes(12288)], "byte"), "more than 30 frames"),
    ],
)
def test_wrong_features_are_named(tmp_path, change, reason):
    path = write_file(tmp_path / FOLDER / "test" / "traj_0_to_0.tfrecords", 1, change=change)
    (video,) = BAIR.list_split(tmp_path, "test").videos
    with pytest.raises(RecordError) as caught:
        read_trajectory(path, video.span)
    assert str(caught.value).startswith(f"{path}: record at byte 0: {reason}; ")


def test_missing_folder_empty_folder_unknown_split(tmp_path):
    with pytest.raises(LamdError, match=r"no such folder; .* `lamd data simulate bair ROOT`"):
        BAIR.list_split(tmp_path, "test")
    (tmp_path / FOLDER / "test").mkdir(parents=True)
    with pytest.raises(LamdError, match=r"no traj_A_to_B\.tfrecords files"):
        BAIR.list_split(tmp_path, "test")
    with pytest.raises(LamdError, match="split 'val': unknown"):
        BAIR.list_split(tmp_path, "val")


def test_links_out_of_the_root_are_refused(tmp_path):
    outside = write_file(tmp_path / "elsewhere" / "traj_0_to_0.tfrecords", 1)
    root = tmp_path / "root"
    folder = root / FOLDER / "test"
    folder.mkdir(parents=True)
    (folder / outside.name).symlink_to(outside)
    with pytest.raises(LamdError, match="leads out of"):
        BAIR.list_split(root, "test")


def test_root_and_data_set_may_be_links(tmp_path):
    write_split(tmp_path / "real", "test", [1])
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / FOLDER).symlink_to(tmp_path / "real" / FOLDER)
    for root in ("link", "root"):
        assert len(BAIR.list_split(tmp_path / root, "test").videos) == 1


def test_verify_sound_stand_in(tmp_path):
    make_stand_in(tmp_path, [2, 1], [1])
    report = BAIR.verify(tmp_path)
    assert report.ok
    assert "test.v1" in str(report)
    assert read_stand_in(tmp_path).counts == {"train": 3, "test": 1}
    assert [check.sound for check in report.splits.values()] == [3, 1]


def test_verify_without_manifest_expects_the_real_counts(tmp_path):
    write_split(tmp_path, "train", [1])
    write_split(tmp_path, "test", [1])
    report = BAIR.verify(tmp_path)
    assert not report.ok
    assert read_stand_in(tmp_path) is None
    assert str(report).splitlines()[1:] == [
        "  train NOT OK: 1 of 43264 trajectories sound, 0 broken",
        "  test  NOT OK: 1 of 256 trajectories sound, 0 broken",
    ]


def test_verify_lists_every_broken_record(tmp_path):
    make_stand_in(tmp_path, [4, 2, 2, 1], [1])
    folder = tmp_path / FOLDER / "train"
    first, second, third, fourth = sorted(folder.iterdir())
    spans = index_records(first)
    flip(first, spans[1].offset + 2)  # length
    flip(first, spans[2].offset + 5000)  # data
    flip(first, spans[3].end - 1)  # data checksum
    second.write_bytes(second.read_bytes()[:-7])
    third.unlink()
    write_file(third, 2, seed=6, change=lambda i, f: i == 1 and f.pop("2/action"))
    fourth.write_bytes(b"")
    report = BAIR.verify(tmp_path)
    assert not report.ok
    train, test = report.splits.values()
    assert test.ok
    assert train.sound == 3
    assert [(p.path, p.reason.split(" (")[0]) for p in train.problems] == [
        (first, f"byte {spans[1].offset}: length checksum mismatch"),
        (first, f"byte {spans[2].offset}: data checksum mismatch"),
        (first, f"byte {spans[3].offset}: data checksum mismatch"),
        (second, f"byte {spans[1].offset}: truncated data"),
        (third, f"byte {spans[1].offset}: missing key '2/action'"),
        (fourth, "byte 0: empty file, no records"),
    ]
    for broken in train.problems:
        assert f"    {broken}" in str(report).splitlines()


def test_verify_says_when_the_rest_of_a_file_is_lost(tmp_path):
    make_stand_in(tmp_path, [2], [1])
    (path,) = (tmp_path / FOLDER / "train").iterdir()
    flip(path, 0)
    (broken,) = BAIR.verify(tmp_path).splits["train"].problems
    assert broken.reason.endswith(f"; {path.stat().st_size} bytes to the end of the file are lost")


def test_verify_notices_a_file_with_too_few_records(tmp_path):
    make_stand_in(tmp_path, [2], [1])
    (path,) = (tmp_path / FOLDER / "train").iterdir()
    path.write_bytes(path.read_bytes()[: index_records(path)[0].end])
    (broken,) = BAIR.verify(tmp_path).splits["train"].problems
    assert broken.reason.partition(": ")[2] == "file ends after 1 records, its name says 2"


def test_damaged_manifest_is_one_line(tmp_path):
    make_stand_in(tmp_path, [1], [1])
    for text in (
        "{",
        "[]",
        '{"seed": 1}',
        '{"dataset": "b", "generator": "g", "seed": 0, "counts": 3}',
    ):
        (tmp_path / MANIFEST).write_text(text)
        with pytest.raises(LamdError, match="delete the folder and simulate it again"):
            BAIR.verify(tmp_path)
