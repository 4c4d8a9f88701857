import json

import numpy as np
import pytest

from lamd import cli
from lamd.base.errors import LamdError
from lamd.metrics.precision import precisions

TRUE = (
    "the small red cone is sliding to the first quadrant. "
    "the large cone is picked up and containing the gold snitch."
)


def score(predicted, true=TRUE):
    values = precisions([true], [predicted])
    return values["action_precision"][0], values["referring_expression_precision"][0]


def test_the_true_caption_hits_everything_in_any_order():
    assert score(TRUE) == (1.0, 1.0)
    first, second = TRUE.rstrip(".").split(". ")
    assert score(f"{second}. {first}.") == (1.0, 1.0)


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
def test_precisions_equal_hits_counted_by_hand(predicted, action, referring):
    assert score(predicted) == pytest.approx((action, referring))


def test_sentences_are_paired_for_action_first_then_for_objects():
    true = "the cone is rotating. the snitch is rotating."
    assert score("the snitch is rotating. the cone is rotating.", true) == (1.0, 1.0)
    assert score("the snitch is rotating.", true) == (0.5, 0.5)
    predicted = "the cone is sliding to the first quadrant. the cube is rotating."
    # by objects alone, the sentence about the cone would be taken for the wrong action
    assert score(predicted, "the cone is rotating.") == (1.0, 0.0)


def test_each_clip_counts_once():
    values = precisions([TRUE, TRUE, TRUE], [TRUE, "", TRUE])
    np.testing.assert_array_equal(values["action_precision"], [1, 0, 1])


def test_evaluate_captions_scores_files_of_any_captioner(tmp_path, capsys):
    files = {"true": [TRUE, TRUE], "generated": [TRUE, ""], "short": [TRUE], "odd": {"a": TRUE}}
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))

    def score_files(name):
        paths = ["--true", str(tmp_path / "true.json"), "--generated", str(tmp_path / name)]
        with pytest.raises(SystemExit) as done:
            cli.main(["evaluate-captions", *paths])
        return done.value.code, capsys.readouterr()

    code, said = score_files("generated.json")
    assert not code
    assert said.out.count("0.5000") == 2
    for name, reason in (("short.json", "1 captions, but"), ("odd.json", "not a list of captions"),
                         ("none.json", "not readable JSON")):  # fmt: skip
        code, said = score_files(name)
        assert code == 2
        assert reason in said.err and said.err.count("\n") == 1


def test_precisions_refuse_true_caption_of_another_data_set():
    with pytest.raises(LamdError, match="not a sentence of CATER-GEN"):
        precisions(["a cat sat on a mat."], [TRUE])
