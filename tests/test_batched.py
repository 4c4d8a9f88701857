"""Clip sets written batch by batch: resumed, shared by two processes, small in memory."""

import errno
import json
import os
import threading
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import TinyVideos, tiny_target

from lamd.base import processes
from lamd.base.batched import DONE, fill_batches
from lamd.base.errors import LamdError
from lamd.base.files import is_full
from lamd.pipeline.contents import CLIPS, FEATURES, KEYS, PROMPTS, read_clips
from lamd.pipeline.graph import TablePlan
from lamd.pipeline.steps import clips, values

SHAPE = (4, 16, 16, 3)  # of a clip


class Models:
    """Clips that repeat the first frame, shifted by a number that the key decides."""

    calls: list[list[str]]

    def __init__(self, stop_after: int | None = None):
        self.calls, self.stop_after = [], stop_after

    def sampler(self, target):
        return None

    def generate(self, _, sampler, frames, keys, prompts, *, batch_size, **options):
        if len(self.calls) == self.stop_after:
            raise KeyboardInterrupt
        self.calls.append(list(keys))
        shifts = np.array([sum(key.encode()) % 251 for key in keys], np.uint8)
        return np.repeat(frames[:, None], SHAPE[0], axis=1) + shifts[:, None, None, None, None]


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Return a function that fills a folder with 2 samples of each of `count` test clips."""

    def run(folder: Path, models: Models, count: int = 9) -> dict:
        test = tmp_path / f"test{count}"
        if not test.exists():
            test.mkdir()
            pixels = np.random.default_rng(0).integers(0, 256, (count, *SHAPE), dtype=np.uint8)
            np.save(test / CLIPS, pixels)
            (test / KEYS).write_text(json.dumps([f"bair/test/{i}@0" for i in range(count)]))
        folder.mkdir(exist_ok=True)
        monkeypatch.setattr("lamd.training.load_paradigm", lambda *_: models)
        monkeypatch.setattr("lamd.generate.generate_clips", models.generate)
        return clips.generated_clips(
            folder, {"test": test}, tiny_target(), "latent_motion", "cpu", samples=range(2)
        )

    return run


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_batches_continue_after_a_kill_with_equal_bytes(make, tmp_path):
    whole = Models()
    assert make(tmp_path / "whole", whole) == {"clips": 18}
    assert [len(keys) for keys in whole.calls] == [4, 4, 4, 4, 2]
    assert whole.calls[0] == [f"bair/test/{i}@0#{s}" for i in (0, 1) for s in (0, 1)]
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "killed", Models(stop_after=2))
    assert np.load(tmp_path / "killed" / DONE).sum() == 8
    resumed = Models()
    make(tmp_path / "killed", resumed)
    assert resumed.calls == whole.calls[2:]
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


@pytest.fixture
def in_processes(monkeypatch):
    """Return a function that calls another with each rank, in threads that stand for processes."""
    ranks = threading.local()
    monkeypatch.setattr("lamd.base.batched.rank_and_world", lambda: ranks.value)

    def run(world: int, call: Callable[[int], object]) -> None:
        def work(rank: int) -> None:
            ranks.value = rank, world
            call(rank)

        with ThreadPoolExecutor(world) as pool:
            # the other process first: it waits for the files
            for done in [pool.submit(work, rank) for rank in reversed(range(world))]:
                done.result(timeout=20)

    return run


def test_batches_of_two_processes_give_the_bytes_of_one(tmp_path, in_processes):
    rows = np.random.default_rng(0).integers(0, 256, (11, 3), dtype=np.uint8)
    taken: dict[tuple[int, int], list[int]] = {}

    def fill(folder: Path, rank: int, world: int) -> None:
        def make(at: slice) -> np.ndarray:
            taken.setdefault((rank, world), []).append(at.start)
            return rows[at]

        array = folder / "rows.npy"
        assert fill_batches(array, rows.shape, np.uint8, 2, make, "rows") is (rank == 0)
        assert rank or np.load(folder / DONE).all()

    for world in (1, 2):
        folder = tmp_path / str(world)
        folder.mkdir()
        in_processes(world, partial(fill, folder, world=world))
    assert taken[0, 2] == [0, 4, 8]
    assert taken[1, 2] == [2, 6, 10]
    assert content(tmp_path / "1") == content(tmp_path / "2")


def test_a_process_that_works_alone_writes_all_batches(tmp_path, in_processes):
    rows, array = np.arange(10).reshape(5, 2), tmp_path / "rows.npy"

    def fill(rank: int) -> None:
        if rank == 0:
            make = rows.__getitem__
            assert fill_batches(array, rows.shape, int, 2, make, "rows", collective=False)

    in_processes(2, fill)
    np.testing.assert_array_equal(np.load(array), rows)


def test_batches_of_a_cell_that_others_completed_are_none(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    array = tmp_path / "renamed" / "rows.npy"
    assert fill_batches(array, (4, 3), np.uint8, 2, lambda at: np.zeros((2, 3)), "rows") is False


def test_generated_clips_need_the_memory_of_one_batch(make, tmp_path):
    peaks = []
    for count in (8, 200):
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / str(count), Models(stop_after=1), count)  # the test clips are made
        tracemalloc.start()
        make(tmp_path / str(count), Models(), count)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    clip = int(np.prod(SHAPE))
    assert peaks[1] - peaks[0] < 50 * clip  # 400 clips are written


def test_features_are_extracted_once_per_clip_by_either_process(
    tmp_path, monkeypatch, in_processes
):
    """70 clips are three batches: the second process takes the second of them."""
    test, seen = tmp_path / "clips", []
    test.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (70, *SHAPE), dtype=np.uint8)
    np.save(test / CLIPS, pixels)

    def features(videos, options, *, network):
        assert network == "I3D" and videos.shape[1] == SHAPE[0] - 1
        seen.append(len(videos))
        return np.repeat(videos.mean(axis=(1, 2, 3, 4))[:, None], 400, axis=1).astype(np.float32)

    monkeypatch.setattr("lamd.metrics.i3d.load_i3d", lambda device: "I3D")
    monkeypatch.setattr("lamd.metrics.i3d.features", features)
    folders, outputs = [tmp_path / "1", tmp_path / "2"], {}
    for world, folder in enumerate(folders, 1):
        folder.mkdir()

        def extract(rank: int, folder: Path = folder, world: int = world) -> None:
            outputs[rank, world] = values.i3d_features(folder, {"clips": test}, 1, "rows", "cpu")

        in_processes(world, extract)
    assert outputs == {(0, 1): {"clips": 70}, (0, 2): {"clips": 70}, (1, 2): {}}
    assert sorted(seen) == [6, 6, 32, 32, 32, 32]
    assert content(folders[0]) == content(folders[1])
    expected = pixels[:, 1:].mean(axis=(1, 2, 3, 4))
    assert np.allclose(np.load(folders[0] / FEATURES)[:, 0], expected)


def test_real_clips_of_two_processes_have_the_names_and_prompts_of_one(
    tmp_path, monkeypatch, in_processes
):
    videos = TinyVideos(70, num_frames=9)
    videos.conditions = tuple(f"caption {i}" for i in range(70))
    monkeypatch.setattr(clips, "open_split", lambda folder, split: videos)
    folders = [tmp_path / "1", tmp_path / "2"]
    for world, folder in enumerate(folders, 1):
        folder.mkdir()
        in_processes(
            world,
            lambda _, folder=folder: clips.real_clips(
                folder, {"data": tmp_path}, tiny_target(), "test"
            ),
        )
    assert content(folders[0]) == content(folders[1])
    stored = read_clips(folders[1])
    assert stored.shape == (140, 4, 16, 16, 3) and stored.flags.writeable is False
    assert np.array_equal(stored[3], videos.clip(1, 4, 4))
    assert json.loads((folders[1] / KEYS).read_text())[3] == "bair/train/1@4"
    assert json.loads((folders[1] / PROMPTS).read_text())[3] == "caption 1"


def test_repeated_clips_store_one_frame_and_read_as_a_view(tmp_path):
    test, folder = tmp_path / "test", tmp_path / "repeated"
    test.mkdir(), folder.mkdir()
    real = np.random.default_rng(0).integers(0, 256, (5, *SHAPE), dtype=np.uint8)
    np.save(test / CLIPS, real)
    (test / KEYS).write_text(json.dumps(list("abcde")))
    assert clips.repeated_clips(folder, {"test": test}) == {"clips": 5}
    repeated = read_clips(folder)
    assert np.array_equal(repeated, np.repeat(real[:, :1], SHAPE[0], axis=1))
    assert repeated.strides[1] == 0 and json.loads((folder / KEYS).read_text()) == list("abcde")
    assert sum(path.stat().st_size for path in folder.iterdir()) < real[:, 0].nbytes + 500


def test_a_process_says_what_it_waits_for_and_ends(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(processes, "WAIT_LIMIT", 0.9)
    monkeypatch.setattr(processes, "_SAID", 0.3)
    monkeypatch.setenv("WORLD_SIZE", "2")
    rows = np.zeros((3, 2))
    with pytest.raises(LamdError, match="process 0: the others' part of x: no progress"):
        fill_batches(tmp_path / "x.npy", (3, 2), float, 1, lambda at: rows[at], "x")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lamd: process 0 waits for the others' part of x, 0.015 minutes")


def test_a_full_disk_ends_in_one_line_before_the_work(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(OSError, match=r"\d+ bytes, No space left on device: '.*x\.npy'") as full:
        fill_batches(tmp_path / "x.npy", (3, 2), float, 1, None, "x")
    assert is_full(full.value)
    assert not list(tmp_path.iterdir())


def test_progress_of_the_others_is_waited_for(monkeypatch):
    monkeypatch.setattr(processes, "WAIT_LIMIT", 0.5)
    started = time.monotonic()
    processes.wait_until(
        lambda: time.monotonic() - started > 1.5, "x", progress=lambda: time.monotonic()
    )


def test_heartbeat_touches_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_BEAT", 0.05)
    path = tmp_path / "lock"
    assert processes.modified(path) is None
    with processes.heartbeat(path):
        time.sleep(0.3)
        first = processes.modified(path)
        time.sleep(0.3)
        assert processes.modified(path) > first > 0


def test_cores_are_those_of_the_job(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert processes.available_cores() == 3


def test_each_sample_has_the_frame_and_the_prompt_of_its_clip(tmp_path, monkeypatch):
    target = tiny_target("baselines=null", "dmg.prompt={kind: class, dropout: 0.0}")
    real = np.random.default_rng(0).integers(0, 256, (5, *SHAPE), dtype=np.uint8)
    test, seen = tmp_path / "test", []
    test.mkdir()
    np.save(test / CLIPS, real)
    (test / KEYS).write_text(json.dumps([f"bair/test/{i}@0" for i in range(5)]))
    (test / PROMPTS).write_text(json.dumps(list("abcde")))

    def record(_, sampler, frames, keys, prompts, **options):
        seen.extend(zip(keys, prompts, strict=True))
        return np.repeat(frames[:, None], SHAPE[0], axis=1)

    monkeypatch.setattr("lamd.training.load_paradigm", lambda *_: Models())
    monkeypatch.setattr("lamd.generate.generate_clips", record)
    own = [(f"bair/test/{i}@0#{s}", "abcde"[i]) for i in range(5) for s in range(2)]
    for permuted in (False, True):
        folder = tmp_path / str(permuted)
        folder.mkdir()
        seen.clear()
        clips.generated_clips(
            folder, {"test": test}, target, "latent_motion", "cpu",
            samples=range(2), permuted=permuted,
        )  # fmt: skip
        assert (read_clips(folder)[:, 0] == real[:, 0].repeat(2, axis=0)).all()
        assert [key for key, _ in seen] == [key for key, _ in own]
        assert all(
            (found == right) != permuted for (_, found), (_, right) in zip(seen, own, strict=True)
        )


@pytest.mark.parametrize("given_kept", [True, False])
def test_the_first_frame_of_a_reconstruction_is_the_given_or_the_decoded_one(
    tmp_path, monkeypatch, given_kept
):
    real = np.random.default_rng(0).integers(0, 256, (5, *SHAPE), dtype=np.uint8)
    test, folder = tmp_path / "test", tmp_path / "made"
    test.mkdir()
    folder.mkdir()
    np.save(test / CLIPS, real)
    (test / KEYS).write_text(json.dumps(list("abcde")))
    latents = SimpleNamespace(
        batch_size=2,
        encode=lambda clips: clips[:, 1],
        decode=lambda _, frames: np.repeat(255 - frames[:, None], SHAPE[0], axis=1),
    )
    monkeypatch.setattr("lamd.pipeline.steps.latents.MotionLatents.load", lambda *_: latents)
    clips.reconstructed_clips(
        folder, {"test": test}, tiny_target(), "latent_motion", "cpu", given_kept=given_kept
    )
    made = read_clips(folder)
    assert (made[:, 1:] == 255 - real[:, :1]).all()
    assert (made[:, 0] == (real[:, 0] if given_kept else 255 - real[:, 0])).all()


def test_reconstructions_of_a_table_keep_the_given_frame_as_samples_do():
    cell = TablePlan(tiny_target("rows=[reconstruction]"), "cpu").clips("reconstruction")
    assert cell.config == {"reconstruction": "posterior mean, frame 0 kept"}
