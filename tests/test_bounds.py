"""Small inputs that state, or stand for, something huge: refused at once, in one line."""

import io
import json
import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from test_evaluate import refusal, save_frames, save_videos

from lamd.base import processes
from lamd.base.processes import available_memory
from lamd.config import load_target
from lamd.data.cater import CATER_V1
from lamd.data.frames import FrameDecoder
from lamd.data.listing import FrameFolder
from lamd.evaluate import evaluate_captions
from lamd.io.clips import count_with_decord, decode_video, decode_with_decord, load_clips
from lamd.io.pictures import FORMATS, read_picture

MOST_SECONDS, MOST_MEMORY = 10.0, 2**30
CHILD = """
import sys
from pathlib import Path
from lamd.base.errors import LamdError
from {module} import {call}
try:
    {call}(Path(sys.argv[1]))
except (LamdError, ValueError) as error:
    print(error)
status = Path('/proc/self/status').read_text()  # ru_maxrss has the parent's peak, too
print(status.split('VmHWM:')[1].split()[0])
"""


def refusal_of(call, path):
    """Return the one line that a call on a path ends in, its time and memory checked."""
    code = CHILD.format(module=call.__module__, call=call.__name__)
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    line, peak = done.stdout.splitlines()
    assert time.monotonic() - start < MOST_SECONDS and int(peak) * 1024 < MOST_MEMORY
    assert not done.stderr
    return line


def bomb(levels=9, width=9):
    """Write a list of lists of lists, each an alias of the one before."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (bomb(), "50,000 values"),
        ("a: &a [1, *a]", "16 levels"),
        ("a: &a {b: *a}", "16 levels"),
        ("? [x]\n: 1", "a key that is no text"),
        ("a: " + "[" * 17 + "]" * 17, "16 levels"),
        ("a: " + "[" * 700 + "]" * 700, "not valid YAML"),
        ("a: " + "[" * 5000 + "]" * 5000, "not valid YAML"),
        ("a: 0x" + "f" * 9000, "a number of more than 64 characters"),
        ("a: 1" + ":59" * 9000, "a number of more than 64 characters"),
        ("? " + "a" * 2000 + "\n: 1", "no text of at most 1,000 characters"),
        ("a: " + "x" * 2**20, "more than 1,048,576 bytes"),
    ],
)
def test_load_target_refuses_yaml_that_stands_for_too_much(tmp_path, text, reason):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    assert reason in refusal(load_target, str(path), "quick")


def test_load_target_takes_an_alias(tmp_path):
    (tmp_path / "x.yaml").write_text("a: &a {kind: nothing}\nkind: *a")
    assert "kind \"{'kind': 'nothing'}\"" in refusal(load_target, str(tmp_path / "x.yaml"), "quick")


def test_load_target_refuses_files_that_lead_back_or_on_and_on(tmp_path):
    for n in range(20):
        (tmp_path / f"b{n}.yaml").write_text(f"base: b{n + 1}.yaml\n")
    assert "more than 8 files by `base:`" in refusal(load_target, f"{tmp_path}/b0.yaml", "quick")
    for base in ('"a\\0"', "x" * 5000):
        (tmp_path / "n.yaml").write_text(f"base: {base}\n")
        assert "is not a file next to n.yaml" in refusal(load_target, f"{tmp_path}/n.yaml", "quick")
    (tmp_path / "f.yaml").write_text("kind: figure\ntitle: f\nsources: [f]\n")
    text = refusal(load_target, f"{tmp_path}/f.yaml", "quick")
    assert "kind figure trains nothing itself" in text


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        (".".join("a" * 20_000) + "=1", "more than 16 levels"),
        ("data.num_test=" + "[" * 20 + "]" * 20, "16 levels"),
        ("title=[&a [x], " + "*a, " * 60_000 + "]", "50,000 values"),
        ("data.num_test=0x" + "f" * 9000, "64 characters"),
        ("data.num_frames=1000000000", "data.num_frames"),
        ("data.size=65536", "a clip of 16 frames of 65,536 pixels"),
        ("data.num_train=1000000000", "data.num_train"),
        ("dmg.num_train_steps=1000000000", "dmg.num_train_steps"),
        ("dmg.base_channels=1000000000", "dmg.base_channels"),
        ("dmg.num_res_blocks=1000000", "dmg.num_res_blocks"),
        ("dmg.channel_multipliers=[" + "1, " * 1000 + "]", "dmg.channel_multipliers"),
        ("train_vae.batch_size=1000000000", "train_vae.batch_size"),
        ("train_vae.learning_rate=.inf", "train_vae.learning_rate"),
        ("evaluate.samples_per_clip=1000000000", "evaluate.samples_per_clip"),
    ],
)
def test_load_target_refuses_overrides_of_absurd_size(override, reason):
    assert reason in refusal(load_target, "table_bair", "quick", [override])


@pytest.mark.parametrize(
    "grid",
    [
        "{train_vae.seed: {from: 1, to: 1.0e+9, step: 1.0e-3}}",
        f"{{{', '.join(f'{key}.seed: {{from: 1, to: 999, step: 1}}' for key in 'abcdef')}}}",
        "[" + ", ".join(f"{{train_vae.seed: {n}}}" for n in range(1001)) + "]",
    ],
)
def test_load_target_refuses_sweeps_of_too_many_points(grid):
    text = refusal(load_target, "ablation_motion_capacity", "quick", [f"sweep={grid}"])
    assert "points, at most 1000" in text


def test_bomb_is_no_larger_than_the_first():
    assert len(bomb()) < 883  # bytes of the one that ran for ever


def png(width, height):
    """Return a PNG without pixels that states its size."""
    parts = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b""))
    chunks = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d))
              for k, d in parts)  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_read_picture_takes_the_format_of_the_suffix_alone(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)  # Ghostscript, which Pillow starts for EPS
    monkeypatch.setattr(subprocess, "check_call", None)
    (path := tmp_path / f"a{suffix}").write_bytes(EPS)
    assert f"not a {FORMATS[suffix]}" in refusal(read_picture, path)
    for kind in sorted(set(FORMATS.values())):
        Image.new("RGB", (8, 8)).save(path, kind)
        if kind == FORMATS[suffix]:
            assert read_picture(path).size == (8, 8)
        else:
            assert f"not a {FORMATS[suffix]}" in refusal(read_picture, path)


def test_load_clips_counts_no_lossy_picture_as_lossless(tmp_path):
    frames = np.zeros((1, 2, 16, 16, 3), np.uint8)
    folder = save_frames(tmp_path / "a", frames)
    assert load_clips(folder).lossless
    Image.new("RGB", (16, 16)).save(folder / "clip_0" / "frame_1.png", "JPEG")
    assert "frame_1.png: not a readable image (not a PNG)" in refusal(load_clips, folder)
    folder = save_frames(tmp_path / "b", frames, "frame_{}.tif")
    assert load_clips(folder).lossless
    Image.new("RGB", (16, 16)).save(folder / "clip_0" / "frame_1.tif", compression="jpeg")
    assert "frame_1.tif: a TIFF with jpeg compression" in refusal(load_clips, folder)


def test_frame_decoder_takes_the_format_of_the_suffix_alone(tmp_path):
    for name, kind in (("0.jpg", "JPEG"), ("1.jpg", "PNG"), ("2.png", "JPEG")):
        Image.new("RGB", (8, 8)).save(tmp_path / name, kind)
    video = FrameFolder(key="k", path=tmp_path, frames=("0.jpg", "1.jpg", "2.png"))
    read = dict(FrameDecoder(8, None).read(video, range(3)))
    assert read[0].shape == (8, 8, 3)
    assert (read[1].reason, read[2].reason) == ("not a JPEG", "not a PNG")


def test_frame_decoder_bounds_the_frames_that_it_keeps(tmp_path):
    video = FrameFolder(key="k", path=tmp_path, frames=tuple(map(str, range(100_000))))
    assert (
        FrameDecoder(128, 16)(video) == "100,000 frames of 128 pixels are above 4,294,967,296 bytes"
    )


@pytest.mark.parametrize(("width", "height"), [(2**31 - 1, 2**31 - 1), (9500, 9500), (10**8, 1)])
def test_read_picture_of_stated_size(tmp_path, width, height):
    (path := tmp_path / "a.png").write_bytes(png(width, height))
    assert "a.png: not a readable image (Image size (" in refusal_of(read_picture, path)


def test_read_picture_of_a_sparse_file(tmp_path):
    with (path := tmp_path / "a.webp").open("wb") as file:
        file.write(b"RIFF\xff\xff\xff\x7fWEBPVP8L")
        file.truncate(2**40)
    assert "larger than 268,435,456 bytes" in refusal_of(read_picture, path)


def test_read_picture_writes_nothing_about_a_damaged_tiff(tmp_path, capfd):
    Image.effect_noise((64, 64), 50).save(path := tmp_path / "a.tif", compression="tiff_lzw")
    data = bytearray(path.read_bytes())
    data[200:260] = bytes(60)
    path.write_bytes(data)
    assert "a.tif: not a readable image" in refusal(read_picture, path)
    assert capfd.readouterr().err == ""


def test_load_clips_bounds_a_clip(tmp_path):
    (folder := tmp_path / "v" / "a").mkdir(parents=True)
    for number in range(4):  # 78 KB each, 192 MB when decoded
        Image.new("L", (8000, 8000)).save(folder / f"{number}.png")
    text = refusal_of(load_clips, tmp_path / "v")
    assert text.startswith(f"{folder}: more than 2 frames of 8000 x 8000, a clip of at most")


def test_load_clips_bounds_a_set_by_the_memory(tmp_path, monkeypatch):
    folder = save_videos(tmp_path / "v", np.zeros((3, 2, 16, 16, 3), np.uint8))
    monkeypatch.setattr("lamd.io.clips.available_memory", lambda: 4096)
    text = refusal(load_clips, folder)
    assert "3 clips of 2 frames of 16 x 16 take 4,608 bytes, 4,096 are free here" in text


def test_memory_is_that_of_the_job(tmp_path, monkeypatch):
    whole = available_memory()
    assert 2**28 < whole <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    job = tmp_path / "slurm" / "job"
    job.mkdir(parents=True)
    (tmp_path / "cgroup").write_text("4:memory:/x\n0::/slurm/job\n")
    (job / "memory.max").write_text("max\n")
    (job / "memory.stat").write_text("anon 7\n")
    (job.parent / "memory.max").write_text("100000\n")
    (job.parent / "memory.stat").write_text("file 9\nanon 2000\n")
    places = {"/proc/self/cgroup": tmp_path / "cgroup", "/sys/fs/cgroup": tmp_path}
    monkeypatch.setattr(processes, "Path", lambda path, *more: Path(places[path], *more))
    assert available_memory() == 98_000


def video(name, codec, pix_fmt, size=(64, 48)):
    """Return a video of 8 frames."""
    with av.open(buffer := io.BytesIO(), "w", format=name) as container:
        stream = container.add_stream(codec, rate=24)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        for number in range(8):
            pixels = np.full((*size[::-1], 3), 20 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return bytearray(buffer.getvalue())


def gif(width, height):
    """Return a GIF of one pixel on a canvas."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(3) + b"\xff" * 3
    return head + b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00;"


def mp4(count):
    """Return an MP4 whose tables state so many samples of one byte."""
    data = video("mp4", "libx264", "yuv420p")
    for table, skip, form, values in (
        (b"stsz", 8, ">II", (1, count)),
        (b"stts", 12, ">II", (count, 1)),
        (b"stsc", 12, ">III", (1, count, 1)),
    ):
        struct.pack_into(form, data, data.index(table) + skip, *values)
    return data


def avi(codec="mjpeg", pix_fmt="yuvj420p", size=None, count=None):
    """Return an AVI whose headers state this size, or so many frames."""
    data = video("avi", codec, pix_fmt)
    if size:
        struct.pack_into("<ii", data, data.index(b"avih") + 40, *size)
        struct.pack_into("<ii", data, data.index(b"strf") + 12, *size)
    if count:
        struct.pack_into("<I", data, data.index(b"avih") + 24, count)
        struct.pack_into("<I", data, data.index(b"strh") + 40, count)
    return data


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.gif", gif(65535, 65535)),
        ("a.gif", gif(9000, 9000)),
        ("a.mp4", mp4(10**7)),
        ("a.mp4", mp4(89 * 10**6)),
        ("a.mp4", mp4(2**32 - 1)),
        ("a.avi", avi("rawvideo", "yuv420p", (60000, 60000))),
    ],
)
def test_decode_video_refuses_what_states_a_huge_size(tmp_path, name, data):
    (path := tmp_path / name).write_bytes(data)
    assert "video" in refusal_of(decode_video, path)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (avi(count=10**9), "states 1,000,000,000 frames, more than it has room for"),
        (avi("rawvideo", "yuv420p", (60000, 60000)), "not a readable video"),
    ],
)
def test_decord_is_kept_from_what_states_a_huge_size(tmp_path, data, reason):
    (path := tmp_path / "a.avi").write_bytes(data)
    assert reason in refusal_of(decode_with_decord, path)
    assert reason in refusal_of(count_with_decord, path)


def test_count_with_decord_keeps_no_frame(tmp_path, monkeypatch):
    (path := tmp_path / "a.avi").write_bytes(avi())
    monkeypatch.setattr("lamd.io.clips.MOST_CLIP", 3 * 64 * 48 * 3)
    assert count_with_decord(path) == 8
    assert len(decode_with_decord(path, 2)) == 2
    with pytest.raises(ValueError, match="more than 2 frames of 48 x 64, a clip of at most 27,648"):
        decode_with_decord(path)
    with pytest.raises(ValueError, match="more than 2 frames of 48 x 64, a clip of at most 27,648"):
        decode_video(path)


def npy(shape, dtype="|u1", data=b"", version=b"\x01\x00"):
    header = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}}}".encode()
    length = len(header).to_bytes(2 if version[0] == 1 else 4, "little")
    return b"\x93NUMPY" + version + length + header + data


@pytest.mark.parametrize("shape", [(1, 1, 20_000, 20_000, 3), (10**6 + 1, 1, 1, 1, 3)])
def test_load_clips_bounds_an_npy(tmp_path, shape):
    with (path := tmp_path / "a.npy").open("wb") as file:
        file.write(npy(shape))
        file.truncate(2**32)  # sparse: it has what its header states
    assert "give at most 1,000,000 clips of at most 536,870,912 bytes" in refusal(load_clips, path)


def test_decode_video_of_an_unknown_codec(tmp_path):
    data = video("mp4", "libx264", "yuv420p").replace(b"avc1", b"xxxx")
    (path := tmp_path / "a.mp4").write_bytes(data)
    with pytest.raises(ValueError, match="not a readable video"):
        decode_video(path)


@pytest.mark.parametrize(
    "data",
    [
        npy((10**6, 16, 256, 256, 3)),
        npy((2**32, 2**32, 2**32, 2**32, 3)),
        npy((2**63, 2, 1, 1, 3)),
        npy((-1, 1, 1, 1, 3), data=b"abc"),
        npy((1, 1, 1, 1, 3), "|O", b"abc"),
        npy("(" * 5000),
        npy((1, 1, 1, 1, 3), "|V2147483647"),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
        b"\x93NUMPY\x07\x00\xff\xff\xff\xff",
        b"\x93NUMPY",
    ],
)
def test_load_clips_refuses_an_npy_that_states_more_than_it_has(tmp_path, data):
    with (path := tmp_path / "a.npy").open("wb") as file:
        file.write(data)
        if data[6:8] != b"\x01\x00":
            file.truncate(2**33)  # sparse; a header may be as long
    assert f"{path}: not a readable .npy (" in refusal_of(load_clips, path)


def test_caption_lists_are_bounded(tmp_path):
    sentences = "the cone is rotating. " * 5000  # would be compared each with each
    (true := tmp_path / "a.json").write_text(json.dumps(["the cone is rotating."]))
    (long := tmp_path / "b.json").write_text(json.dumps([sentences]))
    text = refusal(evaluate_captions, true, long)
    assert text == f"{long}: caption 0 has more than 4,096 characters; shorten it"
    (wide := tmp_path / "w.json").write_text(json.dumps(["the cone is rotating."]), "utf-16")
    assert f"{wide}: Invalid JSON" in refusal(evaluate_captions, wide, true)
    with (huge := tmp_path / "c.json").open("wb") as file:
        file.truncate(2**40)  # sparse
    assert f"{huge}: more than 33,554,432 bytes" in refusal(evaluate_captions, true, huge)


def test_list_split_bounds_captions(tmp_path):
    (folder := tmp_path / "cater_gen_v1").mkdir()
    entry = {"video": "videos/a.avi", "caption": "the cone is rotating. " * 5000}
    (folder / "test_explicit.json").write_text(json.dumps({"0": entry}))
    text = refusal(CATER_V1.list_split, tmp_path, "test", captions="explicit")
    assert "entry '0': its caption has more than 4,096 characters" in text
    for path in ("videos/" + "x" * 5000, "videos/" + "x" * 201, "a/" * 50_000 + "a.avi"):
        entry = {"video": path, "caption": "the cone is rotating."}
        (folder / "test_explicit.json").write_text(json.dumps({"0": entry}))
        assert "is too long; correct it" in refusal(
            CATER_V1.list_split, tmp_path, "test", captions="explicit"
        )
