"""A cell's code version follows its code: a hash per kind over all modules that its step runs.

When a test here fails, decide whether the change can move what a cell of that kind holds. If so,
raise the kind in `CODE_VERSIONS`. Then write the hashes again:

    python tests/test_code_versions.py --write
"""

import ast
import functools
import hashlib
import sys
from pathlib import Path

import pytest
from test_layers import MODULES, imports, unit

from lamd.config import list_targets, load_target
from lamd.pipeline.cell import CODE_VERSIONS, with_ancestors
from lamd.targets import KINDS

GOLDEN = Path(__file__).with_name("golden") / "code_versions.txt"
# The modules in which the step of a kind begins.
ROOTS = {
    "data": ["lamd.pipeline.steps.data", "lamd.data", "lamd.standins"],
    "vae": ["lamd.training.vae_stage", "lamd.training.engine", "lamd.models.mcd_vae"],
    "latents": ["lamd.training.latents", "lamd.models.mcd_vae"],
    "dmg": ["lamd.training.diffusion_stage", "lamd.training.engine", "lamd.models.dmg"],
    "captioner": ["lamd.training.captioner_stage", "lamd.training.engine"],
    "pixel": ["lamd.training.diffusion_stage", "lamd.training.engine", "lamd.paradigms.pixel"],
    "video_vae": ["lamd.training.vae_stage", "lamd.training.engine", "lamd.models.baselines"],
    "video_latents": ["lamd.training.latents", "lamd.models.baselines"],
    "latent_video": [
        "lamd.training.diffusion_stage", "lamd.training.engine", "lamd.paradigms.latent_video",
    ],
    "clips": ["lamd.pipeline.steps.clips"],
    "captions": ["lamd.pipeline.steps.clips", "lamd.models.captioner"],
    "tracks": ["lamd.pipeline.steps.clips", "lamd.standins.robot", "lamd.standins.blocks"],
    "features": ["lamd.metrics.i3d"],
    "values": ["lamd.pipeline.steps.values", "lamd.metrics"],
    "diagnostics": ["lamd.pipeline.steps.latents"],
    "figure": ["lamd.pipeline.steps.figures"],
    "latency": ["lamd.pipeline.steps.timing", "lamd.paradigms.untrained"],
}  # fmt: skip
_TRAIN = ["lamd.pipeline.steps.train", "lamd.training"]
# Modules of a step that import more than the kind runs, or that a string names.
ALONE = {
    **dict.fromkeys(
        ("vae", "latents", "dmg", "captioner", "pixel", "video_vae", "video_latents",
         "latent_video"),
        _TRAIN,
    ),
    "features": ["lamd.pipeline.steps.values", "lamd.metrics.features"],
    "figure": ["lamd.metrics.frechet", "lamd.metrics.measure"],
}  # fmt: skip
# Units whose code decides no number in a cell, save the modules below.
NEUTRAL = {"base", "config", "weights", "flops", "__init__"}
DECISIVE = {
    "lamd.base.rng",  # the noise of every sample
    "lamd.config.data", "lamd.config.schema", "lamd.config.training",  # rules next to the keys
}  # fmt: skip


class _Stripped(ast.NodeTransformer):
    """Drops docstrings, annotations and imports: renames and prose move no number."""

    def visit_Import(self, node: ast.Import) -> None:
        return None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        return None

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        constant = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if constant else self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)


@functools.cache
def modules_of(kind: str) -> list[str]:
    """Return the modules that a kind's roots are or import, neutral ones left out."""
    todo = [m for root in ROOTS[kind] for m in MODULES if m == root or m.startswith(f"{root}.")]
    modules: set[str] = set()
    while todo:
        module = todo.pop()
        neutral = unit(module) in NEUTRAL and module not in DECISIVE
        if module not in modules and not neutral:
            modules.add(module)
            todo += imports(MODULES[module], frozenset(MODULES))
    return sorted(modules | {*ALONE.get(kind, ())})


@functools.cache
def stripped(source: str) -> bytes:
    """Return what of a module's source can move a number."""
    return ast.dump(_Stripped().visit(ast.parse(source))).encode()


def code_hash(kind: str) -> str:
    """Return 12 hex digits over the stripped code of a kind's modules."""
    digest = hashlib.sha256()
    for module in modules_of(kind):
        digest.update(stripped(MODULES[module].read_text(encoding="utf-8")))
    return digest.hexdigest()[:12]


def recorded() -> dict[str, tuple[int, str]]:
    """Return version and hash of each kind as written."""
    lines = (line.split() for line in GOLDEN.read_text(encoding="utf-8").splitlines())
    return {kind: (int(version), digest) for kind, version, digest in lines}


def test_every_kind_is_covered():
    assert ROOTS.keys() == CODE_VERSIONS.keys() == recorded().keys()


@pytest.mark.parametrize("path", list_targets(), ids=lambda path: path.stem)
def test_the_module_of_every_step_is_among_its_kinds_modules(path):
    config = load_target(path.stem, "quick")
    for cells in KINDS[config.kind].plan(config, "cpu").cells().values():
        for cell in with_ancestors(cells):
            assert cell.step.function.partition(":")[0] in modules_of(cell.kind), cell.name


@pytest.mark.parametrize("kind", CODE_VERSIONS)
def test_code_and_version_move_together(kind):
    assert recorded()[kind] == (CODE_VERSIONS[kind], code_hash(kind)), (
        f"the code behind cells of kind {kind!r} moved: raise CODE_VERSIONS[{kind!r}] if that can "
        "move a number, then run `python tests/test_code_versions.py --write`"
    )


def test_a_changed_line_is_seen_and_a_docstring_is_not(tmp_path, monkeypatch):
    module, before = "lamd.diffusion", code_hash("dmg")
    source = MODULES[module].read_text(encoding="utf-8")
    copy = tmp_path / "diffusion.py"
    monkeypatch.setitem(MODULES, module, copy)
    copy.write_text(source.replace('"""', '"""Other words. ', 1), encoding="utf-8")
    assert code_hash("dmg") == before
    copy.write_text(source + "\nX = 1\n", encoding="utf-8")
    assert code_hash("dmg") != before


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    lines = (f"{kind} {version} {code_hash(kind)}" for kind, version in CODE_VERSIONS.items())
    GOLDEN.write_text("\n".join(lines) + "\n", encoding="utf-8")
