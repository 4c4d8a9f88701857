"""Action and referring-expression precision: how well clips follow their captions.

The rules are those of CATER-GEN's own score (reported): captions of generated clips are compared
with the true ones, sentence by sentence, hits over hits and misses of a clip, averaged over clips.

    action      the kind of motion; for slide and pick-place also the target
    referring   each attribute of the subject and its shape; for contain also of what is inside

That a shape counts as an attribute is our choice.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import numpy as np
from scipy.optimize import linear_sum_assignment

from lamd.base.errors import LamdError
from lamd.data.cater.captions import Move, Named, parse
from lamd.metrics.values import Inputs


def precisions(true: Sequence[str], predicted: Sequence[str]) -> dict[str, np.ndarray]:
    """Return `action_precision` and `referring_expression_precision`, float64 (N,) in [0, 1].

    In the captions `predicted` a sentence that the data set's rules do not make counts as empty.

    Raises:
        LamdError: when a true caption is none of the data set's.
        ValueError: when their numbers differ.
    """
    scores = [_score(parse(a), _understood(b)) for a, b in zip(true, predicted, strict=True)]
    action, referring = np.array(scores, np.float64).reshape(-1, 2).T
    return {"action_precision": action, "referring_expression_precision": referring}


def _measure(name: str, real: Sequence[str], fake: Sequence[str], inputs: Inputs) -> np.ndarray:
    return precisions(real, fake)[name]


action_precision = partial(_measure, "action_precision")
referring_expression_precision = partial(_measure, "referring_expression_precision")


def _understood(caption: str) -> list[Move]:
    moves: list[Move] = []
    for sentence in caption.split("."):
        with suppress(LamdError):
            moves.extend(parse(sentence))
    return moves


def _score(true: Sequence[Move], predicted: Sequence[Move]) -> tuple[float, float]:
    """Pair the sentences for the most action hits, then the most referring hits."""
    action, referring = np.zeros((2, len(true), max(len(true), len(predicted))))
    for i, a in enumerate(true):
        for j, b in enumerate(predicted):
            action[i, j] = len(_action(a) & _action(b))
            referring[i, j] = len(_objects(a) & _objects(b))
    pairs = linear_sum_assignment(action + referring / (1 + referring.sum()), maximize=True)
    all_action = sum(len(_action(move)) for move in true)
    all_referring = sum(len(_objects(move)) for move in true)
    return action[pairs].sum() / all_action, referring[pairs].sum() / all_referring


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
