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
from lamd.base.files import read_file
from lamd.config.kinds import CostFigure, Figure, QualityFigure, ReconstructionTable, SamplingCost
from lamd.config.plain import MOST_BYTES, compose, construct
from lamd.config.schema import AnyTarget, Target
from lamd.config.strict import Tree, closest, explain, nest
from lamd.config.sweep import Sweep, expand

PROFILES = ("quick", "standard", "paper")
_MAP_TAG = "tag:yaml.org,2002:map"
_MOST_BASES = 8  # of a file, one on another
_MOST_NAME = 200  # bytes of a base's name; file systems take 255
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
    """Return the folder of the YAMLs: the wheel's copy, or `experiments/` of a checkout."""
    package = Path(__file__).resolve().parent.parent
    copy = package / "_experiments"  # first: next to an installed package, the name is anyone's
    return copy if copy.is_dir() else package.parent / "experiments"


def list_targets(folder: Path | None = None) -> list[Path]:
    """Return the YAML of each target, sorted by name; names with a leading `_` are shared parts."""
    files = (folder or experiments_dir()).glob("*.yaml")
    return sorted(path for path in files if not path.name.startswith("_"))


def describe_target(path: Path) -> tuple[str, tuple[str, ...]]:
    """Return title and profiles of a target without resolving it; LamdError if it is none."""
    data = _read_with_base(path).data
    return str(data.get("title", "")), PROFILES if "sources" in data else tuple(data["profiles"])


def load_target(name: str, profile: str, overrides: Sequence[str] = ()) -> AnyTarget:
    """Resolve one target, with the sources that it names under `sources:`, for one profile.

    `name` may be a path to a YAML. A target with sources has their profiles. Overrides `a.b=value`,
    value in YAML, come last; `sources.NAME.a.b=value` reaches into a source, `sources=[NAME]` shows
    that source alone.

    Raises:
        LamdError: file, line, key and reason, with the closest known key for a mistyped one.
    """
    if name.endswith((".yaml", ".yml")) or os.sep in name:
        path = Path(name)
        if not path.is_file():
            raise LamdError(f"{name}: no such experiment file; check the path")
    else:
        known = {path.stem: path for path in list_targets()}
        if name not in known:
            raise LamdError(f"{name}: no such target{closest(name, known)}; see `lamd list`")
        path = known[name]
    return _load(path, profile, [_parse_override(text) for text in overrides])


def load_experiment(name: str, profile: str, overrides: Sequence[str] = ()) -> Target:
    """Resolve a target that trains models itself; LamdError as `load_target`, and on any other."""
    return _with_models(load_target(name, profile, overrides), name)


def config_hash(value: BaseModel | dict[str, Any]) -> str:
    """Return 12 hex digits of the SHA-256 of the canonical JSON of `value`, `runtime` left out."""
    data = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    text = json.dumps(_without_runtime(data), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _without_runtime(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_runtime(inner) for key, inner in value.items() if key != "runtime"}


def _with_models(target: AnyTarget, name: str) -> Target:
    if isinstance(target, Target):
        return target
    sources = ", ".join(getattr(target, "sources", ()))
    hint = f"name what it shows: {sources}" if sources else "name a table"
    raise LamdError(f"{name}: kind {target.kind} trains nothing itself; {hint}")


def _load(path: Path, profile: str, overlays: Sequence[Tree], is_source: bool = False) -> AnyTarget:
    tree = _read_with_base(path)
    profiles = tree.data.pop("profiles")
    name = str(tree.data.get("kind"))
    if name not in KINDS:
        at = tree.at("kind")
        raise LamdError(f"{at}: kind {name!r}{closest(name, KINDS)}; use {', '.join(KINDS)}")
    kind = KINDS[name]
    shows = "sources" in kind.model_fields
    if shows and is_source:
        raise LamdError(f"{path}: kind {name} trains nothing itself; name what it shows")
    known = PROFILES if shows else profiles
    if profile not in known:
        raise LamdError(f"{path}: no profile {profile!r}; it has: {', '.join(known) or 'none'}")
    tree.lay(tree.below(("profiles", profile), profiles.get(profile, {})))
    inner = []  # overlays of the sources
    for overlay in overlays:
        if shows and isinstance(overlay.data.get("sources"), dict):
            inner.append(overlay)
        else:
            tree.lay(overlay)
    tree.data.setdefault("target", path.stem)
    changes: list[Tree] = []
    if kind is Sweep:
        changed, at = tree.data.pop("overrides", {}), tree.at("overrides")
        if not isinstance(changed, dict):
            raise LamdError(f"{at}: overrides: needs keys of the table and their values; fix it")
        changes = [tree.below(("overrides",), changed)]
        tree.data["points"], tree.data["variants"] = expand(tree.data.pop("sweep", None), tree)
    if shows:
        at, theirs = tree.at("sources"), _source_overlays(tree, inner)
        tree.data["sources"] = {
            source: _load_source(kind, path.parent, source, profile, [*changes, *own], at)
            for source, own in theirs.items()
        }
    try:
        target = kind.model_validate(tree.data)
    except ValidationError as error:
        raise LamdError(explain(error, kind, tree)) from None
    if isinstance(target, Sweep):
        target.targets(tree)
    return target


def _source_overlays(tree: Tree, overlays: Sequence[Tree]) -> dict[str, list[Tree]]:
    """Return the sources that a tree names, and of `overlays` those that reach into each."""
    names, at = tree.data.get("sources"), tree.at("sources")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise LamdError(f"{at}: sources: needs a list of the targets that are shown; add it")
    theirs: dict[str, list[Tree]] = {source: [] for source in names}
    for overlay in overlays:
        for source, own in overlay.data["sources"].items():
            if source not in theirs or not isinstance(own, dict):
                raise LamdError(
                    f"{overlay.source}: no such source{closest(str(source), names)}; "
                    f"write sources.{names[0]}.key.subkey=value"
                )
            theirs[source].append(overlay.below(("sources", source), own))
    return theirs


def _load_source(
    kind: type[AnyTarget], folder: Path, name: str, profile: str, overlays: Sequence[Tree], at: str
) -> AnyTarget:
    known = {path.stem: path for path in list_targets(folder)}
    if name not in known:
        hint = closest(name, known)
        raise LamdError(f"{at}: sources: no {name}.yaml next to it{hint}; fix the name")
    loaded = _load(known[name], profile, overlays, is_source=True)
    _, wanted = get_args(kind.model_fields["sources"].annotation)
    if wanted is Target:
        return _with_models(loaded, str(known[name]))
    if not isinstance(loaded, wanted):
        raise LamdError(f"{at}: sources: {name} is of kind {loaded.kind}; name another target")
    return loaded


def _read_with_base(path: Path, users: tuple[Path, ...] = ()) -> Tree:
    """Return the tree of a file, `profiles:` included, laid over that of its base."""
    tree = _read(path)
    profiles = tree.data.setdefault("profiles", {}) or {}
    if not isinstance(profiles, dict):
        raise LamdError(f"{tree.at('profiles')}: profiles: needs a mapping by name; fix the value")
    for key, overlay in profiles.items():
        at = tree.at("profiles", key)
        if key not in PROFILES:
            raise LamdError(f"{at}: unknown profile {key!r}{closest(key, PROFILES)}; rename it")
        if not isinstance(overlay or {}, dict):
            raise LamdError(f"{at}: profile {key} needs keys and their values; fix it")
    tree.data["profiles"] = {key: overlay or {} for key, overlay in profiles.items()}
    base = tree.data.pop("base", None)
    if base is None:
        return tree
    at, name = tree.at("base"), str(base)
    is_name = name.isprintable() and len(name.encode()) <= _MOST_NAME
    # unlike `resolve`, at a loss for no loop of links
    parent = Path(os.path.realpath(path.parent / (name if is_name else "")))
    if not parent.is_relative_to(path.parent.resolve()) or not parent.is_file():
        raise LamdError(
            f"{at}: base {name[:_MOST_NAME]!r} is not a file next to {path.name}; fix the name"
        )
    if parent in (path.resolve(), *users):
        raise LamdError(f"{at}: base {base!r} leads back to this file; delete one `base:`")
    if len(users) >= _MOST_BASES:
        raise LamdError(f"{at}: more than {_MOST_BASES} files by `base:`; join some")
    merged = _read_with_base(parent, (path.resolve(), *users))
    merged.lay(tree)
    merged.source = tree.source
    return merged


def _read(path: Path) -> Tree:
    try:
        node = compose(
            read_file(path, "give the YAML of an experiment", MOST_BYTES).decode("utf-8")
        )
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not UTF-8 text"
        raise LamdError(f"{path}{line}: not valid YAML ({problem}); fix the syntax") from None
    if not isinstance(node, yaml.MappingNode):
        raise LamdError(
            f"{path}: an experiment is a mapping of keys; see experiments/table_bair.yaml"
        )
    tree = Tree(source=str(path))
    tree.data = _construct(node, (), tree)
    return tree


def _construct(node: yaml.Node, at: tuple[str, ...], tree: Tree) -> Any:
    """Return the data of a node, and note the lines of its keys in `tree`."""
    line = f"{tree.source}:{node.start_mark.line + 1}"
    if isinstance(node, yaml.MappingNode) and node.tag == _MAP_TAG:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = f"{tree.source}:{key_node.start_mark.line + 1}"
            if key in result:
                raise LamdError(f"{line}: key {key!r} appears twice; delete one")
            tree.lines[*at, key] = line
            result[key] = _construct(value_node, (*at, key), tree)
        return result
    try:
        return construct(node)
    except (yaml.YAMLError, ValueError) as error:  # of a date that does not exist, ValueError
        problem = getattr(error, "problem", error)
        raise LamdError(f"{line}: {problem}; YAML here is plain data") from None


def _parse_override(text: str) -> Tree:
    key, equals, value = text.partition("=")
    at = f"--set {text if len(text) <= 80 else f'{text[:77]}...'}"
    if not equals or not all(key.strip().split(".")):
        raise LamdError(f"{at}: expected key.subkey=value; write for example sampler.num_steps=50")
    try:
        tree = construct(compose(value))
    except (yaml.YAMLError, ValueError) as error:
        problem = getattr(error, "problem", error)
        raise LamdError(f"{at}: the value is not valid YAML ({problem}); quote it") from None
    return nest(key.strip(), tree, at)
