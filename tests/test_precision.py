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


def score(told, true=TRUE):
    values = precisions([true], [told])
    return values["action_precision"][0], values["referring_expression_precision"][0]


def test_the_true_caption_hits_everything_in_any_order():
    assert score(TRUE) == (1.0, 1.0)
    first, second = TRUE.rstrip(".").split(". ")
    assert score(f"{second}. {first}.") == (1.0, 1.0)


@pytest.mark.parametrize(
    ("told", "action", "referring"),
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
def test_hits_are_counted_as_by_hand(told, action, referring):
    assert score(told) == pytest.approx((action, referring))


def test_sentences_are_paired_for_action_first_then_for_objects():
    true = "the cone is rotating. the snitch is rotating."
    assert score("the snitch is rotating. the cone is rotating.", true) == (1.0, 1.0)
    assert score("the snitch is rotating.", true) == (0.5, 0.5)
    told = "the cone is sliding to the first quadrant. the cube is rotating."
    # by objects alone, the sentence about the cone would be taken for the wrong action
    assert score(told, "the cone is rotating.") == (1.0, 0.0)


def test_each_clip_counts_once():
    values = precisions([TRUE, TRUE, TRUE], [TRUE, "", TRUE])
    np.testing.assert_array_equal(values["action_precision"], [1, 0, 1])


def test_captions_of_any_captioner_are_scored_from_files(tmp_path, capsys):
    files = {"true": [TRUE, TRUE], "told": [TRUE, ""], "one": [TRUE], "odd": {"a": TRUE}}
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))

    def score_files(told):
        paths = ["--true", str(tmp_path / "true.json"), "--told", str(tmp_path / told)]
        with pytest.raises(SystemExit) as done:
            cli.main(["evaluate-captions", *paths])
        return done.value.code, capsys.readouterr()

    code, said = score_files("told.json")
    assert not code
    assert said.out.count("0.5000") == 2
    for name, reason in (("one.json", "1 captions, but"), ("odd.json", "not a list of captions"),
                         ("none.json", "not readable JSON")):  # fmt: skip
        code, said = score_files(name)
        assert code == 2
        assert reason in said.err and said.err.count("\n") == 1


def test_a_true_caption_must_be_one():
    with pytest.raises(LamdError, match="not a sentence of CATER-GEN"):
        precisions(["a cat sat on a mat."], [TRUE])
