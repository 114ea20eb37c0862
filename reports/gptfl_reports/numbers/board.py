"""The leaderboard as numbers: the ranked rows of every task, from which tables are made."""

from collections.abc import Iterable
from dataclasses import dataclass

from gptfl_reports.numbers.standings import Ranking, rank
from gptfl_reports.numbers.tasks import group
from gptfl_reports.records.cells import Cell


@dataclass(frozen=True)
class Leaderboard:
    """The ranked rows of every task of a report, tasks in alphabetical order."""

    rankings: tuple[Ranking, ...]


def leaderboard(cells: Iterable[Cell], baseline: str = "fedavg") -> Leaderboard:
    """Return the leaderboard of some cells.

    Args:
        cells: What was run, in any order.
        baseline: The method that the others are compared with, where a task has it exactly once,
            or once as its preset has it.
    """
    return Leaderboard(tuple(rank(task, baseline) for task in group(cells)))
