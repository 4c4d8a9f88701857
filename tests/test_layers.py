"""The import direction of the package, read from the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lamd

PACKAGE = Path(lamd.__file__).parent
LAYERS = (
    {
        "errors",
        "config",
        "video",
        "rng",
        "records",
        "origin",
        "artifacts",
        "numpy_pickle",
        "processes",
    },
    {"nn", "diffusion", "data", "clip_files"},
    {"models", "losses", "metrics"},
    {"training", "generate", "evaluate", "cost"},
    {"harness"},
    {"cli", "__init__", "__main__"},
)
LAYER_OF = {name: layer for layer, names in enumerate(LAYERS) for name in names}
# Neighbours of one layer that may see each other, in this direction only.
NEIGHBOURS = {("losses", "models"), ("__main__", "cli"), ("data", "clip_files")} | {
    (user, ground)
    for user in ("artifacts", "records", "config", "numpy_pickle")
    for ground in ("errors", "rng", "numpy_pickle", "origin")
}
LIGHT = (
    "lamd",
    "lamd.cli",
    "lamd.errors",
    "lamd.config",
    "lamd.cost",
    "lamd.cost.paradigms",
    "lamd.records",
    "lamd.harness.tables",
    "lamd.harness.costs",
    "lamd.harness.quality",
)
HEAVY = {"torch", "pandas", "matplotlib", "mujoco", "lpips", "av", "decord", "accelerate"}
FILES = sorted(PACKAGE.rglob("*.py"))


def unit(path: Path) -> str:
    """Return the part of the package that a file belongs to: `harness` for its tables.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Return the full names of all that a file imports, at its top and in its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_every_file_has_a_layer():
    assert {unit(path) for path in FILES} <= LAYER_OF.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    user = unit(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "lamd" or parts[1:2] == [user]:
            continue
        used = parts[1] if len(parts) > 1 and parts[1] in LAYER_OF else "__init__"
        down = LAYER_OF[used] < LAYER_OF[user] or (user, used) in NEIGHBOURS
        assert down, f"{user} (layer {LAYER_OF[user]}) imports {name} (layer {LAYER_OF[used]})"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_outgrows_350_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_import_nothing_heavy(module):
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def test_public_names_exist():
    for name in lamd.__all__:
        assert getattr(lamd, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        lamd.nothing  # noqa: B018
