"""Users' videos and pictures: the frames that ffmpeg shows, none invented, none lost, upright."""

import json
import os
import subprocess
from contextlib import nullcontext
from types import SimpleNamespace

import av
import imageio_ffmpeg
import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from lamd import cli
from lamd.base.errors import LamdError
from lamd.io.clips import _frames_of_decord, decode_video, decode_with_decord, load_clips
from lamd.io.native import ONE_THREAD
from lamd.io.pictures import read_picture


@pytest.fixture
def video():
    """Smooth frames that all differ, uint8 (24, 48, 64, 3)."""
    noise = np.random.default_rng(0).normal(size=(24, 48, 64, 3))
    smooth = scipy.ndimage.gaussian_filter(noise, (1, 3, 3, 0))
    return np.interp(smooth, (smooth.min(), smooth.max()), (0, 255)).astype(np.uint8)


def write(path, video, codec="libx264", pix_fmt="yuv420p", times=None, shown=(), **options):
    """Encode a video; `times` are those of its frames in 1/24 s, `shown` is its orientation."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=24, options=options)
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt, stream.bit_rate = pix_fmt, 8_000_000
        if shown:
            stream.set_display_rotation(*shown)
        for number, frame in enumerate(video):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=pix_fmt)
            picture.pts = number if times is None else times[number]
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def cut(source, path, start):
    """Copy packets without decoding; those before frame `start` get times below 0."""
    with av.open(str(source)) as read, av.open(str(path), "w") as container:
        stream = read.streams.video[0]
        copy = container.add_stream_from_template(stream)
        shift = int(start / 24 / stream.time_base)
        for packet in read.demux(stream):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
                container.mux(packet)
    return path


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mov", "mpeg4", "yuv420p"),
        ("a.mkv", "ffv1", "bgr0"),
        ("a.avi", "mjpeg", "yuvj420p"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.mpg", "mpeg2video", "yuv420p"),
        ("a.ts", "libx264", "yuv420p"),
        ("a.m2ts", "libx264", "yuv420p"),
        ("a.flv", "flv", "yuv420p"),
        ("a.wmv", "wmv2", "yuv420p"),
        ("a.3gp", "mpeg4", "yuv420p"),
        ("a.y4m", "wrapped_avframe", "yuv420p"),
    ],
)
def test_all_frames_of_a_container_in_order(tmp_path, video, name, codec, pix_fmt):
    decoded = decode_video(write(tmp_path / name, video, codec, pix_fmt))
    assert decoded.shape == video.shape
    distance = np.abs(decoded[:, None].astype(int) - video).mean(axis=(2, 3, 4))
    assert (distance.argmin(axis=1) == np.arange(len(video))).all()
    assert distance.diagonal().max() < 8


def by_ffmpeg(path, height, width):
    """Return the frames that the command `ffmpeg` writes, uint8 (T, height, width, 3)."""
    command = (imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path, "-f", "rawvideo",
               "-pix_fmt", "rgb24", "-fps_mode", "passthrough", "-")  # fmt: skip
    pixels = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(pixels, np.uint8).reshape(-1, height, width, 3)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "height"),
    [
        ("a.mp4", "libx264", "yuv420p", 48),
        ("a.mkv", "ffv1", "yuv420p", 47),  # chroma of half a row
        ("a.mkv", "ffv1", "yuv422p", 47),
        ("a.mkv", "ffv1", "yuv420p10le", 48),
        ("a.webm", "libvpx-vp9", "yuv420p", 48),
        ("a.avi", "mjpeg", "yuvj420p", 48),
        ("a.ts", "mpeg2video", "yuv420p", 48),
    ],
)
def test_frames_are_those_of_ffmpeg(tmp_path, video, name, codec, pix_fmt, height):
    path = write(tmp_path / name, video[:, :height], codec, pix_fmt)
    np.testing.assert_array_equal(decode_video(path), by_ffmpeg(path, height, 64))


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "height"),
    [("mjpeg", "yuvj420p", 48), ("mjpeg", "yuvj420p", 47), ("mjpeg", "yuvj422p", 47),
     ("mjpeg", "yuvj444p", 48), ("mpeg4", "yuv420p", 48)],
)  # fmt: skip
def test_decord_reads_avis_as_ffmpeg_does(tmp_path, video, codec, pix_fmt, height):
    path = write(tmp_path / "a.avi", video[:, :height], codec, pix_fmt)
    np.testing.assert_array_equal(decode_with_decord(path), by_ffmpeg(path, height, 64))


def test_several_threads_decode_avis_at_once_and_stderr_stays_open(tmp_path, video):
    write(tmp_path / "a.avi", video, "mjpeg", "yuvj420p")
    before = os.fstat(2)
    frames = _frames_of_decord(tmp_path / "a.avi")
    next(frames)
    assert not ONE_THREAD.locked()
    assert os.path.samestat(os.fstat(2), before)
    assert len(list(frames)) == len(video) - 1


def test_decord_says_nothing_of_a_file_that_only_it_cannot_open(tmp_path, capfd, monkeypatch):
    (tmp_path / "a.avi").write_bytes(bytes(1000))
    opened = SimpleNamespace(decode=lambda stream: iter(())), SimpleNamespace(frames=0)
    monkeypatch.setattr("lamd.io.clips._open_video", lambda path: nullcontext(opened))
    with pytest.raises(ValueError, match="not a readable video"):
        decode_with_decord(tmp_path / "a.avi")
    assert capfd.readouterr().err == ""


def test_of_several_streams_the_one_that_ffmpeg_takes_is_read(tmp_path, video):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        sizes, streams = ((32, 16), (64, 48), (48, 32)), []
        for width, height in sizes:
            stream = container.add_stream("ffv1", rate=24)
            stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
            streams.append(stream)
        for number, pixels in enumerate(video):
            for stream in streams:
                frame = np.ascontiguousarray(pixels[: stream.height, : stream.width])
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="bgr0")
                picture.pts = number
                container.mux(stream.encode(picture))
        for stream in streams:
            container.mux(stream.encode())
    decoded = decode_video(path)
    np.testing.assert_array_equal(decoded, video)
    np.testing.assert_array_equal(decoded, by_ffmpeg(path, 48, 64))


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("code", "red", "blue"), [(5, 0.299, 0.114), (1, 0.2126, 0.0722)])
def test_colours_follow_matrix_and_range(tmp_path, code, red, blue, full):
    colours = np.random.default_rng(0).uniform(0.1, 0.9, (1, 4, 4, 3)).repeat(8, 1).repeat(8, 2)
    r, g, b = np.moveaxis(colours[0], -1, 0)
    y = red * r + (1 - red - blue) * g + blue * b
    chroma = np.stack([(b - y) / (2 - 2 * blue), (r - y) / (2 - 2 * red)])
    planes = [255 * y, *(128 + 255 * chroma)] if full else [16 + 219 * y, *(128 + 224 * chroma)]
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv444p"
        context = stream.codec_context
        context.colorspace, context.color_range = code, 1 + full
        frame = av.VideoFrame.from_ndarray(np.round(planes).astype(np.uint8), format="yuv444p")
        frame.colorspace, frame.color_range = code, 1 + full
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert np.abs(decode_video(tmp_path / "a.mkv") - 255 * colours).max() < 3


def test_a_lossless_video_is_exact(tmp_path, video):
    path = write(tmp_path / "a.mkv", video, "ffv1", "bgr0")
    np.testing.assert_array_equal(decode_video(path), video)


def test_a_damaged_video_is_refused(tmp_path, video):
    path = write(tmp_path / "a.mp4", video, "mpeg4")
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat")
    middle = start + (len(data) - start) // 3
    data[middle : middle + 40] = bytes(byte ^ 255 for byte in data[middle : middle + 40])
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"frame \d+ is damaged"):
        decode_video(path)


def test_a_file_with_sound_alone_is_refused(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48_000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 48_000
        container.mux([*stream.encode(silence), *stream.encode()])
    with pytest.raises(ValueError, match="no pictures in it"):
        decode_video(path)


@pytest.mark.parametrize("suffix", [".tiff", ".webp"])
def test_a_file_of_several_pictures_is_refused(tmp_path, video, suffix):
    path, (first, *more) = tmp_path / f"a{suffix}", map(Image.fromarray, video[:3])
    first.save(path, save_all=True, append_images=more)
    with pytest.raises(LamdError, match="holds several pictures; save each as its own file"):
        read_picture(path)


def test_frames_hidden_by_an_edit_list_are_not_shown(tmp_path, video):
    whole = write(tmp_path / "whole.mp4", video, bf="0", g="8")
    decoded = decode_video(cut(whole, tmp_path / "cut.mp4", 5))
    np.testing.assert_array_equal(decoded, decode_video(whole)[5:])


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("mirrored", [False, True])
def test_videos_are_upright(tmp_path, video, name, turns, mirrored):
    upright = decode_video(write(tmp_path / f"upright-{name}", video))
    decoded = decode_video(write(tmp_path / name, video, shown=(90 * turns, mirrored)))
    turned = np.rot90(upright, turns, axes=(1, 2))
    np.testing.assert_array_equal(decoded, turned[:, :, ::-1] if mirrored else turned)


@pytest.mark.parametrize(("degrees", "mirrored"), [(45, False), (10, True)])
def test_a_video_turned_by_less_than_a_right_angle_is_refused(tmp_path, video, degrees, mirrored):
    write(tmp_path / "a.mp4", video, shown=(degrees, mirrored))
    with pytest.raises(LamdError, match=r"a\.mp4: it is turned by less .* angle; write it again"):
        load_clips(tmp_path)


def test_frames_of_unequal_length_are_shown_once(tmp_path, video):
    times = np.cumsum([1, 3, 1, 7] * 6).tolist()
    np.testing.assert_array_equal(
        decode_video(write(tmp_path / "a.mkv", video, "ffv1", "bgr0", times)), video
    )


def test_a_playlist_under_a_videos_name_opens_nothing(tmp_path, video):
    write(tmp_path / "a.mp4", video)
    hls = "#EXTM3U\n#EXTINF:1,\na.mp4\n#EXT-X-ENDLIST\n"
    for text in ("ffconcat version 1.0\nfile a.mp4\n", hls):
        (tmp_path / "list.mp4").write_text(text)
        with pytest.raises(ValueError, match="not a readable video"):
            decode_video(tmp_path / "list.mp4")


def photo(path, orientation):
    """Save a picture whose top left quarter is white, to be shown by an EXIF orientation."""
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:16, :24] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


@pytest.mark.parametrize(
    ("orientation", "white"), [(1, (0, 0)), (3, (1, 1)), (6, (0, 1)), (8, (1, 0))]
)
def test_pictures_are_upright(tmp_path, orientation, white):
    image = np.asarray(read_picture(photo(tmp_path / "a.png", orientation)))
    assert image.shape[:2] == ((32, 48) if orientation in (1, 3) else (48, 32))
    half = image.shape[0] // 2, image.shape[1] // 2
    for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):
        quarter = image[corner[0] * half[0] :, corner[1] * half[1] :][: half[0], : half[1]]
        assert (quarter.mean() > 200) == (corner == white)
    folder = tmp_path / "clips" / "one"
    folder.mkdir(parents=True)
    photo(folder / "0.png", orientation)
    np.testing.assert_array_equal(load_clips(folder.parent).videos[0, 0], image)


@pytest.mark.parametrize("mode", ["RGBA", "CMYK", "I;16"])
def test_pictures_that_rgb_cannot_hold_are_refused(tmp_path, mode):
    Image.new(mode, (8, 8)).save(path := tmp_path / "a.tif")
    with pytest.raises(LamdError, match=f"a.tif: pixels are {mode}; save it as 8-bit RGB"):
        read_picture(path)


def evaluate(*arguments):
    with pytest.raises(SystemExit) as done:
        cli.main(["evaluate", *map(str, arguments)])
    return done.value.code or 0


@pytest.fixture
def clips(tmp_path, video):
    np.save(tmp_path / "clips.npy", video.reshape(2, 12, 48, 64, 3))
    return tmp_path / "clips.npy"


def test_outputs_are_checked_before_the_work(tmp_path, clips, capsys, monkeypatch):
    monkeypatch.setattr("lamd.evaluate.measure", None)
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "o.json"):
        assert evaluate("--real", clips, "--fake", clips, "--metrics", "psnr", "--json", path) == 2
        assert capsys.readouterr().err.startswith(f"lamd: {path}: ")


def test_an_interrupted_evaluation_prints_and_writes_what_it_finished(
    clips, tmp_path, capsys, monkeypatch
):
    from lamd.evaluate import measure

    def interrupt(name, inputs):
        if name == "ssim.v1":
            raise KeyboardInterrupt
        return measure(name, inputs)

    monkeypatch.setattr("lamd.evaluate.measure", interrupt)
    output = tmp_path / "o.json"
    sets = ("--real", clips, "--fake", clips)
    assert evaluate(*sets, "--metrics", "psnr,ssim", "--json", output) == 130
    assert "100.0000 dB" in capsys.readouterr().out
    assert json.loads(output.read_text())["not_measured"] == ["ssim.v1"]


def test_json_follows_links_and_leaves_devices_alone(tmp_path, clips):
    (tmp_path / "link.json").symlink_to(tmp_path / "o.json")
    for path in ("/dev/null", tmp_path / "link.json"):
        assert evaluate("--real", clips, "--fake", clips, "--metrics", "psnr", "--json", path) == 0
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "o.json").read_text().startswith("{")
    with open("/dev/null", "rb") as device:
        assert device.read() == b""


def test_remarks_are_printed_with_the_values(clips, capsys):
    assert (
        evaluate("--real", clips, "--fake", clips, "--metrics", "fvd.bair.v1", "--device", "cpu")
        == 0
    )
    out = capsys.readouterr().out
    assert "fvd.bair.v1: 2 real clips, the protocol asks for 256" in out
    assert "25 % of the width is cut off" in out


@pytest.mark.parametrize(("alpha", "refused"), [(255, False), (254, True)])
def test_transparent_pixels_are_refused(tmp_path, alpha, refused):
    pixels = np.full((4, 16, 16, 4), 255, np.uint8)
    pixels[2, 0, 0, 3] = alpha
    with av.open(str(tmp_path / "clip.mov"), "w") as container:
        stream = container.add_stream("png", rate=8)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "rgba"
        for frame in pixels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgba")))
        container.mux(stream.encode())
    grey = Image.new("L", (16, 16), 1)
    grey.save(tmp_path / "frame.png", transparency=1 if refused else 2)
    if refused:
        with pytest.raises(ValueError, match="frame 2 has transparent pixels"):
            decode_video(tmp_path / "clip.mov")
        with pytest.raises(LamdError, match="pixels are transparent, which RGB cannot hold"):
            read_picture(tmp_path / "frame.png")
    else:
        assert decode_video(tmp_path / "clip.mov").min() == 255
        assert read_picture(tmp_path / "frame.png").mode == "RGB"
