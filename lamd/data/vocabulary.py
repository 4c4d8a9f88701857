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

Kind = Literal["text", "class"]
PAD, START, END = "[PAD]", "[CLS]", "[SEP]"
_SPECIAL: dict[Kind, tuple[str, ...]] = {"text": (PAD, START, END), "class": (PAD,)}
_TOKEN = re.compile(r"[^\W\d_]+|-?\d+|[^\w\s]|_")


def tokenize(caption: str) -> list[str]:
    """Split a caption into lower-case words, integers with their sign, and punctuation."""
    return _TOKEN.findall(caption.lower())


@dataclass(frozen=True)
class Vocabulary:
    """All tokens in the order of their numbers.

    PAD is number 0; alone it is the empty condition. Of kind `text` a token is a word, and START
    and END follow PAD; of kind `class` it is a whole label, spaces included.
    """

    kind: Kind
    tokens: tuple[str, ...]

    @classmethod
    def build(cls, kind: Kind, conditions: Iterable[str]) -> Self:
        """Collect the tokens of the training split's captions or labels, in alphabetical order."""
        if kind == "class":
            return cls(kind, (PAD, *sorted(set(conditions))))
        words = {word for caption in conditions for word in tokenize(caption)}
        return cls(kind, (PAD, START, END, *sorted(words)))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            LamdError: when it is something else.
        """
        try:
            fields = json.loads(text)
            kind, tokens = fields["kind"], fields["tokens"]
            sound = kind in ("text", "class") and len(set(tokens)) == len(tokens) > 0
            if not sound or not all(isinstance(token, str) for token in tokens):
                raise ValueError("kind or tokens are wrong")
            if tokens[: len(_SPECIAL[kind])] != [*_SPECIAL[kind]]:
                raise ValueError("special tokens are missing")
        except (ValueError, TypeError, KeyError) as error:
            raise LamdError(f"vocabulary: damaged ({error}); train again") from None
        return cls(kind, tuple(tokens))

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

        A caption is START, its words, END, and PAD up to `max_tokens`.

        Raises:
            LamdError: on an unknown word or label, and on an empty or too long caption.
        """
        if self.kind == "class":
            return np.array([self._number(condition, condition)])
        words = tokenize(condition)
        if not words:
            raise LamdError("caption: empty; say what moves")
        numbers = [self._numbers[START], *(self._number(w, condition) for w in words)]
        numbers.append(self._numbers[END])
        if len(numbers) > max_tokens:
            raise LamdError(
                f"caption {_short(condition)!r}: {len(numbers)} tokens with start and end,"
                f" at most {max_tokens} are allowed; shorten it"
            )
        numbers += [self._numbers[PAD]] * (max_tokens - len(numbers))
        return np.array(numbers)

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
