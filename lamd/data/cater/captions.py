"""CATER-GEN's captions: one sentence a moving object, told by its first recorded move (reported).

    the [size color material] shape is sliding to X.
    the [size color material] shape is picked up and placed to X.
    the [size color material] shape is picked up and containing the [...] shape.
    the [size color material] shape is rotating.

X is where the object lies in the last frame of the scene: "the first quadrant" in ambiguous
captions, "(2, -1)" in explicit ones. Version 1 names shapes only. In version 2 an explicit caption
says all attributes, an ambiguous one a random few of them in random order. Wording and rules are
those of the script that made the data set (`data/gen_cater_text_anno.py` of Youncy-Hu/MAGE).
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from lamd.base.errors import LamdError

Mode = Literal["ambiguous", "explicit"]
MODES = ("ambiguous", "explicit")
SIZES = ("small", "medium", "large")
COLORS = ("gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow", "gold")
MATERIALS = ("rubber", "metal")
ATTRIBUTES = (*SIZES, *COLORS, *MATERIALS)
SHAPES = {  # in a scene, in a caption
    "cube": "cube",
    "sphere": "sphere",
    "cylinder": "cylinder",
    "cone": "cone",
    "spl": "snitch",
}
QUADRANTS = ("first", "second", "third", "fourth")
HALF_WIDTH = 3  # objects lie in [-3, 3] x [-3, 3]

Action = Literal["slide", "pick_place", "contain", "rotate"]
_PHRASES: dict[Action, str] = {
    "slide": "sliding to",
    "pick_place": "picked up and placed to",
    "contain": "picked up and containing",
    "rotate": "rotating",
}
_ACTIONS = {phrase: action for action, phrase in _PHRASES.items()}
_NAMED = rf"the (?:(?:{'|'.join(ATTRIBUTES)}) )*(?:{'|'.join(SHAPES.values())})"
_SENTENCE = re.compile(
    rf"(?P<subject>{_NAMED}) is (?P<phrase>{'|'.join(_ACTIONS)})(?: (?P<target>.+))?"
)
_QUADRANT = re.compile(rf"the ({'|'.join(QUADRANTS)}) quadrant")
_CELL = re.compile(r"\( ?(-?[123]) ?, ?(-?[123]) ?\)")


@dataclass(frozen=True)
class Named:
    """An object as a caption names it: `attributes` in the order in which they are said."""

    shape: str
    attributes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join(("the", *self.attributes, self.shape))


@dataclass(frozen=True)
class Quadrant:
    """A quarter of the ground, 1 to 4, counter-clockwise from x >= 0, y >= 0."""

    number: int

    def __str__(self) -> str:
        return f"the {QUADRANTS[self.number - 1]} quadrant"


@dataclass(frozen=True)
class Cell:
    """A unit square of the ground: x and y each -3 to 3 without 0."""

    x: int
    y: int

    def __str__(self) -> str:
        return f"({self.x}, {self.y})"


@dataclass(frozen=True)
class Move:
    """What one object does.

    `target` is a place for `slide` and `pick_place`, the object inside for `contain`, and None for
    `rotate`.
    """

    subject: Named
    action: Action
    target: Quadrant | Cell | Named | None = None

    def __str__(self) -> str:
        target = "" if self.target is None else f" {self.target}"
        return f"{self.subject} is {_PHRASES[self.action]}{target}."


def caption(moves: Iterable[Move]) -> str:
    """Say `moves`, a sentence each."""
    return " ".join(map(str, moves))


def parse(text: str) -> tuple[Move, ...]:
    """Read a caption: the inverse of `caption`; spaces and capitals do not matter.

    Raises:
        LamdError: on a sentence that no rule makes.
    """
    sentences = (" ".join(sentence.lower().split()) for sentence in text.split("."))
    return tuple(_parse_sentence(sentence) for sentence in sentences if sentence)


def _parse_sentence(sentence: str) -> Move:
    if match := _SENTENCE.fullmatch(sentence):
        action = _ACTIONS[match["phrase"]]
        target = _parse_target(match["target"]) if match["target"] else None
        wanted = {"contain": Named, "rotate": type(None)}.get(action, Quadrant | Cell)
        if isinstance(target, wanted) and (target is not None or not match["target"]):
            return Move(_parse_named(match["subject"]), action, target)
    raise LamdError(f"caption {sentence[:80]!r}: not a sentence of CATER-GEN; correct or remove it")


def _parse_target(text: str) -> Quadrant | Cell | Named | None:
    if match := _QUADRANT.fullmatch(text):
        return Quadrant(QUADRANTS.index(match[1]) + 1)
    if match := _CELL.fullmatch(text):
        return Cell(int(match[1]), int(match[2]))
    return _parse_named(text) if re.fullmatch(_NAMED, text) else None


def _parse_named(text: str) -> Named:
    _, *attributes, shape = text.split()
    return Named(shape, tuple(attributes))


def tells(said: Move, true: Move) -> bool:
    """Tell whether `said` is `true`, some of an object's attributes perhaps left out."""
    pairs = [(said.subject, true.subject)]
    if isinstance(said.target, Named) and isinstance(true.target, Named):
        pairs.append((said.target, true.target))
    elif said.target != true.target:
        return False
    return said.action == true.action and all(
        one.shape == other.shape and set(one.attributes) <= set(other.attributes)
        for one, other in pairs
    )


def quadrant_of(x: float, y: float) -> Quadrant:
    """Return the quadrant of a point of the ground."""
    if y >= 0:
        return Quadrant(1 if x >= 0 else 2)
    return Quadrant(4 if x >= 0 else 3)


def cell_of(x: float, y: float) -> Cell:
    """Return the cell of a point of the ground in [-3, 3]²."""
    return Cell(_cell(x), _cell(y))


def _cell(value: float) -> int:
    # there is no cell 0; an integer at or below 0 belongs to the cell further out
    return math.ceil(value - 1 if -HALF_WIDTH < value <= 0 else value)


def moves_of(scene: Mapping[str, Any], mode: Mode) -> tuple[Move, ...]:
    """Return the first recorded move of each moving object of a CATER scene, with all attributes.

    An object whose first move is `_no_op` is not told about.

    Raises:
        LamdError: when `scene` is not what CATER writes.
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
            place = quadrant_of(x, y) if mode == "ambiguous" else cell_of(x, y)
            return Move(subject, "slide" if action == "_slide" else "pick_place", place)
    raise ValueError(f"movement {action!r} with {other!r}")


def _named(thing: Mapping[str, Any]) -> Named:
    return Named(SHAPES[thing["shape"]], (thing["size"], thing["color"], thing["material"]))


def scene_caption(
    scene: Mapping[str, Any], version: str, mode: Mode, rng: np.random.Generator
) -> str:
    """Say the moves of `scene` by the rules of a data set `version` (`v1` or `v2`).

    Only ambiguous captions of version 2 draw from `rng`.

    Raises:
        LamdError: when `scene` is not what CATER writes.
    """

    def told(named: Named) -> Named:
        if version == "v1":
            return Named(named.shape)
        if mode == "explicit":
            return named
        # 0 to 3 attributes, each count equally likely
        kept = rng.permutation(len(named.attributes))[: rng.integers(0, 4)]
        return replace(named, attributes=tuple(named.attributes[i] for i in kept))

    moves = []
    for move in moves_of(scene, mode):
        subject = told(move.subject)
        target = told(move.target) if isinstance(move.target, Named) else move.target
        moves.append(Move(subject, move.action, target))
    return caption(moves)
