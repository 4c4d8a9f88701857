"""YAML as plain data whose size is bounded, aliases written out."""

from collections.abc import Iterator
from typing import Any

import yaml

MOST_BYTES = 2**20  # of a file
MOST_VALUES = 50_000
MOST_LEVELS = 16
MOST_KEY = 1000  # characters; a sweep's key may name several
MOST_NUMBER = 64  # characters of what is no text
_TEXT_TAG = "tag:yaml.org,2002:str"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # PyYAML may be built without libyaml


def compose(text: str) -> yaml.Node | None:
    """Parse YAML, None if empty; yaml.YAMLError on bad syntax or values too many, deep or long."""
    try:
        node = yaml.compose(text, Loader=_LOADER)
        if node is not None:
            _measure(node, {})
    except RecursionError:  # of `_measure`, or of PyYAML; 6.0.4 refuses such text itself
        raise yaml.MarkedYAMLError(problem=_TOO_DEEP) from None
    return node


def construct(node: yaml.Node | None) -> Any:
    """Return a node's plain data; YAMLError on a tag of other data, ValueError on a wrong date."""
    return None if node is None else yaml.SafeLoader("").construct_object(node, deep=True)


_TOO_DEEP = f"more than {MOST_LEVELS} levels"


def _measure(node: yaml.Node, sizes: dict[yaml.Node, tuple[int, int]]) -> tuple[int, int]:
    """Return how many values a node has, and levels, as if each alias were written out."""
    if node not in sizes:
        sizes[node] = MOST_VALUES, MOST_LEVELS  # until measured: an alias to a node around it
        inner = [_measure(child, sizes) for child in _children(node)]
        sizes[node] = 1 + sum(n for n, _ in inner), 1 + max((n for _, n in inner), default=0)
    values, levels = sizes[node]
    if levels > MOST_LEVELS:
        raise _refusal(node, _TOO_DEEP)
    if values > MOST_VALUES:
        raise _refusal(node, f"more than {MOST_VALUES:,} values, aliases written out")
    return values, levels


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or len(key.value) > MOST_KEY:
                raise _refusal(key, f"a key that is no text of at most {MOST_KEY:,} characters")
            yield from (key, value)
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif node.tag != _TEXT_TAG and len(node.value) > MOST_NUMBER:
        raise _refusal(node, f"a number of more than {MOST_NUMBER} characters")


def _refusal(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
