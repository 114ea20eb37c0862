"""Ranks of methods over several tasks, and how far apart they must be to differ.

Demšar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7, 2006, section 3.2.2.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from gptfl_reports.numbers.board import Leaderboard
from gptfl_reports.numbers.intervals import chi_square_above, solve
from gptfl_reports.numbers.standings import Ranking
from gptfl_reports.records.cells import mean

LEAST_TASKS = 5
LEAST_METHODS = 3


@dataclass(frozen=True)
class MeanRank:
    """A method's rank, 1 for the highest value, averaged over the tasks whose every cell finished.

    Attributes:
        method: The method.
        n: Number of these tasks.
        rank: Its mean rank among all methods that finished the task.
        tested: Its mean rank among the methods that are tested; None if it is not one of them.
    """

    method: str
    n: int
    rank: float
    tested: float | None


@dataclass(frozen=True)
class RankTest:
    """Friedman's test over the methods that finished every task.

    Attributes:
        tasks: Number of tasks.
        methods: Number of methods.
        statistic: Friedman's chi-square, corrected for ties.
        p: Probability of as large a statistic if the methods don't differ.
        critical: Nemenyi's critical difference of mean ranks at 5 %.
    """

    tasks: int
    methods: int
    statistic: float
    p: float
    critical: float


@dataclass(frozen=True)
class Ranks:
    """Methods, those of most tasks first, then by mean rank.

    ``test`` is None with fewer than five tasks, or three methods that finished all of them.
    """

    tasks: int
    means: tuple[MeanRank, ...]
    test: RankTest | None


def ranks(board: Leaderboard) -> Ranks:
    """Return the ranks over the tasks of a leaderboard.

    References, ablated methods and variants beside the method as its preset has it have none.
    """
    values = [_values(ranking) for ranking in board.rankings]
    methods = sorted({method for task in values for method in task})
    complete = [method for method in methods if all(method in task for task in values)]
    tested = len(values) >= LEAST_TASKS and len(complete) >= LEAST_METHODS
    within = [ranked({m: task[m] for m in complete}) for task in values] if tested else []
    among = [ranked(task) for task in values]
    means = []
    for method in methods:
        own = [task[method] for task in among if method in task]
        compared = [task[method] for task in within if method in task]
        means.append(MeanRank(method, len(own), mean(own), mean(compared) if compared else None))
    means.sort(key=lambda one: (-one.n, one.rank, one.method))
    return Ranks(len(values), tuple(means), friedman(within) if tested else None)


def rank_of(ranking: Ranking) -> dict[str, float]:
    """Return the rank on one task of each method whose every cell finished, as ``ranks`` has it."""
    return ranked(_values(ranking))


def _values(ranking: Ranking) -> dict[str, float]:
    entrants = [s.entrant for s in ranking.standings]
    plain = {one.method for one in entrants if one.label == one.method}
    return {
        s.entrant.label: s.mean_last.mean
        for s in ranking.standings
        if s.mean_last and s.n == len(s.entrant.cells)
        if not (s.entrant.ablated or s.entrant.reference)
        if s.entrant.label == s.entrant.method or s.entrant.method not in plain
    }


def ranked(values: Mapping[str, float]) -> dict[str, float]:
    """Return the rank of each name, 1 for the highest value; equal values share their mean rank."""
    return {
        name: sum(other > value for other in values.values())
        + (sum(other == value for other in values.values()) + 1) / 2
        for name, value in values.items()
    }


def friedman(tasks: Sequence[Mapping[str, float]]) -> RankTest:
    """Return Friedman's test of ranks.

    Args:
        tasks: For each task the rank of each method, the same at least two methods everywhere.
    """
    n, k = len(tasks), len(tasks[0])
    middle = (k + 1) / 2
    between = sum((mean([task[m] for task in tasks]) - middle) ** 2 for m in tasks[0])
    total = sum((rank - middle) ** 2 for task in tasks for rank in task.values())
    statistic = n * n * (k - 1) * between / total if total else 0.0
    critical = nemenyi_quantile(k) * math.sqrt(k * (k + 1) / (6 * n))
    return RankTest(n, k, statistic, chi_square_above(statistic, k - 1), critical)


@lru_cache
def nemenyi_quantile(methods: int) -> float:
    """Return q at 5 %: the studentised range of that many values, divided by the root of 2.

    Demšar's table 5(a) has it for two to ten methods.
    """
    return solve(lambda q: _range_within(q, methods), 0.95, 16.0) / math.sqrt(2)


def _range_within(width: float, count: int) -> float:
    """Return the probability that ``count`` standard normal values lie within ``width``."""
    step = 1 / 32
    largest = (i * step for i in range(-256, 257))
    return sum(
        count
        * step
        * math.exp(-z * z / 2)
        / math.sqrt(2 * math.pi)
        * (_below(z) - _below(z - width)) ** (count - 1)
        for z in largest
    )


def _below(z: float) -> float:
    return math.erfc(-z / math.sqrt(2)) / 2
