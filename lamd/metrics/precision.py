"""Action and referring-expression precision and recall: do clips follow their captions?

Captions of generated clips are compared with the true ones, sentence by sentence:

    action      the kind of motion; for slide and pick-place also the target
    referring   each attribute of the subject and its shape; for contain also of what is inside

Precision is that of MAGE's own script (`eval_precision.py` of Youncy-Hu/MAGE): the first two
sentences, the better of their pairings, a single miss where the motion is wrong, and none for a
true sentence without a partner. Recall is the share of all that the true caption says.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import permutations, product
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from lamd.base.errors import LamdError
from lamd.data.cater.captions import ATTRIBUTES, QUADRANTS, SHAPES, Move, Named, parse
from lamd.metrics.values import Inputs

Scores = tuple[float, float]  # action, referring expression
_WORD = re.compile(r"\( ?-?\d+ ?, ?-?\d+ ?\)|\w+")  # "(2, -1)" is one word
_NAMING = {*ATTRIBUTES, *SHAPES.values()}
_MOTIONS = {"sliding": "slide", "placed": "pick_place", "containing": "contain"}
_VERBS = {"rotating", "picked", *_MOTIONS}


def precision(true: str, predicted: str) -> Scores:
    """Return the precisions of a caption by MAGE's rules, in [0, 1].

    LamdError when the true caption is none of the data set's.
    """
    parse(true)
    sides = _sentences(true), _sentences(predicted)
    count = min(map(len, sides))
    scores = [(0.0, 0.0)]
    for a, b in product(*(permutations(side, count) for side in sides)) if count else ():
        hits, actions, named, names = np.sum(list(map(_count, a, b)), axis=0)
        scores.append((float(hits / actions), float(named / names)))
    return max(scores)


class _Sentence(NamedTuple):
    """A sentence as MAGE's script reads it, also one that the data set's rules do not make."""

    subject: list[str]
    motion: str | None
    target: list[str]  # the quadrant or cell; for contain the words for what is inside


def _sentences(caption: str) -> list[_Sentence]:
    texts = [text for text in caption.lower().split(".") if text.strip()]
    return [_read(_WORD.findall(text)) for text in texts[:2]]


def _read(words: list[str]) -> _Sentence:
    verbs = [i for i, word in enumerate(words) if word in _VERBS]
    first, last = (verbs[0], verbs[-1]) if verbs else (len(words), len(words))
    subject = [word for word in words[:first] if word in _NAMING]
    if words[first : first + 1] == ["rotating"]:
        return _Sentence(subject, "rotate", [])
    motion, after = _MOTIONS.get("".join(words[last : last + 1])), words[last + 1 :]
    if motion == "contain":
        return _Sentence(subject, motion, [word for word in after if word in _NAMING])
    ordinals = QUADRANTS if "quadrant" in after else ()
    places = [word.replace(" ", "") for word in after if word in ordinals or word[0] == "("]
    return _Sentence(subject, motion, places[:1])


def _count(true: _Sentence, said: _Sentence) -> tuple[int, int, int, int]:
    """Return the hits of the action, all that count there, and both of the referring expression."""
    named, names = sum(word in said.subject for word in true.subject), len(true.subject)
    if true.motion != said.motion:
        return 0, 1, named, names
    if true.motion == "contain":
        inside = sum(word in said.target for word in true.target)
        return 1, 1, named + inside, names + len(true.target)
    if true.motion == "rotate":
        return 1, 1, named, names
    return 1 + (true.target == said.target), 2, named, names


def recall(true: str, predicted: str) -> Scores:
    """Return the shares of a true caption that a predicted one says, in [0, 1].

    Sentences are paired one to one for the most action hits, then the most referring hits; one
    that the data set's rules do not make counts as empty. LamdError on such a true caption.
    """
    moves, understood = parse(true), _understood(predicted)
    action, referring = np.zeros((2, len(moves), max(len(moves), len(understood))))
    for i, a in enumerate(moves):
        for j, b in enumerate(understood):
            action[i, j] = len(_action(a) & _action(b))
            referring[i, j] = len(_objects(a) & _objects(b))
    pairs = linear_sum_assignment(action + referring / (1 + referring.sum()), maximize=True)
    all_action = sum(len(_action(move)) for move in moves)
    all_referring = sum(len(_objects(move)) for move in moves)
    return float(action[pairs].sum() / all_action), float(referring[pairs].sum() / all_referring)


def _understood(caption: str) -> list[Move]:
    moves: list[Move] = []
    for sentence in caption.split("."):
        with suppress(LamdError):
            moves.extend(parse(sentence))
    return moves


def _action(move: Move) -> set[object]:
    target = move.target if move.action in ("slide", "pick_place") else None
    return {move.action} if target is None else {move.action, target}


def _objects(move: Move) -> set[tuple[str, str]]:
    roles = {"subject": move.subject, "inside": move.target}
    return {
        (role, word)
        for role, named in roles.items()
        if isinstance(named, Named)
        for word in (named.shape, *named.attributes)
    }


def _measure(
    score: Callable[[str, str], Scores],
    index: int,
    real: Sequence[str],
    fake: Sequence[str],
    inputs: Inputs,
) -> np.ndarray:
    return np.array([score(a, b)[index] for a, b in zip(real, fake, strict=True)], np.float64)


action_precision = partial(_measure, precision, 0)
referring_expression_precision = partial(_measure, precision, 1)
action_recall = partial(_measure, recall, 0)
referring_expression_recall = partial(_measure, recall, 1)
