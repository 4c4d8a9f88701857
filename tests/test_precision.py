import json

import numpy as np
import pytest

from lamd import cli
from lamd.base.errors import LamdError
from lamd.metrics.measure import measure
from lamd.metrics.precision import precision, recall
from lamd.metrics.values import Inputs

TRUE = (
    "the small red cone is sliding to the first quadrant. "
    "the large cone is picked up and containing the gold snitch."
)


@pytest.mark.parametrize("score", [precision, recall])
def test_scores_of_the_true_caption_in_any_order_are_one(score):
    assert score(TRUE, TRUE) == (1.0, 1.0)
    first, second = TRUE.rstrip(".").split(". ")
    assert score(TRUE, f"{second}. {first}.") == (1.0, 1.0)


# Values of MAGE's own functions (`sen_parse`, `cross_check`), spaCy's verbs replaced by a list.
@pytest.mark.parametrize(
    ("true", "predicted", "action", "referring"),
    [
        (TRUE, "", 0, 0),
        (TRUE, "no sentence of the data set", 0, 0),
        (TRUE, "the small red cone is sliding to the second quadrant.", 1 / 2, 1),
        (TRUE, "the small red cone is picked up and placed to the first quadrant.", 0, 1),
        (TRUE, "the large cone is picked up and containing the snitch.", 1, 3 / 4),
        (TRUE, "the snitch is sliding to the first quadrant. gibberish.", 2 / 3, 0),
        (TRUE, "the large cone is rotating. the small red cone is sliding to the first quadrant.",
         2 / 3, 1),
        (TRUE, "the cone red small to the first quadrant. the large cone is picked up and "
         "containing the", 1 / 2, 5 / 7),
        ("the cone is rotating.",
         "the cone is sliding to the first quadrant. the cube is rotating.", 1, 0),
        ("the cone is rotating.",
         "the cube is sliding to the first. the cube is picked up. the cone is rotating.", 0, 0),
        ("the cone is rotating. the snitch is rotating.", "the cone is rotating.", 1, 1),
        ("the cone is sliding to (2, -1).", "the red cone is sliding to ( 2 , -1 ).", 1, 1),
        ("the cone is sliding to (2, -1).", "the snitch is sliding to (2, 1).", 1 / 2, 0),
    ],
)  # fmt: skip
def test_precision_equals_the_values_of_mages_script(true, predicted, action, referring):
    assert precision(true, predicted) == pytest.approx((action, referring))


@pytest.mark.parametrize(
    ("predicted", "action", "referring"),
    [
        # counted by hand: action has slide, place, contain; referring has 3 + 2 + 2 words
        ("", 0, 0),
        ("no sentence of the data set", 0, 0),
        ("the small red cone is sliding to the second quadrant.", 1 / 3, 3 / 7),
        ("the small red cone is picked up and placed to the first quadrant.", 1 / 3, 3 / 7),
        ("the large cone is picked up and containing the snitch.", 1 / 3, 3 / 7),
        ("the snitch is sliding to the first quadrant. gibberish.", 2 / 3, 0),
        ("the red sphere is sliding to the first quadrant. the cone is rotating.", 2 / 3, 2 / 7),
    ],
)
def test_recall_equals_hits_counted_by_hand(predicted, action, referring):
    assert recall(TRUE, predicted) == pytest.approx((action, referring))


def test_recall_pairs_sentences_for_action_first_then_for_objects():
    true = "the cone is rotating. the snitch is rotating."
    assert recall(true, "the snitch is rotating. the cone is rotating.") == (1.0, 1.0)
    assert recall(true, "the snitch is rotating.") == (0.5, 0.5)
    predicted = "the cone is sliding to the first quadrant. the cube is rotating."
    # by objects alone, the sentence about the cone would be taken for the wrong action
    assert recall("the cone is rotating.", predicted) == (1.0, 0.0)


@pytest.mark.parametrize("name", ["action_precision.mage.v1", "action_recall.v1"])
def test_each_clip_counts_once(name):
    value = measure(name, Inputs(captions=([TRUE, TRUE, TRUE], [TRUE, "", TRUE])))
    np.testing.assert_array_equal(value.per_clip, [1, 0, 1])


def test_evaluate_captions_scores_files_of_any_captioner(tmp_path, capsys):
    files = {"true": [TRUE, TRUE], "generated": [TRUE, ""], "short": [TRUE], "odd": {"a": TRUE}}
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))

    def score_files(name):
        paths = ["--true", str(tmp_path / "true.json"), "--generated", str(tmp_path / name)]
        with pytest.raises(SystemExit) as done:
            cli.main(["evaluate-captions", *paths])
        return done.value.code, capsys.readouterr()

    (tmp_path / "true.json").write_text(json.dumps([TRUE, "hello world."]))
    code, said = score_files("generated.json")
    assert code == 2
    assert "true.json: number 1, caption 'hello world'" in said.err
    for empty in ("", "..."):
        (tmp_path / "true.json").write_text(json.dumps([TRUE, empty]))
        code, said = score_files("generated.json")
        assert code == 2 and "true.json: number 1, caption: empty; say what moves" in said.err
    (tmp_path / "true.json").write_text(json.dumps([TRUE, TRUE]))
    code, said = score_files("generated.json")
    assert not code
    assert said.out.count("0.5000") == 4
    for name, reason in (
        ("short.json", "1 captions, but"),
        ("odd.json", "give a list of captions"),
        ("none.json", "No such file or directory; give a list of captions"),
    ):
        code, said = score_files(name)
        assert code == 2
        assert reason in said.err and said.err.count("\n") == 1


@pytest.mark.parametrize("score", [precision, recall])
def test_scores_refuse_true_caption_of_another_data_set(score):
    with pytest.raises(LamdError, match="not a sentence of CATER-GEN"):
        score("a cat sat on a mat.", TRUE)
