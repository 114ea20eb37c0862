"""Put the tables and figures of reports/results into reports/RESULTS.md, between their marks.

    python ci/document_results.py

A mark is ``<!-- table: KIND DATASET [key=value ..] -->``; what stands from there to
``<!-- end -->`` is made anew. Kinds:

``methods``
    All methods of the one task on that data set whose settings are those of the mark.
``claims``
    The verdicts on the paper's claims that are tested on that data set.
``search``
    What a worse rate costs each arm, from the scores of the committed search.
"""

import csv
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from document_digits import filled, marks

from gptfl_reports.claims.paper import claims
from gptfl_reports.claims.table import verdict_table
from gptfl_reports.claims.verdicts import settings_of, verdicts
from gptfl_reports.numbers.board import Leaderboard, leaderboard
from gptfl_reports.records.cells import Cell, read_cells
from gptfl_reports.report import write_report
from gptfl_reports.tables.comparison import interval_entries
from gptfl_reports.tables.leaderboard import leaderboard_tables
from gptfl_reports.tables.table import Column, Entry, Table

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "reports/RESULTS.md"
RECORDS = ROOT / "reports/results"
FIGURES = ROOT / "reports/figures"
DRAWN = ("curves.svg", "communication.svg", "diversity.svg", "sweeps.svg")
_NOTES = ("Data", "Partition", "Model", "Budget", "Synthetic", "Preset", "Mean", "Bold")
_COLUMNS = ("method", "mean_last", "start", "to_target", "status")


def table(mark: str, cells: Sequence[Cell], board: Leaderboard) -> Table:
    """Return the table that a mark asks for.

    Raises:
        ValueError: If the mark names no kind, or not one task.
    """
    kind, dataset, *settings = mark.split()
    if kind == "methods":
        return _methods(dataset, dict(word.split("=", 1) for word in settings), board)
    if kind == "claims":
        asked = [claim for claim in claims() if claim.dataset == dataset]
        return verdict_table(verdicts(cells, asked))
    if kind == "search":
        return _search(dataset)
    raise ValueError(f"no table of the kind {kind!r}")


def _methods(dataset: str, settings: dict[str, str], board: Leaderboard) -> Table:
    """Return a task's leaderboard with the interval of each difference from FedAvg."""
    fitting = [
        (ranking, shown)
        for ranking, shown in zip(board.rankings, leaderboard_tables(board), strict=True)
        if ranking.task.cells[0].record["dataset"]["name"] == dataset
        and settings.items() <= settings_of(ranking.task.cells[0]).items()
    ]
    if len(fitting) != 1:
        titles = [ranking.task.title for ranking, _ in fitting]
        raise ValueError(f"{dataset} with {settings} is not one task but {titles}")
    ((ranking, shown),) = fitting
    chosen = shown.select(_COLUMNS)
    apart = interval_entries(ranking)
    at = 2
    columns = list(chosen.columns)
    columns.insert(at, Column("apart", "vs FedAvg, 95 % interval"))
    rows = [(*row[:at], apart.get(row[0].text, Entry("–")), *row[at:]) for row in chosen.rows]
    notes = tuple(note for note in chosen.notes if note.startswith(_NOTES))
    return replace(chosen, columns=tuple(columns), rows=tuple(rows), notes=notes)


def _search(dataset: str) -> Table:
    """Return each arm's best and worst trial."""
    text = (files("gptfl_bench.conf") / "searches" / f"{dataset}.csv").read_text(encoding="utf-8")
    arms: dict[str, list[tuple[float, str]]] = {}
    for line in csv.DictReader(text.splitlines()):
        score = 0.0 if line["mean"] == "diverged" else float(line["mean"])
        arms.setdefault(line["arm"], []).append((score, line["settings"]))
    rows = []
    for arm, trials in arms.items():
        ordered = sorted(trials, reverse=True)
        best, second, worst = ordered[0], ordered[1], ordered[-1]
        rows.append(
            (
                Entry(arm),
                Entry(str(len(trials))),
                Entry(_brief(best[1])),
                Entry(f"{best[0]:.2f}"),
                Entry(f"{best[0] - second[0]:.2f}"),
                Entry(f"{best[0] - worst[0]:.2f}"),
                Entry(_brief(worst[1])),
            )
        )
    columns = (
        Column("arm", "method", "left"),
        Column("trials", "trials"),
        Column("best", "best setting", "left"),
        Column("score", "score"),
        Column("second", "above the second"),
        Column("worst", "above the worst"),
        Column("at", "worst setting", "left"),
    )
    return Table("What a worse setting costs", columns, tuple(rows))


def _brief(settings: str) -> str:
    """Return settings without what is the same for all: ``plan.lr=0.1``."""
    return re.sub(r"(?:methods|warm)\.\w+\.(?:plan\.)?", "", settings)


if __name__ == "__main__":
    read = read_cells(RECORDS)
    ranked = leaderboard(read)
    page = PAGE.read_text(encoding="utf-8")
    made = {mark: table(mark, read, ranked) for mark in marks(page)}
    PAGE.write_text(filled(page, made), encoding="utf-8")
    with tempfile.TemporaryDirectory() as scratch:
        for path in write_report(RECORDS, Path(scratch)):
            if path.name in DRAWN:
                FIGURES.mkdir(exist_ok=True)
                (FIGURES / path.name).write_bytes(path.read_bytes())
