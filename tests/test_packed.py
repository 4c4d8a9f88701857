import hashlib
import json
import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from bair_files import flip, frame_pixels, pack_bair, write_split
from packed_jobs import pack_and_sum, sum_clip

from lamd.base.errors import LamdError
from lamd.data.bair import BairDecoder
from lamd.data.dataset import find_dataset
from lamd.data.listing import Listing
from lamd.data.packed import Packable, open_packed, pack, windows

LISTING = Listing(dataset="d", split="test", folder=Path(), videos=(), fingerprint="f" * 64)


@pytest.fixture
def root(tmp_path):
    write_split(tmp_path / "root", "test", [2, 1])
    return tmp_path / "root"


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def visible(cache):
    return sorted(path.name for path in cache.iterdir() if not path.name.endswith(".lock"))


def test_packs_pixels_keys_and_hash(root, cache):
    packed = pack_bair(root, cache)
    expected = np.stack([frame_pixels(i, "image_aux1") for i in range(3)])
    np.testing.assert_array_equal(packed.frames.reshape(expected.shape), expected)
    assert packed.frames.dtype == np.uint8
    assert packed.keys == ["bair/test/0", "bair/test/1", "bair/test/2"]
    assert packed.content_hash == hashlib.sha256(expected.tobytes()).hexdigest()
    assert len(packed) == 3
    assert len(visible(cache)) == 1
    again = open_packed(packed.path)
    assert again.index == packed.index


def test_content_hash_of_bair_is_what_it_always_was(root, cache):
    """Trained cells are keyed by it; computed with the first packed format."""
    pinned = {64: "949d9744cefc593b", 32: "f16ac7105073545b"}
    for size, start in pinned.items():
        assert pack_bair(root, cache, size=size).content_hash.startswith(start)


def test_a_finished_pack_is_opened_without_its_lock(root, cache, monkeypatch):
    packed = pack_bair(root, cache)
    monkeypatch.setattr("lamd.data.packed.locked", None)
    assert pack_bair(root, cache).path == packed.path


def test_more_videos_than_an_index_holds_are_refused_before_the_work(root, cache, monkeypatch):
    monkeypatch.setattr("lamd.data.dataset.MOST_VIDEOS", 2)
    with pytest.raises(LamdError, match=r"3 videos, at most 2 are packed; set data\.num_test"):
        pack_bair(root, cache)
    assert not cache.exists()


def test_an_older_format_is_packed_anew(root, cache):
    packed = pack_bair(root, cache)
    index = {"format": 2, "dataset": "bair", "camera": "image_aux1", "count": 3}
    (packed.path / "index.json").write_text(json.dumps(index))
    (packed.path / "frames.npy").rename(packed.path / "videos.npy")
    with pytest.raises(LamdError, match="format: Input should be 3"):
        open_packed(packed.path)
    assert pack_bair(root, cache).index == packed.index
    assert not (packed.path / "videos.npy").exists()


@pytest.mark.parametrize(("num_frames", "stride"), [(1, 1), (4, 4), (4, 3), (9, 1), (10, 10)])
def test_window_rule(num_frames, stride):
    lengths = [9, 3, 4, 8, 12]
    expected = [
        (i, start)
        for i, length in enumerate(lengths)
        for start in range(length)
        if start % stride == 0 and start + num_frames <= length
    ]
    found = windows(lengths, num_frames, stride)
    assert found.dtype == np.int64
    assert [tuple(pair) for pair in found] == expected
    assert windows([], num_frames, stride).shape == (0, 2)


def test_windows_of_equal_videos_keep_the_order_training_has_always_had():
    grid = np.meshgrid(np.arange(5), np.arange(0, 30 - 16 + 1, 3), indexing="ij")
    expected = np.stack([axis.ravel() for axis in grid], axis=1)
    np.testing.assert_array_equal(windows([30] * 5, 16, 3), expected)


def test_videos_of_different_lengths(cache):
    rng = np.random.default_rng(0)
    videos = {f"k/{n}": rng.integers(0, 256, (n, 4, 4, 3), np.uint8) for n in (5, 2, 7)}
    items = [Packable("k/0", "empty"), *(Packable(*item) for item in videos.items())]
    packed = pack(LISTING, items, cache, size=4, identity=("x",))
    assert packed.lengths.tolist() == [5, 2, 7]
    assert packed.left_out == [("k/0", "empty")]
    assert packed.keys == list(videos)
    for i, video in enumerate(videos.values()):
        np.testing.assert_array_equal(packed.clip(i, 1, len(video) - 1), video[1:])
        with pytest.raises(IndexError):
            packed.clip(i, 1, len(video))
    assert packed.windows(2, 2).tolist() == [[0, 0], [0, 2], [1, 0], [2, 0], [2, 2], [2, 4]]
    raw = b"".join(video.tobytes() for video in videos.values())
    assert packed.content_hash == hashlib.sha256(raw).hexdigest()


def test_conditions_are_kept_and_hashed(cache):
    pixels = {f"toy/train/{i}": np.full((2, 4, 4, 3), i, np.uint8) for i in range(3)}

    def packed_with(*conditions):
        items = [Packable(*item, y) for item, y in zip(pixels.items(), conditions, strict=True)]
        items.append(Packable("toy/train/bad", "unreadable", "left out"))
        return pack(LISTING, items, cache, size=4, identity=(str(conditions),))

    packed = packed_with("a cone", "a ball", "Würfel")
    assert packed.conditions == ("a cone", "a ball", "Würfel")
    assert open_packed(packed.path).index == packed.index
    other = packed_with("a cone", "a cube", "Würfel")
    bare = packed_with(None, None, None)
    assert bare.conditions is None
    assert len({packed.content_hash, other.content_hash, bare.content_hash}) == 3


def test_a_smaller_size_averages_blocks(root, cache):
    from skimage.transform import downscale_local_mean

    full = pack_bair(root, cache)
    half = pack_bair(root, cache, size=32)
    assert half.frames.shape == (90, 32, 32, 3)
    means = downscale_local_mean(full.frames, (1, 2, 2, 1))
    assert np.abs(half.frames - means).max() <= 0.5
    assert half.path != full.path
    assert open_packed(half.path).content_hash == half.content_hash
    with pytest.raises(LamdError, match="size 48: must divide 64"):
        pack_bair(root, cache, size=48)


def test_clip_copies_the_asked_frames(root, cache):
    packed = pack_bair(root, cache, camera="image_main", limit=2)
    clip = packed.clip(1, 4, 16)
    np.testing.assert_array_equal(clip, frame_pixels(1, "image_main")[4:20])
    clip[:] = 0
    for wrong in ((2, 0, 1), (-1, 0, 1), (0, -1, 3), (0, 20, 11)):
        with pytest.raises(IndexError):
            packed.clip(*wrong)


def test_reuse_reads_no_record(root, cache, monkeypatch):
    first = pack_bair(root, cache)
    monkeypatch.setattr(BairDecoder, "__call__", lambda *_: pytest.fail("read a record"))
    assert pack_bair(root, cache).index == first.index


def test_cameras_splits_and_limits_lie_side_by_side(root, cache):
    write_split(root, "train", [1], seed=50)
    packs = [
        pack_bair(root, cache),
        pack_bair(root, cache, limit=1),
        pack_bair(root, cache, camera="image_main"),
        pack_bair(root, cache, split="train"),
    ]
    assert len({packed.path for packed in packs}) == len(visible(cache)) == 4
    assert [len(packed) for packed in packs] == [3, 1, 3, 1]


def test_changed_source_is_packed_anew(root, cache):
    old = pack_bair(root, cache)
    write_split(root, "test", [2, 1], seed=7)
    for path in (root / "softmotion30_44k" / "test").iterdir():
        os.utime(path, ns=(1, 1))
    new = pack_bair(root, cache)
    assert new.content_hash != old.content_hash
    assert visible(cache) == [new.path.name]


def test_interrupted_build_leaves_nothing_used(root, cache, monkeypatch):
    read = BairDecoder.__call__

    def stops(self, video):
        if video.key == "bair/test/1":
            raise KeyboardInterrupt
        return read(self, video)

    monkeypatch.setattr(BairDecoder, "__call__", stops)
    with pytest.raises(KeyboardInterrupt):
        pack_bair(root, cache)
    assert visible(cache) == []
    monkeypatch.undo()
    packed = pack_bair(root, cache)
    abandoned = cache / f".tmp_{packed.path.name}"
    packed.path.rename(abandoned)  # as kill -9 leaves it
    (abandoned / "index.json").unlink()
    assert len(pack_bair(root, cache)) == 3
    assert visible(cache) == [packed.path.name]


def test_damaged_cache_is_refused_and_rebuilt(root, cache):
    packed = pack_bair(root, cache)
    frames, index = packed.path / "frames.npy", packed.path / "index.json"
    sound = index.read_text()
    spoilt = [
        (frames, frames.read_bytes()[:-1]),
        (frames, b""),
        (index, b"{"),
        (index, b"[1]"),
        (index, sound.replace("[30,30,30]", "[30,30,29]").encode()),
        (index, sound.replace('"format":3', '"format":2').encode()),
        (index, json.dumps({**json.loads(sound), "keys": ["a"]}).encode()),
        (index, json.dumps({**json.loads(sound), "conditions": ["a"]}).encode()),
        (index, json.dumps({**json.loads(sound), "more": 1}).encode()),
    ]
    for path, content in spoilt:
        path.write_bytes(content)
        with pytest.raises(LamdError) as caught:
            open_packed(packed.path)
        assert str(packed.path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert pack_bair(root, cache).content_hash == packed.content_hash
    with pytest.raises(LamdError, match="run `lamd data prepare` again"):
        open_packed(cache / "nothing")


def test_user_errors(root, cache):
    with pytest.raises(LamdError, match=r"camera: .* got 'image_aux2'"):
        pack_bair(root, cache, camera="image_aux2")
    with pytest.raises(LamdError, match="3 usable videos, 4 needed"):
        pack_bair(root, cache, limit=4)
    with pytest.raises(LamdError, match="limit 0"):
        pack_bair(root, cache, limit=0)
    with pytest.raises(LamdError, match="unknown key 'min_frames'"):
        pack_bair(root, cache, min_frames=4)
    with pytest.raises(LamdError, match="data set 'bare': unknown, did you mean 'bair'"):
        find_dataset("bare")


def test_a_cache_that_cannot_be_written_is_one_line(root, cache):
    cache.touch()
    with pytest.raises(LamdError, match="cannot be packed"):
        pack_bair(root, cache)


def test_broken_source_is_one_line_and_packs_nothing(root, cache):
    path = max((root / "softmotion30_44k" / "test").iterdir())
    flip(path, 5000)
    with pytest.raises(LamdError, match="record at byte 0: data checksum mismatch"):
        pack_bair(root, cache)
    assert visible(cache) == []


def test_pickle_carries_the_place_not_the_pixels(root, cache):
    packed = pack_bair(root, cache)
    assert packed.frames.shape[0] == 90
    data = pickle.dumps(packed)
    assert len(data) < 10_000
    np.testing.assert_array_equal(pickle.loads(data).clip(2, 0, 30), packed.frames[60:])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_two_processes_side_by_side(root, cache, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        first, second = pool.map(pack_and_sum, [(root, cache)] * 2)
        packed = pack_bair(root, cache)
        sums = list(pool.map(sum_clip, [(packed, i) for i in range(3)]))
    assert first == second == (packed.content_hash, int(packed.frames.sum()))
    assert sums == [int(packed.frames[30 * i : 30 * i + 30].sum()) for i in range(3)]
