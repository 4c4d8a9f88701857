"""Tables whose clips follow a text or a class, made tiny: rows, scores, figure, generate."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import table_cells

from lamd import cli
from lamd.base.errors import LamdError
from lamd.config import load_target
from lamd.pipeline.contents import CAPTIONS, CLIPS, PROMPTS
from lamd.pipeline.graph import TablePlan
from lamd.pipeline.steps.clips import CAPTIONS_BATCH, other_prompts, write_captions
from lamd.report.results import Results, Value, read_results
from lamd.targets import reproduce as run
from lamd.targets.table import prompt_notes

TRAIN = {"num_steps": 4, "batch_size": 4, "warmup_steps": 1, "validate_every": 4,
         "checkpoint_every": 2, "num_validation_clips": 2, "log_every": 1}  # fmt: skip
TINY = [
    *(f"train_vae.{key}={value}" for key, value in TRAIN.items()),
    *(f"train_dmg.{key}={value}" for key, value in TRAIN.items()),
    "vae.image_channels=[8,8,16]",
    "vae.motion_encoder_channels=[8,8]",
    "vae.decoder_channels=[8,8,16]",
    "loss.lpips_frames=1",
    "dmg.base_channels=32",
    "dmg.channel_multipliers=[1,1]",
    "dmg.attention_factors=[2]",
    "sampler.num_steps=2",
    "evaluate.grid_clips=2",
    # after so few steps neither the text nor z_m has an effect without guidance and a high rate
    *(
        f"{stage}.{option}"
        for stage in ("train_vae", "train_dmg")
        for option in (
            "num_steps=40",
            "validate_every=40",
            "checkpoint_every=20",
            "learning_rate=1.0e-2",
            "ema_decay=0.5",
        )
    ),
    "dmg.prompt.dropout=0.1",
    "sampler.guidance_scale=1000",
]
CATER = [
    *TINY,
    *(f"train_captioner.{key}={value}" for key, value in TRAIN.items()),
    "data.num_train=64",
    "data.num_test=16",  # the first six have one caption
    "captioner.channels=[8,8,16,16]",
    "evaluate.protocols=[psnr.given1.v1,action_precision.mage.v1,"
    "referring_expression_precision.mage.v1,action_recall.v1,referring_expression_recall.v1]",
    "rows=[copy_first_frame,real_test,reconstruction,lamd,permuted_prompts]",
]
MUG = [
    *TINY,
    "data.num_train=28",
    "data.num_test=14",
    "evaluate.protocols=[cfvd.gestures.v1,cfvd_spread.gestures.v1]",
    "rows=[lamd,permuted_prompts]",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("prompted")


def reproduce(root, name, options):
    places = {"runs": root / "runs", "results": root / "results"}
    return run.reproduce(name, "quick", options, **places, device="cpu")


def find(results: Results, row: str, metric: str) -> Value | None:
    return next((v for v in results.values if (v.row, v.metric) == (row, metric)), None)


@pytest.mark.slow
def test_every_row_of_a_text_table_is_scored(place, capsys):
    outcome = reproduce(place, "table_cater_v1", CATER)
    results = read_results(outcome.folder / "record.json")
    assert not results.missing
    assert {source.data for source in results.sources.values()} == {"stand-in"}
    rows = ("copy_first_frame", "real_test", "reconstruction", "lamd", "permuted_prompts")
    scored = {value.row for value in results.values if value.metric == "action_precision"}
    assert scored == set(rows)
    assert find(results, "real_test", "psnr") is None
    # the same noise under other texts is another clip
    assert find(results, "lamd", "psnr").value != find(results, "permuted_prompts", "psnr").value
    text = (outcome.folder / "table.md").read_text(encoding="utf-8")
    assert "given frame and caption" in text and "our captioner in place of SwinBERT" in text
    assert "the permuted captions themselves score action precision 0." in text

    tiny = [f"sources.table_cater_v1.{option}" for option in CATER]
    figure = reproduce(place, "fig_samples_cater", [*tiny, "figure.clips=1", "figure.frames=2"])
    (picture,) = read_results(figure.folder / "record.json").pictures
    assert len(picture.labels) == 5 and picture.labels[0].startswith("the cone")

    def generate(prompt: str) -> int:
        options = [word for text in CATER for word in ("--set", text)]
        with pytest.raises(SystemExit) as done:
            cli.main(
                ["generate", "table_cater_v1", *options, "--runs", str(place / "runs"),
                 "--device", "cpu", "--count", "1", "--prompt", prompt,
                 "--out", str(place / "clip.npy")]
            )  # fmt: skip
        return done.value.code

    clips = []
    for prompt in ("the cone is picked up and containing the snitch.", "the snitch is rotating."):
        assert generate(prompt) == 0
        clips.append(np.load(place / "clip.npy"))
    assert clips[0].shape[0] == 1
    assert np.array_equal(clips[0][:, 0], clips[1][:, 0])
    assert not np.array_equal(*clips)  # the noise is the same
    assert generate("the teapot is rotating.") == 2
    assert "unknown word 'teapot'" in capsys.readouterr().err


def test_prompt_notes_score_the_permuted_captions_themselves(tmp_path):
    prompts = ["the cone is rotating.", "the snitch is rotating."]
    (tmp_path / PROMPTS).write_text(json.dumps(prompts), encoding="utf-8")
    store = SimpleNamespace(finished=lambda cell: tmp_path)

    def notes(name: str, options: list[str]) -> list[str]:
        target = load_target(name, "quick", options)
        return list(prompt_notes(target, TablePlan(target, "cpu"), store))

    (note,) = notes("table_cater_v1", CATER)
    assert note.endswith(
        "action precision 1.000, referring-expression precision 0.000, action recall 1.000, "
        "referring-expression recall 0.000"
    )
    assert not notes("table_mug", MUG)


@pytest.mark.slow
def test_a_class_table_compares_class_by_class(place):
    outcome = reproduce(place, "table_mug", MUG)
    results = read_results(outcome.folder / "record.json")
    assert not results.missing
    assert find(results, "lamd", "cfvd_spread").value > 0
    assert find(results, "lamd", "cfvd").value != find(results, "permuted_prompts", "cfvd").value


@given(st.lists(st.sampled_from("abcdefg"), min_size=2, max_size=60))
def test_shuffled_prompts_are_others(prompts):
    shuffled = other_prompts(prompts)
    assert sorted(shuffled) == sorted(prompts)
    if max(map(prompts.count, prompts)) <= len(prompts) / 2:
        assert all(a != b for a, b in zip(prompts, shuffled, strict=True))


def test_classes_that_take_turns_are_shuffled():
    classes = list("abcdefg") * 2
    assert all(a != b for a, b in zip(classes, other_prompts(classes), strict=True))


def test_captions_of_several_batches_are_in_the_order_of_the_clips(tmp_path, monkeypatch):
    batches = []

    class Captioner:
        def caption(self, x):
            batches.append(len(x))
            return [f"clip {round(127.5 * (clip.mean().item() + 1))}" for clip in x]

    monkeypatch.setattr("lamd.training.load_model", lambda *_, **options: Captioner())
    numbers = np.arange(70, dtype=np.uint8)[:, None, None, None, None]
    np.save(tmp_path / CLIPS, np.tile(numbers, (1, 2, 4, 4, 3)))
    inputs = {"clips": tmp_path, "captioner": tmp_path}
    assert write_captions(tmp_path, inputs, "cpu") == {"clips": 70}
    captions = json.loads((tmp_path / CAPTIONS).read_text())
    assert captions == [f"clip {i}" for i in range(70)]
    assert batches == [CAPTIONS_BATCH, CAPTIONS_BATCH, 70 - 2 * CAPTIONS_BATCH]


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("captioner=null", "captioner and train_captioner go together"),
        ("dmg.prompt=null", "row permuted_prompts needs dmg.prompt"),
        ("sampler.guidance_scale=2", "needs dmg.prompt with dropout above 0"),
        ("dmg.prompt.num_layers=null", "needed with kind: text, and only there"),
        ("dmg.attention_factors=[]", "cross-attention needs at least one entry"),
        ("dmg.context_channels=66", "context_channels must be a multiple of 4"),
    ],
)
def test_prompt_without_effect_is_refused(override, reason):
    with pytest.raises(LamdError, match=reason):
        load_target("table_cater_v1", "quick", [override])


def test_scores_of_captions_need_a_captioner():
    target = load_target("table_cater_v1", "quick", ["captioner=null", "train_captioner=null"])
    with pytest.raises(LamdError, match="captions need a captioner"):
        TablePlan(target, "cpu")


def test_prompts_do_not_touch_the_cells_of_targets_without_them():
    cells = {cell.name: cell for cell in table_cells(load_target("table_bair", "quick"))}
    assert cells["dmg"].config["dmg"]["prompt"] is None
    assert "guidance_scale" not in cells["clips lamd"].config["generated"]
