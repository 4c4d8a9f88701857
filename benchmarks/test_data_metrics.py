"""Clips per second from the simulator to the batch, and through the metrics."""

from pathlib import Path

import numpy as np
import pytest
import torch
from paradigms import Scale
from timing import Measure

from lamd.data.bair import BAIR, BairDecoder
from lamd.metrics import frames as frame_metrics
from lamd.metrics.frechet import frechet_distance
from lamd.metrics.i3d import I3D, preprocess
from lamd.standins.robot.write import simulate_trajectory
from lamd.standins.writer import Request
from lamd.training.stages import batch_rows, read_ahead, read_windows

NUM_TRAIN = 8
NUM_FRAMES = 16
OPTIONS = {"size": 64, "camera": "image_aux1"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small stand-in of BAIR in the real layout."""
    folder = tmp_path_factory.mktemp("bair")
    BAIR.simulate(folder, num_train=NUM_TRAIN, num_test=1, seed=0)
    return folder


def test_simulation(measure: Measure):
    request = Request(BAIR, Path(), {}, seed=0, num_workers=1, frame_size=None)
    measure(lambda: simulate_trajectory(request, "train", 0), rounds=3, clips=1)


def test_reader(measure: Measure, root: Path):
    videos, decode = BAIR.list_split(root, "train").videos, BairDecoder(64, "image_aux1")
    measure(lambda: [decode(video) for video in videos], clips=NUM_TRAIN)


def test_packing(measure: Measure, root: Path, tmp_path: Path):
    caches = iter(range(100))

    def pack() -> None:
        BAIR.pack(root, tmp_path / str(next(caches)), split="train", **OPTIONS)

    measure(pack, clips=NUM_TRAIN)


def test_loader(measure: Measure, root: Path, tmp_path: Path):
    videos = BAIR.pack(root, tmp_path, split="train", **OPTIONS)
    windows = videos.windows(NUM_FRAMES, 1)
    batch_size, steps = 16, 8

    def read(step: int) -> list[tuple[torch.Tensor, ...]]:
        rows = batch_rows(0, step, batch_size, len(windows))
        return [(read_windows(videos, windows[rows], NUM_FRAMES),)]

    def load() -> None:
        for _ in read_ahead(read, 1, steps, torch.device("cpu")):
            pass

    measure(load, clips=steps * batch_size)


@pytest.mark.parametrize("metric", ["psnr", "ssim"])
def test_frame_metric(measure: Measure, metric: str):
    real, fake = _videos(0, 4), _videos(1, 4)
    function = getattr(frame_metrics, metric)
    measure(lambda: function(real, fake), rounds=3, clips=len(real))


def test_i3d_features(measure: Measure, scale: Scale):
    # The speed is that of any weights, so none are downloaded.
    network = I3D().eval().to(memory_format=torch.channels_last_3d)
    video = torch.from_numpy(_videos(0, 1)).to(torch.get_default_device())
    with torch.inference_mode():
        measure(lambda: network(preprocess(video)), rounds=3, clips=1)


def test_frechet_distance(measure: Measure):
    rng = np.random.default_rng(0)
    real, fake = rng.standard_normal((2, 256, 400))
    measure(lambda: frechet_distance(real, fake), rounds=3, clips=256)


def _videos(seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, NUM_FRAMES, 64, 64, 3), dtype=np.uint8)
