"""From YAML to a checked target: `base:`, `profiles:`, `--set`, and errors with file and line.

YAML is data: no tags, no anchors into code. A file may name a parent under `base:`, which may name
its own, and overlays under `profiles:`. Later wins: the parent's tree, the file's own, the parent's
profile, the file's own, overrides.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from lamd.base.errors import LamdError
from lamd.config.costs import CostFigure, QualityFigure, SamplingCost
from lamd.config.derived import Derived, Figure, ReconstructionTable
from lamd.config.strict import AnyTarget
from lamd.config.sweep import Sweep, expand, point_target
from lamd.config.table import Target
from lamd.config.trees import Tree, closest, explain, nest

PROFILES = ("quick", "standard", "paper")
_MAP_TAG = "tag:yaml.org,2002:map"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # PyYAML may be built without libyaml
KINDS: dict[str, type[AnyTarget]] = {
    "table": Target,
    "figure": Figure,
    "reconstruction_table": ReconstructionTable,
    "sweep": Sweep,
    "cost": SamplingCost,
    "cost_figure": CostFigure,
    "quality": QualityFigure,
}


def experiments_dir() -> Path:
    """Return the folder of the YAMLs: `experiments/` of a checkout, else the wheel's copy."""
    package = Path(__file__).resolve().parent.parent
    checkout = package.parent / "experiments"
    return checkout if checkout.is_dir() else package / "_experiments"


def list_targets() -> list[Path]:
    """Return the YAML of each target, sorted by name; names with a leading `_` are shared parts."""
    return sorted(p for p in experiments_dir().glob("*.yaml") if not p.name.startswith("_"))


def _target_path(name: str) -> Path:
    """Find a target by name or by path to a YAML.

    Raises:
        LamdError: when there is none.
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


def describe_target(path: Path) -> tuple[str, tuple[str, ...]]:
    """Return title and profiles of a target, without resolving it.

    Raises:
        LamdError: when the file or its base is no experiment.
    """
    tree, profiles = _read_with_base(path)
    names = PROFILES if "sources" in tree.data else tuple(profiles)
    return str(tree.data.get("title", "")), names


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
    return _load(_target_path(name), profile, overrides, Tree({}, {}))


def _load(path: Path, profile: str, overrides: Sequence[str], changes: Tree) -> AnyTarget:
    tree, profiles = _read_with_base(path)
    name = str(tree.data.get("kind"))
    if name not in KINDS:
        at = tree.at("kind")
        raise LamdError(f"{at}: kind {name!r}{closest(name, KINDS)}; use {', '.join(KINDS)}")
    kind = KINDS[name]
    shows = "sources" in kind.model_fields
    known = PROFILES if shows else profiles
    if profile not in known:
        raise LamdError(f"{path}: no profile {profile!r}; it has: {', '.join(known) or 'none'}")
    own = [text for text in overrides if not (shows and text.startswith("sources."))]
    for overlay in (profiles.get(profile, Tree({}, {})), changes, *map(_parse_override, own)):
        tree.lay(overlay)
    tree.data.setdefault("target", path.stem)
    if shows:
        laid = tree.data.pop("overrides", {}) if kind is Sweep else {}
        if not isinstance(laid, dict):
            at = tree.at("overrides")
            raise LamdError(f"{at}: overrides: needs keys of the table and their values; fix it")
        changes = tree.below(("overrides",), laid)
        tree.data["sources"] = {
            source: _load_source(kind, path.with_name(f"{source}.yaml"), profile, theirs, changes,
                                 tree.at("sources"))
            for source, theirs in _source_overrides(overrides, tree).items()
        }  # fmt: skip
    if kind is Sweep:
        tree.data["points"] = expand(tree.data.pop("sweep", None), tree)
    try:
        target = kind.model_validate(tree.data)
    except ValidationError as error:
        raise LamdError(explain(error, kind, tree)) from None
    if isinstance(target, Sweep):
        for point in target.points:
            point_target(target.source, point, tree)
    return target


def load_experiment(name: str, profile: str, overrides: Sequence[str] = ()) -> Target:
    """Resolve a target that trains models itself.

    Raises:
        LamdError: as `load_target`, and for a target that only shows what others trained.
    """
    return _with_models(load_target(name, profile, overrides), name)


def _with_models(target: AnyTarget, name: str) -> Target:
    if isinstance(target, Target):
        return target
    if isinstance(target, (Derived, CostFigure)):
        others = ", ".join(target.sources)
        raise LamdError(f"{name}: trains nothing itself; name what it shows: {others}")
    raise LamdError(f"{name}: kind {target.kind} trains nothing; name a table")


def config_hash(value: BaseModel | dict[str, Any]) -> str:
    """Return 12 hex digits of the SHA-256 of the canonical JSON of `value`, `runtime` left out."""
    data = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    text = json.dumps(_without_runtime(data), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _without_runtime(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_runtime(inner) for key, inner in value.items() if key != "runtime"}


def _source_overrides(overrides: Sequence[str], tree: Tree) -> dict[str, list[str]]:
    """Return the sources that a tree names, and the overrides that reach into each."""
    names = tree.data.pop("sources", None)
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        at = tree.at("sources")
        raise LamdError(f"{at}: sources: needs a list of the targets that are shown; add it")
    theirs: dict[str, list[str]] = {source: [] for source in names}
    for text in overrides:
        head, _, rest = text.partition(".")
        source, _, inner = rest.partition(".")
        if head == "sources":
            if source not in theirs or not inner:
                raise LamdError(
                    f"--set {text}: no such source{closest(source, names)}; "
                    f"write sources.{names[0]}.key.subkey=value"
                )
            theirs[source].append(inner)
    return theirs


def _load_source(
    kind: type[AnyTarget], file: Path, profile: str, own: Sequence[str], changes: Tree, at: str
) -> AnyTarget:
    if not file.is_file():
        known = [p.stem for p in file.parent.glob("*.yaml") if not p.name.startswith("_")]
        hint = closest(file.stem, known)
        raise LamdError(f"{at}: sources: no {file.name} next to it{hint}; fix the name")
    loaded = _load(file, profile, own, changes)
    _, wanted = get_args(kind.model_fields["sources"].annotation)
    if wanted is Target:
        return _with_models(loaded, str(file))
    if not isinstance(loaded, wanted):
        raise LamdError(f"{at}: sources: {file.stem} is of kind {loaded.kind}; name another target")
    return loaded


def _read_with_base(path: Path, users: tuple[Path, ...] = ()) -> tuple[Tree, dict[str, Tree]]:
    """Return tree and profiles of a file, each laid over those of its base."""
    tree = _read(path)
    base, overlays = tree.data.pop("base", None), tree.data.pop("profiles", None) or {}
    if not isinstance(overlays, dict):
        raise LamdError(f"{tree.at('profiles')}: profiles: needs a mapping by name; fix the value")
    merged = Tree({}, {}, str(path))
    profiles: dict[str, Tree] = {}
    if base is not None:
        at, parent = tree.at("base"), (path.parent / str(base)).resolve()
        if not parent.is_relative_to(path.parent.resolve()) or not parent.is_file():
            raise LamdError(f"{at}: base {base!r} is not a file next to {path.name}; fix the name")
        if parent in (path.resolve(), *users):
            raise LamdError(f"{at}: base {base!r} leads back to this file; delete one `base:`")
        below, profiles = _read_with_base(parent, (path.resolve(), *users))
        merged.lay(below)
    merged.lay(tree)
    for key, overlay in overlays.items():
        at = tree.at("profiles", key)
        if key not in PROFILES:
            raise LamdError(f"{at}: unknown profile {key!r}{closest(key, PROFILES)}; rename it")
        if not isinstance(overlay or {}, dict):
            raise LamdError(f"{at}: profile {key} needs keys and their values; fix it")
        own = tree.below(("profiles", key), overlay or {})
        profiles.setdefault(key, Tree({}, {})).lay(own)
    return merged, profiles


def _read(path: Path) -> Tree:
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not UTF-8 text"
        raise LamdError(f"{path}{line}: not valid YAML ({problem}); fix the syntax") from None
    if not isinstance(node, yaml.MappingNode):
        raise LamdError(
            f"{path}: an experiment is a mapping of keys; see experiments/table_bair.yaml"
        )
    lines: dict[tuple[str, ...], str] = {}
    return Tree(_construct(node, (), path, lines), lines, str(path))


def _construct(node: yaml.Node, at: tuple[str, ...], path: Path, lines: dict) -> Any:
    if isinstance(node, yaml.MappingNode) and node.tag == _MAP_TAG:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = f"{path}:{key_node.start_mark.line + 1}"
            if key in result:
                raise LamdError(f"{line}: key {key!r} appears twice; delete one")
            lines[(*at, key)] = line
            result[key] = _construct(value_node, (*at, key), path, lines)
        return result
    try:
        return yaml.SafeLoader("").construct_object(node, deep=True)
    except yaml.YAMLError as error:
        line = node.start_mark.line + 1
        problem = getattr(error, "problem", error)
        raise LamdError(f"{path}:{line}: {problem}; YAML here is plain data") from None


def _parse_override(text: str) -> Tree:
    key, equals, value = text.partition("=")
    if not equals or not all(key.strip().split(".")):
        raise LamdError(
            f"--set {text}: expected key.subkey=value; write for example data.num_test=8"
        )
    try:
        tree: Any = yaml.safe_load(value)
    except yaml.YAMLError:
        raise LamdError(f"--set {text}: the value is not valid YAML; quote it") from None
    return nest(key.strip(), tree, f"--set {text}")
