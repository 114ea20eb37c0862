"""Put the tables and figures of reports/results into its pages, between their marks.

    python ci/document_results.py

Pages are reports/RESULTS.md and reports/QUESTIONS.md. Marks, as in ``marked_tables.py``:

``<!-- table: leaderboard DATASET [key=value ..] -->``
    All methods of the one task on a data set that has these settings. Methods that were refused
    are named below. The status is left out where every other cell finished, and all methods have
    as many.
``<!-- table: methods DATASET [key=value ..] -->``
    The same with two columns of the committed search: each arm's best setting, and how many
    points below it the worst one was.
``<!-- table: questions KEY [KEY ..] -->``
    The answers to these of reports/questions.toml, as far as cells are there.
``<!-- table: claims -->``
    The verdicts on the paper's claims, as far as cells are there. Where the paper has numbers of
    some pairs of a claim, only those are shown.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import headline
from marked_tables import filled, marks

from gptfl_reports.claims.paper import claims
from gptfl_reports.claims.paper import read as read_claims
from gptfl_reports.claims.table import verdict_table
from gptfl_reports.claims.verdicts import Outcome, Verdict, has, settings_of, verdicts
from gptfl_reports.figures import sweeps, sweeps_figure
from gptfl_reports.numbers.board import Leaderboard, leaderboard
from gptfl_reports.records.cells import Cell, read_cells
from gptfl_reports.report import Report
from gptfl_reports.tables.comparison import interval_entries
from gptfl_reports.tables.leaderboard import leaderboard_tables
from gptfl_reports.tables.table import Column, Entry, Table

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "reports/RESULTS.md", ROOT / "reports/QUESTIONS.md")
QUESTIONS = ROOT / "reports/questions.toml"
RECORDS = ROOT / "reports/results"
FIGURES = ROOT / "reports/figures"
_NONE = Entry("–")
_REFUSED = "refused: "
_MORE = "Further pairs, of which the paper has no number, are in the report's claims.md."
_COLUMNS = ("method", "mean_last", "start", "to_target", "status")


def table(mark: str, cells: Sequence[Cell]) -> Table:
    """Return the table that a mark asks for.

    Raises:
        ValueError: If the mark names no kind, not one task, or a question that is not asked.
    """
    kind, *words = mark.split()
    if kind == "methods":
        return _methods(words, cells, searched=True)
    if kind == "leaderboard":
        return _methods(words, cells, searched=False)
    if kind == "questions":
        return _questions(words, cells)
    if kind == "claims":
        return _claims(cells)
    raise ValueError(f"no table of the kind {kind!r}")


def figures(text: str, cells: Sequence[Cell]) -> dict[str, bytes]:
    """Return the figures that pages link by name: of the comparisons they show, and of all sweeps.

    Runs with conventions lifted are a table beside the comparison, and no figure.

    Args:
        text: All pages.
        cells: The cells behind them.
    """
    named = [words for kind, *words in map(str.split, marks(text)) if kind == "methods"]
    named = [words for words in named if "lift_conventions=true" not in words]
    tasks = [_ranked(words, cells).rankings[0].task for words in named]
    report = Report.of([cell for task in tasks for cell in task.cells], RECORDS)
    varied = sweeps_figure.FAMILY.files(sweeps.panels(leaderboard(cells)))
    first = headline.svg(report.board.rankings).encode()
    drawn = report.figures.files() | varied | {"headline.svg": first}
    return {name: drawn[name] for name in re.findall(r"\(figures/(\w+\.svg)\)", text)}


def _ranked(words: Sequence[str], cells: Sequence[Cell]) -> Leaderboard:
    """Return the leaderboard of the cells on a data set that have some settings, of one task.

    Raises:
        ValueError: If there is none, or they are of more than one.
    """
    dataset, *pairs = words
    settings = dict(pair.split("=", 1) for pair in pairs)
    fitting = [
        cell
        for cell in cells
        if cell.record["dataset"]["name"] == dataset
        and all(has(settings_of(cell), key, text) for key, text in settings.items())
    ]
    board = leaderboard(fitting)
    if len(board.rankings) != 1:
        titles = [ranking.task.title for ranking in board.rankings]
        raise ValueError(f"{' '.join(words)} is not one task but {titles}")
    return board


def _methods(words: Sequence[str], cells: Sequence[Cell], *, searched: bool) -> Table:
    """Return a task's leaderboard with intervals of the differences from FedAvg, and the search."""
    board = _ranked(words, cells)
    shown = leaderboard_tables(board)[0].select(_COLUMNS)
    apart = interval_entries(board.rankings[0])
    trials = _trials(words[0])
    columns = list(shown.columns)
    columns.insert(2, Column("apart", "vs FedAvg, 95 % interval"))
    columns.append(Column("best", "best setting", "left"))
    columns.append(Column("worst", "worst setting", "left"))
    rows, refused = [], list[tuple[str, str]]()
    place = next(i for i, column in enumerate(shown.columns) if column.key == "status")
    for row in shown.rows:
        if row[place].text.startswith(_REFUSED):
            refused.append((row[0].text, row[place].text))
            continue
        method, value, *rest = row
        scores = _best_and_worst(trials[method.text]) if method.text in trials else (_NONE, _NONE)
        rows.append((method, value, apart.get(method.text, _NONE), *rest, *scores))
    notes = [note for note in shown.notes if note.startswith("Budget")]
    whole = replace(
        shown, columns=tuple(columns), rows=tuple(rows), notes=(*notes, *_refusals(refused))
    )
    status = next(i for i, column in enumerate(columns) if column.key == "status")
    said = {row[status].text for row in rows}
    hidden = () if searched else ("best", "worst")
    if len(said) == 1 and re.fullmatch(r"(\d+) of \1 finished", said.pop()):
        hidden = (*hidden, "status")
    return whole.select(column.key for column in columns if column.key not in hidden)


def _refusals(refused: Sequence[tuple[str, str]]) -> list[str]:
    """Return a sentence for each reason why methods were refused, of their names and statuses."""
    reasons: dict[str, list[str]] = {}
    for method, status in refused:
        reason = status.removeprefix(_REFUSED).removeprefix(f"{method} ")
        reasons.setdefault(reason, []).append(method)
    return [
        f"Refused: {', '.join(of)}{'; each' if len(of) > 1 else ''} {reason}"
        for reason, of in reasons.items()
    ]


def _questions(keys: Sequence[str], cells: Sequence[Cell]) -> Table:
    """Return the answers to some questions, where cells give one."""
    every = {one.key: one for one in read_claims(QUESTIONS.read_text(encoding="utf-8"))}
    if unknown := [key for key in keys if key not in every]:
        raise ValueError(f"{QUESTIONS.name} has no question {unknown[0]!r}")
    asked = [every[key] for key in keys]
    told = verdict_table(_answered(verdicts(cells, asked)))
    titles = {"says": "question"}
    kept = replace(told, notes=()).select(("says", "pair", "here"))
    named = tuple(replace(c, title=titles.get(c.key, c.title)) for c in kept.columns)
    return replace(kept, columns=named)


def _claims(cells: Sequence[Cell]) -> Table:
    """Return the verdicts, without pairs of which no cells are there yet.

    Where the paper has numbers of some pairs of a claim, those without stay in the report alone.
    """
    found = verdicts(cells, claims())
    shown = [replace(one, outcomes=_of_the_paper(one.outcomes)) for one in found]
    table = verdict_table(_answered(shown))
    return replace(table, notes=(*table.notes, _MORE))


def _of_the_paper(outcomes: tuple[Outcome, ...]) -> tuple[Outcome, ...]:
    return tuple(one for one in outcomes if one.pair.paper is not None) or outcomes


def _answered(found: Sequence[Verdict]) -> list[Verdict]:
    """Return verdicts without pairs of which no cells are there yet."""
    told = [replace(one, outcomes=tuple(o for o in one.outcomes if o.value)) for one in found]
    return [one for one in told if one.outcomes or one.claim.untestable]


def _trials(dataset: str) -> dict[str, list[tuple[float, str]]]:
    """Return score and settings of each trial, by arm."""
    text = (files("gptfl_bench.conf") / "searches" / f"{dataset}.csv").read_text(encoding="utf-8")
    arms: dict[str, list[tuple[float, str]]] = {}
    for line in csv.DictReader(text.splitlines()):
        score = 0.0 if line["mean"] == "diverged" else float(line["mean"])
        arms.setdefault(line["arm"], []).append((score, line["settings"]))
    return arms


def _best_and_worst(trials: Sequence[tuple[float, str]]) -> tuple[Entry, Entry]:
    """Return the best setting of how many, and how far below it the worst one is."""
    (best, setting), *_, (worst, at) = sorted(trials, reverse=True)
    below = f"\N{MINUS SIGN}{best - worst:.2f}"
    return Entry(_brief(setting), f"of {len(trials)}"), Entry(below, _brief(at))


def _brief(settings: str) -> str:
    """Return settings without what is the same for all: ``plan.lr=0.1``."""
    return re.sub(r"(?:methods|warm)\.\w+\.(?:plan\.)?", "", settings)


if __name__ == "__main__":
    read = read_cells(RECORDS)
    texts = []
    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        made = {mark: table(mark, read) for mark in marks(page)}
        texts.append(filled(page, made))
        path.write_text(texts[-1], encoding="utf-8")
    FIGURES.mkdir(exist_ok=True)
    for name, data in figures("\n".join(texts), read).items():
        (FIGURES / name).write_bytes(data)
