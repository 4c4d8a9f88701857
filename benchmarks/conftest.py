"""Options and fixtures of the benchmarks; `pytest benchmarks/ --benchmark-only` runs them all."""

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ratios
import torch
from paradigms import FULL, REDUCED, Scale
from timing import Measure, affordable, seconds_of, synchronised

from lamd.base.origin import device_name
from lamd.flops import Cost

_RUN = pytest.StashKey[list[dict]]()
_STORED = pytest.StashKey[dict[str, float]]()
_SLOWER = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full-scale", action="store_true", help="the paper's widths and sizes, on a CUDA device"
    )
    parser.addoption(
        "--compiled",
        action="store_true",
        help="torch.compile too: minutes on a CPU",
    )
    parser.addoption("--store-ratios", type=Path, help="write this run's ratios to a file")
    parser.addoption("--compare-ratios", type=Path, help="fail if a ratio has grown since")
    parser.addoption("--slowdown", type=float, default=ratios.SLOWDOWN, help="growth that passes")


def pytest_configure(config: pytest.Config) -> None:
    """Read the stored ratios before anything is timed."""
    config.stash[_RUN], config.stash[_STORED] = [], {}
    path = config.getoption("--compare-ratios")
    if path is not None:
        try:
            config.stash[_STORED] = ratios.read(path, _where(config))
        except ValueError as error:
            raise pytest.UsageError(str(error)) from None


@pytest.fixture(autouse=True)
def _collected(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep what each benchmark measured until the end of the session."""
    benchmark = request.getfixturevalue("benchmark")
    yield
    if benchmark.stats is not None:
        median, info = benchmark.stats.stats.median, benchmark.extra_info
        request.config.stash[_RUN].append(
            {"name": request.node.name, "median": median, "extra_info": info}
        )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Compare the ratios of the run, and store those of one that passed."""
    config = session.config
    now, stored = ratios.ratios_of(config.stash[_RUN]), config.stash[_STORED]
    config.stash[_SLOWER] = ratios.compare(now, stored, config.getoption("--slowdown"))
    if session.exitstatus != pytest.ExitCode.OK:
        return
    path = config.getoption("--store-ratios")
    if config.stash[_SLOWER] or (stored and not now.keys() & stored.keys()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    elif path is not None and now:
        ratios.write(path, now, _where(config))


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    """Report what was compared and what has become slower."""
    stored, slower = config.stash[_STORED], config.stash.get(_SLOWER, [])
    if not stored:
        return
    now = ratios.ratios_of(config.stash[_RUN])
    limit = config.getoption("--slowdown")
    terminalreporter.section("ratios against the stored run")
    terminalreporter.line(
        f"{len(now.keys() & stored.keys())} compared, {len(slower)} grown beyond {limit:g} times; "
        f"{len(stored.keys() - now.keys())} not measured, {len(now.keys() - stored.keys())} new"
    )
    for line in slower:
        terminalreporter.line(f"SLOWER {line}", red=True)


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
        torch.set_float32_matmul_precision("high")  # TF32, as PyTorch's convolutions have it there
    return chosen


@pytest.fixture(scope="session")
def product(scale: Scale) -> Callable[[], torch.Tensor]:
    """Return a plain float32 matrix product."""
    n = scale.matmul_size
    a, b = torch.randn(n, n), torch.randn(n, n)
    return lambda: a @ b


@pytest.fixture
def measure(benchmark, scale: Scale, product: Callable[[], torch.Tensor]) -> Measure:
    """Return a function that times `run`, and adds its cost to the times.

    Slow ones get fewer rounds than asked for. A matrix product is timed before each round.
    """

    def timed(run: Callable[[], object], cost: Cost | None = None, rounds: int = 5, **info) -> None:
        products: list[float] = []
        if _on_gpu():
            torch.cuda.reset_peak_memory_stats()
        seconds_of(product)
        once = [seconds_of(run) for _ in range(2)][1]
        benchmark.pedantic(
            synchronised(run),
            setup=lambda: products.append(seconds_of(product)),
            rounds=affordable(rounds, once),
        )
        benchmark.extra_info |= info
        seconds = benchmark.stats.stats.median
        matmul_rate = 2 * scale.matmul_size**3 / statistics.median(products)
        benchmark.extra_info["over_matmul"] = seconds * matmul_rate / 1e9  # of a GFLOP product
        if _on_gpu():
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


def _on_gpu() -> bool:
    return torch.get_default_device().type == "cuda"


def _where(config: pytest.Config) -> dict[str, str]:
    full = config.getoption("--full-scale") and torch.cuda.is_available()
    cpu = f"{device_name('cpu')}, {torch.get_num_threads()} threads"
    return {
        "scale": "full" if config.getoption("--full-scale") else "reduced",
        "device": device_name("cuda") if full else cpu,
        "torch": torch.__version__,
    }
