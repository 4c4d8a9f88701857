"""The five recipes of docs/extending.md as modules outside the package, and data for the first."""

import importlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from lamd import config, diffusion
from lamd.data.dataset import DATASETS
from lamd.metrics.protocols import PROTOCOLS
from lamd.metrics.registry import METRICS
from lamd.pipeline.rows import ROWS
from lamd.targets import KINDS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "extending.md"
REGISTRIES = (
    DATASETS, METRICS, PROTOCOLS, ROWS, KINDS, config.DATA_OPTIONS, config.KINDS, config.ROW_RULES,
    config.SAMPLERS, diffusion.SAMPLERS,
)  # fmt: skip


def recipes() -> dict[str, str]:
    """Return the code of each recipe by the name of its module."""
    text = PAGE.read_text(encoding="utf-8")
    return dict(re.findall(r"^`(my_\w+)\.py`:.*?^```python\n(.*?)^```", text, flags=re.M | re.S))


def page_yaml() -> str:
    """Return the YAML that the page shows for the data set."""
    text = PAGE.read_text(encoding="utf-8")
    return re.search(
        r"^`experiments/table_my_data\.yaml`.*?^```yaml\n(.*?)^```", text, flags=re.M | re.S
    )[1]


@contextmanager
def registered(folder: Path) -> Iterator[None]:
    """Write the recipes to `folder` and import them; take all that they register out again."""
    before = [dict(registry) for registry in REGISTRIES]
    sys.path.insert(0, str(folder))
    try:
        for name, code in recipes().items():
            (folder / f"{name}.py").write_text(code, encoding="utf-8")
            importlib.import_module(name)
        yield
    finally:
        sys.path.remove(str(folder))
        for registry, content in zip(REGISTRIES, before, strict=True):
            registry.clear()
            registry.update(content)
        for name in recipes():
            sys.modules.pop(name, None)


def write_data(root: Path, *, num_train: int, num_test: int, num_frames: int, size: int) -> None:
    """Write videos of random PNG frames in the layout of `my_data`."""
    rng = np.random.default_rng(0)
    for split, count in (("train", num_train), ("test", num_test)):
        for video in range(count):
            folder = root / "my_data" / split / f"v{video}"
            folder.mkdir(parents=True)
            for frame in range(num_frames):
                pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{frame}.png")
