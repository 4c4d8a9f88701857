"""Tables from a `Report` and nothing else: Markdown, CSV, LaTeX and the terminal.

Measured and published values stand in separate blocks. The same report gives the same bytes.
"""

import csv
import io

from lamd.report.results import PublishedRow, Record, Report, RowInfo, SweepReport

LABELS = {
    "fvd": "FVD ↓",
    "cfvd": "cFVD ↓",
    "cfvd_spread": "spread of cFVD ↓",
    "fvd-counted": "FVD, given frame counted ↓",
    "psnr": "PSNR ↑",
    "ssim": "SSIM ↑",
    "lpips": "LPIPS ↓",
    "lpips-alex": "LPIPS-alex ↓",
    "lpips-vgg": "LPIPS-vgg ↓",
    "fid": "FID ↓",
    "action_precision": "action precision ↑",
    "referring_expression_precision": "referring-expression precision ↑",
    "diversity": "diversity, LPIPS-alex ↑",
    "smoothness": "smoothness, linear (%) ↑",
    "motion_smoothness_percent": "motion smoothness (%) ↑",
    "reconstruction_fvd": "reconstruction FVD ↓",
    "generation_fvd": "generation FVD ↓",
}
_DIGITS = {
    "fvd": 1,
    "cfvd": 1,
    "cfvd_spread": 1,
    "psnr": 2,
    "ssim": 3,
    "lpips": 3,
    "fid": 2,
    "smoothness": 2,
}
_BLANK = "-"
_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "_": r"\_",
    "#": r"\#",
    "$": r"\$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "→": r"$\to$",
    "∞": r"$\infty$",
}


def plain_label(metric: str) -> str:
    """Return the name of a column without its arrow."""
    return LABELS[metric].rstrip(" ↑↓")


def metric_of(protocol: str) -> str:
    """Return the column of a protocol: `fvd` of `fvd.bair.v1`.

    FVD with the given frame counted has one of its own, since the two do not compare.
    """
    metric, *rules = protocol.split(".")
    return f"{metric}-counted" if "counted" in rules else metric


def render_markdown(report: Report) -> str:
    """Return `table.md`."""
    lines = [f"# {report.title}", "", caption(report), "", f"## {measured_heading(report)}", ""]
    lines += markdown_table(measured_table(report))
    lines += ["", *(f"- {note}" for note in notes(report))]
    lines += [f"- {row.label}: {row.description}" for row in report.rows]
    lines += ["", f"## {published_heading(report)}", ""]
    lines += markdown_table(published_table(report))
    lines += ["", "## Protocols", ""]
    lines += [f"- `{name}`: {text}" for name, text in report.protocols.items()]
    return "\n".join(lines) + "\n"


def render_csv(report: Report) -> str:
    """Return `table.csv`: one line a value, `block` says measured or published."""
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n").writerow
    write(
        ["block", "row", "metric", "protocol", "value", "low", "high", "extrapolated", "n_real",
         "n_fake", "data", "scale", "verdict", "verified", "source"]
    )  # fmt: skip
    for r in report.records:
        low, high = r.interval or (None, None)
        numbers = [r.value, low, high, r.extrapolated]
        write(
            ["measured", r.row, r.metric, r.protocol, *(exact(v) for v in numbers), r.n_real,
             r.n_fake, r.data, r.scale, str(r.verdict), "", ""]
        )  # fmt: skip
    for hole in report.holes:
        empty = [""] * 7
        write(
            [
                "measured",
                hole.row,
                hole.metric or "",
                *empty,
                report.data,
                report.scale,
                str(hole.verdict),
                "",
                "",
            ]
        )
    for p in report.published:
        for metric, value in p.metrics.items():
            write(
                ["published", p.method, metric, p.protocol or "", exact(value), *[""] * 5, "real",
                 "", "", "yes" if p.verified else "no", p.source]
            )  # fmt: skip
    return out.getvalue()


def render_latex(report: Report) -> str:
    """Return `table.tex`: two `tabular`s (booktabs), measured and published."""
    return latex_tables(
        report.target,
        (measured_heading(report), measured_table(report)),
        (published_heading(report), published_table(report)),
    )


def latex_tables(target: str, *blocks: tuple[str, list[list[str]]]) -> str:
    """Return one `tabular` for each heading and table; the first row is its header."""
    parts = [f"% made by `lamd reproduce {target}`; needs \\usepackage{{booktabs}}"]
    for heading, (header, *rows) in blocks:
        parts += [
            f"% {heading}",
            rf"\begin{{tabular}}{{l{'r' * (len(header) - 2)}l}}",
            r"\toprule",
            " & ".join(map(_tex, header)) + r" \\",
            r"\midrule",
            *(" & ".join(map(_tex, row)) + r" \\" for row in rows),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    return "\n".join(parts) + "\n"


def caption(report: Report | SweepReport) -> str:
    """Return one line: profile, data, scale, code."""
    origins = {cell.origin.commit for cell in report.cells}
    commits = sorted({commit[:12] for commit in origins if commit})
    dirty = any(cell.origin.dirty for cell in report.cells)
    code = ", ".join(commits) if commits else "unknown"
    data = data_words(report.data, report.dataset)
    return (
        f"Profile `{report.profile}`, {data}, {report.scale} scale; config "
        f"`{report.config_hash}`; commit {code}{' with local changes' if dirty else ''}."
    )


def notes(report: Report) -> list[str]:
    """Return how to read a value, and each remark that a metric made, once."""
    remarks = {f"{r.metric.upper()}: {r.note}" for r in report.records if r.note}
    reading = "Value [95 % interval], N→∞ = extrapolated to infinitely many clips; n = clips a set"
    return [reading, *sorted(remarks), *report.notes]


def measured_heading(report: Report | SweepReport) -> str:
    """Return the heading of the block of our own values."""
    return f"Measured here: {data_words(report.data, report.dataset)}, {report.scale} scale"


def published_heading(report: Report | SweepReport) -> str:
    """Return the heading of the block of values from papers."""
    return f"Published: real {report.dataset.upper()}, taken from papers, not measured here"


def measured_table(report: Report) -> list[list[str]]:
    """Return header and rows of our own values."""
    header = ["row", *(LABELS.get(m, m) for m in report.metrics), "n", "data", "verdict"]
    return [header, *(_measured_row(report, row) for row in report.rows)]


def published_table(report: Report | SweepReport) -> list[list[str]]:
    """Return header and rows of the values from papers."""
    metrics = [m for m in LABELS if any(m in row.metrics for row in report.published)]
    header = ["method", *(LABELS[m] for m in metrics), "protocol", "verified", "source", "note"]
    return [header, *(_published_row(row, metrics) for row in report.published)]


def format_value(record: Record) -> str:
    """Return e.g. `123.4 [110.0, 140.0], N→∞ 80.1`."""
    digits = digits_of(record.metric)
    text = f"{record.value:.{digits}f}"
    if record.interval is not None:
        low, high = record.interval
        text += f" [{low:.{digits}f}, {high:.{digits}f}]"
    if record.extrapolated is not None:
        text += f", N→∞ {record.extrapolated:.{digits}f}"
    return text


def _measured_row(report: Report, row: RowInfo) -> list[str]:
    records = [report.find(row.name, metric) for metric in report.metrics]
    holes = {hole.metric: str(hole.verdict) for hole in report.holes if hole.row == row.name}
    values = [
        format_value(r) if r else holes.get(metric, _BLANK)
        for metric, r in zip(report.metrics, records, strict=True)
    ]
    if None in holes:
        return [row.label, *values, _BLANK, report.data, holes[None]]
    first = next(r for r in records if r)
    return [row.label, *values, str(first.n_fake), report.data, str(first.verdict)]


def _published_row(row: PublishedRow, metrics: list[str]) -> list[str]:
    # As printed in the source: a rounded 36.05 would not be the published value any more.
    values = [f"{row.metrics[m]:g}" if m in row.metrics else _BLANK for m in metrics]
    verified = "yes" if row.verified else "no"
    return [row.method, *values, row.protocol or "not stated", verified, row.source, row.note]


def markdown_table(rows: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table; the first row is its header."""
    lines = ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows]
    return [lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]]


def data_words(kind: str, dataset: str) -> str:
    """Return e.g. `simulated stand-in for BAIR`."""
    name = dataset.upper()
    return f"real {name}" if kind == "real" else f"simulated stand-in for {name}"


def digits_of(metric: str) -> int:
    """Return the number of decimals that a metric is printed with."""
    """Return how many decimals of a metric are shown."""
    return _DIGITS.get(metric.split("-")[0], 3)


def exact(value: float | None) -> str:
    """Return six digits of a value for `table.csv`, nothing for None."""
    return "" if value is None else f"{value:.6g}"


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in text)
