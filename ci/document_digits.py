"""Put the tables of a run folder into docs/digits.md, between their marks.

    python ci/document_digits.py RUN_FOLDER

Marks are those of ``marked_tables.py``. The commands that make the run folder are in
docs/digits.md.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from marked_tables import filled

from gptfl_reports.numbers.board import Leaderboard, leaderboard
from gptfl_reports.numbers.tasks import regime
from gptfl_reports.records.cells import read_cells
from gptfl_reports.records.schema import ABLATED
from gptfl_reports.tables.ablations import ablation_tables
from gptfl_reports.tables.comparison import regimes_tables
from gptfl_reports.tables.leaderboard import leaderboard_tables
from gptfl_reports.tables.table import Table

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/digits.md"
_COLUMNS = ("method", "mean_last", "best", "start", "down", "up", "to_target", "saw")
_WARM = "gptfl+"


def found(board: Leaderboard) -> Iterator[tuple[str, Table]]:
    """Yield all tables of a run folder by the name in their mark."""
    for side_by_side in regimes_tables(board):
        yield "regimes", _only(side_by_side, warm=False)
        yield "regimes, warm", _only(side_by_side, warm=True)
    for ranking, standings, gains in zip(
        board.rankings, leaderboard_tables(board), ablation_tables(board), strict=True
    ):
        name = regime(ranking.task.cells[0].record)
        yield f"leaderboard, {name}", _only(standings.select(_COLUMNS), warm=False)
        yield f"ideas, {name}", _only(gains, warm=False)
        yield f"starts, {name}", _only(gains, warm=True)


def _only(table: Table, *, warm: bool) -> Table:
    """Return a table's rows of methods with GPT-FL's start, or of the others.

    GPT-FL itself, which is FedAvg with that start, is in both.
    """
    names = [row[0].text for row in table.rows]
    kept = tuple(
        row
        for name, row in zip(names, table.rows, strict=True)
        if ABLATED not in name and (name == "gptfl" or name.startswith(_WARM) is warm)
    )
    return replace(table, rows=kept)


if __name__ == "__main__":
    made = dict(found(leaderboard(read_cells(Path(sys.argv[1])))))
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), made), encoding="utf-8")
