"""Functions named by `package.module:function`, imported when they are called.

Planning, `lamd show` and runs whose cells are all cached therefore import neither torch nor MuJoCo,
and what is planned pickles in a few bytes.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any


def resolve(path: str) -> Callable[..., Any]:
    """Return the function that `package.module:function` names."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
