"""From YAML to a checked `Target`: `base:`, `profiles:`, `--set`, and errors with file and line.

YAML is data: no tags, no anchors into code, one parent through `base:`, overlays under `profiles:`.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from lamd.base.errors import LamdError
from lamd.config.costs import CostFigure, QualityFigure, SamplingCost
from lamd.config.derived import Derived, Figure, ReconstructionTable
from lamd.config.schema import Target
from lamd.config.sweep import Sweep, expand, point_target
from lamd.config.trees import Where, closest, explain, merge, nest

PROFILES = ("quick", "standard", "paper")
_MAP_TAG = "tag:yaml.org,2002:map"
_META_KEYS = ("base", "profiles")
_KINDS = {
    "table": Target,
    "figure": Figure,
    "reconstruction_table": ReconstructionTable,
    "sweep": Sweep,
    "cost": SamplingCost,
    "cost_figure": CostFigure,
    "quality": QualityFigure,
}

AnyTarget = (
    Target | Figure | ReconstructionTable | Sweep | SamplingCost | CostFigure | QualityFigure
)


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
        raise LamdError(f"{name}: no such target{closest(name, known)}; see `lamd list`")
    return known[name]


def load_target(name: str, profile: str, overrides: Sequence[str] = ()) -> AnyTarget:
    """Resolve one target, with the sources that it names under `sources:`, for one profile.

    Args:
        name: a target's name or a path to a YAML.
        profile: a key of `profiles:`; a target with sources takes theirs.
        overrides: `a.b=value` strings, value in YAML; applied last. `sources.NAME.a.b=value`
            reaches into a source, `sources=[NAME]` shows that source alone.

    Raises:
        LamdError: file, line, key and reason, with the closest known key for a mistyped one.
    """
    return _load(target_path(name), profile, overrides, ({}, {}))


def _load(
    path: Path, profile: str, overrides: Sequence[str], changes: tuple[dict, Where]
) -> AnyTarget:
    tree, where, profiles = _read_with_base(path)
    kind = _kind(tree, where, path)
    shows = issubclass(kind, (Derived, CostFigure))
    own = [text for text in overrides if not (shows and text.startswith("sources."))]
    known = PROFILES if shows else profiles
    if profile not in known:
        raise LamdError(f"{path}: no profile {profile!r}; it has: {', '.join(known) or 'none'}")
    own_profile = profiles.get(profile, ({}, {}))
    for overlay, overlay_where in (own_profile, changes, *map(_parse_override, own)):
        merge(tree, overlay)
        where.update(overlay_where)
    sources = _source_names(tree, where, path) if shows else []
    theirs = _source_overrides(overrides, sources)
    tree.setdefault("target", path.stem)
    if sources:
        inner = _take_changes(tree, where, path) if kind is Sweep else ({}, {})
        tree["sources"] = {
            source: _load_source(kind, source, profile, theirs[source], inner, where, path)
            for source in sources
        }
    if kind is Sweep:
        tree["points"] = expand(tree.pop("sweep", None), where, path)
    try:
        target = kind.model_validate(tree)
    except ValidationError as error:
        raise LamdError(explain(error, kind, where, str(path))) from None
    if kind is Sweep:
        for point in target.points:
            point_target(target.source, point, where, where.get(("sweep",), str(path)))
    return target


def load_experiment(name: str, profile: str, overrides: Sequence[str] = ()) -> Target:
    """Resolve a target that has models of its own.

    Raises:
        LamdError: as `load_target`, and for a target that only shows what others trained.
    """
    return _with_models(load_target(name, profile, overrides), name)


def _with_models(target: AnyTarget, name: str) -> Target:
    if isinstance(target, SamplingCost):
        raise LamdError(f"{name}: measures untrained networks; name a table")
    if not isinstance(target, Target):
        others = ", ".join(target.sources)
        raise LamdError(f"{name}: trains nothing itself; name what it shows: {others}")
    return target


def config_hash(value: BaseModel | dict[str, Any]) -> str:
    """Return 12 hex digits of the SHA-256 of the canonical JSON of `value`, `runtime` left out."""
    data = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    text = json.dumps(_without_runtime(data), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _without_runtime(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_runtime(inner) for key, inner in value.items() if key != "runtime"}


def _kind(tree: dict, where: Where, path: Path) -> type[BaseModel]:
    kind = tree.get("kind")
    if kind not in _KINDS:
        at = where.get(("kind",), str(path))
        raise LamdError(f"{at}: kind {kind!r}{closest(str(kind), _KINDS)}; use {', '.join(_KINDS)}")
    return _KINDS[kind]


def _source_names(tree: dict, where: Where, path: Path) -> list[str]:
    names = tree.pop("sources", None)
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        at = where.get(("sources",), str(path))
        raise LamdError(f"{at}: sources: needs a list of the targets that are shown; add it")
    return names


def _source_overrides(overrides: Sequence[str], sources: Sequence[str]) -> dict[str, list[str]]:
    theirs: dict[str, list[str]] = {source: [] for source in sources}
    for text in overrides:
        place, _, rest = text.partition(".")
        source, _, inner = rest.partition(".")
        if place == "sources" and sources:
            if source not in theirs or not inner:
                raise LamdError(
                    f"--set {text}: no such source{closest(source, sources)}; "
                    f"write sources.{sources[0]}.key.subkey=value"
                )
            theirs[source].append(inner)
    return theirs


def _take_changes(tree: dict, where: Where, path: Path) -> tuple[dict, Where]:
    changes = tree.pop("overrides", {})
    if not isinstance(changes, dict):
        at = where.get(("overrides",), str(path))
        raise LamdError(f"{at}: overrides: needs keys of the table and their values; mend it")
    return changes, {
        key[1:]: at for key, at in where.items() if key[:1] == ("overrides",) and key[1:]
    }


def _load_source(
    kind: type[BaseModel],
    source: str,
    profile: str,
    overrides: Sequence[str],
    changes: tuple[dict, Where],
    where: Where,
    path: Path,
) -> Target | SamplingCost:
    beside, at = path.with_name(f"{source}.yaml"), where.get(("sources",), str(path))
    if not beside.is_file():
        known = [p.stem for p in path.parent.glob("*.yaml") if not p.name.startswith("_")]
        raise LamdError(
            f"{at}: sources: no {beside.name} beside it{closest(source, known)}; mend it"
        )
    loaded = _load(beside, profile, overrides, changes)
    if kind is CostFigure:
        if not isinstance(loaded, SamplingCost):
            raise LamdError(f"{at}: sources: {source} is no table of costs; name one")
        return loaded
    return _with_models(loaded, str(beside))


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
            raise LamdError(f"{at}: unknown profile {key!r}{closest(key, PROFILES)}; rename it")
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
    merge(base_tree, tree)
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
    return nest(".".join(parts), tree, f"--set {text}")
