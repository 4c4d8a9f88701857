"""The closed vocabulary of a data set's conditions: words of captions, or class labels."""

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Literal, Self

import numpy as np

from lamd.base.errors import LamdError
from lamd.base.files import parse_json

Kind = Literal["text", "class"]
PAD, START, END = "[PAD]", "[CLS]", "[SEP]"
_SPECIAL: dict[Kind, tuple[str, ...]] = {"text": (PAD, START, END), "class": (PAD,)}
_TOKEN = re.compile(r"[^\W\d_]+|-?\d+|[^\w\s]|_")


def tokenize(caption: str) -> list[str]:
    """Split a caption into lower-case words, integers with their sign, and punctuation."""
    return _TOKEN.findall(caption.lower())


@dataclass(frozen=True)
class Vocabulary:
    """All tokens in the order of their numbers, PAD first; alone it is the empty condition.

    Of kind `text` a token is a word, and START and END follow PAD; of kind `class` a whole label.
    """

    kind: Kind
    tokens: tuple[str, ...]

    @classmethod
    def build(cls, kind: Kind, conditions: Iterable[str]) -> Self:
        """Collect the tokens of the training split's captions or labels, in alphabetical order."""
        tokens = set(conditions)
        if kind == "text":
            tokens = {word for caption in tokens for word in tokenize(caption)}
        return cls(kind, (*_SPECIAL[kind], *sorted(tokens)))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read JSON that `to_json` wrote; LamdError when it is something else."""
        vocabulary = parse_json(text, cls, "vocabulary", "train again")
        special, tokens = _SPECIAL[vocabulary.kind], vocabulary.tokens
        if tokens[: len(special)] != special or len(set(tokens)) != len(tokens):
            raise LamdError(
                "vocabulary: special tokens are missing or tokens are repeated; train again"
            )
        return vocabulary

    def to_json(self) -> str:
        """Return the vocabulary as JSON."""
        return json.dumps(asdict(self))

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens)}

    def encode(self, condition: str, max_tokens: int) -> np.ndarray:
        """Return token numbers, int64: (1,) for a label; (max_tokens,) for a caption.

        A caption is START, its words, END, and PAD up to `max_tokens`. LamdError on an unknown word
        or label, and on an empty or too long caption.
        """
        if self.kind == "class":
            return np.array([self._number(condition, condition)])
        words = [self._number(word, condition) for word in tokenize(condition)]
        if not words:
            raise LamdError("caption: empty; say what moves")
        padding = max_tokens - len(words) - 2
        if padding < 0:
            raise LamdError(
                f"caption {_short(condition)!r}: {len(words) + 2} tokens with start and end,"
                f" at most {max_tokens} are allowed; shorten it"
            )
        return np.array([self.start, *words, self._numbers[END], *[self._numbers[PAD]] * padding])

    def decode(self, numbers: Sequence[int]) -> str:
        """Return the words between START and the first END, a space between any two."""
        words = [self.tokens[number] for number in numbers]
        end = words.index(END) if END in words else len(words)
        return " ".join(word for word in words[:end] if word not in _SPECIAL[self.kind])

    @property
    def start(self) -> int:
        """The number of START, with which a caption begins."""
        return self._numbers[START]

    def _number(self, token: str, condition: str) -> int:
        if token in self._numbers and token not in _SPECIAL[self.kind]:
            return self._numbers[token]
        known = self.tokens[len(_SPECIAL[self.kind]) :]
        nearest = difflib.get_close_matches(token, known, n=3, cutoff=0.5)
        hint = f"the nearest are {', '.join(nearest)}" if nearest else f"use {', '.join(known)}"
        if self.kind == "class":
            raise LamdError(f"class {_short(token)!r}: unknown; {hint}")
        raise LamdError(f"caption {_short(condition)!r}: unknown word {_short(token)!r}; {hint}")


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
