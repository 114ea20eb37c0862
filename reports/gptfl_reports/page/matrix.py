"""All tasks at a glance: methods by tasks, each value with its rank."""

from collections.abc import Sequence
from dataclasses import dataclass

from gptfl_reports.numbers.board import Leaderboard
from gptfl_reports.numbers.ranks import rank_of, ranks
from gptfl_reports.numbers.standings import Ranking, whole
from gptfl_reports.numbers.tasks import budget, data_title, sharing, sharing_settings
from gptfl_reports.records.schema import RunRecord
from gptfl_reports.tables import units

_SHADES = 5


@dataclass(frozen=True)
class Place:
    """One method on one task.

    Attributes:
        text: Its value in percent, or what became of it.
        detail: Its rank among how many, where it has one.
        anchor: Where the page has the cells behind it.
        shade: From 1, the first fifth of the ranks, to 5; 0 without a rank.
    """

    text: str
    detail: str
    anchor: str
    shade: int


@dataclass(frozen=True)
class Matrix:
    """Rows of methods, those of the best mean rank first; a task that lacks one has None."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Place | None, ...]], ...]


def matrix(board: Leaderboard) -> Matrix | None:
    """Return all methods on all tasks; None for a single task."""
    if len(board.rankings) < 2:
        return None
    by_method: dict[str, dict[int, Place]] = {}
    for number, ranking in enumerate(board.rankings, 1):
        placed, shown = rank_of(ranking), whole(ranking)
        for n, standing in enumerate(ranking.standings, 1):
            label, value = standing.entrant.label, standing.mean_last
            if standing not in shown:
                continue
            rank = placed.get(label)
            by_method.setdefault(label, {})[number] = Place(
                units.percent(value) if value else standing.entrant.status,
                f"{rank:g} of {len(placed)}" if rank else "",
                f"cells-{number}-{n}",
                1 + int((rank - 1) * _SHADES / len(placed)) if rank else 0,
            )
    order = {one.method: n for n, one in enumerate(ranks(board).means)}
    methods = sorted(by_method, key=lambda label: (order.get(label, len(order)), label))
    numbers = range(1, len(board.rankings) + 1)
    rows = ((label, tuple(by_method[label].get(n) for n in numbers)) for label in methods)
    return Matrix(short_titles(board.rankings), tuple(rows))


def short_titles(rankings: Sequence[Ranking]) -> tuple[str, ...]:
    """Return for each task its data set, and what sets it apart from others on the same data."""
    records = [ranking.task.cells[0].record for ranking in rankings]
    names = [data_title([record]) for record in records]
    titles = dict(enumerate(names))
    for name in dict.fromkeys(names):
        numbers = [number for number, own in enumerate(names) if own == name]
        for number, words in zip(numbers, _apart([records[n] for n in numbers]), strict=True):
            titles[number] = " · ".join((name, *words))
    return tuple(titles.values())


def _apart(records: Sequence[RunRecord]) -> list[tuple[str, ...]]:
    """Return for each of some tasks on the same data the parts that not all of them share."""
    parts = [
        _partitions(records),
        [record["model"]["name"] for record in records],
        [budget(record) for record in records],
        [f"target {record['target']}" for record in records],
        [f"preset {record['preset']['name']}" for record in records],
    ]
    told = [part for part in parts if len(set(part)) > 1]
    return list(zip(*told, strict=True)) if told else [()] * len(records)


def _partitions(records: Sequence[RunRecord]) -> list[str]:
    """Return how each task's data are shared: of one recipe, only the settings that differ."""
    if len({record["partition"]["recipe"] for record in records}) > 1:
        return [sharing(record) for record in records]
    settings = [sharing_settings(record) for record in records]
    names = sorted({name for one in settings for name in one} - {"seed"})
    differ = [name for name in names if len({one.get(name) for one in settings}) > 1]
    return [", ".join(f"{name}={one.get(name)}" for name in differ) for one in settings]
