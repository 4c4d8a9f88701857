"""Augmentation of training clips: what may change, and that both stages see the same."""

import numpy as np
import pytest
from test_gestures import root  # noqa: F401
from tiny import TinyVideos, table_cells, tiny_target, train_both

from lamd.base.errors import LamdError
from lamd.config import load_target
from lamd.config.data import AugmentConfig
from lamd.data.dataset import DATASETS
from lamd.data.packed import open_packed
from lamd.io.video import to_model
from lamd.training import load_model, open_latents
from lamd.training.augment import read_rows, read_windows
from lamd.training.stages import training_windows

NUM_FRAMES, SIZE = 4, 16
BOTH = "data.augment={variants: 3, flip: true, crop: 0.7, time_jitter: false}"


def target_with(variants=64, flip="false", crop=1.0, time_jitter="false", *overrides):
    keys = f"variants: {variants}, flip: {flip}, crop: {crop}, time_jitter: {time_jitter}"
    return tiny_target(f"data.augment={{{keys}}}", *overrides)


def read(target, videos):
    """Return all training rows, (variants, W, L, H, W, 3), and the windows themselves."""
    windows = training_windows(videos, target.train_vae, target.data)
    clips = read_rows(videos, windows, np.arange(len(windows)), target.data).numpy()
    plain = windows[: len(windows) // target.data.augment.variants]
    return clips.reshape(-1, len(plain), *clips.shape[1:]), read_windows(videos, plain, NUM_FRAMES)


def ramps():
    """Return videos whose pixels are 8 times their (x, y), in red and green."""
    videos = TinyVideos(count=6)
    y, x = np.mgrid[:SIZE, :SIZE]
    videos.videos[:] = 8 * np.stack([x, y, np.zeros_like(x)], -1)
    return videos


def test_first_variant_is_the_window_and_flips_mirror_half_of_the_others():
    clips, plain = read(target_with(flip="true"), TinyVideos())
    plain = plain.numpy()
    assert (clips[0] == plain).all()
    is_mirrored = (clips == plain[..., ::-1, :]).all(axis=(2, 3, 4, 5))
    assert ((clips == plain).all(axis=(2, 3, 4, 5)) | is_mirrored).all()
    assert 0.4 < is_mirrored[1:].mean() < 0.6


def test_crops_are_squares_inside_the_frame_no_smaller_than_asked():
    clips, _ = read(target_with(crop=0.6), ramps())
    assert (clips == clips[:, :, :1]).all()  # one square for all frames
    red, green = (clips[1:, :, 0, ..., channel] / 8 for channel in (0, 1))
    across, down = red[..., 8, :], green[..., :, 8]
    sides = []
    for values in (across, down):
        step = (values[..., 12] - values[..., 3]) / 9
        assert (values >= 0).all() and (values < SIZE - 0.5).all()  # cubic: above by up to a half
        sides.append(SIZE * step)
    np.testing.assert_allclose(*sides, atol=0.5)
    assert 0.55 * SIZE < sides[0].min() < 0.7 * SIZE and sides[0].max() > 0.9 * SIZE
    assert np.ptp(across[..., 0]) > 2 and np.ptp(down[..., 0]) > 2


def test_jittered_frames_lie_in_their_own_parts_of_the_whole_video(root, tmp_path):  # noqa: F811
    options = {"split": "train", "size": SIZE, "num_frames": NUM_FRAMES, "on_corrupt": "raise"}
    cache = tmp_path / "cache"
    plain = DATASETS["natops"].pack(root, cache, **options)
    drawn, whole = plain.clip(1, 0, NUM_FRAMES), plain.index.content_hash
    kept = open_packed(DATASETS["natops"].pack(root, cache, **options, all_frames=True).path)
    assert kept.stored_lengths.tolist() == [9, 9, 9] and kept.lengths.tolist() == [4, 4, 4]
    assert (kept.clip(1, 0, NUM_FRAMES) == drawn).all() and (kept.clip(1, 2, 2) == drawn[2:]).all()
    assert kept.index.content_hash != whole
    frames = kept.stored_frames(1, np.arange(9))
    jitter = AugmentConfig(variants=40, flip=False, crop=1.0, time_jitter=True)
    data = tiny_target().data.model_copy(update={"augment": jitter})
    windows = np.tile([[0, 0], [1, 0], [2, 0]], (40, 1))
    clips = read_rows(kept, windows, np.arange(4, 120, 3), data).numpy()
    assert (read_rows(kept, windows, np.arange(4, 120, 3), data, 1).numpy() == clips[:, :1]).all()
    seen = set()
    for clip in clips:
        numbers = [int(np.abs(frames.astype(int) - f).sum((1, 2, 3)).argmin()) for f in clip]
        assert all(i * 9 // 4 <= n <= (i + 1) * 9 / 4 for i, n in enumerate(numbers))
        seen.add(tuple(numbers))
    assert len(seen) > 20


def test_both_stages_train_on_the_same_variants(tmp_path):
    target, videos = tiny_target(BOTH, "train_dmg.window_stride=2"), TinyVideos()
    train_both(target, tmp_path)
    latents = open_latents(tmp_path / "latents")
    windows = training_windows(videos, target.train_dmg, target.data)
    assert len(latents.windows) == len(windows) and len(windows) % 3 == 0
    vae = load_model(tmp_path / "vae", "vae", target)
    rows = np.array([0, len(windows) // 2, len(windows) - 1])
    clips = read_rows(videos, windows, rows, target.data)
    assert (read_rows(videos, windows, rows, target.data, 1) == clips[:, :1]).all()
    expected = vae.encode(to_model(clips)).mean.detach().numpy()
    np.testing.assert_allclose(latents.posterior[rows, 0], expected, atol=1e-5)


def test_only_cells_that_see_augmented_clips_change():
    def configs(*overrides):
        cells = table_cells(load_target("table_mug", "quick", overrides))
        return {(cell.kind, cell.row, cell.detail): cell.config for cell in cells}

    plain = configs()
    for augment, expected in (
        (BOTH, {"vae", "latents"}),  # parents of the DMG
        (BOTH.replace("jitter: false", "jitter: true"), {"data", "vae", "latents"}),
    ):
        changed = configs(augment)
        assert {name[0] for name in plain if plain[name] != changed[name]} == expected


@pytest.mark.parametrize(
    ("name", "augment", "message"),
    [
        ("table_natops", "flip: true, crop: 1.0, time_jitter: false", "augment.flip would falsify"),
        ("table_cater_v2", "flip: false, crop: 0.8, time_jitter: false", "augment.crop would"),
        ("table_bair", "flip: false, crop: 1.0, time_jitter: true", "time_jitter would"),
        ("table_mug", "flip: false, crop: 1.0, time_jitter: false", "changes nothing"),
        ("table_mug", "flip: true, crop: 0.4, time_jitter: false", "crop"),
    ],
)
def test_augmentation_that_falsifies_clips_is_refused(name, augment, message):
    with pytest.raises(LamdError, match=message):
        load_target(name, "quick", [f"data.augment={{variants: 2, {augment}}}"])
