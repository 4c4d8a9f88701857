"""Trees of plain data: overlays, and errors that name the file and line of a key."""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

Where = dict[tuple[str, ...], str]  # key path -> "file:line"


def merge(tree: dict, overlay: dict) -> None:
    """Lay `overlay` over `tree`; mappings are merged, all else is replaced."""
    for key, value in overlay.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            merge(tree[key], value)
        else:
            tree[key] = value


def nest(key: str, value: Any, at: str) -> tuple[dict, Where]:
    """Return the tree that `a.b.c` = `value` stands for, and `at` as the place of its keys."""
    parts, tree = tuple(key.split(".")), value
    for part in reversed(parts):
        tree = {part: tree}
    return tree, {parts[: i + 1]: at for i in range(len(parts))}


def explain(error: ValidationError, kind: type[BaseModel], where: Where, elsewhere: str) -> str:
    """Return one line: place, key and reason; `elsewhere` is the place of keys not in `where`."""
    # A mistyped key is unknown under its name and missing under the right one: tell the first.
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    model, loc = _locate(kind, first["loc"])
    at = next((where[loc[:n]] for n in range(len(loc), 0, -1) if loc[:n] in where), elsewhere)
    key = ".".join(loc)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        hint = closest(loc[-1], model.model_fields)
        return f"{at}: unknown key {key!r}{hint}; rename or delete it{more}"
    if first["type"] == "missing":
        return f"{at}: missing key {key!r}; add it{more}"
    reason = first["msg"].removeprefix("Value error, ")
    shown = "" if first["type"] == "value_error" else f", got {first['input']!r}"
    if first["type"] == "literal_error":  # its `expected` is the words, quoted
        shown += closest(str(first["input"]), re.findall(r"'([^']+)'", first["ctx"]["expected"]))
    return f"{at}: {key + ': ' if key else ''}{reason}{shown}; mend the value{more}"


def _locate(
    kind: type[BaseModel], loc: Sequence[str | int]
) -> tuple[type[BaseModel], tuple[str, ...]]:
    """Return the model that an error's place lies in, and the place as the YAML has it."""
    model, options, found = kind, [], []
    for part in map(str, loc):
        if len(options) > 1:  # of a tagged union, whose tag stands in no YAML path
            model = next(m for m in options if part in get_args(m.model_fields["name"].annotation))
            options = []
            continue
        found.append(part)
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        options = [o for o in (annotation, *get_args(annotation)) if _is_model(o)]
        if len(options) == 1:
            model = options[0]
    return model, tuple(found)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def closest(word: str, known: Iterable[str]) -> str:
    """Return `, did you mean 'x'?` for the known word nearest to `word`, if any is near."""
    match = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {match[0]!r}?" if match else ""
