"""I3D against published values and against its layers written the long way round."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_clips import golden_clips

from lamd import weights
from lamd.metrics import i3d
from lamd.metrics.features import cached_features, hash_videos
from lamd.metrics.frechet import frechet_distance
from lamd.metrics.values import Inputs


@pytest.fixture(scope="module")
def clips():
    return golden_clips(0, 2)


@pytest.fixture(scope="module")
def rows(clips):
    return i3d.features(clips, Inputs(batch_size=1))


def test_golden_logits(rows):
    assert rows.dtype == np.float32
    assert rows.shape == (2, 400)
    np.testing.assert_allclose(rows[0, :4], [4.50827, 6.77447, 9.31141, 2.91901], atol=1e-4)


def test_golden_fvd_of_black_and_white():
    # All clips of a side are equal, so one stands for the eight of the published value.
    clip = np.zeros((1, 30, 64, 64, 3), np.uint8)
    black, white = (np.repeat(i3d.features(clip + shade), 8, axis=0) for shade in (0, 255))
    assert frechet_distance(black, white) == pytest.approx(151.39, abs=0.01)


@pytest.mark.slow
def test_golden_fvd_of_two_sets():
    value = frechet_distance(*(i3d.features(golden_clips(seed)) for seed in (0, 1)))
    assert value == pytest.approx(5975.49, abs=0.05)


def test_features_do_not_depend_on_the_batch_and_leave_their_input(clips, rows):
    before = clips.copy()
    np.testing.assert_allclose(i3d.features(clips, Inputs(batch_size=2)), rows, atol=2e-4)
    np.testing.assert_array_equal(clips, before)


@pytest.mark.parametrize(("size", "kernel", "stride"), [(5, 3, 1), (6, 3, 2), (7, 3, 2), (9, 2, 2)])
def test_max_pool_pads_as_tensorflow_with_minus_infinity(size, kernel, stride):
    x = torch.randn(2, 3, size, size + 1, size + 2, generator=torch.Generator().manual_seed(0)) - 9
    k, s = (kernel,) * 3, (stride,) * 3
    pads = [p for n in x.shape[:1:-1] for p in i3d.same_padding(n, kernel, stride)]
    expected = F.max_pool3d(F.pad(x, pads, value=-math.inf), k, s)
    assert expected.shape[2:] == tuple(math.ceil(n / stride) for n in x.shape[2:])
    torch.testing.assert_close(i3d.MaxPool3D(k, s)(x), expected, rtol=0, atol=0)


def test_same_padding_puts_the_odd_one_behind():
    assert i3d.same_padding(224, 7, 2) == (2, 3)
    assert i3d.same_padding(15, 7, 2) == (3, 3)
    assert i3d.same_padding(8, 3, 1) == (1, 1)
    assert i3d.same_padding(9, 2, 2) == (0, 1)


def test_folded_batch_norm_equals_the_layer():
    from lamd import weights

    tensors, unit = weights.load(i3d.WEIGHTS), "Mixed_3b/Branch_1/Conv3d_0b_3x3"
    model = i3d.load_i3d()
    x = torch.randn(1, 96, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    kernel = torch.from_numpy(tensors[f"params/{unit}/Conv_0/kernel"].copy())
    plain = F.conv3d(x, kernel.permute(4, 3, 0, 1, 2), padding=1)
    mean, var = (torch.from_numpy(tensors[f"batch_stats/{unit}/BatchNorm_0/{s}"].ravel())
                 for s in ("mean", "var"))  # fmt: skip
    bias = torch.from_numpy(tensors[f"params/{unit}/BatchNorm_0/bias"])
    expected = F.batch_norm(plain, mean, var, None, bias, eps=1e-3).relu()
    torch.testing.assert_close(model.Mixed_3b.branch_1[1](x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("height", "width"), [(64, 64), (64, 96), (100, 64), (224, 224), (448, 300), (65, 63)]
)
def test_preprocess_always_gives_224(height, width):
    video = torch.full((1, 2, height, width, 3), 255, dtype=torch.uint8)
    x = i3d.preprocess(video)
    torch.testing.assert_close(x, torch.ones(1, 3, 2, 224, 224), rtol=0, atol=1e-6)


def test_preprocess_brings_the_shorter_side_to_224_exactly():
    frames = torch.randint(0, 256, (1, 1, 100, 102, 3), dtype=torch.uint8)
    resized = F.interpolate(frames[0].movedim(-1, 1).float(), size=(224, 229), mode="bilinear")
    expected = resized[..., 2:226] / 127.5 - 1
    torch.testing.assert_close(i3d.preprocess(frames)[:, :, 0], expected, rtol=0, atol=1e-5)
    square = F.interpolate(frames[0, :, :, :100].movedim(-1, 1).float(), 224, mode="bilinear")
    shown = i3d.preprocess(frames[:, :, :, :100])[:, :, 0]
    torch.testing.assert_close(shown, square / 127.5 - 1, rtol=0, atol=1e-5)


def test_preprocess_keeps_the_centre_of_a_wide_frame():
    video = torch.zeros(1, 1, 224, 424, 3, dtype=torch.uint8)
    video[:, :, :, 100:324] = 255
    assert i3d.preprocess(video).unique().tolist() == [1.0]


@pytest.mark.parametrize("length", [9, 10])
def test_short_clips(length):
    assert np.isfinite(i3d.features(np.zeros((1, length, 16, 16, 3), np.uint8))).all()


@pytest.mark.parametrize(
    "videos",
    [
        np.zeros((1, 8, 16, 16, 3), np.uint8),
        np.zeros((1, 16, 16, 16, 3), np.float32),
        np.zeros((1, 16, 3, 16, 16), np.uint8),
        np.zeros((16, 16, 16, 3), np.uint8),
    ],
)
def test_wrong_input(videos):
    with pytest.raises(ValueError, match=r"expected uint8|at least 9 frames"):
        i3d.features(videos)


def test_a_batch_has_fewer_of_large_clips(monkeypatch):
    monkeypatch.setattr(i3d, "extract", lambda run, videos, shape, batch_size, *_: batch_size)
    sizes = []
    for shape in ((3, 16, 64, 64, 3), (3, 16, 1080, 1920, 3), (3, 64, 1080, 1920, 3)):
        videos = np.broadcast_to(np.uint8(0), shape)
        sizes.append(i3d.features(videos, Inputs(device="cuda"), network=torch.nn.Identity()))
    assert sizes == [16, 1, 1]
    assert i3d.features(videos, Inputs(batch_size=5), network=torch.nn.Identity()) == 5


def test_features_are_kept_on_disk(clips, rows, tmp_path, monkeypatch):
    calls, inputs = [], Inputs(cache=tmp_path)

    def features(videos, *options):
        calls.append(len(videos))
        return rows[: len(videos)]

    monkeypatch.setattr(i3d, "features", features)
    for _ in range(2):
        np.testing.assert_array_equal(cached_features(clips, "i3d", inputs=inputs), rows)
    assert calls == [2]
    other = clips.copy()
    other[1, 3, 5, 5, 0] ^= 1
    cached_features(other, "i3d", inputs=inputs)
    assert calls == [2, 2]
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:100])
    np.testing.assert_array_equal(cached_features(clips, "i3d", inputs=inputs), rows)
    assert calls == [2, 2, 2]
    assert len(list(tmp_path.iterdir())) == 2
    others = replace(weights.ARTIFACTS[i3d.WEIGHTS], member_sha256="0" * 64)
    monkeypatch.setitem(weights.ARTIFACTS, i3d.WEIGHTS, others)
    cached_features(clips, "i3d", inputs=inputs)
    assert calls == [2, 2, 2, 2]


def test_features_that_cannot_be_kept_are_returned(clips, rows, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(i3d, "features", lambda *_: rows)
    (tmp_path / "file").write_text("")
    inputs = Inputs(cache=tmp_path / "file")
    np.testing.assert_array_equal(cached_features(clips, "i3d", inputs=inputs), rows)
    assert "these features are not kept for the next run" in capsys.readouterr().err


def test_the_hash_of_clips_knows_shape_and_bytes(clips):
    hashes = {
        hash_videos(v) for v in (clips, clips[:1], clips.reshape(4, 8, 64, 64, 3), 255 - clips)
    }
    assert len(hashes) == 4
    assert hash_videos(np.asfortranarray(clips)) == hash_videos(clips)
