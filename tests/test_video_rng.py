"""Pixel conversion is exact and seeds are stable; nothing is drawn without one."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lamd.base.rng import derive_seed, numpy_generator, torch_generator
from lamd.io.video import to_model, to_uint8

ROOT = Path(__file__).resolve().parent.parent


def test_all_256_values_survive_the_round_trip():
    video = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16, 1).expand(-1, -1, -1, -1, 3)
    x = to_model(video)
    assert x.shape == (1, 1, 3, 16, 16)
    assert x.min() == -1 and x.max() == 1
    assert torch.equal(to_uint8(x), video)


def test_out_of_range_values_are_clamped():
    x = torch.tensor([-7.0, 9.0]).reshape(1, 2, 1, 1, 1).expand(-1, -1, 3, 1, 1)
    assert to_uint8(x).flatten().tolist() == [0, 0, 0, 255, 255, 255]


@pytest.mark.parametrize(
    "bad", [torch.zeros(1, 2, 4, 4, 3), torch.zeros(2, 4, 4, 3, dtype=torch.uint8)]
)
def test_another_type_or_layout_is_refused(bad):
    with pytest.raises(ValueError, match="expected uint8"):
        to_model(bad)


def test_seeds_differ_by_every_part_and_by_type():
    seeds = {derive_seed(*p) for p in [(0,), ("0",), (0, "a"), ("a", 0), (0, "ab"), (0, "a", "b")]}
    assert len(seeds) == 6
    assert all(0 <= s < 2**63 for s in seeds)


def test_seeds_are_the_same_in_another_process():
    code = "from lamd.base.rng import derive_seed; print(derive_seed(3, 'noise', 'bair/test/7@0'))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(out.stdout) == derive_seed(3, "noise", "bair/test/7@0") == 4676462505833777022


def test_generators_repeat():
    assert torch.equal(
        torch.randn(4, generator=torch_generator(1, "a")),
        torch.randn(4, generator=torch_generator(1, "a")),
    )
    assert (numpy_generator(1, "a").random(4) == numpy_generator(1, "a").random(4)).all()


DRAWS = {
    "bernoulli", "multinomial", "normal", "rand", "rand_like", "randint", "randn", "randn_like",
    "randperm",
}  # fmt: skip
# Times do not depend on what was drawn; weights are drawn within `seeded`.
UNNAMED = re.compile(r"lamd/(forecast/|models/|paradigms/untrained\.py)")


def test_every_draw_has_a_generator():
    unnamed = []
    for path in sorted((ROOT / "lamd").rglob("*.py")):
        where = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import) and any(name.name == "random" for name in node.names):
                unnamed.append(f"{where}:{node.lineno}")
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            called, given = ast.unparse(node.func), {keyword.arg for keyword in node.keywords}
            drawn = called.startswith("torch.") and node.func.attr in DRAWS
            numpy = called.startswith("np.random.") and where != "lamd/base/rng.py"
            if (drawn and "generator" not in given) or numpy:
                unnamed.append(f"{where}:{node.lineno}")
    assert [place for place in unnamed if not UNNAMED.match(place)] == []
