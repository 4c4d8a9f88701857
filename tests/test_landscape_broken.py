"""Landscape's broken videos and unexpected files: named, listed, left out or an error, as asked."""

import os
import re
import shutil
import socket

import numpy as np
import pytest
from landscape_files import frame_pixels, pack, truncate, write_root
from PIL import Image, ImageFile

from lamd.base.errors import LamdError
from lamd.data.sky import LANDSCAPE


@pytest.fixture
def root(tmp_path):
    return write_root(tmp_path / "root")


def truncate_early(folder):
    path = folder / "a_2_frames_7.jpg"
    path.write_bytes(path.read_bytes()[:300])


def no_jpeg(folder):
    (folder / "a_2_frames_7.jpg").write_text("not a picture")


def png_inside(folder):
    Image.fromarray(frame_pixels(7)).save(folder / "a_2_frames_7.jpg", format="PNG")


def mixed_sizes(folder):
    Image.fromarray(frame_pixels(7, (32, 36))).save(folder / "a_2_frames_7.jpg")


def single_frame(folder):
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()


def empty(folder):
    for path in folder.iterdir():
        path.unlink()


def link_out(folder):
    outside = folder.parents[3] / "outside.jpg"
    Image.fromarray(frame_pixels(7)).save(outside)
    (folder / "a_2_frames_7.jpg").unlink()
    (folder / "a_2_frames_7.jpg").symlink_to(outside)


def folder_link_out(folder):
    shutil.move(folder, folder.parents[3] / "a_2")
    folder.symlink_to(folder.parents[3] / "a_2")


def dangling_link(folder):
    (folder / "a_2_frames_7.jpg").unlink()
    (folder / "a_2_frames_7.jpg").symlink_to("nowhere.jpg")


def looping_link(folder):
    (folder / "a_2_frames_7.jpg").unlink()
    (folder / "a_2_frames_7.jpg").symlink_to("a_2_frames_7.jpg")


def folder_named_as_a_frame(folder):
    (folder / "a_2_frames_7.jpg").unlink()
    (folder / "a_2_frames_7.jpg").mkdir()


def pipe_named_as_a_frame(folder):
    (folder / "a_2_frames_7.jpg").unlink()
    os.mkfifo(folder / "a_2_frames_7.jpg")


def unprintable_frame(folder):
    (folder / "a_2_frames_7.jpg").rename(folder / "a_2_frames_7\n.jpg")


BROKEN = {
    truncate: "a_2_frames_7.jpg: broken JPEG (image file is truncated",
    truncate_early: "a_2_frames_7.jpg: broken JPEG (",
    no_jpeg: "a_2_frames_7.jpg: not a JPEG",
    png_inside: "a_2_frames_7.jpg: not a JPEG",
    mixed_sizes: "a_2_frames_7.jpg: 32x36 pixels, the first frame has 64x36",
    single_frame: "a single frame",
    empty: "no frames",
    link_out: "a_2_frames_7.jpg: link leads out of the data root",
    folder_link_out: "link leads out of the data root",
    dangling_link: "a_2_frames_7.jpg: not a file",
    looping_link: "a_2_frames_7.jpg: ",
    folder_named_as_a_frame: "a_2_frames_7.jpg: not a file",
    pipe_named_as_a_frame: "a_2_frames_7.jpg: not a file",
    unprintable_frame: "a_2_frames_7\\n.jpg: name with unprintable characters",
}


@pytest.mark.parametrize("spoil", BROKEN, ids=lambda spoil: spoil.__name__)
def test_pack_broken_video_is_left_out_or_raises(root, spoil, capsys):
    spoil(root / "sky_train" / "a" / "a_2")
    packed = pack(root, on_corrupt="skip")
    assert packed.keys == ["landscape/train/a/a_10", "landscape/train/b/b_1"]
    ((key, reason),) = packed.left_out
    assert key == "landscape/train/a/a_2"
    assert reason.startswith(BROKEN[spoil])
    err = capsys.readouterr().err.splitlines()
    assert err == [f"lamd: {key}: left out, {reason}", "lamd: 2 videos packed, 1 left out"]
    with pytest.raises(LamdError) as stopped:
        pack(root, on_corrupt="raise")
    message = str(stopped.value)
    assert "a_2" in message
    assert reason.rpartition(": ")[2] in message
    assert "set data.on_corrupt: skip" in message
    assert "\n" not in message
    report = LANDSCAPE.verify(root)
    assert not report.ok
    assert report.splits["train"].sound == 2
    (problem,) = report.splits["train"].problems
    assert f"    {problem}" in str(report).splitlines()
    assert str(problem) in message


def sub_folder(root):
    (root / "sky_train" / "a" / "a_2" / "more").mkdir()
    return "a/a_2/more", "not a .jpg frame"


def frames_without_a_folder(root):
    (root / "sky_train" / "z").mkdir()
    (root / "sky_train" / "z" / "z_frames_1.jpg").write_text("x")
    return "z", "holds frames (z_frames_1.jpg), not folders of frames"


def empty_long_video(root):
    (root / "sky_train" / "z").mkdir()
    return "z", "empty folder"


def socket_beside_long_videos(root):
    here = os.getcwd()
    os.chdir(root / "sky_train")  # the name of a socket has to be short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("s")
    os.chdir(here)
    return "s", "not a folder"


UNEXPECTED = (sub_folder, frames_without_a_folder, empty_long_video, socket_beside_long_videos)


@pytest.mark.parametrize("add", UNEXPECTED, ids=lambda add: add.__name__)
def test_pack_unexpected_file_is_ignored_or_raises(root, add):
    clean = pack(root)
    place, reason = add(root)
    packed = pack(root, on_corrupt="skip")
    assert packed.left_out == [(f"landscape/train/{place}", reason)]
    assert packed.content_hash == clean.content_hash
    with pytest.raises(LamdError, match=re.escape(reason)):
        pack(root)
    report = LANDSCAPE.verify(root)
    assert report.splits["train"].sound == 3
    assert [str(problem) for problem in report.splits["train"].problems] == [
        f"{root / 'sky_train' / place}: {reason}"
    ]


OTHERS = ("sky_train/readme", "sky_train/a/list.csv", "sky_train/a/a_2/notes.txt",
          "sky_train/a/a_2/a.AVI", "sky_train/b/b_1/b.avi")  # fmt: skip
SYSTEM = (".DS_Store", "Thumbs.db", "desktop.ini", "._a_2_frames_7.jpg")


def test_files_that_are_no_frames_are_passed_over_and_counted(root, capsys):
    clean, before = pack(root), LANDSCAPE.list_split(root, "train").fingerprint
    for path in OTHERS:
        (root / path).write_text("x")
    for folder in ("sky_train", "sky_train/a", "sky_train/a/a_2"):
        (root / folder / "__MACOSX").mkdir()
        for name in SYSTEM:
            (root / folder / name).write_text("x")
    note = "files that are no frames, passed over: 1 without a suffix, 2 .avi, 1 .csv, 1 .txt"
    assert LANDSCAPE.list_split(root, "train").fingerprint == before
    packed = pack(root)
    assert (packed.content_hash, packed.left_out) == (clean.content_hash, [])
    assert capsys.readouterr().err == f"lamd: landscape/train: {note}\n"
    check = LANDSCAPE.verify(root).splits["train"]
    assert (check.sound, check.problems, check.notes[-1]) == (3, (), note)


def deeper(root):
    (root / "sky_train").rename(root / "more")
    (root / "sky_train").mkdir()
    (root / "more").rename(root / "sky_train" / "sky_train")
    return r"sky_train/a: holds folders \(a_2\), not .jpg frames"


def shallower(root):
    for long_video in sorted((root / "sky_train").iterdir()):
        for folder in long_video.iterdir():
            folder.rename(root / "sky_train" / folder.name)
        long_video.rmdir()
    return r"a_2: holds frames \(a_2_frames_40.jpg\), not folders of frames"


@pytest.mark.parametrize("move", [deeper, shallower], ids=lambda move: move.__name__)
def test_a_layout_with_a_level_too_many_or_too_few_is_named(root, move):
    reason = move(root)
    for on_corrupt in ("skip", "raise"):
        with pytest.raises(LamdError, match=reason):
            pack(root, on_corrupt=on_corrupt)


@pytest.mark.parametrize("below", ["sky_train", "sky_train/a", ".."])
def test_a_root_at_the_wrong_level_is_named(root, below):
    with pytest.raises(LamdError, match=f"no such folder, but .*; set LAMD_DATA to {root}$"):
        LANDSCAPE.list_split((root / below).resolve(), "train")


def test_load_truncated_loads_frames_as_pillow_does_and_counts_them(root, monkeypatch, capsys):
    path = root / "sky_train" / "a" / "a_2" / "a_2_frames_7.jpg"
    sound = path.read_bytes()
    start = sound.index(b"\xff\xda")  # of the pixels
    monkeypatch.setattr("lamd.data.frames.available_cores", lambda: 4)
    for size in (8, 64):  # with and without the JPEG's own scaling
        for end in (start + 20, start + 60, len(sound) - 100, len(sound) - 30):
            path.write_bytes(sound[:end])
            packed = pack(root, on_corrupt="load_truncated", size=size)
            assert (packed.left_out, packed.index.truncated_frames) == ([], 1)
            loaded = packed.clip(0, 6, 1)[0]
            assert ImageFile.LOAD_TRUNCATED_IMAGES is False
            with monkeypatch.context() as patch:
                patch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
                expected = LANDSCAPE.read_image(path, size) if size == 64 else drafted(path, size)
            np.testing.assert_array_equal(loaded, expected)
    check = LANDSCAPE.verify(root).splits["train"]
    (problem,) = check.problems
    assert str(problem).startswith(f"{path}: broken JPEG (image file is truncated")
    assert check.notes[-1] == ("truncated frames, which data.on_corrupt: load_truncated loads: 1")


def drafted(path, size):
    with Image.open(path) as image:
        image.draft("RGB", (size, size))
        return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS))


def test_load_truncated_leaves_out_what_is_otherwise_broken(root):
    no_jpeg(root / "sky_train" / "a" / "a_2")
    ((key, reason),) = pack(root, on_corrupt="load_truncated").left_out
    assert (key, reason) == ("landscape/train/a/a_2", "a_2_frames_7.jpg: not a JPEG")
