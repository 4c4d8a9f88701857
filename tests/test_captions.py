import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamd.base.errors import LamdError
from lamd.data.cater.captions import (
    COLORS,
    MATERIALS,
    MODES,
    QUADRANTS,
    SHAPES,
    SIZES,
    Move,
    Named,
    cell_of,
    describes,
    moves_of,
    parse,
    quadrant_of,
    scene_caption,
)
from lamd.data.vocabulary import END, PAD, START, Vocabulary, tokenize

THINGS = {"shape": sorted(SHAPES), "size": SIZES, "color": COLORS, "material": MATERIALS}
ACTIONS = ("_slide", "_pick_place", "_rotate", "_contain", "_no_op", None)


def scene_of(numbers):
    """Read a scene in CATER's schema off random bytes, seven an object; physics does not matter."""
    objects, movements = [], {}
    for i in range(len(numbers) // 7):
        *attributes, action, x, y = numbers[7 * i : 7 * i + 7]
        name, kind = f"Object_{i}", ACTIONS[action % len(ACTIONS)]
        chosen = {
            key: values[n % len(values)]
            for n, (key, values) in zip(attributes, THINGS.items(), strict=True)
        }
        places = {"0": [0, 0, 0.5], "1": [x / 42.5 - 3, y / 42.5 - 3, 0.5]}
        objects.append({"instance": name, **chosen, "locations": places})
        other = f"Object_{x % (i + 1)}" if kind == "_contain" else None
        movements[name] = [[kind, other, 0, 20], ["_slide", None, 30, 50]] if kind else []
    return {"objects": objects, "movements": movements}


@settings(max_examples=500, deadline=None)
@given(st.binary(min_size=7, max_size=8 * 7), st.integers(0, 2**32))
def test_captions_survive_the_round_trip(numbers, seed):
    scene = scene_of(numbers)
    explicit = parse(scene_caption(scene, "v2", "explicit", np.random.default_rng(seed)))
    assert explicit == moves_of(scene, "explicit")
    for version in ("v1", "v2"):
        text = scene_caption(scene, version, "ambiguous", np.random.default_rng(seed))
        said, true = parse(text), moves_of(scene, "ambiguous")
        assert " ".join(map(str, said)) == text
        assert len(said) == len(true)
        assert all(map(describes, said, true))
        assert version == "v2" or not any(move.subject.attributes for move in said)


def test_sentences_are_the_published_ones():
    # shown by the authors of two methods trained on CATER-GEN
    text = (
        "the medium green rubber cone is picked up and containing the small gold metal snitch. "
        "the large purple rubber cone is picked up and placed to (-1, 3)."
    )
    moves = parse(text)
    assert moves == (
        Move(
            Named("cone", ("medium", "green", "rubber")),
            "contain",
            Named("snitch", ("small", "gold", "metal")),
        ),
        Move(Named("cone", ("large", "purple", "rubber")), "pick_place", "(-1, 3)"),
    )
    assert " ".join(map(str, moves)) == text
    assert parse(" The Cone  is sliding to the  third quadrant .") == (
        Move(Named("cone"), "slide", "the third quadrant"),
    )


@pytest.mark.parametrize(
    "sentence",
    [
        "the cone is flying.",
        "the cone is sliding to.",
        "the cone is sliding to (0, 1).",
        "the cone is sliding to the snitch.",
        "the cone is picked up and containing (1, 1).",
        "the cone is rotating the snitch.",
        "the cone is rotating banana.",
        "cone is rotating.",
        "the plaid cone is rotating.",
    ],
)
def test_other_sentences_are_refused_in_one_line(sentence):
    with pytest.raises(LamdError, match=r"caption .*not a sentence of CATER-GEN") as caught:
        parse(sentence)
    assert "\n" not in str(caught.value)


def test_places():
    signs = [(1, 1), (-1, 1), (-1, -1), (1, -1)]
    names = [f"the {name} quadrant" for name in QUADRANTS]
    assert [quadrant_of(x, y) for x, y in signs] == names
    assert quadrant_of(0.0, 0.0) == names[0]
    values = [-3, -2.5, -2, -0.5, 0, 0.5, 1, 1.5, 3]
    cells = [-3, -3, -3, -1, -1, 1, 1, 2, 3]
    assert [cell_of(v, 1) for v in values] == [f"({x}, 1)" for x in cells]


def test_caption_names_its_own_moves_only():
    true = parse("the small red metal cone is sliding to (1, 2).")[0]
    for said, right in {
        "the red cone is sliding to (1, 2).": True,
        "the blue cone is sliding to (1, 2).": False,
        "the red cube is sliding to (1, 2).": False,
        "the red cone is sliding to (1, 1).": False,
        "the red cone is picked up and placed to (1, 2).": False,
        "the red cone is rotating.": False,
    }.items():
        assert describes(parse(said)[0], true) == right


def test_ambiguous_captions_keep_none_to_all_attributes():
    thing = {"instance": "a", "shape": "cube", "size": "large", "color": "red", "material": "metal"}
    scene = {"objects": [thing], "movements": {"a": [["_rotate", None, 0, 20]]}}
    rng = np.random.default_rng(0)
    texts = {scene_caption(scene, "v2", "ambiguous", rng) for _ in range(400)}
    assert len(texts) == 1 + 3 + 6 + 6


@pytest.mark.parametrize(
    "scene",
    [
        {},
        [],
        {"objects": [], "movements": {"a": [["_slide", None, 0, 1]]}},
        {"objects": [{"instance": "a"}], "movements": {"a": [["_rotate", None, 0, 1]]}},
        {"objects": [{"instance": "a", "shape": "cone", "size": "small", "color": "red",
                      "material": "metal"}],
         "movements": {"a": [["_contain", None, 0, 1]]}},
    ],
)  # fmt: skip
@pytest.mark.parametrize("mode", MODES)
def test_a_broken_scene_is_one_line(scene, mode):
    with pytest.raises(LamdError, match="not one of CATER's"):
        moves_of(scene, mode)


CAPTION = "the cone is sliding to (2, -1). the snitch is rotating."


def test_tokens_keep_the_sign_of_a_cell():
    assert tokenize(CAPTION)[4:12] == ["to", "(", "2", ",", "-1", ")", ".", "the"]


def test_encoding_and_json_round_trip():
    vocabulary = Vocabulary.build("text", [CAPTION])
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary
    numbers = vocabulary.encode(CAPTION, 20)
    assert numbers.dtype == np.int64
    words = [vocabulary.tokens[n] for n in numbers]
    assert words == [START, *tokenize(CAPTION), END, PAD, PAD]
    assert numbers[0] == vocabulary.start
    assert parse(vocabulary.decode(numbers)) == parse(CAPTION)
    assert vocabulary.decode([0, 0]) == ""


def test_the_vocabulary_does_not_depend_on_order():
    captions = ["the cone is rotating.", "the snitch is sliding to (1, 2)."]
    assert Vocabulary.build("text", captions) == Vocabulary.build("text", captions[::-1])


def test_labels_are_one_token_each():
    vocabulary = Vocabulary.build("class", ["thumbs up", "all clear", "thumbs up"])
    assert vocabulary.tokens == (PAD, "all clear", "thumbs up")
    assert vocabulary.encode("thumbs up", 1).tolist() == [2]
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary
    with pytest.raises(LamdError, match=r"class 'thumb up': unknown; the nearest are thumbs up"):
        vocabulary.encode("thumb up", 1)
    with pytest.raises(LamdError, match=r"class '\[PAD\]': unknown"):
        vocabulary.encode(PAD, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("the con is rotating.", r"unknown word 'con'; the nearest are cone"),
        ("the zzz is rotating.", r"unknown word 'zzz'; use \(, \), "),
        ("the [PAD] is rotating.", r"unknown word '\['"),
        (" \n", "caption: empty"),
        (CAPTION, r"18 tokens with start and end, at most 12 are allowed"),
    ],
)
def test_a_caption_that_cannot_be_encoded_is_one_line(text, message):
    vocabulary = Vocabulary.build("text", [CAPTION])
    with pytest.raises(LamdError, match=message) as caught:
        vocabulary.encode(text, 12)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"kind": "text", "tokens": ["a"]}', '{"kind": "x", "tokens": ["a"]}',
     '{"kind": "class", "tokens": ["a", "a"]}', json.dumps({"kind": "class", "tokens": [1]})],
)  # fmt: skip
def test_a_damaged_vocabulary_is_one_line(text):
    with pytest.raises(LamdError, match=r"^vocabulary: .*; train again$"):
        Vocabulary.from_json(text)
