"""`lamd evaluate` on files: what is read, what is refused, and with which one line."""

import errno
import json
import os
import subprocess
import sys
import unicodedata

import av
import numpy as np
import pytest
from golden_clips import golden_clips
from PIL import Image

from lamd import cli, evaluate
from lamd.base.errors import LamdError
from lamd.evaluate import evaluate_paths, resolve_device, to_json
from lamd.io.clips import decode_video, decode_with_decord, load_clips
from lamd.metrics.measure import measure
from lamd.metrics.values import Inputs


@pytest.fixture
def clips():
    return golden_clips(0, 3)[:, :10, :32, :32]


def save_npy(path, videos):
    np.save(path, videos)
    return path


def save_videos(folder, videos, names=None):
    folder.mkdir(exist_ok=True)
    names = names or [f"clip_{i}.avi" for i in range(len(videos))]
    for name, video in zip(names, videos, strict=True):
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream("ffv1", rate=8)  # lossless
            stream.height, stream.width = video.shape[1:3]
            stream.pix_fmt = "bgr0"
            for frame in video:
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
                container.mux(stream.encode(picture.reformat(format="bgr0")))
            container.mux(stream.encode())
    return folder


def save_frames(folder, videos, pattern="frame_{}.png"):
    for i, video in enumerate(videos):
        (folder / f"clip_{i}").mkdir(parents=True)
        for step, frame in enumerate(video):
            Image.fromarray(frame).save(folder / f"clip_{i}" / pattern.format(step))
    return folder


def refusal(call, *args, **kwargs):
    with pytest.raises(LamdError) as error:
        call(*args, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_three_forms_hold_the_same_clips(clips, tmp_path):
    for path in (
        save_npy(tmp_path / "clips.npy", clips),
        save_videos(tmp_path / "videos", clips),
        save_frames(tmp_path / "frames", clips),  # frame_10 would follow frame_1 without numbers
    ):
        np.testing.assert_array_equal(load_clips(path).videos, clips)


@pytest.mark.parametrize("width", [16, 18, 33, 48, 64, 72])
def test_video_rows_of_any_width(width, tmp_path):
    video = np.random.default_rng(0).integers(0, 256, (1, 3, 20, width, 3), dtype=np.uint8)
    path = save_videos(tmp_path / "v", video) / "clip_0.avi"
    for decode in (decode_video, decode_with_decord):
        np.testing.assert_array_equal(decode(path), video[0])


def test_decord_before_torch_leaves_torch_in_order(clips, tmp_path):
    path = save_videos(tmp_path / "v", clips) / "clip_0.avi"
    script = (
        "import sys; from pathlib import Path; from lamd.io.clips import decode_with_decord;"
        "decode_with_decord(Path(sys.argv[1])); assert 'decord' in sys.modules; import torch;"
        "x = torch.arange(40000.).view(200, 200) / 1e4; torch.set_num_threads(1);"
        "assert torch.allclose((x @ x).double(), x.double() @ x.double())"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_natural_order_and_hidden_files(clips, tmp_path):
    folder = save_videos(tmp_path / "v", clips, ["10.avi", "9.avi", "1.avi"])
    (folder / ".DS_Store").write_bytes(b"x")
    np.testing.assert_array_equal(load_clips(folder).videos, clips[::-1])


def test_grey_frames_become_rgb(tmp_path):
    grey = np.arange(16 * 16, dtype=np.uint8).reshape(1, 1, 16, 16)
    video = load_clips(save_frames(tmp_path / "grey", grey)).videos
    np.testing.assert_array_equal(video, np.repeat(grey[..., None], 3, axis=-1))


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((2, 4, 8, 8, 3), np.float32), "dtype is float32, not uint8"),
        (np.zeros((2, 4, 3, 8, 8), np.uint8), "shape is (2, 4, 3, 8, 8)"),
        (np.zeros((4, 8, 8, 3), np.uint8), "shape is (4, 8, 8, 3)"),
        (np.zeros((0, 4, 8, 8, 3), np.uint8), "shape is (0, 4, 8, 8, 3)"),
        (np.array([None, "x"], object), "not a readable .npy"),
    ],
)
def test_arrays_that_are_no_clips(array, reason, tmp_path):
    path = save_npy(tmp_path / "x.npy", array)
    text = refusal(load_clips, path)
    assert text.startswith(f"{path}: {reason}")
    assert "numpy.save" in text


def test_damaged_arrays(clips, tmp_path):
    whole = save_npy(tmp_path / "a.npy", clips).read_bytes()
    archive = tmp_path / "archive"
    np.savez(archive, clips)
    for data in (b"", b"junk", whole[:60], whole[:-10], archive.with_suffix(".npz").read_bytes()):
        path = tmp_path / "b.npy"
        path.write_bytes(data)
        assert refusal(load_clips, path).startswith(f"{path}: ")


def test_folders_that_hold_no_clips(clips, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "an empty folder" in refusal(load_clips, empty)
    assert "does not exist" in refusal(load_clips, tmp_path / "nowhere")
    video = save_videos(tmp_path / "v", clips)
    assert "a single file that is no .npy" in refusal(load_clips, video / "clip_0.avi")
    (video / "notes.txt").write_text("x")
    assert "notes.txt: not a video file" in refusal(load_clips, video)
    mixed = save_frames(tmp_path / "f", clips)
    (mixed / "readme.md").write_text("x")
    assert "holds folders and files (readme.md)" in refusal(load_clips, mixed)
    assert "one folder of frames for each clip" in refusal(load_clips, mixed / "clip_0")
    (mixed / "readme.md").unlink()
    (mixed / "clip_1" / "a.txt").write_text("x")
    assert "a.txt: not a frame file" in refusal(load_clips, mixed)


def test_folders_on_the_wrong_level_are_named(clips, tmp_path):
    ucf = tmp_path / "ucf"
    ucf.mkdir()
    save_videos(ucf / "Archery", clips)
    text = refusal(load_clips, ucf)
    assert "holds folders of videos (Archery/clip_0.avi), not videos or folders of frames" in text
    assert f"give {ucf / 'Archery'} or another of them" in text
    text = refusal(load_clips, save_frames(tmp_path / "sky" / "a", clips).parent)
    assert "holds folders of folders (a/clip_0)" in text and f"give {tmp_path}/sky/a or" in text
    text = refusal(load_clips, tmp_path / "sky" / "a" / "clip_0")
    assert "clip_0: holds frames (frame_0.png), not videos" in text and "folder above" in text


def test_system_files_are_passed_over(clips, tmp_path):
    folder = save_frames(tmp_path / "f", clips)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._clip_0"):
        for place in (folder, folder / "clip_0"):
            (place / name).write_text("x")
    (folder / "__MACOSX").mkdir()
    np.testing.assert_array_equal(load_clips(folder).videos, clips)


def test_load_clips_dead_link_or_pipe_is_one_line(clips, tmp_path):
    folder = save_videos(tmp_path / "v", clips)
    (folder / "clip_3.avi").symlink_to("nowhere.avi")
    assert refusal(load_clips, folder).startswith(f"{folder / 'clip_3.avi'}: a dead link; fix it")
    (folder / "clip_3.avi").unlink()
    os.mkfifo(folder / "clip_3.avi")
    assert "clip_3.avi: not a file or folder" in refusal(load_clips, folder)
    frames = save_frames(tmp_path / "f", clips)
    (frames / "clip_1" / "frame_3.png").unlink()
    (frames / "clip_1" / "frame_3.png").symlink_to("nowhere.png")
    assert "frame_3.png: a dead link" in refusal(load_clips, frames)


def test_a_picture_of_too_many_pixels_is_one_line(clips, tmp_path, recwarn):
    folder = save_frames(tmp_path / "f", clips)
    bad = folder / "clip_1" / "frame_0.png"
    Image.new("1", (20_000, 9_000)).save(bad)
    assert refusal(load_clips, folder).startswith(f"{bad}: not a readable image (Image size (180")
    assert not recwarn.list


@pytest.mark.parametrize("damage", ["empty", "text", "cut"])
def test_damaged_videos_are_one_line_and_nothing_else(clips, tmp_path, damage, capfd):
    folder = save_videos(tmp_path / "v", clips)
    bad = folder / "clip_1.avi"
    data = bad.read_bytes()
    bad.write_bytes({"empty": b"", "text": b"hello" * 99, "cut": data[: len(data) // 2]}[damage])
    assert refusal(load_clips, folder).startswith(f"{bad}: not a readable video")
    assert capfd.readouterr() == ("", "")


def test_damaged_frames(clips, tmp_path):
    folder = save_frames(tmp_path / "f", clips)
    bad = folder / "clip_1" / "frame_3.png"
    data = bad.read_bytes()
    for content in (b"", b"x" * 50, data[: len(data) // 2]):
        bad.write_bytes(content)
        assert refusal(load_clips, folder).startswith(f"{bad}: not a readable image")
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(bad)
    assert f"{bad}: is 9 x 9, frame_0.png is 32 x 32" in refusal(load_clips, folder)
    Image.fromarray(np.zeros((32, 32, 4), np.uint8)).save(bad)
    assert "pixels are RGBA" in refusal(load_clips, folder)


def test_clips_that_differ_among_themselves_are_named(clips, tmp_path):
    for odd in (0, 2):
        folder = save_videos(tmp_path / f"v{odd}", clips)
        save_videos(folder, [clips[odd, :9]], [f"clip_{odd}.avi"])
        text = refusal(load_clips, folder)
        assert f"clip_{odd}.avi is 9 frames of 32 x 32, but 2 of 3 clips are 10 frames" in text


def test_sets_that_do_not_match(clips, tmp_path):
    real = save_npy(tmp_path / "real.npy", clips)
    fewer = save_npy(tmp_path / "fewer.npy", clips[:2])
    shorter = save_npy(tmp_path / "shorter.npy", clips[:, :9])
    smaller = save_npy(tmp_path / "smaller.npy", clips[:, :, :16, :16])
    for metric in ("psnr", "ssim", "lpips-alex", "lpips-vgg"):
        text = refusal(evaluate_paths, real, fewer, [metric])
        assert text.startswith(f"{fewer}: 2 clips, but {real} has 3; {metric}")
    for metric in evaluate.short_names():
        text = refusal(evaluate_paths, real, shorter, [metric])
        assert f"{shorter}: clips of 9 frames of 32 x 32, but {real} has 10 frames" in text
        assert "make length and size equal" in refusal(evaluate_paths, smaller, real, [metric])


def test_clips_too_few_short_or_small(clips, tmp_path):
    one = save_npy(tmp_path / "one.npy", clips[:1])
    assert "1 clips, fvd.clips.v1 needs at least 2" in refusal(evaluate_paths, one, one, ["fvd"])
    short = save_npy(tmp_path / "short.npy", clips[:, :8])
    assert "8 frames that count, fvd needs at least 9" in refusal(
        evaluate_paths, short, short, ["fvd"]
    )
    tiny = save_npy(tmp_path / "tiny.npy", clips[:, :, :10, :10])
    for metric, least in (("ssim", 11), ("lpips-vgg", 16), ("lpips-alex", 31)):
        text = refusal(evaluate_paths, tiny, tiny, [metric])
        assert f"frames of 10 x 10, {metric} needs at least {least} x {least}" in text
    flat = save_npy(tmp_path / "flat.npy", clips[:, :, :10])
    assert "frames of 10 x 32, ssim" in refusal(evaluate_paths, flat, flat, ["ssim"])
    three = save_npy(tmp_path / "three.npy", clips)
    assert "3 clips, coverage.clips.v1 needs at least 6" in refusal(
        evaluate_paths, three, three, ["coverage"]
    )
    assert "a multiple of 15" in refusal(evaluate_paths, one, one, ["fvd.bair.windows.v1"])


def test_unknown_names_are_refused_before_anything_is_read(tmp_path):
    text = refusal(evaluate_paths, tmp_path / "a", tmp_path / "b", ["psnr", "lpips"])
    assert "unknown metric 'lpips'; it has several networks: lpips-alex or lpips-vgg" in text
    assert "fvd, kvd, precision, recall, density, coverage, fid, lpips-alex, lpips-vgg" in text
    text = refusal(evaluate_paths, tmp_path / "a", tmp_path / "b", ["psmr"])
    assert "unknown metric 'psmr', did you mean 'psnr'" in text
    assert "no metric named" in refusal(evaluate_paths, tmp_path / "a", tmp_path / "b", [])
    for device in ("gpu", "cuda:99", "mps"):
        text = refusal(evaluate_paths, tmp_path / "a", tmp_path / "b", ["psnr"], device=device)
        assert text.startswith(f"--device {device}: ")


def test_processes_of_a_launch_take_turns_on_the_gpus(monkeypatch):
    chosen = []
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.set_device", chosen.append)
    assert [resolve_device(device) for device in ("auto", "cuda:1")] == ["cuda", "cuda:1"]
    assert chosen == []
    for rank in range(4):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        devices = [resolve_device(device) for device in ("auto", "cuda", "cuda:1", "cpu")]
        assert devices == ["cuda", "cuda", "cuda:1", "cpu"]
    assert chosen == [0, 0, 1, 1, 0, 0, 1, 1]


def test_all_metrics_on_files_and_their_json(clips, tmp_path, capfd):
    real = save_frames(tmp_path / "real", clips)
    fake = save_npy(tmp_path / "fake.npy", 255 - clips)
    few = ("fid", "precision", "recall", "density", "coverage")  # need more clips, or weights
    protocols = {name: p for name, p in evaluate.short_names().items() if name not in few}
    values = evaluate_paths(real, fake, [*protocols, "psnr"], device="cpu", cache=tmp_path)
    assert [v.protocol for v in values] == list(protocols.values())
    assert capfd.readouterr().out == ""
    by_name = {value.protocol: value for value in values}
    alone = ("smoothness.linear.v1", "motion.dis.v1")  # of the generated clips
    assert {name: (v.n_real, v.n_fake) for name, v in by_name.items()} == {
        name: (0 if name in alone else 3, 3) for name in by_name
    }
    assert "AMT-S" in by_name[alone[0]].deviations[0]
    assert all(v.deviations == () for name, v in by_name.items() if name != alone[0])
    text = json.dumps(to_json(real, fake, values, "cpu"))
    data = json.loads(text)
    assert data["format"] == "lamd.evaluation.v1"
    assert data["values"][0]["weight_hash"].startswith("af5c50f0")
    assert set(data["protocols"]) == set(protocols.values())
    assert data["origin"]["versions"]["torch"]
    assert data["origin"]["device"].startswith("cpu: ")


def test_an_evaluation_that_fails_keeps_the_values_it_has(clips, tmp_path, monkeypatch, capsys):
    measure = evaluate.measure

    def fails(name, inputs):
        if name.startswith("ssim"):
            raise LamdError("no memory")
        return measure(name, inputs)

    monkeypatch.setattr(evaluate, "measure", fails)
    real, fake = save_videos(tmp_path / "real", clips), tmp_path / "fake.npy"
    np.save(fake, clips)
    with pytest.raises(SystemExit) as done:
        cli.main(["evaluate", "--real", str(real), "--fake", str(fake), "--metrics", "PSNR,ssim",
                  "--json", str(tmp_path / "out.json")])  # fmt: skip
    assert done.value.code == 2
    data = json.loads((tmp_path / "out.json").read_text())
    assert [value["protocol"] for value in data["values"]] == ["psnr.v1"]
    assert data["not_measured"] == ["ssim.v1"]
    assert "psnr.v1: an .npy has no names" in capsys.readouterr().out


def test_videos_and_frame_folders_are_in_one_order(tmp_path):
    names = ("clip", "clip-2", "clip 10", "clip(3)")
    clips = np.zeros((4, 2, 16, 16, 3), np.uint8)
    videos, frames = save_videos(tmp_path / "v", clips), save_frames(tmp_path / "f", clips)
    for folder in (videos, frames):
        for path, name in zip(sorted(folder.iterdir()), names, strict=True):
            path.rename(folder / f"{name}{path.suffix}")
    assert load_clips(videos).names == load_clips(frames).names


def test_evaluate_reports_missing_weights_before_it_measures(clips, tmp_path, monkeypatch):
    monkeypatch.setenv("LAMD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LAMD_WEIGHTS", raising=False)
    monkeypatch.setattr(evaluate, "measure", None)
    path = save_npy(tmp_path / "a.npy", clips)
    text = refusal(evaluate_paths, path, path, ["psnr", "fid"], device="cpu")
    assert "weights missing" in text
    assert "--source FILE" in text


def test_smoothness_looks_at_the_fake_clips_alone(clips, tmp_path):
    real, fake = save_npy(tmp_path / "r.npy", clips), save_npy(tmp_path / "f.npy", clips[:2])
    (value,) = evaluate_paths(real, fake, ["smoothness"], device="cpu")
    assert (value.n_real, value.n_fake, value.unit) == (0, 2, "%")
    short = save_npy(tmp_path / "s.npy", clips[:, :2])
    assert "2 frames that count, smoothness needs at least 3" in refusal(
        evaluate_paths, short, short, ["smoothness"]
    )


def test_fvd_takes_different_numbers_of_clips(clips, tmp_path):
    real, fake = save_npy(tmp_path / "r.npy", clips), save_npy(tmp_path / "f.npy", clips[:2])
    (value,) = evaluate_paths(real, fake, ["fvd"], device="cpu", cache=tmp_path)
    assert (value.n_real, value.n_fake) == (3, 2)
    assert value.value > 0


def test_samples_of_one_clip_belong_together(clips, tmp_path):
    real = save_npy(tmp_path / "r.npy", golden_clips(0, 5)[:, :10, :32, :32])
    noisy = np.repeat(np.load(real), 2, axis=0)
    noisy[::2] //= 2
    fake = save_npy(tmp_path / "f.npy", noisy)
    options = {"device": "cpu", "cache": tmp_path}
    together, psnr = evaluate_paths(real, fake, ["kvd", "psnr"], samples=2, **options)
    assert (together.n_real, together.n_fake, len(together.per_clip)) == (5, 10, 5)
    assert (psnr.n_real, psnr.n_fake, psnr.per_clip[1]) == (5, 10, 100)
    inputs = Inputs(clips=(np.load(real), noisy), samples=2, cache=tmp_path)
    assert together.value == measure("kvd.clips.v1", inputs).value
    (apart,) = evaluate_paths(real, fake, ["kvd"], **options)
    assert "if 2 clips in a row belong to one real clip, give --samples 2" in apart.note
    assert apart.per_clip is None and apart.value != together.value
    text = refusal(evaluate_paths, real, fake, ["psnr"], device="cpu")
    assert text.endswith(
        "psnr compares clip with clip, give --samples 2, or make the numbers equal"
    )
    text = refusal(evaluate_paths, real, fake, ["psnr"], samples=3)
    assert text.startswith(f"--samples 3: {fake} has 10 clips, {real} has 5")


def test_metrics_are_named_in_any_case(clips, tmp_path):
    path = save_npy(tmp_path / "r.npy", clips)
    values = evaluate_paths(path, path, ["PSNR", "SSIM.v1"], device="cpu")
    assert [value.protocol for value in values] == ["psnr.v1", "ssim.v1"]


def test_fvd_notes_what_the_network_does_not_see(clips, tmp_path):
    wide = save_npy(tmp_path / "wide.npy", clips[:, :, :16])
    (value,) = evaluate_paths(wide, wide, ["fvd"], device="cpu", cache=tmp_path)
    assert "the network sees the central square: 50 % of the width is cut off" in value.note


def test_evaluate_notes_coded_files_and_differing_names(clips, tmp_path):
    real = save_videos(tmp_path / "real", clips)
    fake = save_videos(tmp_path / "fake", clips, ["a.avi", "b.avi", "c.avi"])
    (value,) = evaluate_paths(real, fake, ["psnr"], device="cpu")
    assert value.value == 100
    assert value.deviations == (
        "real is read from coded files, not lossless",
        "fake is read from coded files, not lossless",
    )
    assert value.note == "names differ: paired in natural order, e.g. a with clip_0"
    (value,) = evaluate_paths(real, fake, ["fvd"], device="cpu", cache=tmp_path)
    assert "names differ: the interval pairs them in natural order, e.g. a with" in value.note
    (value,) = evaluate_paths(real, fake, ["smoothness"], device="cpu")
    assert not value.note


def test_a_clip_without_a_partner_of_its_name_is_refused(clips, tmp_path):
    real = save_videos(tmp_path / "real", clips)
    fake = save_videos(tmp_path / "fake", clips, ["clip_0.avi", "clip_2.avi", "clip_3.avi"])
    with pytest.raises(LamdError, match=r"fake: has no clip 'clip_1', which .*real has"):
        evaluate_paths(real, fake, ["psnr"], device="cpu")


def test_names_are_equal_however_their_umlauts_are_written(clips, tmp_path):
    names = ["\u00e4.avi", "b.avi", "\u00fc.avi"]
    folders = [
        save_videos(tmp_path / form, clips, [unicodedata.normalize(form, name) for name in names])
        for form in ("NFC", "NFD")
    ]
    (value,) = evaluate_paths(*folders, ["psnr"], device="cpu")
    assert (value.value, value.note) == (100, "")


def test_values_are_printed_as_json_alone(clips, tmp_path, capfd):
    path = str(save_npy(tmp_path / "r.npy", clips))
    with pytest.raises(SystemExit) as end:
        cli.main(["evaluate", "--real", path, "--fake", path, "--metrics", "psnr", "--json", "-"])
    assert end.value.code == 0
    (value,) = json.loads(capfd.readouterr().out)["values"]
    assert (value["protocol"], value["value"]) == ("psnr.v1", 100)


@pytest.mark.slow
def test_default_metrics_have_the_same_values_in_any_batch_size(clips, tmp_path, capfd):
    real, fake = save_npy(tmp_path / "r.npy", clips), save_npy(tmp_path / "f.npy", clips // 2)
    reports = []
    for more in ([], ["--batch-size", "1"], ["--batch-size", "7"]):
        options = ["--json", "-", "--device", "cpu", *more]
        with pytest.raises(SystemExit) as end:
            cli.main(["evaluate", "--real", str(real), "--fake", str(fake), *options])
        assert end.value.code == 0
        reports.append(
            {v["protocol"]: v["value"] for v in json.loads(capfd.readouterr().out)["values"]}
        )
    names = ["fvd.clips.v1", "lpips-alex.v1", "lpips-vgg.v1", "psnr.v1", "ssim.v1"]
    assert list(reports[0]) == names
    for report in reports[1:]:
        assert report == pytest.approx(reports[0], rel=1e-4)


def test_values_are_printed_though_their_json_cannot_be_written(
    clips, tmp_path, monkeypatch, capsys
):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("lamd.cli.evaluate.write_output", full)
    path = save_npy(tmp_path / "clips.npy", clips)
    options = ["--metrics", "psnr", "--json", str(tmp_path / "out.json"), "--device", "cpu"]
    with pytest.raises(SystemExit) as done:
        cli.main(["evaluate", "--real", str(path), "--fake", str(path), *options])
    out, err = capsys.readouterr()
    assert done.value.code == 2 and "100.0000" in out and "out.json: No space left" in err
    jpegs = save_frames(tmp_path / "jpeg", clips, "{}.jpg")
    (value,) = evaluate_paths(jpegs, jpegs, ["psnr"], device="cpu")
    assert value.deviations == ("jpeg is read from coded files, not lossless",)
