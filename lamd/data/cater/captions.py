"""CATER-GEN's captions: one sentence per moving object, about its first recorded move (reported).

    the [size color material] shape is sliding to X.
    the [size color material] shape is picked up and placed to X.
    the [size color material] shape is picked up and containing the [...] shape.
    the [size color material] shape is rotating.

X is where the object is in the last frame of the scene: "the first quadrant" in ambiguous
captions, "(2, -1)" in explicit ones. Version 1 names shapes only. In version 2 an explicit caption
says all attributes, an ambiguous one a random few of them in random order. Wording and rules are
those of the script that made the data set (`data/gen_cater_text_anno.py` of Youncy-Hu/MAGE).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from lamd.base.errors import LamdError

Mode = Literal["ambiguous", "explicit"]
MODES: tuple[Mode, ...] = ("ambiguous", "explicit")
SIZES = ("small", "medium", "large")
COLORS = ("gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow", "gold")
MATERIALS = ("rubber", "metal")
ATTRIBUTES = (*SIZES, *COLORS, *MATERIALS)
# in a scene, in a caption
SHAPES = {shape: shape for shape in ("cube", "sphere", "cylinder", "cone")} | {"spl": "snitch"}
QUADRANTS = ("first", "second", "third", "fourth")
MOST_CHARACTERS = 4096  # of a caption; ten objects with all attributes have 1,000
HALF_WIDTH = 3  # objects are in [-3, 3] x [-3, 3]
# MAGE's vocabularies by version; no sentence of the script has the last three words of `v2`
_SHARED = {
    "the", "cone", "snitch", "is", "sliding", "picked", "placed", "containing", "rotating", "and",
    "to", "up", "quadrant", *QUADRANTS, "(", ")", ",", ".", "1", "2", "3", "-1", "-2", "-3",
}  # fmt: skip
_V2_WORDS = {*SHAPES.values(), *ATTRIBUTES, "while", "contained", "still"}
WORDS: dict[str, frozenset[str]] = {
    "v1": frozenset(_SHARED), "v2": frozenset(_SHARED | _V2_WORDS),
}  # fmt: skip

Action = Literal["slide", "pick_place", "contain", "rotate"]
_NAMED = rf"the (?:(?:{'|'.join(ATTRIBUTES)}) )*(?:{'|'.join(SHAPES.values())})"
_PLACE = rf" (the (?:{'|'.join(QUADRANTS)}) quadrant|\(-?[123], -?[123]\))"
_RULES: dict[Action, tuple[str, str]] = {  # words after "is", pattern of the target
    "slide": ("sliding to", _PLACE),
    "pick_place": ("picked up and placed to", _PLACE),
    "contain": ("picked up and containing", rf" ({_NAMED})"),
    "rotate": ("rotating", "()"),
}
_SENTENCES = {
    action: re.compile(f"({_NAMED}) is {words}{target}")
    for action, (words, target) in _RULES.items()
}
# as a decoded caption has it
_SPACED_CELL = re.compile(r"\( ?(-?[123]) ?, ?(-?[123]) ?\)")


@dataclass(frozen=True)
class Named:
    """An object as a caption names it: `attributes` in the order in which they are said."""

    shape: str
    attributes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join(("the", *self.attributes, self.shape))


@dataclass(frozen=True)
class Move:
    """The move of one object.

    `target` is a quadrant or cell as a caption names it for `slide` and `pick_place`, the object
    inside for `contain`, and None for `rotate`.
    """

    subject: Named
    action: Action
    target: str | Named | None = None

    def __str__(self) -> str:
        target = "" if self.target is None else f" {self.target}"
        return f"{self.subject} is {_RULES[self.action][0]}{target}."


def parse(text: str) -> tuple[Move, ...]:
    """Read a caption, whatever its spaces and capitals; LamdError on a sentence without a rule."""
    sentences = (" ".join(sentence.lower().split()) for sentence in text.split("."))
    return tuple(_parse_sentence(sentence) for sentence in sentences if sentence)


def _parse_sentence(sentence: str) -> Move:
    published = _SPACED_CELL.sub(r"(\1, \2)", sentence)
    for action, pattern in _SENTENCES.items():
        if match := pattern.fullmatch(published):
            subject, target = match.groups()
            inside = _parse_named(target) if action == "contain" else target or None
            return Move(_parse_named(subject), action, inside)
    raise LamdError(f"caption {sentence[:80]!r}: not a sentence of CATER-GEN; correct it")


def _parse_named(text: str) -> Named:
    _, *attributes, shape = text.split()
    return Named(shape, tuple(attributes))


def describes(said: Move, true: Move) -> bool:
    """Return whether `said` is `true`, some of an object's attributes perhaps left out."""

    def names(named: object, actual: object) -> bool:
        if isinstance(named, Named) and isinstance(actual, Named):
            attributes = set(named.attributes) <= set(actual.attributes)
            return named.shape == actual.shape and attributes
        return named == actual

    same_action = said.action == true.action
    return same_action and names(said.subject, true.subject) and names(said.target, true.target)


def quadrant_of(x: float, y: float) -> str:
    """Return the quarter of the ground, counter-clockwise from x >= 0, y >= 0, of a point."""
    number = (0 if x >= 0 else 1) if y >= 0 else (3 if x >= 0 else 2)
    return f"the {QUADRANTS[number]} quadrant"


def cell_of(x: float, y: float) -> str:
    """Return the unit square of a point in [-3, 3]²: numbers -3 to 3 without 0."""
    # there is no cell 0; an integer at or below 0 belongs to the cell further out
    cells = (math.ceil(v - 1 if -HALF_WIDTH < v <= 0 else v) for v in (x, y))
    return "({}, {})".format(*cells)


def moves_of(scene: Mapping[str, Any], mode: Mode) -> tuple[Move, ...]:
    """Return the first move, if not `_no_op`, of each object of a CATER scene, all attributes said.

    LamdError when `scene` is not what CATER writes.
    """
    try:
        objects = {thing["instance"]: thing for thing in scene["objects"]}
        moves = []
        for instance, recorded in scene["movements"].items():
            if recorded and recorded[0][0] != "_no_op":
                action, other, *_ = recorded[0]
                moves.append(_move(objects[instance], action, objects.get(other), mode))
        return tuple(moves)
    except (KeyError, TypeError, IndexError, ValueError, AttributeError, OverflowError) as error:
        raise LamdError(
            f"scene {scene.get('image_filename') if isinstance(scene, Mapping) else scene!r}: "
            f"not one of CATER's ({type(error).__name__}: {error}); get it again"
        ) from None


def _move(thing: Mapping[str, Any], action: str, other: Mapping | None, mode: Mode) -> Move:
    subject = _named(thing)
    match action:
        case "_rotate":
            return Move(subject, "rotate")
        case "_contain" if other is not None:
            return Move(subject, "contain", _named(other))
        case "_slide" | "_pick_place":
            locations = thing["locations"]
            x, y, _ = locations[str(len(locations) - 1)]
            target = quadrant_of(x, y) if mode == "ambiguous" else cell_of(x, y)
            return Move(subject, "slide" if action == "_slide" else "pick_place", target)
    raise ValueError(f"movement {action!r} with {other!r}")


def _named(thing: Mapping[str, Any]) -> Named:
    return Named(SHAPES[thing["shape"]], (thing["size"], thing["color"], thing["material"]))


def scene_caption(
    scene: Mapping[str, Any], version: str, mode: Mode, rng: np.random.Generator
) -> str:
    """Describe the moves of `scene` by the rules of a data set `version` (`v1` or `v2`).

    Only ambiguous captions of version 2 draw from `rng`. LamdError as of `moves_of`.
    """

    def shortened(named: Any) -> Any:
        if not isinstance(named, Named) or (version == "v2" and mode == "explicit"):
            return named
        if version == "v1":
            return Named(named.shape)
        # 0 to 3 attributes, each count equally likely
        kept = rng.permutation(len(named.attributes))[: rng.integers(0, 4)]
        return replace(named, attributes=tuple(named.attributes[i] for i in kept))

    moves = moves_of(scene, mode)
    said = (Move(shortened(move.subject), move.action, shortened(move.target)) for move in moves)
    return " ".join(map(str, said))
