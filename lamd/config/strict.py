"""Strict models of plain data, and errors that name the file and line of a key."""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Self, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from lamd.base.errors import LamdError
from lamd.base.files import check_name
from lamd.config.plain import MOST_LEVELS


def _distinct(values: tuple) -> tuple:
    if not values or len(set(values)) != len(values):
        raise ValueError("needs entries, none of which may appear twice")
    return values


DISTINCT = AfterValidator(_distinct)
Name = Annotated[str, AfterValidator(check_name)]  # becomes part of a path
# Upper bounds, far above any use, refuse a mistyped number before the work.
Count = Annotated[int, Field(ge=1, le=10**9)]  # of what is only counted, such as training steps
Size = Annotated[int, Field(ge=1, le=2**16)]  # of what memory grows with, such as a batch
Layers = Annotated[int, Field(ge=0, le=1000)]
Scales = Annotated[tuple[Size, ...], Field(max_length=16)]  # channels of a network by scale
CountOrZero = Annotated[int, Field(ge=0, le=10**9)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
T = TypeVar("T")
Many = Annotated[tuple[T, ...], Field(fail_fast=True)]  # a million wrong entries are one problem


class Strict(BaseModel):
    """Base of all config models: frozen, unknown keys forbidden."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def known_keys(cls) -> set[str]:
        """Return the keys that a mistyped one may stand for."""
        return set(cls.model_fields)

    def problems(self) -> Iterator[str]:
        """Yield what is wrong between the fields: only the first problem is reported."""
        yield from ()

    @model_validator(mode="after")
    def _report_first_problem(self) -> Self:
        if problem := next(self.problems(), None):
            raise ValueError(problem)
        return self


@dataclass
class Tree:
    """Plain data, with the `file:line` that wrote each key; `source` stands in for keys without."""

    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[tuple[str, ...], str] = field(default_factory=dict)
    source: str = ""

    def at(self, *key: str) -> str:
        """Return the line of a key, or of the nearest key above it."""
        above = (key[:n] for n in range(len(key), 0, -1))
        return next((self.lines[part] for part in above if part in self.lines), self.source)

    def lay(self, overlay: "Tree") -> None:
        """Lay `overlay` over this tree; mappings are merged, all else is replaced."""
        _merge(self.data, overlay.data)
        self.lines.update(overlay.lines)

    def below(self, prefix: tuple[str, ...], data: dict[str, Any]) -> "Tree":
        """Return `data`, which was found under `prefix`, with its lines."""
        n = len(prefix)
        lines: dict[tuple[str, ...], str] = {(key,): self.at(*prefix, key) for key in data}
        lines |= {key[n:]: at for key, at in self.lines.items() if key[:n] == prefix and key[n:]}
        return Tree(data, lines, self.at(*prefix))


def _merge(tree: dict, overlay: dict) -> None:
    for key, value in overlay.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = value


def nest(key: str, value: Any, at: str) -> Tree:
    """Return the tree that `a.b.c` = `value` means, and `at` as the line of its keys."""
    parts = tuple(key.split("."))
    if len(parts) > MOST_LEVELS:
        raise LamdError(f"{at}: a key of more than {MOST_LEVELS} levels; correct it")
    for part in reversed(parts):
        value = {part: value}
    return Tree(value, {parts[: i + 1]: at for i in range(len(parts))}, at)


def explain(error: ValidationError, kind: type[Strict], tree: Tree) -> str:
    """Return one line: file:line, key and reason."""
    # A mistyped key is unknown under its name and missing under the right one: report the first.
    first = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    model, path = _locate(kind, first["loc"])
    at, key = tree.at(*path), ".".join(path)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        if path[-1] in model.known_keys():  # of another data set
            return f"{at}: key {key!r} has no meaning here; delete it, or set it to null{more}"
        hint = closest(path[-1], model.known_keys())
        return f"{at}: unknown key {key!r}{hint}; rename or delete it{more}"
    if first["type"] == "missing":
        return f"{at}: missing key {key!r}; add it{more}"
    reason = first["msg"].removeprefix("Value error, ")
    got = "" if first["type"] == "value_error" else f", got {first['input']!r:.100}"
    if first["type"] == "literal_error":  # its `expected` is the words, quoted
        got += closest(str(first["input"]), re.findall(r"'([^']+)'", first["ctx"]["expected"]))
    return f"{at}: {key + ': ' if key else ''}{reason}{got}; fix the value{more}"


def _locate(kind: type[Strict], loc: Sequence[str | int]) -> tuple[type[Strict], list[str]]:
    """Return the model that an error's key belongs to, and the key's path in the YAML."""
    model, path = kind, []
    options: list[type[Strict]] = []
    for part in map(str, loc):
        if part == "[key]":  # pydantic's mark of a wrong key of a mapping
            continue
        if len(options) > 1:  # of a tagged union, whose tag is in no YAML path
            model = next(m for m in options if part in get_args(m.model_fields["name"].annotation))
            options = []
            continue
        path.append(part)
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        types = [a for a in (annotation, *get_args(annotation)) if isinstance(a, type)]
        options = [a for a in types if issubclass(a, Strict)]
        if len(options) == 1:
            model = options[0]
    return model, path


def closest(word: str, known: Iterable[str]) -> str:
    """Return `, did you mean 'x'?` for the known word nearest to `word`, if any is near."""
    match = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {match[0]!r}?" if match else ""
