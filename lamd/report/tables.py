"""Tables of text from `Results` alone: rows x metrics, published values, and their pages.

Measured and published values are in separate blocks. The same results give the same bytes.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from lamd.base.terminal import printable
from lamd.config.sweep import is_seed
from lamd.metrics.registry import METRICS
from lamd.report import frame, wording
from lamd.report.frame import Position, Summaries
from lamd.report.media import comparison_grid, encode_webp
from lamd.report.plots import draw_rows
from lamd.report.results import Column, Difference, PublishedRow, Results, Value

BLANK = "-"
_PAIRED = (
    "Difference [95 % interval]: clip by clip, resampled by source video; an interval without 0 "
    "separates the two on these clips. It does not cover other trainings. Of 20 intervals of no "
    "difference, one excludes 0 by chance."
)
_BIAS = (
    "{}: at this n the bias is smaller for rows whose clips follow their real clips closely, as "
    "reconstructions do; compare them with other rows by KVD"
)
Blocks = dict[str, pd.DataFrame]  # tables of text cells by heading
TextTable = tuple[pd.DataFrame, list[str], list[str]]  # cells, what all rows share, and notes
_MARKDOWN = re.compile(
    r"[\\*<~]|&(?=#?\w+;)"  # emphasis, HTML, entities
    r"|(?<=\])[(\[]|^\[(?=[^]]*]:)|(?<=!)\["  # links, definitions of links, pictures
    r"|(?<![^\W_])_|_(?![^\W_])"  # emphasis, which is not inside a word
    r"|^[>#]|^[+-](?=\s)"  # quotations, headings, lists
)
_LATEX = str.maketrans(
    {"↓": r"$\downarrow$", "↑": r"$\uparrow$", "→": r"$\to$", "∞": r"$\infty$",
     "β": r"$\beta$", "²": "$^2$", "\\": r"\textbackslash{}", "~": r"\textasciitilde{}",
     "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
     "|": r"\textbar{}"} | {char: f"\\{char}" for char in "&%$#_{}"}
)  # fmt: skip


class Notes(dict[str, int]):
    """Numbered notes below a table: equal reasons share a number."""

    def mark(self, reasons: Iterable[str]) -> str:
        """Return e.g. ` [1, 2]` for reasons, "" without any."""
        numbers = {self.setdefault(text, len(self) + 1) for text in reasons}
        return f" [{', '.join(map(str, sorted(numbers)))}]" if numbers else ""

    def lines(self) -> list[str]:
        """Return the notes in the order of their numbers."""
        return [f"[{number}] {text}" for text, number in self.items()]


def format_value(
    metric: str, value: float, low: float | None, high: float | None, digits: int | None = None
) -> str:
    """Return e.g. `123.4 [110.0, 140.0]`, by default with the decimals of the metric."""
    if digits is None:
        digits = METRICS[metric].digits if metric in METRICS else 3
    text = f"{value:.{digits}f}"
    # pandas has NaN for None; where all clips agree, no width says how sure the value is
    absent = low is None or high is None or np.isnan(low) or low == high
    return text if absent else f"{text} [{low:.{digits}f}, {high:.{digits}f}]"


def format_difference(entry: Difference) -> str:
    """Return e.g. `+12.0 [+3.1, +20.9]` with the decimals of the metric."""
    bounds = [entry.value, entry.low, entry.high]
    digits = METRICS[entry.metric].digits if entry.metric in METRICS else 3
    value, low, high = ("" if b is None else f"{b:+.{digits}f}" for b in bounds)
    return f"{value} [{low}, {high}]" if low else value


def is_constant(table: pd.DataFrame, column: str) -> bool:
    """Return whether all rows that were measured agree in a column."""
    return len(set(table[column]) - {BLANK}) <= 1


def render_table(
    results: Results, grid: Mapping[str, np.ndarray] | None = None
) -> dict[str, bytes]:
    """Return the files of a table; `grid` has test clips by heading, uint8 (N, L, H, W, 3)."""
    files = row_files(results) | draw_rows(results)
    if grid:
        words = f"{wording.sources_words(results)}, first test clips, not cherry-picked"
        files["clips.webp"] = encode_webp(comparison_grid(grid, words, given=True))
    return files


def row_files(results: Results) -> dict[str, bytes]:
    """Return the files of a table with a line per row, and the differences of the rows."""
    table, common, notes = measured_table(results)
    notes += [f"{row.label}: {row.description}" for row in results.rows]
    labels = {row.name: row.label for row in results.rows}
    lines: dict[str, dict[str, str]] = {}
    for entry in results.differences:
        line = lines.setdefault(entry.row, {"row": labels[entry.row]})
        line[wording.heading(entry.metric)] = format_difference(entry)
    reference = "".join({labels[entry.reference] for entry in results.differences})
    return result_files(results, table, common, notes, (reference, [*lines.values()]))


def result_files(
    results: Results,
    table: pd.DataFrame,
    common: Sequence[str],
    notes: Sequence[str],
    differences: tuple[str, Sequence[Mapping[str, str]]],  # the name of their reference, lines
    changes: Sequence[Mapping[str, str]] = (),  # lines, from the same reference, seed by seed
) -> dict[str, bytes]:
    """Return the files of a table of measured values, differences and published ones in blocks."""
    blocks = {wording.measured_heading(results): table}
    reference, lines = differences
    if changes:
        heading = f"Change from {reference}, seed by seed"
        blocks[heading] = pd.DataFrame(changes, dtype=str).fillna(BLANK)
    if lines:
        block = pd.DataFrame(lines, dtype=str).fillna(BLANK)
        blocks[f"Difference to {reference}, on the same clips"] = block
        notes = [*notes, _PAIRED]
        biased = {value.metric for value in results.values if "biased" in value.note}
        compared = dict.fromkeys(entry.metric for entry in results.differences)
        if names := [METRICS[metric].label for metric in compared if metric in biased]:
            notes.append(_BIAS.format(", ".join(names)))
    if results.published:
        blocks[wording.published_heading(results)] = published_table(results.published)
    return table_files(results, wording.caption(results, common), blocks, notes)


def table_files(
    results: Results, caption: str, blocks: Blocks, notes: Sequence[str]
) -> dict[str, bytes]:
    """Return `table.md`, `table.tex` and `values.csv`."""
    text = document(results.title, caption, blocks, notes)
    if results.protocols:
        rules = (f"- `{name}`: {markdown(rule)}\n" for name, rule in results.protocols.items())
        text += f"\n## Protocols\n\n{''.join(rules)}"
    return {
        "table.md": text.encode(),
        "table.tex": _latex_page(results.target, caption, blocks, notes).encode(),
        "values.csv": frame.csv(results),
    }


def document(title: str, caption: str, blocks: Blocks, notes: Sequence[str]) -> str:
    """Return a Markdown page: title, caption, the first block with its notes, the other blocks."""
    sections = []
    for heading, table in blocks.items():
        cells = _escaped(table, lambda text: markdown(text).replace("|", r"\|"))
        text = cells.to_markdown(index=False, disable_numparse=True)
        sections.append(f"## {markdown(heading)}\n\n{text}\n")
    listed = "".join(f"- {markdown(note)}\n" for note in filter(None, notes))
    head = f"# {markdown(title)}\n\n{markdown(caption)}\n"
    return "\n".join([head, sections[0], listed, *sections[1:]])


def markdown(text: str) -> str:
    """Return a text that Markdown shows as it is on one line, but for code in backticks."""
    return _MARKDOWN.sub(r"\\\g<0>", printable(text))


def latex(text: str) -> str:
    """Return a text that LaTeX sets as it is, also at the start of a line of a table."""
    escaped = printable(text).translate(_LATEX)
    return "{}" * escaped.startswith(("[", "*")) + escaped  # else an argument of the \\ before


def _escaped(table: pd.DataFrame, escape: Callable[[str], str]) -> pd.DataFrame:
    return table.map(escape).rename(columns=escape)


def _latex_page(target: str, caption: str, blocks: Blocks, notes: Sequence[str]) -> str:
    """Return one booktabs `tabular` per block below its heading, with the notes of the first."""
    text = f"% made by `lamd reproduce {printable(target)}`; needs \\usepackage{{booktabs}}\n"
    text += f"\\noindent {latex(caption)}\n"
    for number, (heading, table) in enumerate(blocks.items()):
        shape = "l" + "r" * (len(table.columns) - 2) + "l"
        cells = _escaped(table, latex).to_latex(index=False, escape=False, column_format=shape)
        text += f"\n\\noindent\\textbf{{{latex(heading)}}}\n\n\\noindent\n{cells}"
        if not number:
            text += "".join(f"\n\\noindent {latex(note)}\n" for note in filter(None, notes))
    return text


def measured_cell(
    summary: Summaries, position: Position, column: Column, notes: Notes, digits: int | None = None
) -> str:
    """Return the value of a column at a position, over its seeds, or why there is none."""
    line, reasons = summary.at(position, column), summary.reasons(position, column)
    if line is None:
        return f"not run{notes.mark(reasons)}" if reasons else BLANK
    text = format_value(column.metric, line["value"], line["low"], line["high"], digits)
    if line["num_seeds"] == 2:
        both = (
            format_value(column.metric, value, None, None, digits)
            for value in summary.by_seed(position, column)
        )
        text += f" ({', '.join(both)})"
    if reasons:
        seeds = f"{line['num_seeds']} of {len(summary.points[position])} seeds"
        text += f", {seeds}{notes.mark(reasons)}"
    return text


def measured_table(results: Results) -> TextTable:
    """Return one line per row, seeds averaged, and one column per metric."""
    notes, metrics = Notes(), dict.fromkeys(column.metric for column in results.columns)
    summary, missing = Summaries(results), {}
    for entry in results.missing:
        if entry.metric is None:
            missing[entry.row] = entry.reason
    limits = {value.metric for value in results.values if _limit(value) is not None}
    lines = []
    for row in results.rows:
        line = {"row": row.label}
        own = [value for value in results.values if value.row == row.name]
        for metric in metrics:
            column = Column(row=row.name, metric=metric)
            lost = row.name in missing and not own  # of some seeds, the cell says how many are left
            text = BLANK if lost else measured_cell(summary, (), column, notes)
            line[wording.heading(metric)] = text
            if metric in limits:
                measured = {value.cells: _limit(value) for value in own if value.metric == metric}
                limit = next(iter(measured.values()), None) if len(measured) < 2 else None
                text = BLANK if limit is None else format_value(metric, limit, None, None)
                line[f"{METRICS[metric].label}, N→∞"] = text
        source = results.sources[own[0].source] if own else None
        line["n"] = " / ".join(dict.fromkeys(str(value.n_fake) for value in own)) or BLANK
        line["data"] = wording.data_words(source) if source else BLANK
        line["scale"] = source.scale if source else BLANK
        line["verdict"] = _verdict(own, None if own else missing.get(row.name), notes)
        lines.append(line)
    table, common = pd.DataFrame(lines, dtype=str), []
    for name in ("n", "data", "scale") if lines else ():
        if is_constant(table, name):  # then it is in the caption
            shared = set(table.pop(name)) - {BLANK}
            common += [f"n = {n} clips" for n in shared if name == "n"]
    if results.points:
        common.append(seed_words(results, len(results.points)))
    return table, common, [*notes.lines(), *reading(results)]


def seed_words(results: Results, number: int) -> str:
    """Return e.g. `3 seeds (train_dmg.seed)`: how many, and of what."""
    keys = dict.fromkeys(key for point in results.points.values() for key in point if is_seed(key))
    of = f" ({', '.join(keys)})" if keys else ""
    return f"{number} seed{'s' * (number != 1)}{of}"


def _limit(value: Value) -> float | None:
    # A note says that the clips are too few for the features: then the limit is a guess.
    return None if value.note else value.extrapolated


def _verdict(values: Sequence[Value], missing: str | None, notes: Notes) -> str:
    if missing is not None:
        return f"not run{notes.mark([missing])}"
    reasons: dict[str, dict[str, dict[str, None]]] = {}  # verdict -> reason -> metrics, once
    for value in values:
        by_reason = reasons.setdefault(value.verdict or "not comparable", {})
        by_reason.setdefault(value.reason, {})[METRICS[value.metric].label] = None
    if [len(by_reason) for by_reason in reasons.values()] == [1]:  # all metrics agree
        ((kind, by_reason),) = reasons.items()
        return f"{kind}{notes.mark(filter(None, by_reason))}"
    return ", ".join(
        kind + notes.mark(f"{', '.join(names)}: {why or kind}" for why, names in by_reason.items())
        for kind, by_reason in reasons.items()
    )


def reading(results: Results) -> Iterator[str]:
    """Yield how to read a value, and each remark on metrics, protocols and data once."""
    reading = "Value [95 % interval over clips]"
    if any(_limit(value) is not None for value in results.values):
        reading += "; N→∞: extrapolated to infinitely many clips"
    if any(is_seed(key) for point in results.points.values() for key in point):
        reading += (
            "; where it depends on the seeds, their mean [95 % interval over the seeds, Student's "
            "t, for these clips], of two seeds their mean (both values)"
        )
    yield reading
    measured = [value for value in results.values if value.metric in METRICS]
    yield from sorted({f"{METRICS[v.metric].label}: {v.note}" for v in measured if v.note})
    departures: dict[str, dict[str, None]] = {}  # deviation -> protocols, each once
    for value in measured:
        for deviation in value.deviations:
            departures.setdefault(deviation, {})[f"`{value.protocol}`"] = None
    yield from (f"{', '.join(names)}: {deviation}" for deviation, names in departures.items())
    yield from results.notes


def published_table(published: Sequence[PublishedRow]) -> pd.DataFrame:
    """Return the values from papers as text, as they were printed."""
    printed = dict.fromkeys(metric for row in published for metric in row.metrics)
    metrics = dict.fromkeys([*(metric for metric in METRICS if metric in printed), *printed])
    lines = []
    for row in published:
        line = {"method": row.method} | dict.fromkeys(map(wording.heading, metrics), BLANK)
        protocols = []
        for metric, cell in row.metrics.items():
            # :g, since a rounded 36.05 would not be the published value any more
            line[wording.heading(metric)] = f"{cell.value:g}"
            if cell.protocol:
                label = METRICS[metric].label if metric in METRICS else wording.heading(metric)
                protocols.append(f"{label} {cell.protocol}")
        line["protocol"] = ", ".join(protocols) or "not stated"
        line["verified"] = "yes" if row.verified else "no"
        lines.append(line | {"source": row.source, "note": row.note})
    table = pd.DataFrame(lines, dtype=str)
    return table if any(table["note"]) else table.drop(columns="note")
