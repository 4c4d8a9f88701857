"""Tables from `Results` alone: rows x metrics, published values, and the words they share.

Measured and published values are in separate blocks. The same results give the same bytes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lamd.config.sweep import is_seed
from lamd.data.dataset import DATASETS
from lamd.metrics.registry import METRICS
from lamd.report import frame
from lamd.report.media import comparison_grid, encode_webp
from lamd.report.plots import draw_rows
from lamd.report.results import Column, PublishedRow, Results, Source, Value

if TYPE_CHECKING:
    import pandas as pd

BLANK = "-"
# The paper's symbols of config keys.
SYMBOLS = {
    "vae.motion_channels": "d",
    "loss.kl_weight": "β",
    "vae.temporal_downsampling": "f_t",
    "vae.spatial_downsampling": "f_s",
    "sampler.num_steps": "K",
}


class Notes:
    """Numbered notes below a table: equal reasons share a number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, reasons: Iterable[str]) -> str:
        """Return e.g. ` [1, 2]` for reasons, "" without any."""
        numbers = {self._numbers.setdefault(text, len(self._numbers) + 1) for text in reasons}
        return f" [{', '.join(map(str, sorted(numbers)))}]" if numbers else ""

    def lines(self) -> list[str]:
        """Return the notes in the order of their numbers."""
        return [f"[{number}] {text}" for text, number in self._numbers.items()]


def symbol(key: str) -> str:
    """Return the paper's symbol of a config key, or its last part in words."""
    return SYMBOLS.get(key) or key.rpartition(".")[2].replace("_", " ")


def symbols(keys: Sequence[str]) -> list[str]:
    """Return the symbol of each config key; the key itself where two share one."""
    short = [symbol(key) for key in keys]
    return [own if short.count(own) == 1 else key for key, own in zip(keys, short, strict=True)]


def symbol_key(keys: Sequence[str]) -> str:
    """Return e.g. `d: vae.motion_channels, β: loss.kl_weight`."""
    return ", ".join(f"{own}: `{key}`" for own, key in zip(symbols(keys), keys, strict=True))


def data_words(source: Source) -> str:
    """Return e.g. `simulated stand-in for BAIR`."""
    label = dataset_label(source.dataset)
    return f"real {label}" if source.data == "real" else f"simulated stand-in for {label}"


def dataset_label(name: str) -> str:
    """Return the display name of a data set, its own name where it is not registered."""
    return DATASETS[name].label if name in DATASETS else name


def heading(metric: str) -> str:
    """Return e.g. `FVD ↓`; `16 frames (s)` of the published seconds `frames16`."""
    if metric.startswith("frames"):
        return f"{metric.removeprefix('frames')} frames (s)"
    return METRICS[metric].heading if metric in METRICS else metric.replace("_", " ")


def column_heading(column: Column) -> str:
    """Return e.g. `reconstruction FVD ↓`."""
    row = "LaMD" if column.row == "lamd" else column.row.replace("_", " ")
    return f"{row} {heading(column.metric)}".strip()


def capitalized(text: str) -> str:
    """Return a text with a capital first letter."""
    return text[:1].upper() + text[1:]


def machine_words(measured: Mapping[str, str]) -> str:
    """Return the device, threads, PyTorch, precision and date of measured times."""
    return (
        f"{measured['device']}, {measured['threads']} CPU thread"
        f"{'s' * (measured['threads'] != '1')}, PyTorch {measured['torch']}, {measured['dtype']}, "
        f"{measured['date']}"
    )


def sources_words(results: Results) -> str:
    """Return the data of all sources, and their scale when it is the same."""
    words = " + ".join(dict.fromkeys(data_words(source) for source in results.sources.values()))
    scales = {source.scale for source in results.sources.values()}
    return f"{words}, {scales.pop()} scale" if len(scales) == 1 else words


def caption(results: Results, common: Iterable[str] = ()) -> str:
    """Return one line: data, what all rows have in common, profile, config and code."""
    words = ", ".join((sources_words(results), *common))
    return f"{capitalized(words)}; {provenance(results)}."


def provenance(results: Results) -> str:
    """Return the profile, config and commits behind results."""
    commits = sorted({c.origin.commit[:12] for c in results.cells if c.origin.commit})
    dirty = " with local changes" if any(c.origin.dirty for c in results.cells) else ""
    code = f"commit {', '.join(commits) or 'unknown'}{dirty}"
    return f"profile `{results.profile}`, config `{results.config_hash}`, {code}"


def measured_heading(results: Results) -> str:
    """Return the heading of the block of our own values."""
    return f"Measured here: {sources_words(results)}"


def published_heading(results: Results) -> str:
    """Return the heading of the block of values from papers."""
    names = dict.fromkeys(dataset_label(source.dataset) for source in results.sources.values())
    return f"Published: real {' + '.join(names)}, taken from papers, not measured here"


def format_value(
    metric: str, value: float, low: float | None, high: float | None, digits: int | None = None
) -> str:
    """Return e.g. `123.4 [110.0, 140.0]`, by default with the decimals of the metric."""
    if digits is None:
        digits = METRICS[metric].digits if metric in METRICS else 3
    text = f"{value:.{digits}f}"
    absent = low is None or high is None or np.isnan(low)  # pandas has NaN for None
    return text if absent else f"{text} [{low:.{digits}f}, {high:.{digits}f}]"


def document(
    title: str, caption: str, blocks: dict[str, "pd.DataFrame | list[str]"], notes: Sequence[str]
) -> bytes:
    """Return a Markdown page: title, caption, the first block with its notes, the other blocks."""
    sections = []
    for name, block in blocks.items():
        text = "\n".join(block) if isinstance(block, list) else frame.markdown(block)
        sections.append(f"## {name}\n\n{text}\n")
    listed = "".join(f"- {note}\n" for note in notes)
    return "\n".join([f"# {title}\n\n{caption}\n", sections[0], listed, *sections[1:]]).encode()


def render_table(
    results: Results, grid: Mapping[str, np.ndarray] | None = None
) -> dict[str, bytes]:
    """Return the files of a table.

    Args:
        grid: by heading the first test clips of a set, uint8 (N, L, H, W, 3); None without them.
    """
    table, common, notes = measured_table(results)
    notes += [f"{row.label}: {row.description}" for row in results.rows]
    blocks = blocks_of(results, table)
    files = table_files(results, caption(results, common), blocks, notes)
    files |= draw_rows(results, *blocks)
    if grid:
        words = f"{sources_words(results)}, first test clips, not chosen"
        files["clips.webp"] = encode_webp(comparison_grid(grid, words))
    return files


def blocks_of(results: Results, table: "pd.DataFrame") -> dict[str, "pd.DataFrame"]:
    """Return the tables of measured and, where there are any, published values by heading."""
    blocks = {measured_heading(results): table}
    if results.published:
        blocks[published_heading(results)] = published_table(results.published)
    return blocks


def table_files(
    results: Results, words: str, blocks: dict[str, "pd.DataFrame"], notes: Sequence[str]
) -> dict[str, bytes]:
    """Return `table.md`, `table.tex` and `values.csv`; `words` is the caption."""
    rules = [f"- `{name}`: {text}" for name, text in results.protocols.items()]
    pages = blocks | ({"Protocols": rules} if rules else {})
    return {
        "table.md": document(results.title, words, pages, notes),
        "table.tex": frame.latex(results.target, blocks),
        "values.csv": frame.csv(results),
    }


def measured_table(results: Results) -> tuple["pd.DataFrame", list[str], list[str]]:
    """Return a table of our own values as text, what all its rows have in common, and notes."""
    import pandas as pd

    notes, metrics = Notes(), dict.fromkeys(column.metric for column in results.columns)
    values = {(value.row, value.metric): value for value in results.values}
    limits = {value.metric for value in results.values if _limit(value) is not None}
    lines = []
    for row in results.rows:
        missing = {entry.metric: entry.reason for entry in results.missing if entry.row == row.name}
        own = [value for value in results.values if value.row == row.name]
        line = {"row": row.label}
        for metric in metrics:
            value = values.get((row.name, metric))
            if value:
                text = format_value(metric, value.value, value.low, value.high)
            else:
                text = f"not run{notes.mark([missing[metric]])}" if metric in missing else BLANK
            line[heading(metric)] = text
            if metric in limits:
                limit = _limit(value) if value else None
                text = BLANK if limit is None else format_value(metric, limit, None, None)
                line[f"{METRICS[metric].label}, N→∞"] = text
        source = results.sources[own[0].source] if own else None
        line["n"] = " / ".join(dict.fromkeys(str(value.n_fake) for value in own)) or BLANK
        line["data"] = data_words(source) if source else BLANK
        line["scale"] = source.scale if source else BLANK
        line["verdict"] = _verdict(own, missing.get(None), notes)
        lines.append(line)
    table, common = pd.DataFrame(lines, dtype=str), []
    for name in ("n", "data", "scale"):
        if is_constant(table, name):  # then it is in the caption
            shared = set(table.pop(name)) - {BLANK}
            common += [f"n = {n} clips" for n in shared if name == "n"]
    return table, common, [*notes.lines(), *reading(results)]


def _limit(value: Value) -> float | None:
    # A note says that the clips are too few for the features: then the limit is a guess.
    return None if value.note else value.extrapolated


def is_constant(table: "pd.DataFrame", column: str) -> bool:
    """Return whether all rows that were measured agree in a column."""
    return len(set(table[column]) - {BLANK}) <= 1


def _verdict(values: Sequence[Value], missing: str | None, notes: Notes) -> str:
    if missing is not None:
        return f"not run{notes.mark([missing])}"
    reasons: dict[str, dict[str, list[str]]] = {}  # verdict -> reason -> metrics
    for value in values:
        by_reason = reasons.setdefault(value.verdict or "not comparable", {})
        by_reason.setdefault(value.reason, []).append(METRICS[value.metric].label)
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
        reading += "; where it depends on the seeds, their mean [95 % interval, Student's t]"
    yield reading
    measured = [value for value in results.values if value.metric in METRICS]
    yield from sorted({f"{METRICS[v.metric].label}: {v.note}" for v in measured if v.note})
    departures: dict[str, list[str]] = {}
    for value in measured:
        for deviation in value.deviations:
            departures.setdefault(deviation, []).append(f"`{value.protocol}`")
    for deviation, protocols in departures.items():
        yield f"{', '.join(dict.fromkeys(protocols))}: {deviation}"
    yield from results.notes


def published_table(published: Sequence[PublishedRow]) -> "pd.DataFrame":
    """Return the values from papers as text, as they were printed."""
    import pandas as pd

    printed = dict.fromkeys(metric for row in published for metric in row.metrics)
    known = [metric for metric in METRICS if metric in printed]
    metrics = dict.fromkeys([*known, *printed])
    lines = [
        {
            "method": row.method,
            # %g: a rounded 36.05 would not be the published value any more
            **{heading(m): f"{row.metrics[m].value:g}" if m in row.metrics else BLANK
               for m in metrics},
            "protocol": ", ".join(
                f"{(METRICS[m].label if m in METRICS else heading(m))} {cell.protocol}"
                for m, cell in row.metrics.items() if cell.protocol
            ) or "not stated",
            "verified": "yes" if row.verified else "no",
            "source": row.source,
            "note": row.note,
        }
        for row in published
    ]  # fmt: skip
    table = pd.DataFrame(lines, dtype=str)
    return table if any(table["note"]) else table.drop(columns="note")
