"""Landscape's broken videos and unexpected files: named, listed, left out or an error, as asked."""

import os
import shutil
import socket

import pytest
from landscape_files import frame_pixels, pack, truncate, write_root
from PIL import Image

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


def text_file(root):
    (root / "sky_train" / "a" / "a_2" / "notes.txt").write_text("x")
    return "a/a_2/notes.txt", "not a .jpg frame"


def apple_double(root):
    (root / "sky_train" / "a" / "a_2" / "._a_2_frames_7.jpg").write_text("x")
    return "a/a_2/._a_2_frames_7.jpg", "not a .jpg frame"


def sub_folder(root):
    (root / "sky_train" / "a" / "a_2" / "more").mkdir()
    return "a/a_2/more", "not a .jpg frame"


def file_beside_videos(root):
    (root / "sky_train" / "a" / "list.csv").write_text("x")
    return "a/list.csv", "not a folder of frames"


def file_beside_long_videos(root):
    (root / "sky_train" / "readme").write_text("x")
    return "readme", "not a folder"


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


UNEXPECTED = (text_file, apple_double, sub_folder, file_beside_videos, file_beside_long_videos,
          empty_long_video, socket_beside_long_videos)  # fmt: skip


@pytest.mark.parametrize("add", UNEXPECTED, ids=lambda add: add.__name__)
def test_pack_unexpected_file_is_ignored_or_raises(root, add):
    clean = pack(root)
    place, reason = add(root)
    packed = pack(root, on_corrupt="skip")
    assert packed.left_out == [(f"landscape/train/{place}", reason)]
    assert packed.content_hash == clean.content_hash
    with pytest.raises(LamdError, match=reason):
        pack(root)
    report = LANDSCAPE.verify(root)
    assert report.splits["train"].sound == 3
    assert [str(problem) for problem in report.splits["train"].problems] == [
        f"{root / 'sky_train' / place}: {reason}"
    ]
