"""From YAML to a checked `Target`: `base:`, `profiles:`, `--set`, and errors with file and line.

YAML is data: no tags, no anchors into code, one parent through `base:`, overlays under `profiles:`.
"""

import difflib
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from lamd.config.schema import Target
from lamd.errors import LamdError

PROFILES = ("quick", "standard", "paper")
_MAP_TAG = "tag:yaml.org,2002:map"
_META_KEYS = ("base", "profiles")

Where = dict[tuple[str, ...], str]  # key path -> "file:line"


def experiments_dir() -> Path:
    """Return the folder of the YAMLs: `experiments/` of a checkout, else the wheel's copy."""
    package = Path(__file__).resolve().parent.parent
    checkout = package.parent / "experiments"
    return checkout if checkout.is_dir() else package / "_experiments"


def list_targets() -> list[Path]:
    """Return the YAML of each target, sorted by name; names with a leading `_` are shared parts."""
    return sorted(p for p in experiments_dir().glob("*.yaml") if not p.name.startswith("_"))


def target_path(name: str) -> Path:
    """Find a target by name or by path to a YAML.

    Raises:
        LamdError: when there is none; the closest known name is given.
    """
    if name.endswith((".yaml", ".yml")) or os.sep in name:
        path = Path(name)
        if not path.is_file():
            raise LamdError(f"{name}: no such experiment file; check the path")
        return path
    known = {p.stem: p for p in list_targets()}
    if name not in known:
        raise LamdError(f"{name}: no such target{_closest(name, known)}; see `lamd list`")
    return known[name]


def load_target(name: str, profile: str, overrides: Sequence[str] = ()) -> Target:
    """Resolve one target for one profile.

    Args:
        name: a target's name or a path to a YAML.
        profile: a key of `profiles:`.
        overrides: `a.b=value` strings, value in YAML; applied last.

    Raises:
        LamdError: file, line, key and reason, with the closest known key for a mistyped one.
    """
    path = target_path(name)
    tree, where, profiles = _read_with_base(path)
    if profile not in profiles:
        have = ", ".join(profiles) or "none"
        raise LamdError(f"{path}: no profile {profile!r}; it has: {have}")
    overlay, overlay_where = profiles[profile]
    _merge(tree, overlay)
    where.update(overlay_where)
    for text in overrides:
        overlay, overlay_where = _parse_override(text)
        _merge(tree, overlay)
        where.update(overlay_where)
    tree.setdefault("target", path.stem)
    try:
        return Target.model_validate(tree)
    except ValidationError as error:
        raise LamdError(_explain(error, where, path)) from None


def config_hash(value: BaseModel | dict[str, Any]) -> str:
    """Return the first 12 hex digits of the SHA-256 of the canonical JSON of `value`."""
    data = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _read_with_base(path: Path) -> tuple[dict, Where, dict[str, tuple[dict, Where]]]:
    tree, where = _read(path)
    base, profiles = tree.pop("base", None), tree.pop("profiles", None) or {}
    own = {
        key: (overlay or {}, {p[2:]: at for p, at in where.items() if p[:2] == ("profiles", key)})
        for key, overlay in profiles.items()
    }
    for key in own:
        if key not in PROFILES:
            at = where[("profiles", key)]
            raise LamdError(f"{at}: unknown profile {key!r}{_closest(key, PROFILES)}; rename it")
    if base is None:
        return tree, where, own
    parent = (path.parent / str(base)).resolve()
    if not parent.is_relative_to(path.parent.resolve()) or not parent.is_file():
        raise LamdError(
            f"{where[('base',)]}: base {base!r} is not a file beside {path.name}; mend it"
        )
    base_tree, base_where = _read(parent)
    if any(key in base_tree for key in _META_KEYS):
        raise LamdError(f"{parent}: a base has neither base: nor profiles:; move them out of it")
    _merge(base_tree, tree)
    return base_tree, base_where | where, own


def _read(path: Path) -> tuple[dict, Where]:
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not UTF-8 text"
        raise LamdError(f"{path}{line}: not valid YAML ({problem}); mend the syntax") from None
    if not isinstance(node, yaml.MappingNode):
        raise LamdError(
            f"{path}: an experiment is a mapping of keys; see experiments/table_bair.yaml"
        )
    where: Where = {}
    return _construct(node, (), path, where), where


def _construct(node: yaml.Node, at: tuple[str, ...], path: Path, where: Where) -> Any:
    if isinstance(node, yaml.MappingNode) and node.tag == _MAP_TAG:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = f"{path}:{key_node.start_mark.line + 1}"
            if key in result:
                raise LamdError(f"{line}: key {key!r} stands twice; delete one")
            where[(*at, key)] = line
            result[key] = _construct(value_node, (*at, key), path, where)
        return result
    try:
        return yaml.SafeLoader("").construct_object(node, deep=True)
    except yaml.YAMLError as error:
        line = node.start_mark.line + 1
        problem = getattr(error, "problem", error)
        raise LamdError(f"{path}:{line}: {problem}; YAML here is plain data") from None


def _merge(tree: dict, overlay: dict) -> None:
    for key, value in overlay.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = value


def _parse_override(text: str) -> tuple[dict, Where]:
    key, equals, value = text.partition("=")
    parts = tuple(key.strip().split("."))
    if not equals or not all(parts):
        raise LamdError(
            f"--set {text}: expected key.subkey=value; write for example data.num_test=8"
        )
    try:
        tree: Any = yaml.safe_load(value)
    except yaml.YAMLError:
        raise LamdError(f"--set {text}: the value is not valid YAML; quote it") from None
    for part in reversed(parts):
        tree = {part: tree}
    return tree, {parts[: i + 1]: f"--set {text}" for i in range(len(parts))}


def _explain(error: ValidationError, where: Where, path: Path) -> str:
    # A mistyped key is unknown under its name and missing under the right one: tell the first.
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    loc = tuple(str(part) for part in first["loc"])
    at = next((where[loc[:n]] for n in range(len(loc), 0, -1) if loc[:n] in where), str(path))
    key = ".".join(loc)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _known_keys(loc[:-1])
        return f"{at}: unknown key {key!r}{_closest(loc[-1], known)}; rename or delete it{more}"
    if first["type"] == "missing":
        return f"{at}: missing key {key!r}; add it{more}"
    reason = first["msg"].removeprefix("Value error, ")
    shown = "" if first["type"] == "value_error" else f", got {first['input']!r}"
    return f"{at}: {key + ': ' if key else ''}{reason}{shown}; mend the value{more}"


def _known_keys(loc: Sequence[str]) -> list[str]:
    model: type[BaseModel] = Target
    for part in loc:
        annotation = model.model_fields[part].annotation
        options = (annotation, *get_args(annotation))
        model = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return list(model.model_fields)


def _closest(word: str, known: Sequence[str] | dict) -> str:
    match = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {match[0]!r}?" if match else ""
