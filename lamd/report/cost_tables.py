"""Tables of a `CostReport` and nothing else: a denoising step, a sampling run, published seconds.

Everything is a clip's share. Ratios are to LaMD at the same frames and size.
"""

import csv
import io
from collections.abc import Callable, Iterator

from lamd.pipeline.steps.latency import Spread, spread
from lamd.report.results import CostReport, CostRow
from lamd.report.tables import exact, latex_tables, markdown_table

OURS = "latent-motion"
NAMES = {
    "latent-motion": "latent-motion (LaMD)",
    "latent-video-full": "latent-video, full 3-D",
    "latent-video-factorised": "latent-video, factorised",
    "pixel-full": "pixel-space, full 3-D",
    "pixel-factorised": "pixel-space, factorised",
}
_FEWEST = 16  # frames of the paper's own sampling-time table
PARTS = ("encode", "step", "decode")
Cost = Callable[[CostRow], float]


def render_cost_markdown(report: CostReport) -> str:
    """Return `table.md`."""
    lines = [f"# {report.title}", "", cost_caption(report)]
    for heading, table in _blocks(report):
        lines += ["", f"## {heading}", "", *markdown_table(table)]
    return "\n".join([*lines, "", *(f"- {note}" for note in cost_notes(report))]) + "\n"


def render_cost_latex(report: CostReport) -> str:
    """Return `table.tex`."""
    return latex_tables(report.target, *_blocks(report))


def render_cost_csv(report: CostReport) -> str:
    """Return `table.csv`: one line a paradigm, shape and part; `run` is K steps and the rest."""
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n").writerow
    write(["paradigm", "frames", "size", "part", "repeats", "flops", "activations", "parameters",
           "seconds", "seconds_low", "seconds_high"])  # fmt: skip
    for row in report.rows:
        shape = [row.paradigm, row.frames, row.size]
        for part in PARTS:
            repeats = report.num_steps if part == "step" else 1
            closed = [exact(row.flops[part]), exact(row.activations[part]), row.parameters[part]]
            write([*shape, part, repeats, *closed, *map(exact, spread(row.seconds[part]))])
        whole = [exact(run_flops(report, row)), "", sum(row.parameters.values())]
        write([*shape, "run", 1, *whole, *map(exact, run_seconds(report, row))])
    return out.getvalue()


def cost_caption(report: CostReport) -> str:
    """Return in one line on what, when and how the times were taken."""
    facts = report.measured
    cpu = facts["device"].startswith("cpu")
    place = " Times are indicative: this machine; the ratios are the statement." if cpu else ""
    commit = (report.cells[0].origin.commit or "unknown")[:12]
    return (
        f"Profile `{report.profile}`, untrained networks of equal width; measured on "
        f"{facts['device']}, {facts['threads']} CPU thread{'s' * (facts['threads'] != '1')}, "
        f"PyTorch {facts['torch']}, {facts['dtype']}, {facts['date']}; config "
        f"`{report.config_hash}`; commit {commit}.{place}"
    )


def cost_notes(report: CostReport) -> list[str]:
    """Return how to read the columns, and how each paradigm grows with the frames."""
    steps = report.num_steps
    return [
        "FLOPs, parameters and activations in closed form (`lamd.cost`), 1 multiply-accumulate = "
        "2 FLOPs; activations: what the layers of one step write, 4 bytes each. All of one clip.",
        "Times: median [quartiles] over rounds that time every paradigm and shape once each. "
        f"A run is encoding, {steps} times a step, and decoding; the step's time is from shorter "
        "runs, since every step costs the same.",
        "GFLOP/s is why the two ratios differ: a small 2-D network keeps a processor less busy "
        "than a large 3-D one.",
        *growth(report),
    ]


def growth(report: CostReport) -> Iterator[str]:
    """Yield how many times the costs grow up to the most frames, from 16 on as in the paper."""
    for paradigm, rows in swept_rows(report).items():
        first = next((row for row in rows if row.frames == _FEWEST), rows[0])
        last = rows[-1]
        if first is last:
            continue
        costs: dict[str, tuple[Cost, Cost]] = {
            "a step": (lambda row: row.flops["step"], step_median),
            "decoding": (
                lambda row: row.flops["decode"],
                lambda row: spread(row.seconds["decode"]).median,
            ),
            "the whole run": (
                lambda row: run_flops(report, row),
                lambda row: run_seconds(report, row).median,
            ),
        }
        told = [
            f"{what} x{flops(last) / flops(first):.2f} in FLOPs, "
            f"x{seconds(last) / seconds(first):.2f} in time"
            for what, (flops, seconds) in costs.items()
            if flops(first)  # pixel space does not decode
        ]
        yield (
            f"{NAMES[paradigm]}, {first.frames} to {last.frames} frames of {first.size}x"
            f"{first.size}: {'; '.join(told)}."
        )
    frames = "frames16", "frames128"
    told = [
        f"{row.method} x{row.metrics[frames[1]] / row.metrics[frames[0]]:.2f}"
        for row in report.published
        if all(name in row.metrics for name in frames)
    ]
    if told:
        yield f"Published, 16 to 128 frames, the whole run in time: {', '.join(told)}."


def swept_rows(report: CostReport) -> dict[str, list[CostRow]]:
    """Return the rows of each paradigm at the first row's size, by frames."""
    size, found = report.rows[0].size, {}
    for row in sorted(report.rows, key=lambda row: row.frames):
        if row.size == size:
            found.setdefault(row.paradigm, []).append(row)
    return {name: found[name] for name in NAMES if name in found}


def run_flops(report: CostReport, row: CostRow) -> float:
    """Return the FLOPs of a whole sampling run."""
    return row.flops["encode"] + report.num_steps * row.flops["step"] + row.flops["decode"]


def run_seconds(report: CostReport, row: CostRow) -> Spread:
    """Return the seconds of a whole sampling run, round by round."""
    rounds = zip(*(row.seconds[part] for part in PARTS), strict=True)
    return spread([e + report.num_steps * step + d for e, step, d in rounds])


def step_median(row: CostRow) -> float:
    """Return the median seconds of one denoising step."""
    return spread(row.seconds["step"]).median


def step_table(report: CostReport) -> list[list[str]]:
    """Return header and rows of one denoising step."""
    header = ["paradigm", "frames", "size", "parameters (M)", "activations (MB)", "GFLOPs",
              "FLOPs / LaMD", "ms", "time / LaMD", "GFLOP/s"]  # fmt: skip
    return [header, *(_step_cells(report, row) for row in report.rows)]


def run_table(report: CostReport) -> list[list[str]]:
    """Return header and rows of a whole sampling run, split into its parts."""
    header = ["paradigm", "frames", "size", "parameters (M)", "GFLOPs: encode", "denoise",
              "decode", "sum / LaMD", "seconds: encode", "denoise", "decode", "sum",
              "sum / LaMD"]  # fmt: skip
    return [header, *(_run_cells(report, row) for row in report.rows)]


def _blocks(report: CostReport) -> list[tuple[str, list[list[str]]]]:
    metrics = list(dict.fromkeys(name for row in report.published for name in row.metrics))
    metrics.sort(key=lambda name: int(name.removeprefix("frames")))
    header = [f"{name.removeprefix('frames')} frames (s)" for name in metrics]
    published = [
        [row.method, *(f"{row.metrics[m]:g}" if m in row.metrics else "-" for m in metrics),
         "yes" if row.verified else "no", row.source, row.note]
        for row in report.published
    ]  # fmt: skip
    return [
        ("One denoising step", step_table(report)),
        (f"A sampling run, K = {report.num_steps}", run_table(report)),
        (
            "Published: seconds a video, taken from papers, not measured here",
            [["method", *header, "verified", "source", "note"], *published],
        ),
    ]


def _shape(row: CostRow) -> list[str]:
    return [NAMES[row.paradigm], str(row.frames), f"{row.size}x{row.size}"]


def _ratio(report: CostReport, row: CostRow, cost: Cost) -> str:
    ours = next(
        other
        for other in report.rows
        if (other.paradigm, other.frames, other.size) == (OURS, row.frames, row.size)
    )
    return f"{cost(row) / cost(ours):.4g}"


def _step_cells(report: CostReport, row: CostRow) -> list[str]:
    median, low, high = (1000 * value for value in spread(row.seconds["step"]))
    return [
        *_shape(row),
        f"{row.parameters['step'] / 1e6:.3g}",
        f"{4 * row.activations['step'] / 1e6:.4g}",
        f"{row.flops['step'] / 1e9:.4g}",
        _ratio(report, row, lambda r: r.flops["step"]),
        f"{median:.4g} [{low:.4g}, {high:.4g}]",
        _ratio(report, row, step_median),
        f"{row.flops['step'] / median / 1e6:.3g}",
    ]


def _run_cells(report: CostReport, row: CostRow) -> list[str]:
    repeats = {"encode": 1, "step": report.num_steps, "decode": 1}
    median, low, high = run_seconds(report, row)
    return [
        *_shape(row),
        f"{sum(row.parameters.values()) / 1e6:.3g}",
        *(f"{repeats[part] * row.flops[part] / 1e9:.4g}" for part in PARTS),
        _ratio(report, row, lambda r: run_flops(report, r)),
        *(f"{repeats[part] * spread(row.seconds[part]).median:.3g}" for part in PARTS),
        f"{median:.3g} [{low:.3g}, {high:.3g}]",
        _ratio(report, row, lambda r: run_seconds(report, r).median),
    ]
