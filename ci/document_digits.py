"""Put the tables of a run folder into README.md and docs/digits.md, between their marks.

    python ci/document_digits.py RUN_FOLDER

A mark is ``<!-- table: NAME -->``; what stands from there to ``<!-- end -->`` is made anew. The
commands that make the run folder are in docs/digits.md.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gptfl_reports.numbers.board import Leaderboard, leaderboard
from gptfl_reports.numbers.tasks import regime
from gptfl_reports.records.cells import read_cells
from gptfl_reports.records.schema import ABLATED
from gptfl_reports.tables.ablations import ablation_tables
from gptfl_reports.tables.comparison import regimes_tables
from gptfl_reports.tables.leaderboard import leaderboard_tables
from gptfl_reports.tables.table import Table, markdown

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/digits.md")
_MARKED = re.compile(r"(<!-- table: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
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


def marks(text: str) -> list[str]:
    """Return the names of a page's marks."""
    return [found[2] for found in _MARKED.finditer(text)]


def filled(text: str, by_name: dict[str, Table]) -> str:
    """Return a page with every marked table made anew.

    Raises:
        KeyError: If the run folder gives no table of a mark's name.
    """
    return _MARKED.sub(lambda m: f"{m[1]}\n{_body(by_name[m[2]])}\n{m[3]}", text)


def _body(table: Table) -> str:
    """Return the table and its notes without the heading."""
    return markdown(table).partition("\n")[2].strip("\n") + "\n"


if __name__ == "__main__":
    made = dict(found(leaderboard(read_cells(Path(sys.argv[1])))))
    for name in PAGES:
        path = ROOT / name
        path.write_text(filled(path.read_text(encoding="utf-8"), made), encoding="utf-8")
