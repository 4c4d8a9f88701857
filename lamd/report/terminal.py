"""Results as the command line prints them."""

from lamd.report.cost import cost_caption, growth, step_table
from lamd.report.frame import Summaries
from lamd.report.results import Results
from lamd.report.sweep import sweep_table
from lamd.report.tables import measured_table
from lamd.report.wording import caption


def terminal_table(results: Results) -> tuple[list[str], list[list[str]], list[str]]:
    """Return header, rows and explaining lines; pictures have lines only."""
    if results.pictures:
        lines = [f"{results.title}: {picture.caption}" for picture in results.pictures]
        return [], [], lines
    if results.measured:
        table, lines = step_table(results), [cost_caption(results), *growth(results)]
    else:
        swept = any(column.row for column in results.columns) and Summaries(results).axes
        table, common, notes = (sweep_table if swept else measured_table)(results)
        lines = [caption(results, common), *(note for note in notes if note.startswith("["))]
    return list(table.columns), table.to_numpy().tolist(), lines
