"""The Landscape reader against files in the real layout: order, gaps, packing, counts."""

import json
import os
import shutil

import numpy as np
import pytest
from landscape_files import frame_pixels, pack, truncate, write_root, write_video
from PIL import Image
from tiny import tiny_target

from lamd import cli
from lamd.base.errors import LamdError
from lamd.base.files import natural_key
from lamd.config import DataConfig
from lamd.data.frames import FrameDecoder
from lamd.data.sky import LANDSCAPE
from lamd.data.stand_in import StandIn, write_stand_in
from lamd.pipeline.contents import KEYS, read_clips
from lamd.pipeline.steps.clips import real_clips
from lamd.pipeline.steps.data import build_data, open_split
from lamd.training import train as train_stage
from lamd.training.stages import training_windows, validation_windows


@pytest.fixture
def root(tmp_path):
    return write_root(tmp_path / "root")


def first_frames(packed):
    return [int(packed.clip(i, 0, 1)[0, 0, 0, 0]) for i in range(len(packed))]


def test_natural_order_and_gaps(root):
    packed = pack(root)
    assert packed.keys == [f"landscape/train/{name}" for name in ("a/a_2", "a/a_10", "b/b_1")]
    assert packed.lengths.tolist() == [12, 9, 4]
    levels = packed.clip(0, 0, 12).mean(axis=(1, 2, 3))
    wanted = [frame_pixels(number).mean() for number in (*range(1, 12), 40)]  # 2 before 10
    np.testing.assert_allclose(levels, wanted, atol=1.5)
    assert packed.left_out == []
    names = ["f10", "f2", "-9", "f2b", "2", "f02", "f", "²"]
    assert sorted(names, key=natural_key) == ["2", "-9", "f", "f02", "f2", "f2b", "f10", "²"]


def test_listing_many_folders_shows_progress(root, capsys, monkeypatch):
    monkeypatch.setattr("lamd.base.progress.EVERY", 0.0)
    LANDSCAPE.list_split(root, "train")
    assert "listing" not in capsys.readouterr().err
    monkeypatch.setattr("lamd.data.listing.MANY_FOLDERS", 2)
    LANDSCAPE.list_split(root, "train")
    assert "listing landscape/train: 2/2" in capsys.readouterr().err


def test_the_whole_frame_becomes_a_square(root):
    packed = pack(root, size=8)
    exact = Image.fromarray(frame_pixels(3)).resize((8, 8), Image.Resampling.LANCZOS)
    assert np.abs(packed.clip(2, 0, 1)[0].astype(int) - np.asarray(exact)).max() <= 3
    assert pack(root, size=100).frames.shape == (25, 100, 100, 3)


def test_the_archive_folder_may_stay(root):
    direct = pack(root)
    (root / "sky_timelapse").mkdir()
    for split in ("train", "test"):
        (root / f"sky_{split}").rename(root / "sky_timelapse" / f"sky_{split}")
    assert pack(root).content_hash == direct.content_hash


def test_short_videos_are_listed_not_fatal(root):
    packed = pack(root, num_frames=9)
    assert packed.keys == ["landscape/train/a/a_2", "landscape/train/a/a_10"]
    assert packed.left_out == [("landscape/train/b/b_1", "4 frames, fewer than 9")]
    with pytest.raises(LamdError, match="0 usable videos, 1 needed"):
        pack(root, num_frames=13)


def test_limit_counts_usable_videos(root):
    assert pack(root, limit=2).keys == pack(root).keys[:2]
    with pytest.raises(LamdError, match=r"3 usable videos, 4 needed; lower data.num_train"):
        pack(root, limit=4)
    for wrong in ({"limit": 0}, {"size": 0}, {"num_frames": 0}, {"on_corrupt": "stop"}):
        with pytest.raises(LamdError, match=next(iter(wrong))):
            pack(root, **wrong)


def test_video_lists_choose_videos_and_their_order(root, tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("b/b_1/\na/a_10\nb/b_1\n")  # cINN's test.txt ends lines in a slash
    options = {"split": "train", "size": 16, "num_frames": 4, "on_corrupt": "raise"}
    packed = LANDSCAPE.pack(root, tmp_path / "cache", **options, video_lists=str(tmp_path))
    assert packed.keys == ["landscape/train/b/b_1", "landscape/train/a/a_10"]
    listed = LANDSCAPE.list_split(root, "train", video_lists=str(tmp_path)).fingerprint
    assert listed != LANDSCAPE.list_split(root, "train").fingerprint
    path.write_text("b/b_1\n")
    assert LANDSCAPE.list_split(root, "train", video_lists=str(tmp_path)).fingerprint != listed
    for text, reason in (("b/b_2 b/b_1", "1 of 2 videos .* such as b/b_2; "), ("", "0 of 0")):
        path.write_text(text)
        with pytest.raises(LamdError, match=rf"train\.txt: {reason}"):
            LANDSCAPE.list_split(root, "train", video_lists=str(tmp_path))
    with pytest.raises(LamdError, match=r"test\.txt: No such file or directory; give"):
        LANDSCAPE.list_split(root, "test", video_lists=str(tmp_path))


def test_links_inside_the_root_are_followed(root):
    expected = pack(root).content_hash
    folder = root / "sky_train" / "a" / "a_2"
    shutil.move(folder, root / "elsewhere")
    folder.symlink_to(root / "elsewhere")
    assert pack(root).content_hash == expected


def test_a_split_that_is_missing_or_leads_out(root, tmp_path):
    with pytest.raises(LamdError, match="split 'val': unknown"):
        LANDSCAPE.list_split(root, "val")
    with pytest.raises(LamdError, match="lamd data simulate landscape ROOT"):
        LANDSCAPE.list_split(tmp_path / "none", "train")
    (tmp_path / "other" / "sky_timelapse").mkdir(parents=True)
    (tmp_path / "other" / "sky_timelapse" / "sky_train").symlink_to(root / "sky_train")
    with pytest.raises(LamdError, match=r"link leads out of .* or link all of sky_timelapse"):
        LANDSCAPE.list_split(tmp_path / "other", "train")


@pytest.mark.parametrize("name", ["sky_train", "sky_timelapse"])
def test_a_link_to_the_whole_data_set_is_followed(root, tmp_path, name):
    (tmp_path / "other").mkdir()
    target = root if name == "sky_timelapse" else root / name
    (tmp_path / "other" / name).symlink_to(target)
    assert pack(tmp_path / "other").content_hash == pack(root).content_hash


def test_pack_reuse_decodes_nothing_and_sees_a_repaired_frame(root, monkeypatch):
    path = root / "sky_train" / "a" / "a_2" / "a_2_frames_7.jpg"
    sound = path.read_bytes()
    path.write_bytes(sound[:300])
    assert len(pack(root, on_corrupt="skip")) == 2
    with monkeypatch.context() as patch:
        patch.setattr(FrameDecoder, "read", lambda *_: pytest.fail("decoded"))
        assert len(pack(root, on_corrupt="skip")) == 2
    path.write_bytes(sound)
    assert len(pack(root, on_corrupt="skip")) == 3


def test_training_goes_on_without_left_out_videos(root, tmp_path):
    target = tiny_target("data.size=16")
    for i in range(3):
        write_video(root, "train", f"d_{i}", list(range(6)))
    truncate(root / "sky_train" / "a" / "a_2")
    videos = pack(root, on_corrupt="skip")
    windows = training_windows(videos, target.train_vae, target.data)
    kept = len(videos) - target.train_vae.num_validation_clips
    assert [tuple(w) for w in windows] == [
        (i, start)
        for i, length in enumerate(videos.lengths[:kept])
        for start in range(0, length - 3, target.train_vae.window_stride)
    ]
    assert set(validation_windows(videos, target.train_vae)[:, 0]) == {kept, kept + 1}
    train_stage("vae", target, videos, tmp_path / "vae", run_id="v", device="cpu", max_steps=2)


def landscape_target(*overrides):
    bair = tiny_target()
    common = bair.data.model_dump(exclude={"camera"})
    fields = common | {"name": "landscape", "on_corrupt": "skip"}
    real = {"source": "real", "simulation_seed": None, "num_train": None, "num_test": None,
            "resize": "lanczos"}  # fmt: skip
    return bair.model_copy(update={"data": DataConfig(**(fields | real | dict(overrides)))})


@pytest.fixture
def data(root, tmp_path, monkeypatch):
    """Build the data cell of the real layout; return its folder and facts."""
    monkeypatch.setenv("LAMD_DATA", str(root))
    monkeypatch.setenv("LAMD_CACHE", str(tmp_path / "lamd-cache"))
    truncate(root / "sky_train" / "a" / "a_2")
    folder = tmp_path / "data"
    folder.mkdir()
    return folder, build_data(folder, {}, landscape_target())


def test_facts_count_what_is_used_and_left_out(data):
    folder, facts = data
    assert facts["videos"] == {"train": 2, "test": 2}
    assert facts["clips"] == {"train": 2 + 1, "test": 2 + 1}
    ((key, _),) = facts["left_out"]["train"]
    assert key == "landscape/train/a/a_2"
    assert facts["left_out"]["test"] == []
    assert facts["stand_in"] is None
    assert open_split(folder, "train").content_hash == facts["content"]["train"]


def test_test_clips_are_disjoint_windows(data, tmp_path):
    folder, _ = data
    for split in ("test", "train"):
        (tmp_path / split).mkdir()
        real_clips(tmp_path / split, {"data": folder}, landscape_target(), split)
    keys = [f"landscape/test/c/{name}" for name in ("c_1@0", "c_1@4", "c_2@0")]
    assert json.loads((tmp_path / "test" / KEYS).read_text()) == keys
    clips = read_clips(tmp_path / "test")
    assert clips.shape == (3, 4, 16, 16, 3)
    test = open_split(folder, "test")
    np.testing.assert_array_equal(clips[1], test.clip(0, 4, 4))
    assert len(json.loads((tmp_path / "train" / KEYS).read_text())) == 3


def test_the_data_key_follows_the_files(root, monkeypatch):
    monkeypatch.delenv("LAMD_DATA", raising=False)
    assert LANDSCAPE.fingerprint() is None
    monkeypatch.setenv("LAMD_DATA", str(root))
    before = LANDSCAPE.fingerprint()
    path = root / "sky_test" / "c" / "c_1" / "c_1_frames_2.jpg"
    os.utime(path, ns=(1, 1))
    after = LANDSCAPE.fingerprint()
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_the_data_key_is_the_same_by_any_path_to_the_root(root, tmp_path):
    (tmp_path / "mount").symlink_to(root)
    for split in ("train", "test"):
        listings = [LANDSCAPE.list_split(at, split) for at in (root, tmp_path / "mount")]
        assert listings[0].fingerprint == listings[1].fingerprint


def test_config_own_keys_are_those_of_the_data_set():
    assert landscape_target().data.own == {"on_corrupt": "skip", "resize": "lanczos"}
    for change in ({"camera": "image_aux1"}, {"on_corrupt": None}, {"name": "bair"}):
        with pytest.raises(ValueError, match=r"camera|on_corrupt"):
            landscape_target(*change.items())
    with pytest.raises(LamdError, match=r"key 'data\.on_corrupt' has no meaning here"):
        tiny_target("data.on_corrupt=skip")


def test_verify_prints_counts_beside_the_readme(root):
    report = LANDSCAPE.verify(root)
    assert not report.ok
    clips = "clips of 32 frames from starts 0, 32, ..."
    assert str(report).splitlines()[1:] == [
        "  train NOT OK: 3 of 2392 short videos sound, 0 broken",
        f"    long videos: 2 (readme: 997); {clips}: 0 (readme: 35,383)",
        "    short: landscape/train/a/a_2, 12 frames",
        "    short: landscape/train/a/a_10, 9 frames",
        "    short: landscape/train/b/b_1, 4 frames",
        "  test  NOT OK: 2 of 225 short videos sound, 0 broken",
        f"    long videos: 1 (readme: 111); {clips}: 0 (readme: 2,815)",
        "    short: landscape/test/c/c_1, 9 frames",
        "    short: landscape/test/c/c_2, 5 frames",
    ]


def test_verify_holds_a_stand_in_against_its_manifest(root):
    write_video(root, "train", "e_1", list(range(70)), (16, 9))
    write_stand_in(
        root,
        StandIn(dataset="landscape", generator="test.v1", seed=0, counts={"train": 4, "test": 2}),
    )
    report = LANDSCAPE.verify(root)
    assert report.ok
    assert "stand-in test.v1, seed 0, 4 train + 2 test" in str(report).splitlines()[0]
    note = "long videos: 3; clips of 32 frames from starts 0, 32, ...: 2"
    assert f"    {note}" in str(report).splitlines()
    write_stand_in(
        root, StandIn(dataset="bair", generator="test.v1", seed=0, counts={"train": 4, "test": 2})
    )
    with pytest.raises(LamdError, match="of bair, not landscape; give each its own root"):
        LANDSCAPE.verify(root)


@pytest.fixture
def lamd(monkeypatch, tmp_path, root, capsys):
    """Return a function that runs a command with LAMD_DATA at `root`: code, stdout, stderr."""
    monkeypatch.setenv("LAMD_DATA", str(root))
    monkeypatch.setenv("LAMD_CACHE", str(tmp_path / "lamd-cache"))

    def call(*arguments):
        with pytest.raises(SystemExit) as done:
            cli.main(list(arguments))
        return done.value.code, *capsys.readouterr()

    return call


def test_commands(lamd, root):
    changes = (
        "data.num_frames=4", "data.size=64", "data.on_corrupt=raise", "vae.temporal_downsampling=4",
        "rows=[lamd]", "evaluate.protocols=[psnr.given1.v1]",
    )  # fmt: skip
    options = [word for change in changes for word in ("--set", change)]
    code, out, err = lamd("data", "prepare", "landscape", *options)
    assert (code, err) == (0, "")
    assert out.startswith("landscape/train: 3 videos, 25 frames, ")
    write_stand_in(
        root,
        StandIn(dataset="landscape", generator="test.v1", seed=0, counts={"train": 3, "test": 2}),
    )
    assert lamd("data", "verify", "landscape")[0] == 0
    truncate(root / "sky_train" / "a" / "a_2")
    code, out, err = lamd("data", "verify", "landscape")
    assert code == 2
    assert "a_2_frames_7.jpg: broken JPEG" in out
    assert err.count("\n") == 1
    code, out, err = lamd("data", "prepare", "landscape", *options)
    assert code == 2
    assert "set data.on_corrupt: skip" in err
    assert err.count("\n") == 1
    skip = ("--set", "data.on_corrupt=skip")
    code, out, _ = lamd("data", "prepare", "landscape", *options, *skip)
    assert code == 0
    assert out.startswith("landscape/train: 2 videos, 13 frames, 1 left out, ")
    code, _, err = lamd("data", "prepare", "table_landscape", "--profile", "quick")
    assert (code, err.count("\n")) == (2, 1)
    assert "profile quick reads no real data" in err
