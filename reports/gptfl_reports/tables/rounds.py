"""The value of every method at a few rounds: how far each is before, early, and at the end."""

from dataclasses import dataclass

from gptfl_reports.numbers.board import Leaderboard
from gptfl_reports.numbers.spread import Spread, spread
from gptfl_reports.numbers.standings import Ranking
from gptfl_reports.numbers.tasks import Entrant
from gptfl_reports.tables import units
from gptfl_reports.tables.table import Column, Entry, Table, csv_text, markdown

SHOWN = (0, 5, 10, 20, 50)
"""Rounds that get a column where they were evaluated; the last evaluation gets one more."""


@dataclass(frozen=True)
class Milestones:
    """One entrant's values at the shown rounds, and at its last evaluation.

    Attributes:
        entrant: Whose values they are.
        at: Mean and spread over its finished cells, by round; without rounds not evaluated.
        last: The same at the last evaluation; None if no cell finished.
    """

    entrant: Entrant
    at: dict[int, Spread]
    last: Spread | None


def milestones(entrant: Entrant, rounds: tuple[int, ...] = SHOWN) -> Milestones:
    """Return an entrant's values at some rounds and at the end."""
    curves = [{e.round: cell.value(e) for e in cell.evaluations} for cell in entrant.finished]
    values = {r: [curve[r] for curve in curves if r in curve] for r in rounds}
    return Milestones(
        entrant,
        {r: Spread.of(found) for r, found in values.items() if found},
        spread([curve[max(curve)] for curve in curves if curve]),
    )


def round_tables(board: Leaderboard) -> tuple[Table, ...]:
    """Return for each task the value by round, methods in the leaderboard's order."""
    return tuple(_table(ranking) for ranking in board.rankings)


def rounds_markdown(board: Leaderboard) -> str:
    """Return the tables as one Markdown page."""
    return "\n".join(["# Value by round\n", *(markdown(table) for table in round_tables(board))])


def rounds_csv(board: Leaderboard) -> str:
    """Return ``task, label, round, n, mean, sd``, fractions in [0, 1]; the end is ``last``."""
    lines: list[tuple[object, ...]] = []
    for ranking in board.rankings:
        for standing in ranking.standings:
            row = milestones(standing.entrant)
            ends = {} if row.last is None else {"last": row.last}
            lines += [
                (ranking.task.title, row.entrant.label, at, value.n, *_numbers(value))
                for at, value in [*row.at.items(), *ends.items()]
            ]
    return csv_text(("task", "label", "round", "n", "mean", "sd"), lines)


def _numbers(value: Spread) -> tuple[str, str]:
    return units.exact(value.mean), units.exact(value.sd)


def _table(ranking: Ranking) -> Table:
    rows = [milestones(standing.entrant) for standing in ranking.standings]
    shown = [r for r in SHOWN if any(r in row.at for row in rows)]
    ends = {
        cell.evaluations[-1].round
        for row in rows
        for cell in row.entrant.finished
        if cell.evaluations
    }
    end = f"last ({ends.pop()})" if len(ends) == 1 else "last"
    # The last evaluation of all is at a shown round: one column for both.
    shown = [r for r in shown if end != f"last ({r})"]
    columns = (
        Column("method", "method", "left"),
        *(Column(str(r), f"round {r}") for r in shown),
        Column("last", end),
    )
    notes = (
        f"{ranking.task.metric} in percent, mean ± sample standard deviation over the finished "
        "seeds; round 0 is before any federated round.",
    )
    entries = tuple(
        (
            Entry(row.entrant.label),
            *(_entry(row.at.get(r), row) for r in shown),
            _entry(row.last, row),
        )
        for row in rows
    )
    return Table(ranking.task.title, columns, entries, notes, ranking.task.stamp)


def _entry(value: Spread | None, row: Milestones) -> Entry:
    """Return a value; with its own n where not every finished cell was evaluated then."""
    partial = value is not None and value.n != len(row.entrant.finished)
    return Entry(units.percent(value), f"n={value.n}" if value and partial else "")
