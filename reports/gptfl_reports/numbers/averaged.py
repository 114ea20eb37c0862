"""Over how many evaluations the ranked value of some cells is the mean.

Evaluations of trained rounds count, the last ten of them; round 0 never does.
"""

from collections.abc import Iterable

from gptfl_reports.records.cells import Cell
from gptfl_reports.records.schema import LAST_EVALUATIONS


def averaged(cells: Iterable[Cell]) -> str:
    """Return how many evaluations the values of finished cells are over: ``10``, ``2 to 10``."""
    counts = {
        min(len(cell.trained_values), LAST_EVALUATIONS)
        for cell in cells
        if cell.ending.status == "finished"
    } or {LAST_EVALUATIONS}
    return " to ".join(map(str, sorted({min(counts), max(counts)})))


def evaluations(count: str) -> str:
    """Return ``the last 10 evaluations``; fewer are said to be all there are."""
    if count == str(LAST_EVALUATIONS):
        return f"the last {count} evaluations"
    noun = "evaluation" if count == "1" else "evaluations"
    return f"the last {count} {noun}, all there are after round 0"
