"""The figure of a table, from its `Report` alone: measured and published values in panels."""

import io
import textwrap
import warnings

from lamd.report.results import PublishedRow, Report
from lamd.report.tables import digits_of, measured_heading, plain_label

_OURS, _PAPER = "#1b6ca8", "#8a8a8a"


def render_figure(report: Report, metric: str = "fvd") -> dict[str, bytes]:
    """Return `figure.png` and `figure.svg`; the same report gives the same SVG bytes.

    The panels have axes of their own, so that a stand-in value is never read off beside a
    published one. A table of text has one for action precision.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style = {
        "svg.hashsalt": f"lamd-{report.target}",
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.alpha": 0.3,
    }
    published = sorted(
        (row for row in report.published if metric in row.metrics), key=lambda r: r.metrics[metric]
    )
    shown = [metric, *(m for m in ("action_precision",) if m in report.metrics)]
    with rc_context(style):
        figure = Figure(figsize=(11, 1.2 + 0.19 * max(len(published), 12)), layout="constrained")
        panels = figure.subplots(1, len(shown) + bool(published), squeeze=False)[0]
        for axes, one in zip(panels, shown, strict=False):
            _draw_measured(axes, report, one)
        if published:
            _draw_published(panels[-1], report, metric, published)
        return {f"figure.{kind}": save_figure(figure, kind) for kind in ("png", "svg")}


def _draw_published(axes, report: Report, metric: str, published: list[PublishedRow]) -> None:
    for y, row in enumerate(published):
        axes.plot(row.metrics[metric], y, "s", color=_PAPER)
        axes.annotate(f"{row.metrics[metric]:g}", (row.metrics[metric], y), (6, -3),
                      textcoords="offset points", color=_PAPER)  # fmt: skip
    labels = [row.method + ("" if row.verified else " *") for row in published]
    axes.set_yticks(range(len(published)), labels)
    axes.set_ylim(len(published) - 0.5, -0.5)
    axes.set_title(f"Published: real {report.dataset.upper()}, not measured here")
    axes.set_xlabel(f"{metric.upper()} (lower is better); * second-hand, unverified")
    axes.margins(x=0.2)


def _draw_measured(axes, report: Report, metric: str) -> None:
    not_run = {hole.row for hole in report.holes if hole.metric in (None, metric)}
    named = [
        (row.label, record)
        for row in report.rows
        if (record := report.find(row.name, metric)) or row.name in not_run
    ]
    digits = digits_of(metric)
    for y, (_, record) in enumerate(named):
        if record is None:
            axes.annotate("not run", (0.5, y), xycoords=("axes fraction", "data"), ha="center")
            continue
        low, high = record.interval or (record.value, record.value)
        spread = [[max(record.value - low, 0.0)], [max(high - record.value, 0.0)]]
        axes.errorbar(record.value, y, xerr=spread, fmt="o", color=_OURS, capsize=3)
        text = f"{record.value:.{digits}f}"
        if record.extrapolated is not None:
            axes.plot(record.extrapolated, y, "|", color=_OURS, markersize=12)
            text += f"  (N→∞ {record.extrapolated:.{digits}f})"
        axes.annotate(text, (record.value, y), (0, 7), textcoords="offset points", ha="center",
                      color=_OURS)  # fmt: skip
    axes.set_yticks(range(len(named)), [label for label, _ in named])
    axes.set_ylim(len(named) - 0.5, -0.6)
    axes.set_title(_wrapped(measured_heading(report)))
    records = [record for _, record in named if record]
    n = f", n = {records[0].n_fake}" if records else ""
    better = "higher" if any(record.higher_is_better for record in records) else "lower"
    last = ", | extrapolated" if any(record.extrapolated for record in records) else ""
    axes.set_xlabel(_wrapped(f"{plain_label(metric)} ({better} is better), 95 % interval{last}{n}"))
    axes.margins(x=0.25)


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, 52))  # what fits under one of two panels


def save_figure(figure, kind: str) -> bytes:
    """Return a matplotlib figure as `png` or `svg`; the same figure gives the same SVG bytes."""
    buffer = io.BytesIO()
    # Without a date the file changes only when its content does.
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a glyph the default font lacks
        figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
    return buffer.getvalue()
