"""Two run folders compared: the same task, method and setting in both, paired by seed.

Equal numbers say that a change of code or of a package changed nothing; others, by how much.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from gptfl_reports.numbers.board import leaderboard
from gptfl_reports.numbers.intervals import Interval, t_interval
from gptfl_reports.numbers.spread import Spread, spread
from gptfl_reports.numbers.standings import Standing, by_seed
from gptfl_reports.records.cells import Cell
from gptfl_reports.tables import units
from gptfl_reports.tables.table import Column, Entry, Table, csv_text

_MADE = ("gptfl-bench", "torch")
"""Packages whose versions are told apart."""


@dataclass(frozen=True)
class Change:
    """One entrant in two folders.

    Attributes:
        task: The task's title.
        label: The entrant.
        before: Its ranked value in the first folder; None if no cell finished.
        after: The same in the second.
        difference: Second less first, over seeds that both have; None if there is none.
        interval: 95 % interval of the difference by Student's t; None for fewer than two seeds.
        equal: Whether all pairs have the same value at each evaluation.
        made: What the cells were made by, where that is not the same.
    """

    task: str
    label: str
    before: Spread | None
    after: Spread | None
    difference: Spread | None
    interval: Interval | None
    equal: bool
    made: str

    @property
    def verdict(self) -> str:
        """What the difference comes to, in words."""
        if self.difference is None:
            return "no seed in both"
        if self.equal:
            return "the same numbers"
        if self.interval is None:
            return "different numbers; one seed"
        low, high = self.interval
        if low > 0 or high < 0:
            return "higher" if low > 0 else "lower"
        return "different numbers, within the noise"


@dataclass(frozen=True)
class Comparison:
    """Two folders side by side.

    Attributes:
        names: The folders, the first one being compared with.
        changes: What is in both.
        alone: What is in one of them only, by the folder's name.
    """

    names: tuple[str, str]
    changes: tuple[Change, ...]
    alone: tuple[tuple[str, str], ...]


def compare(first: Iterable[Cell], second: Iterable[Cell], names: tuple[str, str]) -> Comparison:
    """Return two folders side by side.

    Args:
        first: Cells of the folder that is compared with.
        second: Cells of the other one.
        names: What the folders are called.
    """
    before, after = _standings(first), _standings(second)
    both = [key for key in before if key in after]
    alone = [(names[0], key) for key in before if key not in after]
    alone += [(names[1], key) for key in after if key not in before]
    changes = tuple(_change(key, before[key], after[key]) for key in both)
    return Comparison(
        names, changes, tuple((name, f"{label} on {task}") for name, (task, label) in alone)
    )


def between_table(comparison: Comparison) -> Table:
    """Return a row for each entrant of both folders."""
    before, after = comparison.names
    columns = (
        Column("method", "method", "left"),
        Column("task", "task", "wide"),
        Column("before", before),
        Column("after", after),
        Column("difference", "difference (95 % interval)"),
        Column("verdict", "verdict", "left"),
        Column("made", "made by", "wide"),
    )
    notes = (
        f"Mean of the last evaluations in percent; difference: {after} less {before} in points, "
        "paired by seed and partition, with the interval by Student's t. The same numbers: equal "
        "at every evaluation.",
        *(f"Only in {name}: {what}." for name, what in comparison.alone),
    )
    rows = tuple(_entries(change) for change in comparison.changes)
    return Table(f"{after} against {before}", columns, rows, notes)


def between_csv(comparison: Comparison) -> str:
    """Return one line for each entrant of both folders, fractions in [0, 1]."""
    columns = [
        "task",
        "method",
        "before",
        "after",
        "n",
        "difference",
        "low",
        "high",
        "verdict",
        "made",
    ]
    lines = []
    for one in comparison.changes:
        numbers = (one.before, one.after)
        low, high = one.interval or (None, None)
        lines.append(
            (
                one.task,
                one.label,
                *(units.exact(value.mean if value else None) for value in numbers),
                one.difference.n if one.difference else 0,
                units.exact(one.difference.mean if one.difference else None),
                *(units.exact(low), units.exact(high)),
                *(one.verdict, one.made),
            )
        )
    return csv_text(columns, lines)


def _standings(cells: Iterable[Cell]) -> dict[tuple[str, str], Standing]:
    return {
        (ranking.task.title, standing.entrant.label): standing
        for ranking in leaderboard(cells).rankings
        for standing in ranking.standings
    }


def _change(key: tuple[str, str], before: Standing, after: Standing) -> Change:
    old, new = by_seed(before.entrant), by_seed(after.entrant)
    apart = [new[seed] - old[seed] for seed in new if seed in old]
    curves = [_curves(standing) for standing in (before, after)]
    shared = curves[0].keys() & curves[1].keys()
    return Change(
        *key,
        before.mean_last,
        after.mean_last,
        spread(apart),
        t_interval(apart),
        all(curves[0][seed] == curves[1][seed] for seed in shared),
        _made(before, after),
    )


def _curves(standing: Standing) -> dict[object, list[float]]:
    return {
        (cell.record["seed"], cell.record["partition"]["sha256"]): [
            cell.value(event) for event in cell.evaluations
        ]
        for cell in standing.entrant.finished
    }


def _made(before: Standing, after: Standing) -> str:
    """Return what made the cells of both, where it differs: versions, and the method's source."""
    old, new = (standing.entrant.cells[0].record for standing in (before, after))
    words = [
        f"{name} {old['versions'].get(name, 'unknown')} and {new['versions'].get(name, 'unknown')}"
        for name in _MADE
        if old["versions"].get(name) != new["versions"].get(name)
    ]
    if old["method_sha256"] != new["method_sha256"]:
        words.append(f"source {old['method_sha256'][:8]} and {new['method_sha256'][:8]}")
    return ", ".join(words)


def _entries(one: Change) -> tuple[Entry, ...]:
    difference = Entry(units.NONE)
    if one.difference:
        ends = " to ".join(f"{100 * end:+.2f}" for end in one.interval or ())
        mean, n = one.difference.mean, one.difference.n
        detail = ", ".join([*([ends] if ends else []), f"n={n}"])
        difference = Entry(f"{100 * mean:+.2f}", detail, order=mean)
    return (
        Entry(one.label),
        Entry(one.task),
        *(Entry(units.percent(value)) for value in (one.before, one.after)),
        difference,
        Entry(one.verdict),
        Entry(one.made or units.NONE),
    )
