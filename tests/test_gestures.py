"""NATOPS and MUG against files in the real layouts: order, splits, drawing, broken input."""

import json
import os

import cv2
import numpy as np
import pytest
from gesture_files import level, write_frame, write_mug, write_natops
from PIL import Image
from tiny import tiny_target

from lamd import cli
from lamd.base.errors import LamdError
from lamd.config import DataConfig
from lamd.data.dataset import DATASETS, class_of
from lamd.data.frames import FrameDecoder
from lamd.data.gestures import MUG, NATOPS
from lamd.data.packed import evenly_drawn
from lamd.data.stand_in import StandIn, write_stand_in
from lamd.pipeline.contents import KEYS
from lamd.pipeline.steps.clips import real_clips
from lamd.pipeline.steps.data import build_data, open_split
from lamd.standins.people.write import clip_folder, plan_split


@pytest.fixture
def root(tmp_path):
    """NATOPS: three train clips, two test clips, one of the unused subject. MUG: likewise."""
    root = tmp_path / "root"
    for name in ("g02s04p01", "g01s03p02", "g01s03p01", "g24s02p01", "g05s18p07", "g01s01p01"):
        write_natops(root, name, 9)
    for place in ("008/anger/take000", "008/anger/take001", "084/surprise/take000",
                  "001/fear/take000", "049/session0/neutral/take000",
                  "049/session1/neutral/take000"):  # fmt: skip
        write_mug(root, place, 9)
    return root


def pack(
    root, name="natops", split="train", *, on_corrupt="raise", size=16, num_frames=4, limit=None
):
    return DATASETS[name].pack(
        root, root.parent / "cache", split=split, size=size, num_frames=num_frames,
        limit=limit, on_corrupt=on_corrupt,
    )  # fmt: skip


def test_natops_names_give_split_class_and_order(root):
    train = pack(root)
    assert train.keys == [f"natops/train/{n}" for n in ("g01s03p01", "g02s04p01", "g01s03p02")]
    assert train.conditions == ("I Have Command", "All Clear", "I Have Command")
    test = pack(root, split="test")
    assert set(test.keys) == {"natops/test/g24s02p01", "natops/test/g05s18p07"}
    assert set(test.conditions) == {"Cut Engine", "Fold Wings"}


def test_mug_folders_give_split_class_and_session(root):
    train = pack(root, "mug")
    assert set(train.keys) == {
        f"mug/train/{p}" for p in ("008/anger/take000", "008/anger/take001", "084/surprise/take000")
    }
    assert train.keys[-1] == "mug/train/008/anger/take001"  # a second take comes after all first
    test = pack(root, "mug", "test")
    places = ("001/fear/take000", "049/session0/neutral/take000")
    assert dict(zip(test.keys, test.conditions, strict=True)) == {
        f"mug/test/{place}": place.split("/")[-2] for place in places
    }


def test_no_subject_is_in_both_splits_and_sizes_are_the_published_ones():
    assert (len(NATOPS.classes), len(MUG.classes)) == (24, 7)
    for of, sizes in ((NATOPS, (10, 9, 1)), (MUG, (26, 26, 1))):
        groups = [set(of.subjects["train"]), set(of.subjects["test"]), set(of.unused)]
        assert tuple(map(len, groups)) == sizes
        assert len(set.union(*groups)) == sum(sizes)
    assert set(range(1, 21)) == {*NATOPS.subjects["train"], *NATOPS.subjects["test"], 1}


@pytest.mark.parametrize("of", [NATOPS, MUG], ids=lambda of: of.name)
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_first_so_many_are_spread_over_classes_and_subjects(of, split):
    num_classes, subjects = len(of.classes), of.subjects[split]
    pairs = num_classes * len(subjects)
    plan = plan_split(of, split, pairs + 7)
    assert len({(clip.subject, clip.label) for clip in plan[:pairs]}) == pairs
    assert [clip.take for clip in plan] == [0] * pairs + [1] * 7
    places = of.order(split)
    assert [places[clip.subject, clip.label] for clip in plan[:pairs]] == list(range(pairs))
    for count in (num_classes, len(subjects), 2 * num_classes, 64):
        for all_of, taken in (
            (range(num_classes), [clip.label for clip in plan[:count]]),
            (subjects, [clip.subject for clip in plan[:count]]),
        ):
            assert np.ptp([taken.count(one) for one in all_of]) <= 2


@pytest.mark.parametrize(
    ("length", "num_frames", "drawn"),
    [(9, 4, [0, 2, 5, 8]), (4, 4, [0, 1, 2, 3]), (3, 5, [0, 1, 2, 2, 2]), (40, 3, [0, 19, 39])],
)
def test_frames_are_drawn_evenly_or_the_last_repeats(length, num_frames, drawn):
    assert evenly_drawn(length, num_frames).tolist() == drawn


def test_packed_frames_are_those_drawn(root):
    def levels(num_frames):
        return pack(root, "mug", num_frames=num_frames).clip(0, 0, num_frames)[:, 8, 8, 0]

    np.testing.assert_allclose(levels(4), [level(n) for n in (0, 2, 5, 8)], atol=1)
    np.testing.assert_allclose(levels(12), [level(n) for n in (*range(9), 8, 8, 8)], atol=1)


def squared(gestures, size, picture, rule="lanczos"):
    decoder = FrameDecoder(size, 1, gestures.crop, rule)
    return np.asarray(decoder.square(Image.fromarray(picture)))


def test_a_frame_is_cropped_and_keeps_its_aspect():
    picture = np.zeros((240, 320, 3), np.uint8)
    picture[10:239, 30:290] = 200
    square = squared(NATOPS, 128, picture)
    assert square.shape == (128, 128, 3)
    rows = square[:, 64, 0]
    assert (rows == 200).sum() == round(229 / 260 * 128) and rows[0] == rows[-1] == 0
    assert (square[64] == 200).all()
    small = squared(NATOPS, 128, picture[::2, ::2])
    assert np.abs(small.astype(int) - square).mean() < 3
    full = squared(MUG, 32, picture)
    assert (full[:4] == 0).all() and (full[-4:] == 0).all()


def lfdm_square(picture, size):
    """Crop, resize and pad as LFDM's NATOPS does, by OpenCV."""
    picture = picture[10:239, 30:290]
    ratio = size / max(picture.shape[:2])
    height, width = (int(side * ratio) for side in picture.shape[:2])
    picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    above, left = (size - height) // 2, (size - width) // 2
    return cv2.copyMakeBorder(picture, above, size - height - above, left, size - width - left,
                              cv2.BORDER_CONSTANT, value=[0, 0, 0])  # fmt: skip


@pytest.mark.parametrize("size", [32, 64, 128, 197, 256, 260])
def test_a_frame_of_natops_by_area_equals_that_of_lfdm_to_the_pixel(size):
    picture = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        squared(NATOPS, size, picture, "area"), lfdm_square(picture, size)
    )


def first(folder):
    return sorted(folder.iterdir())[0]


def broken_picture(folder):
    path = first(folder)
    path.write_bytes(path.read_bytes()[:60])


def no_picture(folder):
    first(folder).write_text("not a picture")


def mixed_sizes(folder):
    write_frame(sorted(folder.iterdir())[-1], 0, (32, 24))


def single_frame(folder):
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()


def empty(folder):
    for path in folder.iterdir():
        path.unlink()


def link_out(folder):
    path = first(folder)
    outside = folder.parents[2] / "outside.png"
    path.rename(outside)
    path.symlink_to(outside)


def folder_link_out(folder):
    folder.rename(folder.parents[2] / "elsewhere")
    folder.symlink_to(folder.parents[2] / "elsewhere")


BROKEN = {
    broken_picture: "broken PNG",
    no_picture: "not a PNG",
    mixed_sizes: "32x24 pixels, the first frame has 64x48",
    single_frame: "a single frame",
    empty: "no frames",
    link_out: "link leads out of the data root",
    folder_link_out: "link leads out of the data root",
}


@pytest.mark.parametrize("spoil", BROKEN, ids=lambda spoil: spoil.__name__)
def test_pack_broken_clip_is_left_out_or_raises(root, spoil):
    spoil(root / "natops" / "g02s04p01")
    packed = pack(root, on_corrupt="skip")
    assert packed.keys == ["natops/train/g01s03p01", "natops/train/g01s03p02"]
    assert packed.conditions == ("I Have Command",) * 2
    ((key, reason),) = packed.left_out
    assert key == "natops/train/g02s04p01" and BROKEN[spoil] in reason
    with pytest.raises(LamdError, match=r"g02s04p01.*set data.on_corrupt: skip") as stopped:
        pack(root)
    assert "\n" not in str(stopped.value)
    report = DATASETS["natops"].verify(root)
    assert not report.ok and report.splits["train"].sound == 2
    assert BROKEN[spoil] in str(report.splits["train"].problems[0])


UNEXPECTED = {
    "natops/g25s03p01": "unknown gesture 25",
    "natops/g01s21p01": "unknown subject 21",
    "natops/notes": "name is not gGGsSSpPP",
    "natops/g01s03p01/more": "not a .png frame",
    "mug/008/joy": "unknown expression",
    "mug/999": "unknown subject 999",
    "mug/readme": "name is not a subject's number",
    "mug/008/fear": "empty folder",
}


@pytest.mark.parametrize("place", UNEXPECTED)
def test_pack_unexpected_file_is_ignored_or_raises(root, place):
    name = place.split("/")[0]
    clean = pack(root, name)
    (root / place).mkdir()
    packed = pack(root, name, on_corrupt="skip")
    assert packed.content_hash == clean.content_hash
    assert packed.left_out == [(f"{name}/train/{place.partition('/')[2]}", UNEXPECTED[place])]
    with pytest.raises(LamdError, match=UNEXPECTED[place]):
        pack(root, name)


def test_videos_in_takes_of_mug_are_passed_over_and_counted(root):
    clean = pack(root, "mug")
    for name in ("take000", "take001"):
        (root / "mug" / "008" / "anger" / name / f"{name}.avi").write_text("x")
        (root / "mug" / "008" / "anger" / f"{name}.avi").write_text("x")
    assert pack(root, "mug").content_hash == clean.content_hash
    report = DATASETS["mug"].verify(root)
    assert report.ok and "    files that are no frames, passed over: 4 .avi\n" in str(report)


def test_a_folder_that_is_missing_or_leads_out(root, tmp_path):
    with pytest.raises(LamdError, match="split 'val': unknown"):
        DATASETS["natops"].list_split(root, "val")
    with pytest.raises(LamdError, match="lamd data simulate mug ROOT"):
        DATASETS["mug"].list_split(tmp_path / "none", "train")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mug").symlink_to(root / "mug")
    assert pack(tmp_path / "other", "mug").content_hash == pack(root, "mug").content_hash
    subject = root / "mug" / "008"
    subject.rename(tmp_path / "008")
    subject.symlink_to(tmp_path / "008")
    with pytest.raises(LamdError, match="008: link leads out of the data root"):
        pack(tmp_path / "other", "mug")


def test_limits_and_bad_options(root):
    assert pack(root, limit=2).keys == pack(root).keys[:2]
    with pytest.raises(LamdError, match=r"3 usable videos, 4 needed; lower data.num_train"):
        pack(root, limit=4)
    for wrong in ({"limit": 0}, {"size": 0}, {"num_frames": 0}, {"on_corrupt": "stop"}):
        with pytest.raises(LamdError, match=next(iter(wrong))):
            pack(root, **wrong)


def test_verify_knows_the_counts_of_natops_or_the_manifest(root):
    lines = str(DATASETS["natops"].verify(root)).splitlines()
    assert lines[1].startswith("  train NOT OK: 3 of 4800 clips sound, 0 broken")
    assert "classes: 2 of 24, 27 frames; without a clip: Not Clear" in lines[2]
    assert "2 of 4320" in lines[3]
    mug = DATASETS["mug"].verify(root)
    assert mug.ok and "3 of an unknown number of clips sound" in str(mug)
    for subject in ("008", "084"):
        (root / "mug" / subject).rename(root / f"elsewhere{subject}")
    assert [check.ok for check in DATASETS["mug"].verify(root).splits.values()] == [False, True]
    write_stand_in(
        root, StandIn(dataset="natops", generator="test.v1", seed=0, counts={"train": 3, "test": 2})
    )
    assert DATASETS["natops"].verify(root).ok
    with pytest.raises(LamdError, match="of natops, not mug"):
        DATASETS["mug"].verify(root)


REAL = {
    "source": "real", "simulation_seed": None, "num_train": None, "num_test": None,
    "resize": "area",
}  # fmt: skip


def gesture_target(name, **change):
    tiny = tiny_target()
    common = tiny.data.model_dump(exclude={"camera"})
    fields = common | {"name": name, "on_corrupt": "skip"} | change
    return tiny.model_copy(update={"data": DataConfig(**fields)})


@pytest.mark.parametrize("name", ["natops", "mug"])
def test_the_data_cell_packs_the_real_layout_with_conditions(root, tmp_path, name, monkeypatch):
    monkeypatch.setenv("LAMD_CACHE", str(tmp_path / "lamd-cache"))
    monkeypatch.delenv("LAMD_DATA", raising=False)
    assert DATASETS[name].fingerprint() is None
    monkeypatch.setenv("LAMD_DATA", str(root))
    facts = build_data(tmp_path, {}, gesture_target(name, **REAL))
    assert facts["videos"] == facts["clips"] == {"train": 3, "test": 2}
    test = open_split(tmp_path, "test")
    assert len(test.conditions) == 2 and test.lengths.tolist() == [4, 4]
    before = DATASETS[name].fingerprint()
    os.utime(next((root / name).rglob("*s02p01-0003*" if name == "natops" else "img_0003.jpg")))
    assert DATASETS[name].fingerprint() != before


def test_the_floor_has_as_many_clips_of_each_class_as_the_test_set(tmp_path, monkeypatch):
    for split, count in (("train", 60), ("test", 24)):
        for clip in plan_split(NATOPS, split, count):
            write_natops(tmp_path / "root", clip_folder("natops", clip), 2)
    monkeypatch.setenv("LAMD_CACHE", str(tmp_path / "lamd-cache"))
    monkeypatch.setenv("LAMD_DATA", str(tmp_path / "root"))
    target = gesture_target("natops", **REAL)
    build_data(tmp_path, {}, target)
    for split in ("test", "train"):
        (tmp_path / split).mkdir()
        real_clips(tmp_path / split, {"data": tmp_path}, target, split)
        classes = [class_of(key) for key in json.loads((tmp_path / split / KEYS).read_text())]
        assert sorted(classes) == sorted(NATOPS.classes)


def test_a_given_picture_is_framed_as_the_clips_are(root):
    path = first(root / "natops" / "g01s03p01")
    data = gesture_target("natops").data
    given = pack(root, size=data.size).clip(0, 0, 1)[0]
    np.testing.assert_array_equal(DATASETS["natops"].read_image(path, data.size), given)


@pytest.mark.parametrize("rule", ["area", "lanczos"])
def test_a_picture_that_would_be_less_than_a_pixel_wide_is_one_line(rule, tmp_path):
    for height in (900, 3000):
        Image.new("RGB", (30, height)).save(tmp_path / "line.png")
        with pytest.raises(LamdError, match=r"line\.png: .* pixels are too narrow; crop it"):
            DATASETS["natops"].read_image(tmp_path / "line.png", 16, resize=rule)


def test_config_needs_on_corrupt_and_no_camera():
    assert gesture_target("mug").data.own == {"on_corrupt": "skip"}
    for change in ({"camera": "image_aux1"}, {"on_corrupt": None}):
        with pytest.raises(ValueError, match=next(iter(change))):
            gesture_target("natops", **change)


def test_commands(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LAMD_DATA", str(root))
    monkeypatch.setenv("LAMD_CACHE", str(tmp_path / "lamd-cache"))

    def lamd(*arguments):
        with pytest.raises(SystemExit) as done:
            cli.main(list(arguments))
        return done.value.code, *capsys.readouterr()

    code, out, err = lamd("data", "prepare", "natops")
    assert (code, err) == (0, "")
    assert out.startswith("natops/train: 3 videos, 48 frames, ")
    assert lamd("data", "verify", "mug")[0] == 0
