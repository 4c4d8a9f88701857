"""The registry of data sets: a toy one from outside the package, and images made square."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pytest
from PIL import Image
from tiny import HERE

from lamd.base.errors import LamdError
from lamd.config import DATA_OPTIONS, load_target
from lamd.config.strict import Strict
from lamd.data.bair import BAIR
from lamd.data.dataset import DATASETS, Dataset, SplitCheck, register
from lamd.data.frames import FrameDecoder
from lamd.data.listing import FrameFolder, Listing, Video, hash_files
from lamd.data.sky import LANDSCAPE
from lamd.data.stand_in import StandIn, write_stand_in
from lamd.pipeline.graph import TablePlan
from lamd.pipeline.steps.data import build_data, open_split

# The reader of the toy data set: toy/{train,test}/N.npy, each uint8 (9, 16, 16, 3).


def find_split(dataset, root, split):
    folder = root / "toy" / split
    if not folder.is_dir():
        raise dataset.missing(folder, "no such folder")
    return folder


def list_split(dataset, root, split, **options):
    folder = find_split(dataset, root, split)
    paths = sorted(folder.glob("*.npy"))
    videos = [Video(key=f"toy/{split}/{path.stem}", path=path) for path in paths]
    return Listing(
        dataset="toy", split=split, folder=folder, videos=videos, fingerprint=hash_files(paths)
    )


@dataclass(frozen=True)
class ToyDecoder:
    size: int
    colour: str

    def __call__(self, video):
        pixels = np.load(video.path)[:, : self.size, : self.size]
        return 255 - pixels if self.colour == "inverted" else pixels

    def square(self, image):
        return image.resize((self.size, self.size))


def decoder(dataset, *, size, num_frames, colour):
    return ToyDecoder(size, colour)


def check_split(dataset, root, split):
    return SplitCheck(len(list_split(dataset, root, split).videos), ())


def simulate(dataset, root, *, counts, seed, num_workers, frame_size):
    rng = np.random.default_rng(seed)
    for split, count in counts.items():
        (root / "toy" / split).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (9, 16, 16, 3), np.uint8)
            np.save(root / "toy" / split / f"{i:03}.npy", pixels)
    write_stand_in(
        root, StandIn(dataset=dataset.name, generator=dataset.generator, seed=seed, counts=counts)
    )


class ToyOptions(Strict):
    colour: Literal["plain", "inverted"]


@pytest.fixture
def toy(monkeypatch):
    for registry in (DATASETS, DATA_OPTIONS):
        for name, value in registry.items():
            monkeypatch.setitem(registry, name, value)
        monkeypatch.setitem(registry, "toy", None)  # so that it is taken out again
    return register(
        Dataset(
            name="toy", label="Toy", published_size=16, download="copy it to $LAMD_DATA/toy",
            reader=__name__, options=ToyOptions,
            simulator=f"{__name__}:simulate", generator="toy.v1",
        )
    )  # fmt: skip


def load_toy(folder, *overrides):
    text = (HERE / "tiny.yaml").read_text()
    text = text.replace("name: bair", "name: toy").replace("camera: image_aux1", "colour: plain")
    path = folder / "toy.yaml"
    path.write_text(text)
    return load_target(str(path), "quick", overrides)


def test_register_toy_data_set_trains_from_outside_the_package(toy, tmp_path):
    target = load_toy(tmp_path)
    assert target.data.own == {"colour": "plain"}
    facts = build_data(tmp_path, {}, target)
    assert facts["videos"] == {"train": 12, "test": 4}
    assert facts["stand_in"] == "toy.v1, seed 0, 12 train + 4 test"
    inverted = tmp_path / "inverted"
    inverted.mkdir()
    build_data(inverted, {}, load_toy(tmp_path, "data.colour=inverted"))
    first, other = (open_split(folder, "test").clip(0, 0, 9) for folder in (tmp_path, inverted))
    np.testing.assert_array_equal(first, 255 - other)
    plan = TablePlan(load_toy(tmp_path, "rows=[copy_first_frame]"), "cpu")
    assert plan.stages["data"].config["generator"] == "toy.v1"


def test_register_toy_data_set_is_found_and_verified(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("LAMD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LAMD_DATA", str(tmp_path))
    with pytest.raises(LamdError, match=r"toy/train: no such folder; copy it to \$LAMD_DATA/toy"):
        toy.locate()
    toy.simulate(tmp_path, num_train=3, num_test=2, seed=0)
    assert toy.locate() == tmp_path
    assert toy.verify(tmp_path).ok
    real = ["data.source=real", "data.simulation_seed=null", "data.num_train=2"]
    facts = build_data(tmp_path, {}, load_toy(tmp_path, *real, "data.num_test=null"))
    assert facts["videos"] == {"train": 2, "test": 2}


def test_the_content_hash_covers_both_splits(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("LAMD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LAMD_DATA", str(tmp_path))
    toy.simulate(tmp_path, num_train=3, num_test=2, seed=0)
    own = ["data.source=real", "data.simulation_seed=null", "data.num_train=3", "data.num_test=2"]
    target = load_toy(tmp_path, *own)
    hashes = {build_data(tmp_path, {}, target)["content_hash"]}
    for split in ("train", "test"):
        path = tmp_path / "toy" / split / "000.npy"
        np.save(path, 255 - np.load(path))
        hashes.add(build_data(tmp_path, {}, target)["content_hash"])
    assert len(hashes) == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.color=plain", "unknown key 'data.color', did you mean 'colour'?"),
        ("data.colour=inverse", "got 'inverse', did you mean 'inverted'?; "),
        (
            "data.camera=image_main",
            "key 'data.camera' has no meaning here; delete it, or set it to null",
        ),
        ("data.colour=null", "missing key 'data.colour'"),
        ("data.name=toyy", "data.name: no data set 'toyy' among bair, "),
    ],
)
def test_config_names_the_nearest_own_key(toy, tmp_path, override, message):
    with pytest.raises(LamdError) as error:
        load_toy(tmp_path, override)
    assert message in str(error.value)
    assert str(error.value).startswith(f"--set {override}: ")


def test_config_null_takes_out_the_key_of_another_set(toy, tmp_path):
    assert load_toy(tmp_path, "data.camera=null").data.own == {"colour": "plain"}


def test_read_image_is_made_square_as_training_frames_are(tmp_path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 200
    Image.fromarray(wide).save(tmp_path / "wide.png")
    cut = BAIR.read_image(tmp_path / "wide.png", 16, camera="image_aux1")
    assert cut.shape == (16, 16, 3)
    assert cut.dtype == np.uint8
    assert (cut[:, 2:-2] == 200).all()
    frame = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(frame).save(tmp_path / "frame.png")
    averaged = BAIR.read_image(tmp_path / "frame.png", 32, camera="image_aux1")
    blocks = frame.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(averaged - blocks).max() <= 0.5
    resized = LANDSCAPE.read_image(tmp_path / "wide.png", 16)
    assert resized.shape == (16, 16, 3)
    assert resized[:, 0].max() < 20
    assert resized[:, 8].min() > 180


def test_training_frames_are_upright_and_eight_bit(tmp_path):
    video, decoder = FrameFolder(key="x", path=tmp_path, frames=("a.jpg",)), FrameDecoder(32, 1)
    half = np.zeros((32, 32, 3), np.uint8)
    half[:16] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a right angle, clockwise
    Image.fromarray(half).save(tmp_path / "a.jpg", exif=exif)
    (frame,) = decoder(video)
    assert frame[:, -15:].min() > 180 and frame[:, :15].max() < 20
    np.testing.assert_array_equal(frame, LANDSCAPE.read_image(tmp_path / "a.jpg", 32))
    deep = Image.fromarray(np.full((32, 32), 30_000, np.uint16))
    deep.save(tmp_path / "b.png")
    problem = decoder(replace(video, frames=("b.png",)))
    assert "pixels are I;16, not 8-bit RGB" in problem.reason


def test_read_image_of_another_file_is_one_line(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"not an image")
    with pytest.raises(LamdError, match=r"x\.png: not a readable image") as error:
        BAIR.read_image(path, 32, camera="image_aux1")
    assert "\n" not in str(error.value)
