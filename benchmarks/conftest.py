"""Options and fixtures of the benchmarks; `pytest benchmarks/ --benchmark-only` runs them all."""

import statistics
import time
from collections.abc import Callable

import pytest
import torch
from paradigms import FULL, REDUCED, Scale
from timing import Measure, synchronise

from lamd.cost import Cost


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full-scale", action="store_true", help="the paper's widths and sizes, on a CUDA device"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test that asks for a `swept` shape all of its scale: (frames, pixels)."""
    if "swept" in metafunc.fixturenames:
        shapes = _scale(metafunc.config).sweep
        metafunc.parametrize("swept", shapes, ids=[f"{n}x{size}x{size}" for n, size in shapes])


@pytest.fixture(scope="session")
def scale(request: pytest.FixtureRequest) -> Scale:
    """Widths and sizes of this run; at full scale on the GPU."""
    chosen = _scale(request.config)
    if chosen is FULL:
        if not torch.cuda.is_available():
            pytest.exit("--full-scale needs a CUDA device; leave it out to run without", 2)
        torch.set_default_device("cuda")
    return chosen


@pytest.fixture(scope="session")
def matmul_rate(scale: Scale) -> float:
    """FLOP/s of a plain float32 matrix product here and now, median of nine."""
    n = scale.matmul_size
    a, b = torch.randn(n, n), torch.randn(n, n)
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        a @ b
        synchronise()
        seconds.append(time.perf_counter() - start)
    return 2 * n**3 / statistics.median(seconds[1:])


@pytest.fixture
def measure(benchmark, matmul_rate: float) -> Measure:
    """Return a function that times `run`, and puts its cost beside the times."""

    def timed(run: Callable[[], object], cost: Cost | None = None, rounds: int = 5, **info) -> None:
        def once() -> None:
            run()
            synchronise()

        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        benchmark.pedantic(once, rounds=rounds, warmup_rounds=1)
        benchmark.extra_info |= info
        seconds = benchmark.stats.stats.median
        if torch.cuda.is_available():
            benchmark.extra_info["peak_bytes"] = torch.cuda.max_memory_allocated()
        if "clips" in info:
            benchmark.extra_info["clips_per_s"] = info["clips"] / seconds
        if cost is not None:
            benchmark.extra_info |= {
                "flops": cost.flops,
                "parameters": cost.parameters,
                "activation_bytes": 4 * cost.activations,
                "flops_per_s": cost.flops / seconds,
                "share_of_matmul": cost.flops / seconds / matmul_rate,
            }

    return timed


def _scale(config: pytest.Config) -> Scale:
    return FULL if config.getoption("--full-scale") else REDUCED
