"""The import direction of the package, read from the source; imports inside functions count."""

import ast
import functools
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import lamd

PACKAGE = Path(lamd.__file__).parent
# From the ground up; units of one layer do not import each other unless NEIGHBOURS says so.
LAYERS = (
    {"base", "__init__"},  # the package itself imports on first use
    {"config"},
    {"io"},
    {"nn", "diffusion", "data", "standins", "flops", "machine", "weights"},
    {"models", "metrics", "losses"},
    {"paradigms"},
    {"training", "generate", "evaluate"},
    {"pipeline"},
    {"report", "execute"},
    {"targets", "forecast"},
    {"cli", "__main__"},
)
LAYER_OF = {name: layer for layer, names in enumerate(LAYERS) for name in names}
NEIGHBOURS = {
    ("__main__", "cli"),
    ("standins", "data"),  # stand-ins are written in the layout that the readers define
    ("losses", "models"),
    ("training", "generate"),
    ("forecast", "targets"),
}
LIGHT = (
    "lamd",
    "lamd.cli",
    "lamd.config",
    "lamd.report.results",
    "lamd.targets",
    "lamd.pipeline.graph",
)
HEAVY = {"torch", "pandas", "matplotlib", "mujoco", "lpips", "av", "decord", "accelerate"}


def modules(package: Path) -> dict[str, Path]:
    """Return all modules below `package` by their full name."""
    found = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


@functools.cache
def imports(path: Path, known: frozenset[str]) -> set[str]:
    """Return the modules among `known` that a file imports, in functions too; types aside."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for child in ast.walk(node)
    }
    names = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                names.add(full if full in known else node.module)
    return names & known


def circle(package: Path) -> list[str]:
    """Return the modules of one import circle, [] when there is none."""
    known = modules(package)
    graph = {name: imports(path, frozenset(known)) - {name} for name, path in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def unit(module: str) -> str:
    """Return the part of the package that a module belongs to."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


MODULES = modules(PACKAGE)


def test_every_module_has_a_layer():
    assert {unit(module) for module in MODULES} <= LAYER_OF.keys()


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_down(module):
    user = unit(module)
    for name in imports(MODULES[module], frozenset(MODULES)):
        used = unit(name)
        down = LAYER_OF[used] < LAYER_OF[user] or used == user or (user, used) in NEIGHBOURS
        assert down, f"{module} imports {name}, which is not below it"


def test_no_import_circle():
    assert circle(PACKAGE) == []


def test_a_circle_through_a_function_is_found(tmp_path):
    package = tmp_path / "toy"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("from toy import b\n")
    (package / "b.py").write_text("def late():\n    from toy.a import x\n    return x\n")
    assert set(circle(package)) == {"toy.a", "toy.b"}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_file_says_its_subject(module):
    docstring = ast.get_docstring(ast.parse(MODULES[module].read_text(encoding="utf-8")))
    assert docstring, f"{module}: no docstring; say in the first line what the file is about"


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_import_nothing_heavy(module):
    code = f"import sys, {module}; print(*({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""


def test_public_names_exist():
    for name in lamd.__all__:
        assert getattr(lamd, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        lamd.nothing  # noqa: B018


def test_public_names_are_no_modules():
    # the import of a submodule of that name would replace it
    assert not {f"lamd.{name}" for name in lamd.__all__} & set(MODULES)
