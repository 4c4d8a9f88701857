import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image, ImageOps
from tiny import tiny_target

from lamd import cli
from lamd.base.errors import LamdError
from lamd.config import DataConfig, load_target
from lamd.config.networks import PromptConfig
from lamd.data.cater import CATER_V1, CATER_V2, CaterDecoder, captions_file
from lamd.data.cater.captions import WORDS
from lamd.io.clips import decode_video, decode_with_decord
from lamd.pipeline.steps import data

COUNTS = {"num_train": 3, "num_test": 1}
CLIP = {"size": 24, "num_frames": 4, "frame_interval": 5, "captions": "explicit"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("cater")
    CATER_V2.simulate(root, **COUNTS, seed=3, num_workers=1, frame_size=(64, 48))
    return root


@pytest.fixture
def root(made, tmp_path):
    shutil.copytree(made, tmp_path / "data")
    return tmp_path / "data"


def folder_of(root):
    return root / "cater_gen_v2"


def change(root, key, **fields):
    """Change an entry of the explicit training captions."""
    path = captions_file(folder_of(root), "train", "explicit")
    entries = json.loads(path.read_text())
    entries[key] |= fields
    path.write_text(json.dumps(entries))


def pack_train(root, **options):
    asked = {"split": "train", "on_corrupt": "raise", **CLIP, **options}
    return CATER_V2.pack(root, root / "cache", **asked)


def listed_train(root):
    return CATER_V2.list_split(root, "train", captions="explicit").videos


def test_clips_and_captions_are_packed_side_by_side(root):
    packed = pack_train(root)
    listed = listed_train(root)
    assert packed.keys == [f"cater_v2/train/{i}" for i in range(3)]
    assert packed.conditions == tuple(video.condition for video in listed)
    assert packed.lengths.tolist() == [4, 4, 4]
    frames = decode_video(listed[1].path)
    assert len(frames) == 33
    whole = [Image.fromarray(frame) for frame in frames[[0, 5, 10, 15]]]
    fitted = [np.asarray(ImageOps.fit(one, (24, 24), Image.Resampling.LANCZOS)) for one in whole]
    assert (packed.clip(1, 0, 4) == np.stack(fitted)).all()


def test_both_caption_modes_are_there_and_differ_in_the_hash(root):
    one, other = pack_train(root), pack_train(root, captions="ambiguous")
    assert one.conditions != other.conditions
    assert one.content_hash != other.content_hash
    assert (one.frames[:] == other.frames[:]).all()


def test_decord_gives_the_frames_of_ffmpeg_and_its_first_ones(root):
    for video in listed_train(root):
        frames = decode_video(video.path)
        np.testing.assert_array_equal(decode_with_decord(video.path), frames)
        np.testing.assert_array_equal(decode_with_decord(video.path, 7), frames[:7])


def test_a_short_video_is_padded_with_its_last_frame(root):
    packed = pack_train(root, num_frames=6, frame_interval=10)
    clip, video = packed.clip(0, 0, 6), listed_train(root)[0]
    last = Image.fromarray(decode_video(video.path)[-1])
    wanted = np.asarray(ImageOps.fit(last, (24, 24), Image.Resampling.LANCZOS))
    assert (clip[4:] == wanted).all()


def test_linspace_takes_the_frames_that_mage_reads(root):
    whole = decode_video(listed_train(root)[0].path)
    # of 33 frames round(33 / 5) are even from the first to the last, rounded down
    clip = pack_train(root, sampling="linspace", size=48).clip(0, 0, 4)
    np.testing.assert_array_equal(clip, whole[[0, 5, 10, 16], :, 8:56])
    padded = pack_train(root, sampling="linspace", size=48, frame_interval=16).clip(0, 0, 4)
    np.testing.assert_array_equal(padded, whole[[0, 32, 32, 32], :, 8:56])


def test_limit_takes_the_first(root):
    assert pack_train(root, limit=2).keys == ["cater_v2/train/0", "cater_v2/train/1"]
    with pytest.raises(LamdError, match="3 usable videos, 4 needed"):
        pack_train(root, limit=4)


def test_keys_are_in_natural_order(root):
    path = captions_file(folder_of(root), "train", "explicit")
    entries = json.loads(path.read_text())
    path.write_text(json.dumps({"10": entries["0"], "9": entries["1"]}))
    keys = [video.key for video in listed_train(root)]
    assert keys == ["cater_v2/train/9", "cater_v2/train/10"]


@pytest.mark.parametrize(
    "video",
    ["../secret.avi", "videos/../../secret.avi", "/etc/passwd", "videos\\..\\x.avi", "", "a\nb",
     "videos/link.avi", "out/secret.avi"],
)  # fmt: skip
@pytest.mark.parametrize("on_corrupt", ["skip", "raise"])
def test_a_path_that_leaves_the_data_is_always_refused(root, video, on_corrupt):
    secret = root.parent / "secret.avi"
    shutil.copy(folder_of(root) / "videos/CATER_train_000000.avi", secret)
    (folder_of(root) / "videos/link.avi").symlink_to(secret)
    (folder_of(root) / "out").symlink_to(root.parent)
    change(root, "1", video=video)
    with pytest.raises(LamdError, match=r"entry '1': .*(odd characters|leaves|link out)") as caught:
        pack_train(root, on_corrupt=on_corrupt)
    assert "\n" not in str(caught.value)


def test_links_out_of_the_root_are_refused(root):
    scene = folder_of(root) / "scenes/CATER_train_000000.json"
    outside = root.parent / "outside"
    scene.rename(outside)
    scene.symlink_to(outside)
    with pytest.raises(LamdError, match=r"scenes/CATER_train_000000.json' is a link out"):
        pack_train(root)


@pytest.mark.parametrize("video", ["../secret.avi", "videos/link.avi"])
def test_a_link_to_the_whole_data_set_is_followed_but_no_path_of_its_lists_leaves_it(root, video):
    clean = pack_train(root)
    folder_of(root).rename(root.parent / "elsewhere")
    folder_of(root).symlink_to(root.parent / "elsewhere")
    assert pack_train(root).content_hash == clean.content_hash
    secret = root / "secret.avi"  # in the root, but not in the data set
    shutil.copy(folder_of(root) / "videos/CATER_train_000000.avi", secret)
    (folder_of(root) / "videos/link.avi").symlink_to(secret)
    change(root, "1", video=video)
    with pytest.raises(LamdError, match=r"entry '1': .*(leaves|link out)"):
        pack_train(root)


def truncate(root):
    video = folder_of(root) / "videos/CATER_train_000001.avi"
    os.truncate(video, video.stat().st_size * 2 // 3)


def spoil(root):
    (folder_of(root) / "videos/CATER_train_000001.avi").write_bytes(b"RIFF\x04\x00\x00\x00junk")


PROBLEMS = {
    "no such file": lambda root: change(root, "1", video="videos/none.avi"),
    "truncated AVI": truncate,
    "not a readable video": spoil,
    "not an AVI": lambda root: change(root, "1", video="scenes/CATER_train_000001.json"),
    "empty caption": lambda root: change(root, "1", caption=" . "),
}


@pytest.mark.parametrize("reason", PROBLEMS)
def test_pack_broken_video_raises_or_is_left_out_and_listed(root, reason):
    PROBLEMS[reason](root)
    with pytest.raises(LamdError, match=f"{reason}.*data.on_corrupt: skip") as caught:
        pack_train(root)
    assert "\n" not in str(caught.value)
    packed = pack_train(root, on_corrupt="skip")
    assert packed.keys == ["cater_v2/train/0", "cater_v2/train/2"]
    [(key, why)] = packed.left_out
    assert (key, reason in why) == ("cater_v2/train/1", True)
    report = CATER_V2.verify(root)
    assert not report.ok
    assert reason in str(report)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '{"0": 1}', '{"0": {"video": 1, "caption": "a"}}', "\udcff", "[" * 9999],
)
def test_malformed_captions_are_one_line(root, text):
    path = captions_file(folder_of(root), "train", "explicit")
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(LamdError, match=r"train_explicit\.json") as caught:
        pack_train(root, on_corrupt="skip")
    assert "\n" not in str(caught.value)


def test_missing_data_says_where_it_belongs(tmp_path):
    with pytest.raises(LamdError, match=r"no such file; download CATER-GEN-v2 .* or run"):
        pack_train(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [{"captions": "vague"}, {"split": "val"}, {"on_corrupt": "stop"}, {"size": 0},
     {"frame_interval": 0}, {"camera": "image_main"}],
)  # fmt: skip
def test_wrong_options_are_one_line(root, wrong):
    with pytest.raises(LamdError, match=r"unknown|at least 1|got '|got 0"):
        pack_train(root, **wrong)


def test_verify_knows_counts_captions_and_scenes(root, monkeypatch):
    report = CATER_V2.verify(root)
    assert report.ok, str(report)
    assert "explicit: 3 captions, 3 with a scene" in str(report)
    assert "decoded lengths in frames (videos): 33 (3)" in str(report)
    assert str(report).count("words that MAGE's vocabulary lacks: none") == 4
    change(root, "0", caption="the snitch is sliding to (1, 1). the cone is rotating.")
    change(root, "2", caption="the snitch flies.")
    text = str(CATER_V2.verify(root))
    assert "CATER_train_000000.avi: explicit caption describes other moves" in text
    assert "not a sentence of CATER-GEN" in text
    assert "words that MAGE's vocabulary lacks: flies" in text
    scene = folder_of(root) / "scenes/CATER_train_000001.json"
    scene.write_text("{")
    assert "CATER_train_000001.json: Invalid JSON" in str(CATER_V2.verify(root))
    (root / "stand_in.json").unlink()
    monkeypatch.setattr("lamd.data.stand_in._MARK", "by another program")  # as in real files
    assert "of 24000 videos sound" in str(CATER_V2.verify(root))


def test_words_are_as_many_as_mage_has():
    special = 3  # [PAD], [CLS], [SEP]
    assert {version: len(words) + special for version, words in WORDS.items()} == {
        "v1": 30, "v2": 50,
    }  # fmt: skip
    assert {"while", "contained", "still"} <= WORDS["v2"] - WORDS["v1"]


def cater_target(**prompt):
    tiny = tiny_target("evaluate.protocols=[psnr.v1,action_precision.mage.v1]")
    own = DataConfig(
        name="cater_v2", source="real", num_frames=4, size=16, num_train=None, num_test=None,
        captions="explicit", frame_interval=5, on_corrupt="skip", resize="pillow_bilinear",
    )  # fmt: skip
    text = PromptConfig(
        **{"kind": "text", "max_tokens": 60, "num_layers": 1, "dropout": 0} | prompt
    )
    dmg = tiny.dmg.model_copy(update={"prompt": text})
    return tiny.model_copy(update={"data": own, "dmg": dmg})


@pytest.mark.parametrize(
    ("split", "caption", "prompt", "reason"),
    [
        ("test", "the snitch flies still.", {},
         "cater_v2: words of test captions that no training video has: flies, still; correct"),
        ("test", "the snitch is rotating.", {"max_tokens": 4},
         "has 7 tokens with start and end; raise dmg.prompt.max_tokens from 4 to 7"),
        ("test", "is rotating the snitch.", {}, "not a sentence of CATER-GEN; correct it"),
    ],
)  # fmt: skip
def test_build_data_refuses_captions_that_would_end_the_run_later(
    root, tmp_path, monkeypatch, split, caption, prompt, reason
):
    monkeypatch.setenv("LAMD_CACHE", str(tmp_path / "lamd-cache"))
    monkeypatch.setenv("LAMD_DATA", str(root))
    rotating = "the snitch is rotating."
    for name, text in (("train", rotating), ("test", rotating), (split, caption)):
        path = captions_file(folder_of(root), name, "explicit")
        entries = json.loads(path.read_text())
        path.write_text(json.dumps({k: v | {"caption": text} for k, v in entries.items()}))
    with pytest.raises(LamdError, match=reason) as caught:
        data.build_data(tmp_path, {}, cater_target(**prompt))
    assert "\n" not in str(caught.value)


def test_prepare_leaves_a_run_nothing_to_decode(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LAMD_CACHE", str(tmp_path / "lamd-cache"))
    monkeypatch.setenv("LAMD_DATA", str(root))
    with pytest.raises(SystemExit) as done:
        cli.main(["data", "prepare", "cater_v2", "--set", "data.frame_interval=3"])
    assert done.value.code == 0
    assert capsys.readouterr().out.startswith("cater_v2/train: 3 videos, 48 frames, ")
    monkeypatch.setattr(CaterDecoder, "__call__", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr(data, "_check_prompts", lambda *_: None)  # four captions share few words
    target = load_target("table_cater_v2", "paper", ["data.frame_interval=3"])
    facts = data.build_data(tmp_path, {}, target)
    assert facts["videos"] == {"train": 3, "test": 1}


def test_config_has_the_keys_of_the_data_set_alone():
    common = {"source": "real", "num_frames": 16, "size": 64, "num_train": None, "num_test": None}
    bair = DataConfig(name="bair", camera="image_aux1", **common)
    assert bair.model_dump().keys() == {"name", "camera", "simulation_seed", *common}
    own = {"on_corrupt": "raise", "captions": "explicit", "resize": "pillow_bilinear"}
    cater = {**common, "name": "cater_v2", **own}
    assert DataConfig(**cater, frame_interval=2).model_dump()["frame_interval"] == 2
    for wrong in (cater, {**cater, "frame_interval": 2, "on_corrupt": None}):
        with pytest.raises(ValueError, match=r"frame_interval|on_corrupt"):
            DataConfig(**wrong)
    with pytest.raises(ValueError, match="captions"):
        DataConfig(name="bair", camera="image_aux1", captions="explicit", **common)


def test_real_files_are_found_and_hashed(root, monkeypatch):
    monkeypatch.delenv("LAMD_DATA", raising=False)
    assert CATER_V2.fingerprint(captions="explicit") is None
    monkeypatch.setenv("LAMD_DATA", str(root))
    assert CATER_V2.locate() == root
    before = CATER_V2.fingerprint(captions="explicit")
    change(root, "0", caption="the snitch is rotating.")
    after = CATER_V2.fingerprint(captions="explicit")
    assert before[0] != after[0]
    assert before[1] == after[1]
    with pytest.raises(LamdError, match=r"cater_gen_v1: no captions .*MAGE"):
        CATER_V1.locate()
