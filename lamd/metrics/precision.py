"""How far clips do what their captions say: action and referring-expression precision.

The rules are those of CATER-GEN's own score (reported): captions of generated clips are held
against the true ones, sentence by sentence, hits over hits and misses of a clip, averaged over
clips.

    action      the kind of motion; for slide and pick-place also the place
    referring   each attribute of the subject and its shape; for contain also of what is inside

That a shape counts as an attribute is ours; version 1 names nothing else.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from lamd.base.errors import LamdError
from lamd.data.cater.captions import Move, Named, parse


def precisions(true: Sequence[str], told: Sequence[str]) -> dict[str, np.ndarray]:
    """Score N captions against the true ones.

    Args:
        true: captions by the data set's rules.
        told: of a captioner; a sentence that no rule makes says nothing.

    Returns:
        `action_precision` and `referring_expression_precision`, float64 (N,) in [0, 1].

    Raises:
        LamdError: when a true caption is none of the data set's.
        ValueError: when there are not as many of each.
    """
    scores = [_score(parse(a), _understood(b)) for a, b in zip(true, told, strict=True)]
    action, referring = np.array(scores, np.float64).reshape(-1, 2).T
    return {"action_precision": action, "referring_expression_precision": referring}


def _understood(caption: str) -> list[Move]:
    moves = []
    for sentence in caption.split("."):
        try:
            moves.extend(parse(sentence))
        except LamdError:
            continue
    return moves


def _score(true: Sequence[Move], told: Sequence[Move]) -> tuple[float, float]:
    """Pair the sentences for the most action hits, then the most referring hits."""
    action, referring = np.zeros((2, len(true), max(len(true), len(told))))
    for i, wanted in enumerate(true):
        for j, found in enumerate(told):
            action[i, j] = _hits(_of_action(wanted), _of_action(found))
            referring[i, j] = _hits(_of_objects(wanted), _of_objects(found))
    pairs = linear_sum_assignment(action + referring / (1 + referring.sum()), maximize=True)
    wanted_action = sum(len(_of_action(move)) for move in true)
    wanted_referring = sum(len(_of_objects(move)) for move in true)
    return action[pairs].sum() / wanted_action, referring[pairs].sum() / wanted_referring


def _of_action(move: Move) -> set[object]:
    place = move.target if move.action in ("slide", "pick_place") else None
    return {move.action} | ({place} if place is not None else set())


def _of_objects(move: Move) -> set[tuple[str, str]]:
    found = {("subject", word) for word in _words(move.subject)}
    if isinstance(move.target, Named):
        found |= {("inside", word) for word in _words(move.target)}
    return found


def _words(named: Named) -> tuple[str, ...]:
    return (named.shape, *named.attributes)


def _hits(wanted: set, found: set) -> int:
    return len(wanted & found)
